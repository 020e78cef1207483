/**
 * First weights of a dictionary, made from its first data.
 *
 * b_dec is the mean of the activations, decoder rows are random directions of norm 1,
 * and the encoder is the decoder transposed (Gao et al., 2024, appendix A), scaled so
 * that the first reconstruction has the best length. Without that scale a dictionary
 * with many features starts far from its input and spends its first steps shrinking.
 *
 * A transcoder's encoder rows are random directions about the mean of its inputs; a decoder row is
 * the direction in which the target lies, in the mean, when its feature is active.
 *
 * @module
 */
import { Rng, tf } from "../tensor/mod.ts";
import type { StepData } from "./closed_form.ts";
import { Sae, type SaeConfig, type SaeWeights } from "./sae.ts";

/**
 * Draws encoder, decoder and their biases.
 *
 * @param shape `dIn`, `dSae`; `k`, if a token's number of features is known.
 * @param sample A few thousand activations.
 * @param options `seed`: names the directions. `decoderStd`: draws the decoder's elements with this
 * standard deviation and leaves biases at 0, as the study did, instead of looking at the data.
 * @returns Tensors that belong to the caller.
 * @throws {RangeError} If the sample has values that are not finite.
 */
export async function initialWeights(
  shape: Pick<SaeConfig, "dIn" | "dSae" | "k" | "skip">,
  sample: StepData,
  { seed, decoderStd }: { seed: number; decoderStd?: number },
): Promise<SaeWeights> {
  const { dIn, dSae, skip } = shape;
  const { x, target } = sample;
  await requireFinite(target ? [x, target] : [x]);
  const rows = tf.tensor2d(
    new Rng(seed, "decoder").normals(dSae * dIn, decoderStd ?? 1),
    [dSae, dIn],
  );
  const W_skip = skip ? tf.zeros<tf.Rank.R2>([target!.shape[1], dIn]) : undefined;
  if (decoderStd !== undefined && !target) {
    return {
      W_enc: tf.transpose(rows),
      b_enc: tf.zeros([dSae]),
      W_dec: rows,
      b_dec: tf.zeros([dIn]),
    };
  }
  const directions = unitRows(rows);
  rows.dispose();
  const mean = tf.mean(x, 0) as tf.Tensor1D;
  const W_enc = tf.transpose(directions) as tf.Tensor2D;
  const zeros = tf.zeros<tf.Rank.R1>([dSae]);
  // Of an autoencoder of x − mean, which every architecture without thresholds resembles.
  const k = shape.k === undefined ? undefined : Math.max(1, Math.round(shape.k));
  const trial = new Sae(
    { ...k === undefined ? { architecture: "standard" } : { architecture: "topk", k }, dIn, dSae },
    { W_enc, b_enc: zeros, W_dec: directions, b_dec: mean },
  );
  const b_dec = target ? tf.mean(target, 0) as tf.Tensor1D : mean;
  const W_dec = target ? responses(trial, { x, target }, b_dec) : directions;

  let [dot, norm] = [0, 0];
  for (const part of partsOf(sample)) {
    const sums = tf.tidy(() => {
      const centred = tf.sub(part.target ?? part.x, b_dec);
      const decoded = part.target
        ? tf.matMul(trial.encode(part.x), W_dec)
        : tf.sub(trial.reconstruct(part.x), b_dec);
      return tf.stack([tf.sum(tf.mul(centred, decoded)), tf.sum(tf.square(decoded))]);
    });
    const [partDot, partNorm] = await sums.data();
    tf.dispose([sums, ...Object.values(part)]);
    dot += partDot;
    norm += partNorm;
  }
  // The code is homogeneous in W_enc while b_enc is 0: the best factor is that of least squares.
  const scaled = tf.mul(W_enc, norm > 0 && dot > 0 ? dot / norm : 1) as tf.Tensor2D;
  W_enc.dispose();
  if (!target) return { W_enc: scaled, b_enc: zeros, W_dec, b_dec };
  const b_enc = tf.tidy(() => tf.neg(tf.squeeze(tf.matMul(tf.expandDims(mean, 0), scaled), [0])));
  tf.dispose([directions, zeros, mean]);
  return { W_enc: scaled, b_enc: b_enc as tf.Tensor1D, W_dec, b_dec, ...W_skip && { W_skip } };
}

/** Tokens of a sample that are encoded together: codes of all would be the largest tensor of a run. */
const PART_TOKENS = 512;

/** Pieces of a sample, which belong to the caller. */
function* partsOf({ x, target }: StepData): Generator<StepData> {
  for (let start = 0; start < x.shape[0]; start += PART_TOKENS) {
    const count = Math.min(PART_TOKENS, x.shape[0] - start);
    const piece = (of: tf.Tensor2D) => tf.slice(of, [start, 0], [count, of.shape[1]]);
    yield target ? { x: piece(x), target: piece(target) } : { x: piece(x) };
  }
}

/** Unit rows in the direction of `Σ f (y − b_dec)`, random ones for features that never fire. */
function responses(trial: Sae, sample: Required<StepData>, b_dec: tf.Tensor1D): tf.Tensor2D {
  const [dSae, dOut] = [trial.config.dSae, sample.target.shape[1]];
  const random = new Rng(0, "responses").normals(dSae * dOut, 1e-6);
  let sums = tf.tensor2d(random, [dSae, dOut]);
  for (const part of partsOf(sample)) {
    const next = tf.tidy(() =>
      tf.add(sums, tf.matMul(trial.encode(part.x), tf.sub(part.target!, b_dec), true))
    ) as tf.Tensor2D;
    tf.dispose([sums, ...Object.values(part)]);
    sums = next;
  }
  const unit = unitRows(sums);
  sums.dispose();
  return unit;
}

async function requireFinite(sample: tf.Tensor2D[]): Promise<void> {
  for (const tensor of sample) {
    const finite = tf.tidy(() => tf.all(tf.isFinite(tensor)));
    const [isFinite] = await finite.data();
    finite.dispose();
    if (isFinite) continue;
    throw new RangeError(
      `Cannot start at step 1: the first ${tensor.shape[0]} activations of the training order ` +
        `have values that are not finite`,
    );
  }
}

/** Each row divided by its norm; a row of zeros stays. `[rows, columns]`. */
export function unitRows(matrix: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const norms = tf.sqrt(tf.sum(tf.square(matrix), 1, true));
    return tf.div(matrix, tf.maximum(norms, 1e-12)) as tf.Tensor2D;
  });
}

/** Takes out of each row of a gradient its part along the unit row, which cannot change a norm. */
export function perpendicularRows(gradient: tf.Tensor2D, unit: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const along = tf.sum(tf.mul(gradient, unit), 1, true);
    return tf.sub(gradient, tf.mul(unit, along)) as tf.Tensor2D;
  });
}
