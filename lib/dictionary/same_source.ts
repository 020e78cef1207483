/**
 * Whether a store holds what a dictionary was trained on.
 *
 * @module
 */
import type { ActivationReader, InputNormalizer } from "./reader.ts";

/** What a dictionary says of the activations that it was trained on; `Sae` has it. */
export interface Trained {
  /** How its inputs were made from raw activations; null if they are raw. */
  readonly normalizer: InputNormalizer | null;
  /** `hook_name`, `model_name` and `model_hash`, where it knows them. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/**
 * Refuses activations of another model, another hook point, or in other units than a dictionary was
 * trained on: it would give numbers, and they would mean nothing. What one of the two does not say
 * is not compared.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { memoryStore, openDevice, requireSameSource, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2), document: Int32Array.of(0, 0) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * const one = () => tf.ones<tf.Rank.R2>([1, 1]);
 * const weights = { W_enc: one(), b_enc: tf.zeros([1]), W_dec: one(), b_dec: tf.zeros([1]) };
 * const metadata = { hook_name: "blocks.1.hook_resid_post" };
 * const sae = new Sae({ architecture: "standard", dIn: 1, dSae: 1 }, weights as never, { metadata });
 * requireSameSource(store, sae); // the store says nothing of a hook point
 * assertThrows(
 *   () => requireSameSource({ ...store, hook: "blocks.2.hook_resid_post" }, sae),
 *   RangeError,
 *   'at "blocks.1.hook_resid_post", the store is of "blocks.2.hook_resid_post"',
 * );
 * sae.dispose();
 * ```
 *
 * @param store Activations.
 * @param sae The dictionary.
 * @throws {RangeError} Naming what differs, with both values.
 */
export function requireSameSource(
  store: ActivationReader,
  { normalizer, metadata }: Trained,
): void {
  const refuse = (trained: string, stored: string) => {
    throw new RangeError(
      `The dictionary was trained ${trained}, the store is ${stored}: give the store that it was ` +
        `trained on, or one of the same model, hook point and normaliser`,
    );
  };
  const { hook_name: hook, model_name: name, model_hash: hash } = metadata;
  if (typeof hash === "string" && store.model && hash !== store.model.hash) {
    refuse(
      `on the model "${name}" with hash ${hash}`,
      `of "${store.model.name}" with hash ${store.model.hash}`,
    );
  }
  if (typeof hook === "string" && store.hook !== undefined && hook !== store.hook) {
    refuse(`at "${hook}"`, `of "${store.hook}"`);
  }
  if (store.normalizer && unitsOf(normalizer) !== unitsOf(store.normalizer)) {
    refuse(`in units of ${unitsOf(normalizer)}`, `in units of ${unitsOf(store.normalizer)}`);
  }
}

/** A normaliser in words; equal words, equal units. */
function unitsOf(normalizer: InputNormalizer | null): string {
  const { scale, mean, clip } = normalizer ?? { scale: 1 };
  const isCentred = mean && Array.from(mean).some((value) => value !== 0);
  const parts = [
    ...clip ? [`clamped to ${clip.low}…${clip.high}`] : [],
    ...isCentred ? [`centred at ${Array.from(mean).slice(0, 3)}…`] : [],
    ...scale === 1 ? [] : [`scaled by ${Math.fround(scale)}`],
  ];
  return `raw activations ${parts.join(", ")}`.trim();
}
