/**
 * The model before its first step.
 *
 * @module
 */
import { initialNfmWeights } from "./fit_nfm.ts";
import { Nfm, type NfmWeights } from "./nfm.ts";
import type { ResolvedNfmConfig } from "./nfm_config.ts";

/** What initial weights depend on, beside the shape. */
export type InitialWeightsOptions = Partial<
  Pick<ResolvedNfmConfig, "seed" | "linearStd" | "embeddingStd" | "headStd">
>;

/**
 * A model of the same shape and units with initial weights: those that training started from, to the
 * bit, or with another `seed` others of their distribution. What a statistic of weights says of it is
 * not learned.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Nfm, openDevice, tf, untrainedNfm } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "interaction", dSae: 3, dOut: 1, K: 2, head: "linear", topN: 3 } as const;
 * const nfm = new Nfm(shape, { b: tf.zeros([1]), V: tf.ones([3, 2]), C: tf.ones([2, 1]) });
 * const untrained = untrainedNfm(nfm, { seed: 0, linearStd: 0, embeddingStd: 0.05, headStd: 1 });
 * assertEquals(untrained.weights.V!.shape, [3, 2]);
 * untrained.dispose();
 * nfm.dispose();
 * ```
 *
 * @param nfm A trained model, or one made by hand.
 * @param options What is not given comes from the record of the training.
 * @returns The caller's.
 * @throws {RangeError} If there is no such record and an option is missing.
 */
export function untrainedNfm(nfm: Nfm, options: InitialWeightsOptions = {}): Nfm {
  const { training } = nfm.metadata as { training?: ResolvedNfmConfig };
  const names = ["seed", "linearStd", "embeddingStd", "headStd"] as const;
  const given = names.map((name) => {
    const value = options[name] ?? training?.[name];
    if (typeof value !== "number") {
      throw new RangeError(
        `Cannot make initial weights without ${name}: the model has no record of its training, ` +
          `give ${names.join(", ")}`,
      );
    }
    return [name, value] as const;
  });
  const initial = Object.fromEntries(given) as unknown as ResolvedNfmConfig;
  const weights = initialNfmWeights(nfm.shape, initial) as unknown as NfmWeights;
  return new Nfm(nfm.shape, weights, { scales: nfm.scales, metadata: { initial } });
}
