/**
 * `deno task bench`: how fast this machine is, each figure beside the machine's own matrix product
 * of the same minute, because machines differ and are noisy.
 *
 * Prints a table and writes `out/bench.json`.
 *
 * @module
 */
import { join } from "node:path";
import { computeEnvironment, OUT } from "./environment.ts";
import { MODEL } from "./pins.ts";
import { formatNumber, table } from "../display/mod.ts";
import { standardLoss, topkLoss } from "../dictionary/mod.ts";
import { cacheDir, ROOT, VERSION, writeFileAtomic } from "../files/mod.ts";
import { loadModel } from "../model/mod.ts";
import {
  Adam,
  bilinearPool,
  type Device,
  embeddingBag,
  openDevice,
  Rng,
  scatterRows,
  type SparseCodes,
  tf,
  valueAndGrads,
} from "../tensor/mod.ts";

/** One measured figure. */
export interface BenchRow {
  readonly work: string;
  /** Median milliseconds of a repetition. */
  readonly ms: number;
  /** Fastest and slowest repetition. */
  readonly range: readonly [number, number];
  /** What it means: a rate, or a ratio to another row. */
  readonly rate: string;
}

/** Median, least and most of the times of a function, after one run that does not count. */
async function time(
  work: string,
  run: () => tf.Tensor | Promise<tf.Tensor>,
  { repetitions = 7, rate }: { repetitions?: number; rate: (ms: number) => string },
): Promise<BenchRow> {
  const times: number[] = [];
  for (let i = 0; i <= repetitions; i++) {
    const start = performance.now();
    const result = await run();
    // One element is enough to wait for all of it.
    const probe = tf.tidy(() => tf.slice(tf.reshape(result, [-1]), 0, 1));
    await probe.data();
    tf.dispose([result, probe]);
    if (i > 0) times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const ms = times[times.length >> 1];
  return { work, ms, range: [times[0], times.at(-1)!], rate: rate(ms) };
}

const random = (shape: number[], std = 1) =>
  tf.tensor(new Rng(0, ...shape).normals(shape.reduce((a, b) => a * b, 1), std), shape);

function randomCodes(tokens: number, k: number, features: number): SparseCodes {
  const rng = new Rng(1);
  const indices = Int32Array.from({ length: tokens * k }, () => rng.integer(features));
  const values = Float32Array.from({ length: tokens * k }, () => rng.uniform());
  return {
    indices: tf.tensor2d(indices, [tokens, k], "int32"),
    values: tf.tensor2d(values, [tokens, k]),
  };
}

/** Everything that is measured, on the open device. */
export async function bench(): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  const n = 2048;
  const square = random([n, n]);
  const product = await time(`matrix product, ${n}³`, () => tf.matMul(square, square), {
    rate: (ms) => `${formatNumber(2 * n ** 3 / ms / 1e6)} GFLOP/s`,
  });
  square.dispose();
  rows.push(product);
  const gflops = 2 * n ** 3 / product.ms / 1e6;

  rows.push(...await benchAdam());
  rows.push(...await benchSparse());
  rows.push(...await benchTraining(gflops));
  rows.push(...await benchModel(gflops));
  return rows;
}

async function benchAdam(): Promise<BenchRow[]> {
  const shape = [576, 16_384];
  const adam = new Adam({ w: random(shape, 0.01) });
  const plain = tf.variable(random(shape, 0.01));
  const reference = tf.train.adam(1e-3);
  const gradient = random(shape, 0.01);
  const fused = await time("Adam, 9.4 M parameters", () => {
    adam.apply({ w: tf.clone(gradient) }, 1e-3);
    return tf.clone(adam.values.w);
  }, { rate: (ms) => `${formatNumber(9.437 / ms)} G parameters/s` });
  const portable = await time("the same by tf.train.adam", () => {
    reference.applyGradients([{ name: plain.name, tensor: gradient }]);
    return tf.clone(plain);
  }, { rate: (ms) => `${formatNumber(ms / fused.ms)} × as long` });
  adam.dispose();
  reference.dispose();
  tf.dispose([plain, gradient]);
  return [fused, portable];
}

async function benchSparse(): Promise<BenchRow[]> {
  const [tokens, k, features, K] = [1000, 100, 50_000, 150];
  const codes = randomCodes(tokens, k, features);
  const V = random([features, K], 0.05) as tf.Tensor2D;
  const step = (pool: (V: tf.Tensor2D) => tf.Tensor2D) => () => {
    const { loss, grads } = valueAndGrads({ V }, ({ V }) => ({
      loss: tf.sum(pool(V as tf.Tensor2D)) as tf.Scalar,
    }));
    loss.dispose();
    return grads.V;
  };
  const shape = `${tokens} tokens, ${k} of ${features.toLocaleString("en")} features, K = ${K}`;
  const sparse = await time(
    `NFM pooling and gradient, ${shape}`,
    step((V) => bilinearPool(codes, V, { frozenCodes: true })),
    { rate: (ms) => `${formatNumber(tokens / ms * 1000)} tokens/s` },
  );
  const dense = await time(
    "the same with dense codes",
    step((V) =>
      tf.tidy(() => {
        const f = scatterRows(codes, features);
        const s = tf.square(tf.matMul(f, V));
        return tf.mul(0.5, tf.sub(s, tf.matMul(tf.square(f), tf.square(V)))) as tf.Tensor2D;
      })
    ),
    { repetitions: 3, rate: (ms) => `${formatNumber(ms / sparse.ms)} × as long` },
  );
  const W = random([features, 576], 0.05) as tf.Tensor2D;
  const linear = await time(
    `sparse codes times a matrix, ${tokens} × ${k} into 576`,
    () => embeddingBag(codes, W),
    { rate: (ms) => `${formatNumber(tokens / ms * 1000)} tokens/s` },
  );
  tf.dispose([codes.indices, codes.values, V, W]);
  return [sparse, dense, linear];
}

async function benchTraining(gflops: number): Promise<BenchRow[]> {
  const [batch, dIn, dSae, k] = [1024, 576, 4096, 32];
  const x = random([batch, dIn]) as tf.Tensor2D;
  const weights = () => ({
    W_enc: random([dIn, dSae], 0.04),
    b_enc: tf.zeros([dSae]),
    W_dec: random([dSae, dIn], 0.04),
    b_dec: tf.zeros([dIn]),
  });
  // Encoder and decoder, forward and twice backward, less the gradient of x.
  const useful = 2 * batch * dIn * dSae * 5;
  const rate = (ms: number) =>
    `${formatNumber(batch / ms * 1000)} tokens/s, ${
      formatNumber(100 * useful / ms / 1e6 / gflops)
    } % of the product's rate if dense`;
  const rows: BenchRow[] = [];
  for (const architecture of ["standard", "topk"] as const) {
    const adam = new Adam(weights());
    rows.push(
      await time(`${architecture} SAE step, ${batch} × ${dIn} × ${dSae}, Adam included`, () => {
        const { W_enc, b_enc, W_dec, b_dec } = adam.values;
        const params = { W_enc, b_enc, W_dec, b_dec } as Parameters<typeof standardLoss>[0];
        const { grads, scalars, ...rest } = architecture === "topk"
          ? topkLoss(params, x, { k })
          : standardLoss(params, x, { l1Coefficient: 1 });
        adam.apply({ ...grads }, 1e-4);
        tf.dispose([{ ...scalars }, { ...rest } as tf.TensorContainer]);
        return tf.clone(adam.values.W_dec);
      }, { repetitions: 5, rate }),
    );
    adam.dispose();
  }
  x.dispose();
  return rows;
}

async function benchModel(gflops: number): Promise<BenchRow[]> {
  const path = cacheDir("models", MODEL.file);
  if (!await Deno.stat(path).then(() => true, () => false)) return [];
  const start = performance.now();
  const model = await loadModel(undefined, { stopAtLayer: 16 });
  const load = performance.now() - start;
  const { dModel, nKvHeads, dHead, dMlp } = model.cfg;
  const perToken = 16 * 2 *
    (2 * dModel * dModel + 2 * dModel * nKvHeads * dHead + 3 * dModel * dMlp);
  const rng = new Rng(0);
  const [batch, length] = [16, 128];
  const tokens = Array.from(
    { length: batch },
    () => [model.cfg.bosId, ...Array.from({ length: length - 1 }, () => 100 + rng.integer(40_000))],
  );
  const hook = "blocks.15.hook_resid_post";
  const row = await time(
    `${model.cfg.name}, blocks 0-15, ${batch} × ${length} tokens`,
    async () => {
      const { cache } = await model.runWithCache(tokens, { names: hook, stopAtLayer: 16 });
      const x = tf.clone(cache.get(hook));
      cache.dispose();
      return x;
    },
    {
      repetitions: 5,
      rate: (ms) => {
        const share = 100 * perToken * batch * length / ms / 1e6 / gflops;
        return `${formatNumber(batch * length / ms * 1000)} tokens/s, ${
          formatNumber(share)
        } % of the product's rate`;
      },
    },
  );
  model.dispose();
  return [
    { work: "load blocks 0-15 from 4-bit weights", ms: load, range: [load, load], rate: "once" },
    row,
  ];
}

function report(device: Device, rows: BenchRow[]): string {
  return String(table(
    rows.map(({ work, ms, range, rate }) => ({
      work,
      "median ms": formatNumber(ms),
      "fastest to slowest": range.map(formatNumber).join(" to "),
      rate,
    })),
    { caption: `Interlens ${VERSION}, ${device.name}`, maxRows: rows.length },
  ));
}

if (import.meta.main) {
  const environment = computeEnvironment();
  // The allocator reads its settings when a process starts.
  if (Deno.env.get("MALLOC_TOP_PAD_") !== environment.MALLOC_TOP_PAD_) {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "-q", import.meta.filename!],
      cwd: ROOT,
      env: environment,
    });
    Deno.exit((await child.spawn().status).code);
  }
  const device = await openDevice();
  const rows = await bench();
  console.log(report(device, rows));
  const path = join(OUT, "bench.json");
  await writeFileAtomic(path, JSON.stringify({ version: VERSION, device, rows }, null, 2) + "\n");
}
