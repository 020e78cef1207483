import { assertRejects, assertThrows } from "@std/assert";
import {
  type ActivationReader,
  measureSae,
  requireSameSource,
  Sae,
  trainResidualSae,
  trainSae,
} from "../../lib/dictionary/mod.ts";
import { trainNfm } from "../../lib/interaction/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { memoryStore } from "../planted.ts";

await openDevice();

const rows = memoryStore(
  4,
  { train: 80, validation: 20, test: 20 },
  (rng) => Float64Array.from({ length: 4 }, () => rng.normal()),
);
const config = { architecture: "topk", dSae: 8, k: 2, steps: 3, batchSize: 16 } as const;

/** The rows as a store that says where they come from. */
function storeOf(change: Partial<ActivationReader> = {}): ActivationReader {
  return {
    dModel: 4,
    manifest: rows.manifest,
    hook: "blocks.3.hook_resid_post",
    model: { name: "small", hash: "aa" },
    normalizer: { scale: 0.5, clip: { low: -3, high: 3 } },
    split: (name) => rows.split(name),
    ...change,
  };
}

const others: [Partial<ActivationReader>, string][] = [
  [
    { model: { name: "large", hash: "bb" } },
    'on the model "small" with hash aa, the store is of "large" with hash bb',
  ],
  [
    { hook: "blocks.4.hook_resid_post" },
    'at "blocks.3.hook_resid_post", the store is of "blocks.4.hook_resid_post"',
  ],
  [
    { normalizer: { scale: 0.25, clip: { low: -3, high: 3 } } },
    "in units of raw activations clamped to -3…3, scaled by 0.5, the store is in units of raw " +
    "activations clamped to -3…3, scaled by 0.25",
  ],
  [{ normalizer: { scale: 0.5, clip: null } }, "clamped to -3…3"],
  [{ normalizer: { scale: 0.5, clip: { low: -3, high: 2 } } }, "clamped to -3…2"],
  [
    { normalizer: { scale: 0.5, clip: { low: -3, high: 3 }, mean: [0, 1, 0, 0] } },
    "centred at 0,1,0…",
  ],
];

Deno.test("A dictionary refuses a store of another model, hook point or normaliser, saved or not", () =>
  inScratch(async (dir) => {
    const { sae } = await trainSae(storeOf(), config, { cache: false });
    await sae.save(dir);
    const loaded = await Sae.load(dir);
    for (const one of [sae, loaded]) {
      requireSameSource(storeOf(), one);
      for (const [change, message] of others) {
        assertThrows(() => requireSameSource(storeOf(change), one), RangeError, message);
      }
    }
    // Everything that reads a store with a dictionary asks.
    const [other] = others[2];
    const store = storeOf(other);
    const uses = [
      () => measureSae(store, sae, { split: "test" }),
      () => trainResidualSae(store, sae, { ...config, cache: false }),
      () => trainNfm(store, sae, { K: 2, steps: 2, batchSize: 16, cache: false }),
    ];
    for (const use of uses) await assertRejects(use, RangeError, "scaled by 0.25");
  }));

Deno.test("What a store or a dictionary does not say is not compared", async () => {
  const { sae } = await trainSae(storeOf(), config, { cache: false });
  requireSameSource(storeOf({ hook: undefined, model: undefined, normalizer: null }), sae);
  requireSameSource(storeOf(), { normalizer: storeOf().normalizer!, metadata: {} });
  // A normaliser that changes nothing and none are one.
  const raw = { normalizer: null, metadata: {} };
  requireSameSource(storeOf({ normalizer: { scale: 1, clip: null, mean: [0, 0, 0, 0] } }), raw);
  assertThrows(
    () => requireSameSource(storeOf(), raw),
    RangeError,
    "in units of raw activations, ",
  );
});
