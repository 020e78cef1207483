/**
 * `deno run -A tests/bench/full_size_nfm.ts [K] [interaction|both|linear] [tokens]` takes four steps of a
 * factorization machine of the study's size, 50,000 features of width 3200, 100 active a token, and prints
 * time and memory beside their prediction. K = 150 with linear weights needs 5 GB at 256 tokens.
 *
 * @module
 */
import {
  nfmCost,
  type NfmParts,
  nfmRowLoss,
  type NfmShape,
  type NfmWeights,
  usedRows,
} from "../../lib/interaction/mod.ts";
import { weightShapes } from "../../lib/interaction/nfm.ts";
import { Adam, openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

const K = Number(Deno.args[0] ?? 150);
const parts = (Deno.args[1] ?? "both") as NfmParts;
const tokens = Number(Deno.args[2] ?? 256);
const [dSae, dOut, topN] = [50_000, 3200, 100];
const shape: NfmShape = { parts, head: "linear", dSae, dOut, K, topN };

async function peak(): Promise<number> {
  const status = await Deno.readTextFile("/proc/self/status").catch(() => "");
  return 1024 * Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? NaN);
}

const { name } = await openDevice();
const start = await peak();
const adam = new Adam(Object.fromEntries(
  Object.entries(weightShapes(shape)).map(([name, size]) => [
    name,
    name === "W" || name === "b" ? tf.zeros(size) : tf.randomNormal(size, 0, K ** -0.5),
  ]),
));
const rng = new Rng(0);
const indices = Int32Array.from({ length: tokens * topN }, () => rng.integer(dSae));
const codes = {
  indices: tf.tensor2d(indices, [tokens, topN], "int32"),
  values: tf.randomUniform([tokens, topN]) as tf.Tensor2D,
};
const target = tf.randomNormal([tokens, dOut]) as tf.Tensor2D;
const seconds: string[] = [];
let used = 0;
for (let step = 0; step < 4; step++) {
  const begin = performance.now();
  const rows = await usedRows(codes, dSae);
  used = rows.rows.size;
  const weights = adam.values as unknown as NfmWeights;
  const { grads, scalars } = nfmRowLoss(weights, codes, target, { used: rows });
  adam.apply(grads, 1e-3);
  await scalars.loss.data();
  tf.dispose([{ ...rows }, scalars]);
  seconds.push(((performance.now() - begin) / 1000).toFixed(2));
}
const { stateBytes, stepBytes, studyBytes, flops } = nfmCost(shape, { tokens, used });
const gb = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
console.log(
  `${parts}, K = ${K}, ${tokens} tokens, ${used} features in use, ${name}: steps of ` +
    `${seconds.join(", ")} s; ${gb(await peak() - start)} at most, predicted ${
      gb(stateBytes)
    } of state ` +
    `and ${gb(stepBytes)} of a step; ${
      (flops.total / 1e9).toFixed(2)
    } GFLOP; the study's tensor would ` +
    `take ${gb(studyBytes)}`,
);
