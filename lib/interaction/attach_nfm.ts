/**
 * A factorization machine and its dictionary in the place of an activation, with their hook points.
 *
 * @module
 */
import { type AttachOptions, attachSae, type Correction, type Sae } from "../dictionary/mod.ts";
import type { Attachment } from "../model/mod.ts";
import { keepLargest, tf } from "../tensor/mod.ts";
import type { Nfm } from "./nfm.ts";
import { pooledToOutput } from "./nfm_terms.ts";

/**
 * Attaches a dictionary and a model of its residual to a run: their sum takes the place of the
 * activation. What `attachSae` says holds here too, hook points included; the error is what both
 * miss. Between `hook_sae_recons` and `hook_sae_error` come
 *
 * | point                  | shape               | what                                              |
 * | ---------------------- | ------------------- | ------------------------------------------------- |
 * | `hook_nfm_linear`      | `[batch, pos, dIn]` | bias and linear terms, in the units of the model  |
 * | `hook_nfm_bi`          | `[batch, pos, K]`   | pooled products before the head                   |
 * | `hook_nfm_interaction` | `[batch, pos, dIn]` | what the head makes of them, in the model's units |
 *
 * the last two if the model has pairs. All are computed from what `hook_sae_acts_post` gives, its
 * `topN` largest entries a position: an intervention there reaches the interactions.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { attachNfm, Nfm, openDevice, randomModel, Sae, tf } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 2 }, {
 *   W_enc: tf.ones([4, 2]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.ones([2, 4]),
 *   b_dec: tf.zeros([4]),
 * });
 * const shape = { parts: "both", dSae: 2, dOut: 4, K: 3, head: "linear", topN: 2 } as const;
 * const nfm = new Nfm(shape, {
 *   b: tf.zeros([4]),
 *   W: tf.zeros([2, 4]),
 *   V: tf.ones([2, 3]),
 *   C: tf.ones([3, 4]),
 * });
 * const hook = "blocks.0.hook_resid_post";
 *
 * // What does the model predict without interactions?
 * const logits = await model.runWithHooks([[1, 5, 9]], {
 *   attach: [attachNfm(sae, nfm, { hook })],
 *   hooks: { [`${hook}.hook_nfm_interaction`]: (x) => tf.zerosLike(x) },
 * });
 * assertEquals(logits?.shape, [1, 3, 259]);
 * logits?.dispose();
 * sae.dispose();
 * nfm.dispose();
 * ```
 *
 * @param sae The dictionary.
 * @param nfm The model of its residual; both must live as long as the attachment is used.
 * @param options Where and how.
 * @returns What `attach` of a run takes.
 * @throws {RangeError} If the two do not belong together, no hook is known, or an option is out of
 * range.
 */
export function attachNfm(sae: Sae, nfm: Nfm, options: AttachOptions = {}): Attachment {
  const { dIn, dSae } = sae.config;
  if (nfm.shape.dSae !== dSae || nfm.shape.dOut !== dIn) {
    throw new RangeError(
      `Cannot attach a model of ${nfm.shape.dSae} features into ${nfm.shape.dOut} to a dictionary ` +
        `of ${dSae} features into ${dIn}: expected one that was trained on its codes`,
    );
  }
  // A residual is a difference: only the scale of the store is in it.
  const toModel = nfm.scales.target / (sae.normalizer?.scale ?? 1);
  return attachSae(sae, { ...options, correction: correction(nfm, toModel) });
}

function correction(nfm: Nfm, toModel: number): Correction {
  const { parts, topN, dSae, dOut, K } = nfm.shape;
  const { b, W, V } = nfm.weights;
  const pairs = parts !== "linear";
  return {
    points: ["hook_nfm_linear", ...pairs ? ["hook_nfm_bi", "hook_nfm_interaction"] : []],
    // Dense codes: a hook may have set any of them, and each has a gradient.
    *run(codes, { own, at }) {
      const [batch, pos] = codes.shape;
      const f = own(() => {
        const seen = topN < dSae ? keepLargest(codes, topN) : codes;
        return tf.mul(tf.reshape(seen, [batch * pos, dSae]), nfm.scales.code);
      }) as tf.Tensor2D;
      const linear = yield* at(
        "hook_nfm_linear",
        own(() => {
          const sum = W ? tf.add(tf.matMul(f, W), b) : tf.add(tf.zeros([batch * pos, dOut]), b);
          return tf.reshape(tf.mul(sum, toModel), [batch, pos, dOut]);
        }),
      );
      if (!pairs) return linear;
      const pooled = yield* at(
        "hook_nfm_bi",
        own(() => {
          const S = tf.matMul(f, V!);
          const Q = tf.matMul(tf.square(f), tf.square(V!));
          return tf.reshape(tf.mul(0.5, tf.sub(tf.square(S), Q)), [batch, pos, K]);
        }),
      );
      const interaction = yield* at(
        "hook_nfm_interaction",
        own(() => {
          const rows = pooledToOutput(nfm.weights, tf.reshape(pooled, [batch * pos, K]));
          return tf.reshape(tf.mul(rows, toModel), [batch, pos, dOut]);
        }),
      );
      return own(() => tf.add(linear, interaction));
    },
  };
}
