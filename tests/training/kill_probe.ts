/**
 * A training that another process kills: `kind`, folder of the store, folder for results. It says on
 * the standard output how far it is.
 *
 * @module
 */
import { ActivationStore } from "../../lib/activations/mod.ts";
import { Sae, trainSae } from "../../lib/dictionary/mod.ts";
import { trainNfm } from "../../lib/interaction/mod.ts";
import { openDevice, Rng, tf, valueAndGrads } from "../../lib/tensor/mod.ts";
import { fit } from "../../lib/training/mod.ts";
import { join } from "node:path";

const [kind, storeDir, cache] = Deno.args;
await openDevice();
using store = ActivationStore.open(storeDir);
const encoder = new TextEncoder();
const onStep = ({ step }: { step: number }) => {
  Deno.stdout.writeSync(encoder.encode(`${step}\n`));
};

if (kind === "loop") {
  // A checkpoint a step, so that most of the time goes into writing them.
  const train = store.split("train");
  const { adam } = await fit<tf.Tensor2D>({
    label: "Loop",
    schedule: { learningRate: 0.01, steps: 150, warmupSteps: 20, decaySteps: 50, decay: "cosine" },
    clipNorm: 1,
    parameters: () => ({ w: tf.tensor2d(new Rng(1).normals(64, 1), [8, 8]) }),
    batch: (step) => train.shuffledBatch(step, 16, 3),
    loss: (_, params, x) => {
      const { loss, grads } = valueAndGrads(params, ({ w }) => ({
        loss: tf.mean(tf.squaredDifference(tf.matMul(x, w as tf.Tensor2D), x)) as tf.Scalar,
      }));
      return { grads, scalars: { loss } };
    },
    evaluateEvery: 30,
    evaluate: async ({ w }) => ({ held: (await w.data())[0] }),
    checkpoint: { dir: join(cache, "checkpoints"), config: {}, every: 1 },
    onStep,
  });
  adam.dispose();
} else if (kind === "sae") {
  await trainSae(store, {
    architecture: "topk",
    dSae: 24,
    k: 3,
    steps: 1600,
    batchSize: 16,
    deadAfterTokens: 400,
  }, { cache, onStep });
} else {
  const rng = new Rng(2);
  const W_dec = tf.tensor2d(rng.normals(12 * 8, 0.4), [12, 8]);
  const sae = new Sae({ architecture: "topk", dIn: 8, dSae: 12, k: 3 }, {
    W_enc: tf.transpose(W_dec),
    b_enc: tf.zeros([12]),
    W_dec,
    b_dec: tf.zeros([8]),
  }, { normalizer: store.normalizer });
  await trainNfm(store, sae, { K: 4, steps: 1600, batchSize: 16, dropout: 0.1, cache, onStep });
}
