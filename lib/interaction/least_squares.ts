/**
 * Least squares on dense matrices: products on the device, the factorisation in float64.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** Cholesky factor of a positive definite matrix, `[n, n]` row-major, in place of its lower half. */
function cholesky(A: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = A[i * n + j];
      for (let k = 0; k < j; k++) sum -= A[i * n + k] * A[j * n + k];
      A[i * n + j] = i === j ? Math.sqrt(Math.max(sum, 1e-300)) : sum / A[j * n + j];
    }
  }
}

/** Lower factor L of a covariance, `L Lᵀ = A`, `[n, n]` row-major; directions without variance give 0. */
export function choleskyFactor(covariance: ArrayLike<number>, n: number): Float32Array {
  const A = Float64Array.from(covariance);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += A[i * n + i];
  for (let i = 0; i < n; i++) A[i * n + i] += 1e-9 * trace / n + 1e-300;
  cholesky(A, n);
  return Float32Array.from(A, (value, at) => at % n <= Math.floor(at / n) ? value : 0);
}

/** Solves `L Lᵀ X = B` for B `[n, columns]`, in place. */
function solveCholesky(L: Float64Array, n: number, B: Float64Array, columns: number): void {
  for (let i = 0; i < n; i++) {
    const row = i * columns;
    for (let k = 0; k < i; k++) {
      const factor = L[i * n + k];
      if (factor !== 0) {
        for (let c = 0; c < columns; c++) B[row + c] -= factor * B[k * columns + c];
      }
    }
    for (let c = 0; c < columns; c++) B[row + c] /= L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    const row = i * columns;
    for (let k = i + 1; k < n; k++) {
      const factor = L[k * n + i];
      if (factor !== 0) {
        for (let c = 0; c < columns; c++) B[row + c] -= factor * B[k * columns + c];
      }
    }
    for (let c = 0; c < columns; c++) B[row + c] /= L[i * n + i];
  }
}

/** Normal equations that are factorised once and solved for any number of right-hand sides. */
export class LeastSquares {
  readonly #X: tf.Tensor2D;
  readonly #factor: Float64Array;
  /** Columns are scaled to a norm of 1, so that one ridge means the same for all. */
  readonly #scale: Float64Array;

  private constructor(X: tf.Tensor2D, factor: Float64Array, scale: Float64Array) {
    this.#X = X;
    this.#factor = factor;
    this.#scale = scale;
  }

  /**
   * @param X Regressors, `[tokens, n]`; a column of 1 is the constant. It stays the caller's.
   * @param ridge λ, as a share of the norm of each column squared.
   */
  static async of(X: tf.Tensor2D, ridge: number): Promise<LeastSquares> {
    const n = X.shape[1];
    const gram = tf.matMul(X, X, true);
    const A = Float64Array.from(await gram.data());
    gram.dispose();
    const scale = Float64Array.from({ length: n }, (_, i) => 1 / Math.sqrt(A[i * n + i] || 1));
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) A[i * n + j] *= scale[i] * scale[j];
      A[i * n + i] += ridge;
    }
    cholesky(A, n);
    return new LeastSquares(X, A, scale);
  }

  /**
   * Coefficients of `min ‖Y − X B‖² + λ ‖B‖²`.
   *
   * @param Y `[tokens, columns]`.
   * @returns `[n, columns]`, the caller's.
   */
  async solve(Y: tf.Tensor2D): Promise<tf.Tensor2D> {
    const [n, columns] = [this.#X.shape[1], Y.shape[1]];
    const right = tf.matMul(this.#X, Y, true);
    const B = Float64Array.from(await right.data());
    right.dispose();
    const rescale = () => B.forEach((value, i) => B[i] = value * this.#scale[~~(i / columns)]);
    rescale();
    solveCholesky(this.#factor, n, B, columns);
    rescale();
    return tf.tensor2d(Float32Array.from(B), [n, columns]);
  }

  /** What the regressors leave of Y, `[tokens, columns]`, the caller's. */
  async residual(Y: tf.Tensor2D): Promise<tf.Tensor2D> {
    const B = await this.solve(Y);
    const left = tf.tidy(() => tf.sub(Y, tf.matMul(this.#X, B)) as tf.Tensor2D);
    B.dispose();
    return left;
  }
}

/**
 * Whitens the columns of a matrix: `R L⁻ᵀ` with `L Lᵀ = RᵀR`.
 *
 * @returns The same shape, of which `RᵀR` is the identity; the caller's.
 */
export async function whiten(R: tf.Tensor2D): Promise<tf.Tensor2D> {
  const q = R.shape[1];
  const gram = tf.matMul(R, R, true);
  const L = Float64Array.from(await gram.data());
  gram.dispose();
  cholesky(L, q);
  // Columns of L⁻ᵀ, by back substitution from the identity.
  const inverse = new Float32Array(q * q);
  for (let c = 0; c < q; c++) {
    const x = new Float64Array(q);
    for (let i = c; i >= 0; i--) {
      let sum = i === c ? 1 : 0;
      for (let k = i + 1; k <= c; k++) sum -= L[k * q + i] * x[k];
      x[i] = sum / L[i * q + i];
      inverse[i * q + c] = x[i];
    }
  }
  return tf.tidy(() => tf.matMul(R, tf.tensor2d(inverse, [q, q])));
}
