/**
 * Weights for raw activations from weights for those of a store, and back.
 *
 * With x = (raw − m) · s for what is read and y = (raw − m′) · s′ for what is predicted:
 *
 *     W_enc ← s W_enc,  W_dec ← W_dec / s′,  b_dec ← b_dec / s′ + m′,  W_skip ← W_skip s / s′
 *
 * An autoencoder subtracts `b_dec`, and with it m. A transcoder does not: `b_enc ← b_enc − m W_enc`
 * and `b_dec ← b_dec − W_skip m`, with the new matrices. Pre-activations stay as they were, and so do
 * thresholds and codes.
 *
 * @module
 */
import type { InputNormalizer } from "./reader.ts";
import type { SaeConfig, SaeWeights } from "./sae.ts";

/** Elements of the tensors of a dictionary, row-major. */
export type WeightArrays = Partial<Record<keyof SaeWeights, Float32Array<ArrayBuffer>>>;

/** Normalisers of what is read and of what is predicted; null if it is raw. */
export interface Normalizers {
  readonly input: InputNormalizer | null;
  readonly output: InputNormalizer | null;
}

/** Changes weights for a store's activations to weights for raw ones, in place. */
export function foldNormalizers(
  weights: WeightArrays,
  config: SaeConfig,
  { input, output }: Normalizers,
): void {
  const [s, sOut] = [input?.scale ?? 1, output?.scale ?? 1];
  const { W_enc, W_dec, b_dec, W_skip } = weights;
  multiply(W_enc!, s);
  divide(W_dec!, sOut);
  divide(b_dec!, sOut);
  if (W_skip) {
    multiply(W_skip, s);
    divide(W_skip, sOut);
  }
  add(b_dec!, output?.mean, 1);
  if (config.dOut !== undefined && input?.mean) shift(weights, config, input.mean, -1);
}

/** The inverse of `foldNormalizers`, in place. */
export function unfoldNormalizers(
  weights: WeightArrays,
  config: SaeConfig,
  { input, output }: Normalizers,
): void {
  const [s, sOut] = [input?.scale ?? 1, output?.scale ?? 1];
  const { W_enc, W_dec, b_dec, W_skip } = weights;
  if (config.dOut !== undefined && input?.mean) shift(weights, config, input.mean, 1);
  add(b_dec!, output?.mean, -1);
  divide(W_enc!, s);
  multiply(W_dec!, sOut);
  multiply(b_dec!, sOut);
  if (W_skip) {
    divide(W_skip, s);
    multiply(W_skip, sOut);
  }
}

/** Adds `sign · m W_enc` to b_enc, and `sign · W_skip m` to b_dec, of a transcoder. */
function shift(
  { W_enc, b_enc, b_dec, W_skip }: WeightArrays,
  { dIn, dSae }: SaeConfig,
  mean: ArrayLike<number>,
  sign: number,
): void {
  add(b_enc!, rowTimes(mean, W_enc!, dIn, dSae), sign);
  if (!W_skip) return;
  for (let o = 0; o < b_dec!.length; o++) {
    let sum = 0;
    for (let i = 0; i < dIn; i++) sum += W_skip[o * dIn + i] * mean[i];
    b_dec![o] += sign * sum;
  }
}

/**
 * Moves the subtraction of b_dec from inputs out of the biases, for a file whose inputs are not
 * centred: `(x − b) W + (c + b W) = x W + c`, in place.
 */
export function subtractBias(weights: WeightArrays, { dIn, dSae }: SaeConfig): void {
  const { W_enc, b_enc, b_dec, b_mag, r_mag } = weights;
  const moved = rowTimes(b_dec!, W_enc!, dIn, dSae);
  add(b_enc!, moved, 1);
  if (b_mag && r_mag) add(b_mag, moved.map((value, i) => value * Math.exp(r_mag[i])), 1);
}

/**
 * Gives decoder rows norm 1 and the encoder their norms, in place: what a TopK dictionary with
 * `rescale_acts_by_decoder_norm` computes, said by its weights.
 */
export function unitDecoder({ W_enc, b_enc, W_dec }: WeightArrays, config: SaeConfig): void {
  const { dIn, dSae, dOut = dIn } = config;
  const norms = Float64Array.from({ length: dSae }, (_, i) => {
    let sum = 0;
    for (let o = i * dOut; o < (i + 1) * dOut; o++) sum += W_dec![o] ** 2;
    return Math.sqrt(sum);
  });
  W_enc!.forEach((value, at) => W_enc![at] = value * norms[at % dSae]);
  b_enc!.forEach((value, i) => b_enc![i] = value * norms[i]);
  W_dec!.forEach((value, at) => W_dec![at] = value / (norms[Math.floor(at / dOut)] || 1));
}

function rowTimes(row: ArrayLike<number>, W: Float32Array, dIn: number, dSae: number) {
  const out = new Float64Array(dSae);
  for (let i = 0; i < dIn; i++) {
    for (let j = 0; j < dSae; j++) out[j] += row[i] * W[i * dSae + j];
  }
  return out;
}

function multiply(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] *= factor;
}

function divide(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] /= factor;
}

function add(values: Float32Array, other: ArrayLike<number> | null | undefined, sign: number) {
  for (let i = 0; other && i < values.length; i++) values[i] += sign * other[i];
}
