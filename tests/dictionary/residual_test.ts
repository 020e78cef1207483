import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type ActivationReader,
  residualReader,
  residualScale,
  Sae,
  type SaeTrainingConfig,
  trainResidualSae,
} from "../../lib/dictionary/mod.ts";
import { FvuMeter } from "../../lib/metrics/mod.ts";
import { openDevice, type Rng, tf } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { directions, memoryStore } from "../planted.ts";

const d = 12;
const sizes = { train: 1000, validation: 300, test: 100 };
const features = directions(18, d, 5);

/** Sparse sums of 18 directions, multiplied by `unit`. */
const world = (unit = 1) =>
  memoryStore(d, sizes, (rng) => {
    const row = new Float64Array(d).fill(0.5 * unit);
    for (const feature of features) {
      if (rng.uniform() > 0.1) continue;
      const amount = unit * (2 + rng.uniform());
      feature.forEach((value, i) => row[i] += amount * value);
    }
    return row;
  });

/** A dictionary that knows the first 6 directions, of the world in that unit. */
function first(unit = 1): Sae {
  const W_dec = tf.tensor2d(features.slice(0, 6).map((row) => Array.from(row)));
  return new Sae({ architecture: "standard", dIn: d, dSae: 6 }, {
    W_enc: tf.transpose(tf.div(W_dec, unit)) as tf.Tensor2D,
    b_enc: tf.fill([6], -1),
    W_dec: tf.mul(W_dec, unit) as tf.Tensor2D,
    b_dec: tf.fill([d], 0.5 * unit),
  });
}

const common = { dSae: 24, steps: 150, batchSize: 100, learningRate: 1e-2 };
const CONFIGS: Record<string, SaeTrainingConfig> = {
  standard: { ...common, architecture: "standard", l1Coefficient: 1 },
  topk: { ...common, architecture: "topk", k: 3 },
  batchtopk: { ...common, architecture: "batchtopk", k: 3 },
  matryoshka: { ...common, architecture: "matryoshka", k: 3 },
  jumprelu: { ...common, architecture: "jumprelu", l0Coefficient: 0.1 },
  gated: { ...common, architecture: "gated", l1Coefficient: 2 },
};

/** FVU of `second.reconstruct(x − sae.reconstruct(x))` against that residual. */
async function fvuOfResidual(store: ActivationReader, sae: Sae, second: Sae): Promise<number> {
  const split = store.split("validation");
  const x = await split.rows(0, split.tokens);
  const residual = tf.sub(x, sae.reconstruct(x)) as tf.Tensor2D;
  const meter = new FvuMeter(d);
  await meter.update(residual, second.reconstruct(residual));
  return meter.fvu();
}

for (const [name, config] of Object.entries(CONFIGS)) {
  Deno.test(`A secondary ${name} dictionary explains the residual in its units, and keeps doing so in a file`, async () => {
    await openDevice();
    const [store, sae] = [world(), first()];
    const { sae: second, metrics } = await trainResidualSae(store, sae, {
      ...config,
      cache: false,
    });
    const fvu = await fvuOfResidual(store, sae, second);
    assertAlmostEquals(metrics.fvu, fvu, 1e-3);
    assert(fvu < 0.6, `FVU ${fvu}`);
    assertEquals(metrics.tokens, sizes.validation);
    await inScratch(async (folder) => {
      await second.save(folder);
      assertAlmostEquals(await fvuOfResidual(store, sae, await Sae.load(folder)), fvu, 1e-4);
    });
  });
}

Deno.test("The unit of the activations makes no difference to a secondary dictionary", async () => {
  await openDevice();
  const fvu = async (unit: number) => {
    const [store, sae] = [world(unit), first(unit)];
    const { sae: second } = await trainResidualSae(store, sae, { ...CONFIGS.topk, cache: false });
    assertAlmostEquals(second.metadata.residualScale as number * unit, scale, 1e-3 * scale);
    return await fvuOfResidual(store, sae, second);
  };
  const scale = await residualScale(world(), first());
  // A power of two changes exponents only; the encoder's shift by −1 is in the unit of the codes.
  assertAlmostEquals(await fvu(1 / 1024), await fvu(1), 0.02);
});

Deno.test("The residual has mean square 1 after its scale, in each split and order of reading", async () => {
  await openDevice();
  const [store, sae] = [world(), first()];
  const scale = await residualScale(store, sae);
  const reader = residualReader(store, sae, scale);
  const train = reader.split("train");
  const square = async (x: tf.Tensor2D) => (await tf.mean(tf.square(x)).data())[0];
  assertAlmostEquals(await square(await train.rows(0, train.tokens)), 1, 1e-5);
  // A shuffled epoch has the same tokens.
  assertAlmostEquals(await square(await train.shuffledBatch(0, train.tokens, 3)), 1, 1e-5);
  assertEquals([...train.document as Int32Array], [...store.split("train").document]);
});

Deno.test("What does not fit, or leaves nothing, is refused before training", async () => {
  await openDevice();
  const store = world();
  const narrow = memoryStore(3, sizes, (rng: Rng) => rng.normals(3, 1));
  assertThrows(() => residualReader(narrow, first(), 1), RangeError, "of width 12");
  const { W_enc, b_enc, W_dec, b_dec } = first();
  const transcoder = new Sae(
    { architecture: "standard", dIn: d, dSae: 6, dOut: d },
    { W_enc, b_enc, W_dec, b_dec },
  );
  await assertRejects(
    () => trainResidualSae(store, transcoder, { ...CONFIGS.topk, cache: false }),
    RangeError,
    "transcoder",
  );
  const eye = tf.eye(d);
  const identity = new Sae({ architecture: "standard", dIn: d, dSae: 2 * d }, {
    W_enc: tf.concat([eye, tf.neg(eye)], 1) as tf.Tensor2D,
    b_enc: tf.zeros([2 * d]),
    W_dec: tf.concat([eye, tf.neg(eye)], 0) as tf.Tensor2D,
    b_dec: tf.zeros([d]),
  });
  await assertRejects(
    () => trainResidualSae(store, identity, { ...CONFIGS.topk, cache: false }),
    RangeError,
    "reconstructs its training tokens exactly",
  );
});
