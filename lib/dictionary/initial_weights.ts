/**
 * First weights of a dictionary, made from its first data.
 *
 * b_dec is the mean of the activations, decoder rows are random directions of norm 1,
 * and the encoder is the decoder transposed (Gao et al., 2024, appendix A), scaled so
 * that the first reconstruction has the best length. Without that scale a dictionary
 * with many features starts far from its input and spends its first steps shrinking.
 *
 * @module
 */
import { Rng, tf } from "../tensor/mod.ts";
import { Sae, type SaeConfig, type SaeWeights } from "./sae.ts";

/**
 * Draws them.
 *
 * @param config The shape.
 * @param sample Activations, `[tokens, dIn]`, a few thousand.
 * @param options `seed`: names the directions. `decoderStd`: draws the decoder's elements with this
 * standard deviation and leaves biases at 0, as the study did, instead of looking at the data.
 * @returns Tensors that belong to the caller.
 * @throws {RangeError} If the sample has values that are not finite.
 */
export async function initialWeights(
  config: SaeConfig,
  sample: tf.Tensor2D,
  { seed, decoderStd }: { seed: number; decoderStd?: number },
): Promise<SaeWeights> {
  const { dIn, dSae } = config;
  const finite = tf.tidy(() => tf.all(tf.isFinite(sample)));
  const [isFinite] = await finite.data();
  finite.dispose();
  if (!isFinite) {
    throw new RangeError(
      `Cannot start at step 1: the first ${
        sample.shape[0]
      } activations of the training order have ` +
        "values that are not finite",
    );
  }
  const rows = tf.tensor2d(
    new Rng(seed, "decoder").normals(dSae * dIn, decoderStd ?? 1),
    [dSae, dIn],
  );
  if (decoderStd !== undefined) {
    return {
      W_enc: tf.transpose(rows),
      b_enc: tf.zeros([dSae]),
      W_dec: rows,
      b_dec: tf.zeros([dIn]),
    };
  }
  const W_dec = unitRows(rows);
  rows.dispose();
  const b_dec = tf.mean(sample, 0) as tf.Tensor1D;
  const b_enc = tf.zeros<tf.Rank.R1>([dSae]);
  const transposed = tf.transpose(W_dec) as tf.Tensor2D;

  const sums = tf.tidy(() => {
    const trial = new Sae(config, { W_enc: transposed, b_enc, W_dec, b_dec });
    const centred = tf.sub(sample, b_dec);
    const reconstructed = tf.sub(trial.reconstruct(sample), b_dec);
    return tf.stack([tf.sum(tf.mul(centred, reconstructed)), tf.sum(tf.square(reconstructed))]);
  });
  const [dot, norm] = await sums.data();
  sums.dispose();
  // The code is homogeneous in W_enc while b_enc is 0: the best factor is that of least squares.
  const W_enc = tf.mul(transposed, norm > 0 && dot > 0 ? dot / norm : 1) as tf.Tensor2D;
  transposed.dispose();
  return { W_enc, b_enc, W_dec, b_dec };
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
