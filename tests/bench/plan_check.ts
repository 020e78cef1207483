/**
 * `deno run -A tests/bench/plan_check.ts [--harvest] [repetitions]` runs a small study as units, harvest
 * to evaluation, on one worker and on two of one thread each, and prints the time of each phase beside
 * what `plan` predicts from costs measured just before. `--harvest`: a harvest of 300,000 tokens, alone.
 * Where `taskset` is installed, workers have as many cores as there are of them, and no others.
 * The embedded model must be set up; a repetition takes some minutes on two cores.
 *
 * @module
 */
import { join } from "node:path";
import { measureApart } from "../../lib/cli/plan.ts";
import { MODEL } from "../../lib/cli/pins.ts";
import {
  cluster,
  type EvaluateUnit,
  type Plan,
  plan,
  type StudyText,
  type TrainSaeUnit,
  type Unit,
  type UnitCosts,
  withDependencies,
} from "../../lib/cluster/mod.ts";
import { brown } from "../../lib/corpus/mod.ts";
import { formatNumber, table } from "../../lib/display/mod.ts";
import { cacheDir } from "../../lib/files/mod.ts";

const STUDY = ["harvest", "merge", "dictionaries", "machines", "evaluation"] as const;
type Phase = typeof STUDY[number];
const harvestOnly = Deno.args.includes("--harvest");
const PHASES: readonly Phase[] = harvestOnly ? STUDY.slice(0, 2) : STUDY;

const TOKENS = harvestOnly ? 300_000 : 16_000;
const [FEATURES, L0, BATCH, STEPS, NFM_STEPS] = [2048, 32, 1024, 60, 60];
const HELD_OUT = { validation: 1000, test: 3000 };
const K = [64, 256];
const SEEDS = [0, 1];
const SHARDS = 4;

const data: StudyText = {
  model: cacheDir("models", MODEL.file),
  text: "brown",
  seed: 0,
  harvest: {
    hook: "blocks.15.hook_resid_post",
    tokens: { train: TOKENS, ...HELD_OUT },
    ...{ contextLength: 128, batchSize: 16, maxNormRatio: 5 },
  },
  shards: SHARDS,
};

function sae(seed: number): TrainSaeUnit {
  const config = { dSae: FEATURES, k: L0, steps: STEPS, batchSize: BATCH, seed };
  return { kind: "train", trainer: "sae", data, config: { architecture: "topk", ...config } };
}

function evaluation(seed: number): EvaluateUnit {
  const model = (K: number) =>
    ({
      trainer: "nfm",
      config: { parts: "both", K, steps: NFM_STEPS, batchSize: BATCH, seed },
    }) as const;
  return {
    ...{ kind: "evaluate", data, sae: sae(seed).config, split: "test", seed: 0 },
    models: Object.fromEntries(K.map((K) => [`K ${K}`, model(K)])),
  };
}

const units = withDependencies(SEEDS.map(evaluation));
const phaseOf = (unit: Unit): Phase => {
  if (unit.kind === "harvest" || unit.kind === "merge") return unit.kind;
  if (unit.kind === "evaluate") return "evaluation";
  return unit.kind === "train" && unit.trainer === "nfm" ? "machines" : "dictionaries";
};

/** Seconds to read the text, which is no file of one line a document. */
const started = performance.now();
const texts = await brown();
const BROWN = {
  seconds: (performance.now() - started) / 1000,
  documents: texts.length,
  bytes: texts.reduce((sum, { text }) => sum + text.length, 0),
};

function predicted(costs: UnitCosts, nodes: number): Plan {
  return plan({
    ...{ tokens: TOKENS, features: FEATURES, K, nodes, l0: L0, batch: BATCH, steps: STEPS },
    ...{ nfmSteps: NFM_STEPS, secondaryFeatures: 0, seeds: SEEDS.length, shards: SHARDS },
    ...{ heldOut: HELD_OUT, model: "SmolLM2-135M", overhead: 0.1 },
    // All of Brown is read, and the documents that sequences come from are made into tokens.
    ...{ textTokens: BROWN.bytes / 4.5, documentTokens: BROWN.bytes / 4.5 / BROWN.documents },
  }, costs);
}

/** Seconds of each phase with some workers. */
async function run(workers: number): Promise<Record<Phase, number>> {
  const dir = await Deno.makeTempDir();
  const env = { INTERLENS_CACHE: join(dir, "cache") };
  try {
    await using machines = await cluster({ storage: join(dir, "storage"), workers, env });
    const seconds = {} as Record<Phase, number>;
    for (const phase of PHASES) {
      const report = await machines.run(units.filter((unit) => phaseOf(unit) === phase));
      if (!report.complete) throw new Error(`${phase} on ${workers} workers: ${report}`);
      seconds[phase] = report.seconds;
    }
    return seconds;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Keeps what this process starts on the first cores, so that one worker has one core in all. */
async function useCores(count: number): Promise<void> {
  await new Deno.Command("taskset", {
    args: ["-a", "-c", "-p", `0-${count - 1}`, `${Deno.pid}`],
    ...{ stdout: "null", stderr: "null" } as const,
  }).output().catch(() => {});
}

const repetitions = Number(Deno.args.find((arg) => /^\d+$/.test(arg)) ?? 1);
const rows: Record<string, unknown>[] = [];
for (let repetition = 0; repetition < repetitions; repetition++) {
  await useCores(navigator.hardwareConcurrency);
  const measured = await measureApart({ threads: 1 });
  const costs = { ...measured, textSeconds: BROWN.seconds / BROWN.bytes };
  for (const workers of [1, 2]) {
    const [load] = Deno.loadavg();
    await useCores(workers);
    const seconds = await run(workers);
    const { phases, totals } = predicted(costs, workers);
    const all = PHASES.reduce((sum, phase) => sum + seconds[phase], 0);
    for (
      const [name, taken, prediction] of [
        ...PHASES.map((phase, i) => [phase, seconds[phase], phases[i].total] as const),
        ...harvestOnly ? [] : [["all", all, totals.seconds] as const],
      ]
    ) {
      rows.push({
        repetition,
        workers,
        phase: name,
        "measured, s": formatNumber(taken, 3),
        "predicted, s": formatNumber(prediction, 3),
        "predicted by measured": formatNumber(prediction / taken, 3),
        "load before": formatNumber(load, 2),
      });
    }
    console.log(String(table(rows.slice(harvestOnly ? -2 : -6), { maxRows: 6 })));
  }
}
console.log(JSON.stringify(rows));
