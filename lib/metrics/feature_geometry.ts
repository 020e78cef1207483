/**
 * What the weights of a dictionary say about each feature, without any data.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** One number a feature, `[dSae]` each. */
export interface FeatureGeometry {
  /** ‖W_enc column‖. */
  encoderNorm: Float32Array;
  /** ‖W_dec row‖. */
  decoderNorm: Float32Array;
  /** Cosine of encoder column and decoder row; NaN where their spaces differ (transcoders). */
  encoderDecoderCosine: Float32Array;
  /** Largest cosine of the encoder column with that of another feature. */
  maxEncoderCosine: Float32Array;
  /** Largest cosine of the decoder row with that of another feature. */
  maxDecoderCosine: Float32Array;
}

/** Elements of a block of cosines: 64 MiB. */
const BLOCK_ELEMENTS = 1 << 24;

/**
 * Norms and cosines of encoder and decoder directions. A direction of zeros has cosine 0 with all.
 *
 * The cosines with all other features are `dSae² · (dIn + dOut)` multiplications, taken in blocks of
 * 64 MiB.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { featureGeometry, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const geometry = await featureGeometry(
 *   tf.tensor2d([[2, 0, 0], [0, 1, -1]]),
 *   tf.tensor2d([[1, 0], [1, 0], [0, 1]]),
 * );
 * assertEquals([...geometry.encoderNorm], [2, 1, 1]);
 * assertEquals([...geometry.encoderDecoderCosine], [1, 0, -1]);
 * assertEquals([...geometry.maxDecoderCosine], [1, 1, 0]);
 * ```
 *
 * @param W_enc Encoder, `[dIn, dSae]`.
 * @param W_dec Decoder, `[dSae, dOut]`.
 * @throws {RangeError} If they have different numbers of features.
 */
export async function featureGeometry(
  W_enc: tf.Tensor2D,
  W_dec: tf.Tensor2D,
): Promise<FeatureGeometry> {
  const [dIn, dSae] = W_enc.shape;
  const [features, dOut] = W_dec.shape;
  if (dSae !== features) {
    throw new RangeError(
      `Cannot compare an encoder of ${dSae} features with a decoder of ${features}: expected ` +
        "[dIn, dSae] and [dSae, dOut]",
    );
  }
  const [encoderNorm, decoderNorm, encoder, decoder] = tf.tidy(() => {
    const rows = [tf.transpose(W_enc), W_dec] as tf.Tensor2D[];
    const norms = rows.map((row) => tf.sqrt(tf.sum(tf.square(row), 1, true)));
    return [
      ...norms.map((norm) => tf.reshape(norm, [dSae])),
      ...rows.map((row, i) => tf.divNoNan(row, norms[i])),
    ];
  }) as [tf.Tensor1D, tf.Tensor1D, tf.Tensor2D, tf.Tensor2D];
  const cosine = dIn === dOut
    ? tf.tidy(() => tf.sum(tf.mul(encoder, decoder), 1))
    : tf.fill([dSae], NaN);
  const geometry = {
    encoderNorm: await encoderNorm.data<"float32">(),
    decoderNorm: await decoderNorm.data<"float32">(),
    encoderDecoderCosine: await cosine.data<"float32">(),
    maxEncoderCosine: await maxCosines(encoder),
    maxDecoderCosine: await maxCosines(decoder),
  };
  tf.dispose([encoderNorm, decoderNorm, encoder, decoder, cosine]);
  return geometry;
}

/** The largest product of each row with another one; NaN if there is only one. */
async function maxCosines(rows: tf.Tensor2D): Promise<Float32Array> {
  const count = rows.shape[0];
  const largest = new Float32Array(count).fill(NaN);
  if (count === 1) return largest;
  const block = Math.max(1, Math.floor(BLOCK_ELEMENTS / count));
  for (let start = 0; start < count; start += block) {
    const size = Math.min(block, count - start);
    const found = tf.tidy(() => {
      const cosines = tf.matMul(tf.slice(rows, [start, 0], [size, -1]), rows, false, true);
      const self = tf.oneHot(tf.range(start, start + size, 1, "int32"), count, 4, 0);
      return tf.max(tf.sub(cosines, self), 1);
    });
    largest.set(await found.data<"float32">(), start);
    found.dispose();
  }
  return largest;
}
