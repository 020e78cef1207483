/**
 * What units cost on this machine: short runs of the code that a unit runs.
 *
 * @module
 */
import { join } from "node:path";
import { type ActivationSource, harvest } from "../../activations/mod.ts";
import { bytesPerToken } from "../../activations/shard_writer.ts";
import {
  checkCosts,
  fitStepCost,
  type MeasuredStep,
  type Measurement,
  type NodeSize,
  type StepCost,
  stepSeconds,
  type StepWork,
  type UnitCosts,
} from "../../cluster/costs.ts";
import {
  harvestWork,
  modelParameters,
  type ModelSize,
  nfmWork,
  saeWork,
} from "../../cluster/plan_work.ts";
import { threadEnvironment } from "../../cluster/job.ts";
import { type Unit, unitCommand, unitHash } from "../../cluster/mod.ts";
import { recordKey } from "../../cluster/record.ts";
import { brown, type Document, fromJsonl, fromTexts } from "../../corpus/mod.ts";
import { type ActivationReader, memoryStore, type Sae, trainSae } from "../../dictionary/mod.ts";
import { cacheDir, ROOT } from "../../files/mod.ts";
import { trainNfm } from "../../interaction/mod.ts";
import { loadModel, type Model } from "../../model/mod.ts";
import { type Device, openDevice, Rng, tf } from "../../tensor/mod.ts";
import { milliseconds, type Spread, spread } from "../bench/measure.ts";
import { openStorage } from "../../storage/mod.ts";
import { studyConfig } from "../../study/mod.ts";
import { MODEL } from "../pins.ts";

const BLOCKS = 16;
const HOOK = `blocks.${BLOCKS - 1}.hook_resid_post`;
const REPEAT = 3;
/** Elements of a row whose keeping is measured. */
const WIDE = 1024;

/** A step that was measured, in words. */
interface Step extends MeasuredStep {
  readonly work: StepWork;
  readonly what: string;
  readonly spread: Spread;
}

/**
 * Measures; one to three minutes on two cores.
 *
 * @param node What this machine has.
 * @param threads Threads that this process computes with, as its environment says.
 * @throws {RangeError} If an accelerator computes whose memory is not given.
 * @throws {Error} If the embedded model was not set up.
 */
export async function measureCosts(node: NodeSize, threads: number): Promise<UnitCosts> {
  let device!: Device;
  const opened = await milliseconds(async () => void (device = await openDevice())) / 1000;
  if (device.gpu && node.deviceBytes === undefined) {
    throw new RangeError(
      `The memory of ${device.name} is not known here: give it in bytes, --device-memory 80e9`,
    );
  }
  const dir = await Deno.makeTempDir();
  try {
    const start = shifted(await startSeconds(dir, threads), opened);
    const path = cacheDir("models", MODEL.file);
    const load = await repeat(async () =>
      (await loadModel(path, { stopAtLayer: BLOCKS })).dispose()
    );
    using model = await loadModel(path, { stopAtLayer: BLOCKS });
    const size = sizeOf(model);
    const text = await textSeconds(model, dir);
    const disk = await diskBytes(dir);
    const harvests = await harvestSteps(model, size, text.tokenise.median, dir);
    const trainings = await trainingSteps(device);
    const parameters = await parameterSeconds(dir);
    const fitted = {
      harvest: fitStepCost(harvests),
      standard: fitStepCost(trainings.standard),
      topk: fitStepCost(trainings.topk),
      nfm: fitStepCost(trainings.nfm),
    };
    const name = device.name.replace(
      /\d+ threads?/,
      `${threads} thread${threads === 1 ? "" : "s"}`,
    );
    return checkCosts({
      name,
      basis: "measured",
      statement: `measured on this machine (${name}) in short runs, on ` +
        `${
          new Date().toISOString().slice(0, 16).replace("T", " ")
        } UTC; what else ran then and will ` +
        `run later is not known. A token of ${WIDE} elements took ` +
        `${disk.toFixed(1)} bytes on disk, by arithmetic ${bytesPerToken(WIDE, "float32")}`,
      ...fitted,
      parameterSeconds: parameters,
      startSeconds: start.median,
      loadSeconds: load.median / modelParameters(size),
      tokeniseSeconds: text.tokenise.median,
      textSeconds: text.read.median,
      node,
      measurements: [
        one("start a process until it computes", start),
        one(`load ${size.name}, ${BLOCKS} blocks`, load),
        one("make 1,000 tokens of text", times(text.tokenise, 1000)),
        one("read 1 MB of text", times(text.read, 1e6)),
        ...rows(fitted.harvest, harvests),
        ...rows(fitted.standard, trainings.standard),
        ...rows(fitted.topk, trainings.topk),
        ...rows(fitted.nfm, trainings.nfm),
      ],
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const times = ({ median, range }: Spread, factor: number): Spread => ({
  median: factor * median,
  range: [factor * range[0], factor * range[1]],
});

function one(work: string, { median, range }: Spread): Measurement {
  return { work, seconds: [range[0], median, range[1]], fitted: median };
}

function rows(cost: StepCost, steps: readonly Step[]): Measurement[] {
  return steps.map(({ what, work, spread: { median, range } }) => ({
    work: what,
    seconds: [range[0], median, range[1]],
    fitted: stepSeconds(cost, work),
  }));
}

/** Seconds of a function, several times. */
async function repeat(run: () => unknown, times = REPEAT): Promise<Spread> {
  const seconds: number[] = [];
  for (let i = 0; i < times; i++) seconds.push(await milliseconds(run) / 1000);
  return spread(seconds);
}

/** Of units that are done: their command starts, reads the record and ends. */
async function startSeconds(dir: string, threads: number): Promise<Spread> {
  const storage = openStorage(join(dir, "storage"));
  const { model, text, seed, harvest } = studyConfig();
  const unit: Unit = {
    kind: "harvest",
    data: { model, text, seed, harvest, shards: 1 },
    shard: 0,
  };
  const record = { unit, hash: unitHash(unit), result: {}, seconds: 0, created: "" };
  await storage.write(recordKey(record.hash), JSON.stringify(record));
  return await repeat(async () => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: unitCommand(unit, storage.url),
      cwd: ROOT,
      env: threadEnvironment({ cpus: threads }),
      stdout: "null",
      stderr: "piped",
    }).output();
    if (code === 0) return;
    throw new Error(
      `The command of a unit that is done ended with ${code}: ${new TextDecoder().decode(stderr)}`,
    );
  });
}

const shifted = ({ median, range }: Spread, by: number): Spread => ({
  median: median + by,
  range: [range[0] + by, range[1] + by],
});

function sizeOf({ cfg }: Model): ModelSize {
  const { name, dModel, nHeads, nKvHeads, dHead, dMlp, vocabSize } = cfg;
  return { name, dModel, nHeads, nKvHeads, dHead, dMlp, vocabSize, blocks: BLOCKS };
}

/** Seconds of a token that is made, and of a byte that is read. */
async function textSeconds(
  model: Model,
  dir: string,
): Promise<{ tokenise: Spread; read: Spread }> {
  const documents = (await brown()).slice(0, 8);
  let tokens = 0;
  const tokenise = await repeat(() => {
    tokens = documents.reduce((sum, { text }) => sum + model.tokenizer.encode(text).length, 0);
  });
  const path = join(dir, "text.jsonl");
  const lines = documents.map(({ text }) => JSON.stringify({ text })).join("\n") + "\n";
  await Deno.writeTextFile(path, lines.repeat(40));
  const { size } = await Deno.stat(path);
  const read = await repeat(async () => {
    for await (const _ of fromJsonl(path, { field: "text" }));
  });
  await Deno.remove(path);
  return { tokenise: times(tokenise, 1 / tokens), read: times(read, 1 / size) };
}

/**
 * Seconds of a batch of a harvest, text to files: full batches, small ones, and batches of a source that
 * computes nothing. Each is the difference of a longer and a shorter harvest, so what does not grow is
 * left out.
 */
async function harvestSteps(
  model: Model,
  size: ModelSize,
  tokenise: number,
  dir: string,
): Promise<Step[]> {
  const documents = (await brown()).slice(0, 12);
  const noise = (dModel: number) => ({ ...size, name: "noise", dModel, blocks: 0 });
  const rows = fromTexts(["a".repeat(140_000)]);
  const steps: Step[] = [];
  for (
    const [source, of, text, batch, contextLength, many] of [
      [model, size, documents, 16, 128, [1, 4]],
      [model, size, documents, 4, 64, [2, 18]],
      [model, size, documents, 16, 64, [1, 6]],
      [noiseSource(WIDE), noise(WIDE), rows, 64, 128, [2, 14]],
      [noiseSource(64), noise(64), rows, 8, 64, [2, 62]],
    ] as const
  ) {
    const tokens = (batches: number) => batches * batch * (contextLength - 1);
    const seconds: number[] = [];
    for (let i = 0; i < REPEAT; i++) {
      const [less, more] = [
        await harvestSeconds(source, text, tokens(many[0]), { batch, contextLength, dir }),
        await harvestSeconds(source, text, tokens(many[1]), { batch, contextLength, dir }),
      ];
      seconds.push((more - less) / (many[1] - many[0]));
    }
    const all = spread(seconds);
    // Making tokens is counted by itself.
    const own = of.blocks > 0 ? tokenise * batch * (contextLength - 1) : 0;
    steps.push({
      what: of.blocks > 0
        ? `harvest ${batch} × ${contextLength} tokens`
        : `keep ${batch} × ${contextLength} rows of ${of.dModel}`,
      work: harvestWork(of, { batch, contextLength, dtype: "float32" }),
      seconds: Math.max(1e-6, all.median - own),
      spread: times(all, 1),
    });
  }
  return steps;
}

async function harvestSeconds(
  source: ActivationSource,
  train: Document[],
  tokens: number,
  { batch, contextLength, dir }: { batch: number; contextLength: number; dir: string },
): Promise<number> {
  const inside = await Deno.makeTempDir({ dir });
  try {
    const ms = await milliseconds(async () => {
      using _ = await harvest(source, { train, validation: [], test: [] }, {
        hook: HOOK,
        tokens: { train: tokens, validation: 0, test: 0 },
        batchSize: batch,
        contextLength,
        dir: inside,
      });
    });
    return ms / 1000;
  } finally {
    await Deno.remove(inside, { recursive: true });
  }
}

/** Bytes a token in the files of a harvest. */
async function diskBytes(dir: string): Promise<number> {
  const inside = await Deno.makeTempDir({ dir });
  const tokens = 20_000;
  const splits = { train: fromTexts(["a".repeat(2 * tokens)]), validation: [], test: [] };
  using store = await harvest(noiseSource(WIDE), splits, {
    ...{ hook: HOOK, tokens: { train: tokens, validation: 0, test: 0 }, dir: inside },
  });
  let bytes = 0;
  for await (const { name } of Deno.readDir(store.dir)) {
    if (name.startsWith("train-")) bytes += (await Deno.stat(join(store.dir, name))).size;
  }
  await Deno.remove(inside, { recursive: true });
  return bytes / tokens;
}

/** A source that computes nothing. */
function noiseSource(width: number): ActivationSource {
  const cfg = { name: "noise", hash: "noise", contextLength: 128 };
  return {
    cfg,
    tokenizer: { bosId: 0, encode: (text) => Array(text.length).fill(1) },
    hookNames: () => [HOOK],
    runWithCache(tokens) {
      const tensor = tf.ones([tokens.length, Math.max(...tokens.map((t) => t.length)), width]);
      const cache = { get: () => tensor, dispose: () => tf.dispose(tensor) };
      return Promise.resolve({ logits: undefined, cache });
    },
  };
}

/**
 * Sizes of trainings: tokens, width, features, active ones. With more than 100 features for each active
 * one a TopK step scatters its gradients, with fewer it multiplies dense matrices; both are among them. Narrow and wide ones tell the cost of an
 * operation from that of a byte.
 */
const SIZES = [
  [256, 256, 2048, 32],
  [1024, 64, 4096, 32],
  [256, 2048, 2048, 32],
  [1024, 576, 2048, 32],
  [1024, 576, 4096, 32],
  [256, 576, 8192, 32],
] as const;
/** The first two steps allocate and compile. */
const WARM = 2;
const STEPS = 7;

/** Seconds of steps of the three trainers. */
async function trainingSteps(
  device: Device,
): Promise<Record<"standard" | "topk" | "nfm", Step[]>> {
  const found: Record<"standard" | "topk" | "nfm", Step[]> = { standard: [], topk: [], nfm: [] };
  const full = device.gpu || device.backend === "tensorflow";
  for (const [tokens, width, features, l0] of full ? SIZES : SIZES.slice(0, 2)) {
    const batch = full ? tokens : tokens / 8;
    const store = noiseStore(width, batch);
    const base = { dIn: width, dSae: features, l0, batch };
    const shape = `${batch} × ${width} × ${features.toLocaleString("en")}`;
    let codes: Sae | undefined;
    for (const architecture of ["standard", "topk"] as const) {
      const { seconds, result } = await watched((onStep) =>
        trainSae(store, {
          architecture,
          dSae: features,
          ...architecture === "topk" ? { k: l0, deadAfterTokens: 1e12 } : {},
          steps: WARM + STEPS,
          batchSize: batch,
        }, { cache: false, onStep })
      );
      found[architecture].push({
        what: `${architecture} step, ${shape}`,
        work: saeWork({ architecture, ...base }),
        seconds: seconds.median,
        spread: seconds,
      });
      if (architecture === "topk") codes = result.sae;
      else result.sae.dispose();
    }
    for (const [K, parts] of [[64, "both"], [512, "interaction"]] as const) {
      const { seconds, result } = await watched((onStep) =>
        trainNfm(store, codes!, {
          ...{ parts, K, steps: WARM + STEPS, batchSize: batch },
          ...{ cache: false, onStep },
        })
      );
      result.nfm.dispose();
      found.nfm.push({
        what: `NFM step, ${parts}, K = ${K}, ${shape}`,
        work: nfmWork({ architecture: "topk", ...base, K, parts, head: "linear" }),
        seconds: seconds.median,
        spread: seconds,
      });
    }
    codes!.dispose();
  }
  return found;
}

/** Seconds of the steps of a training. */
async function watched<T>(
  train: (onStep: () => void) => Promise<T>,
): Promise<{ seconds: Spread; result: T }> {
  const ended: number[] = [];
  const result = await train(() => void ended.push(performance.now()));
  const each = ended.slice(1).map((end, i) => (end - ended[i]) / 1000);
  return { seconds: spread(each.slice(WARM - 1)), result };
}

function noiseStore(width: number, tokens: number): ActivationReader {
  const rows = new Rng(0).normals(tokens * width, 1);
  const split = { rows, document: new Int32Array(tokens) };
  const few = { rows: rows.slice(0, 64 * width), document: new Int32Array(64) };
  return memoryStore(width, { train: split, validation: few, test: few });
}

/** Seconds to draw, keep and write a parameter: a training of one step, without the step. */
async function parameterSeconds(dir: string): Promise<number> {
  const [batch, width, features] = [64, 576, 8192];
  const store = noiseStore(width, batch);
  const seconds: number[] = [];
  for (let seed = 0; seed < REPEAT; seed++) {
    let sae: Sae | undefined;
    const ms = await milliseconds(async () => {
      ({ sae } = await trainSae(store, {
        ...{ architecture: "standard", dSae: features, steps: 1, batchSize: batch, seed },
      }, { cache: dir }));
    });
    sae?.dispose();
    seconds.push(ms / 1000);
  }
  return spread(seconds).median / (2 * width * features);
}
