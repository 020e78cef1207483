import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { unitCosts } from "../../lib/cluster/accelerators.ts";
import {
  checkCosts,
  fitStepCost,
  readCosts,
  stepSeconds,
  writeCosts,
} from "../../lib/cluster/costs.ts";
import type { StepCost, UnitCosts } from "../../lib/cluster/costs.ts";
import { Plan, plan, type PlanRequest, planScales, planTable } from "../../lib/cluster/mod.ts";
import { formatBytes, formatCount, formatDuration } from "../../lib/cluster/plan_format.ts";
import {
  encodeWork,
  harvestWork,
  modelParameters,
  nfmMemory,
  nfmWork,
  saeMemory,
  saeWork,
} from "../../lib/cluster/plan_work.ts";
import { markdown, parsePlan } from "../../lib/cli/plan.ts";

const NOTHING: StepCost = { fixed: 0, perFlop: 0, perByte: 0 };

/** Costs of round numbers: what is not named is free. */
function costs(changes: Partial<UnitCosts> = {}): UnitCosts {
  return {
    name: "round",
    basis: "reference",
    statement: "round numbers",
    ...{ harvest: NOTHING, standard: NOTHING, topk: NOTHING, nfm: NOTHING },
    ...{ parameterSeconds: 0, startSeconds: 0, loadSeconds: 0 },
    ...{ tokeniseSeconds: 0, textSeconds: 0 },
    node: { hostBytes: 64e9, deviceBytes: 80e9 },
    ...changes,
  };
}

/** A run whose numbers can be checked in the head. */
const SMALL: PlanRequest = {
  tokens: 1_000_000,
  features: 1000,
  K: [10],
  l0: 10,
  batch: 1000,
  heldOut: { validation: 0, test: 0 },
  overhead: 0,
  textBytes: 4,
  model: {
    name: "tiny",
    ...{ dModel: 10, nHeads: 1, nKvHeads: 1, dHead: 10, dMlp: 20, vocabSize: 100, blocks: 1 },
  },
};

const stageOf = ({ stages }: Plan, name: string) => stages.find((stage) => stage.name === name)!;

Deno.test("a token of a harvest costs the products and the attention of the blocks that run", () => {
  const model = SMALL.model as Exclude<PlanRequest["model"], string | undefined>;
  // Queries, keys, values and output of 10 × 10, three matrices of 10 × 20.
  assertEquals(modelParameters(model), 100 * 10 + 4 * 100 + 3 * 200);
  const work = harvestWork(model, { batch: 2, contextLength: 5, dtype: "float16" });
  assertEquals(work.flops, 2 * 5 * (2 * (4 * 100 + 3 * 200) + 4 * 10 * 5));
  assertEquals(work.bytes, 2 * 4 * (2 * 10 + 12));
});

Deno.test("OpenLLaMA 3B has 2.08 billion parameters up to the study's layer", () => {
  const { request } = plan({ ...SMALL, model: "OpenLLaMA-3B" }, costs());
  assertAlmostEquals(modelParameters(request.model), 2.08e9, 0.01e9);
});

Deno.test("a step of a ReLU dictionary is five products, of a TopK one as many as are dense", () => {
  const sizes = { dIn: 10, dSae: 1000, l0: 10, batch: 100 };
  const product = 2 * 100 * 10 * 1000;
  assertEquals(saeWork({ architecture: "standard", ...sizes }).flops, 5 * product);
  assertEquals(saeWork({ architecture: "topk", ...sizes }).flops, 3 * product);
  assertEquals(saeWork({ architecture: "topk", ...sizes, l0: 9 }).flops, product);
});

Deno.test("a machine's step contains the codes of its batch", () => {
  const sizes = { architecture: "topk", dIn: 10, dSae: 1000, l0: 10, batch: 100 } as const;
  const step = nfmWork({ ...sizes, K: 3, parts: "interaction", head: "linear" });
  assertEquals(step.flops, encodeWork(sizes).flops + 6 * 100 * 3 * 10);
});

Deno.test("one accelerator of 80 GB holds each model of the study, and Adam takes less than 16 GB", () => {
  const study: PlanRequest = {
    ...{ tokens: 1e9, features: 50_000, K: [150, 1000, 10_000], head: "relu", nodes: 8 },
    streamed: true,
  };
  const result = plan(study, unitCosts("h100"));
  assertEquals(stageOf(result, "dictionary").parameters, 50_000 * 6401 + 3200);
  // The study's 692 M and the first layer of its head.
  assertEquals(
    stageOf(result, "NFM, K = 10000").parameters,
    50_000 * (3200 + 10_000) + 10_000 * 3200 + 10_000 ** 2 + 10_000 + 3200,
  );
  assertAlmostEquals(stageOf(result, "NFM, K = 10000").parameters, 792e6, 1e6);
  for (const { stateBytes, deviceBytes } of result.stages) {
    assert(stateBytes < 16e9);
    assert(deviceBytes < 80e9);
  }
  assertEquals(result.exceeded, []);
  assert(result.fits.startsWith("One device (80 GB) holds each model"));
});

Deno.test("memory of a training is state, gradients and activations, near the measured peaks", () => {
  const sizes = { dIn: 3200, dSae: 50_000, l0: 64, batch: 256 };
  for (const [architecture, measured] of [["standard", 8.4e9], ["topk", 12.9e9]] as const) {
    const { stateBytes, stepBytes } = saeMemory({ architecture, ...sizes });
    assertEquals(stateBytes, 12 * (50_000 * 6401 + 3200));
    assertAlmostEquals((0.5e9 + stateBytes + stepBytes) / measured, 1, 0.15);
  }
  const machine = nfmMemory({
    ...{ architecture: "topk", ...sizes, l0: 100, batch: 1000 },
    ...{ K: 1000, parts: "interaction", head: "linear" },
  });
  // Without the dictionary's weights, which that measurement did not hold, and its codes.
  const own = machine.stateBytes + machine.stepBytes - 4 * (50_000 * 6401 + 3200) -
    8 * 1000 * 50_000;
  assertAlmostEquals(own / 2.0e9, 1, 0.15);
});

Deno.test("costs are found again from steps that they made", () => {
  const truth = { fixed: 0.01, perFlop: 1 / 2e11, perByte: 1 / 1e10 };
  const works = [[1e9, 1e8], [4e9, 1e8], [1e10, 1e9], [2e9, 2e9]].map(([flops, bytes]) => ({
    flops,
    bytes,
  }));
  const found = fitStepCost(
    works.map((work) => ({ work, seconds: stepSeconds(truth, work) })),
  );
  for (const part of ["fixed", "perFlop", "perByte"] as const) {
    assertAlmostEquals(found[part] / truth[part], 1, 1e-6);
  }
});

Deno.test("no cost is negative, and one step gives one cost", () => {
  const works = [{ flops: 1e9, bytes: 1e9 }, { flops: 2e9, bytes: 1e6 }];
  // The larger step is faster: free fits would make bytes pay for it, or the fixed part.
  const noisy = fitStepCost([{ work: works[0], seconds: 2 }, { work: works[1], seconds: 0.5 }]);
  assert(Object.values(noisy).every((cost) => cost >= 0));
  const one = fitStepCost([{ work: works[0], seconds: 3 }]);
  assertAlmostEquals(stepSeconds(one, works[0]), 3, 1e-9);
  assertThrows(() => fitStepCost([]), RangeError, "no measurements");
  assertThrows(() => fitStepCost([{ work: works[0], seconds: 0 }]), RangeError, "0 s");
});

Deno.test("a harvest takes its batches, its tokens, its start, and the plan of the whole text", () => {
  const unit = costs({
    ...{ harvest: { ...NOTHING, fixed: 1 }, tokeniseSeconds: 1e-3, startSeconds: 7 },
    ...{ loadSeconds: 1e-3, textSeconds: 1e-6 },
  });
  const request = { ...SMALL, tokens: 1270, batch: 10, sequences: 1, nodes: 2, shards: 2 };
  const { seconds, units, textBytes } = stageOf(plan(request, unit), "harvest");
  assertEquals(units, 2);
  // Five sequences of 127 tokens each, and in one part of two the first one again.
  assertAlmostEquals(seconds.compute, 5.5, 1e-9);
  // Start, 2000 parameters, 5080 bytes of text, the tokens of all of it.
  assertAlmostEquals(seconds.planning, 7 + 2 + 5080e-6 + 1.27, 1e-9);
  assertEquals(textBytes, 2 * 5080);
  const streamed = stageOf(plan({ ...request, streamed: true }, unit), "harvest");
  assertAlmostEquals(streamed.seconds.planning, 7 + 2 + 5080e-6, 1e-9);
  assertAlmostEquals(streamed.seconds.compute, 5.5 + 0.635, 1e-9);
  // Ten sequences of a long text come from ten documents of 50 tokens.
  const long = { ...request, textTokens: 1e6, documentTokens: 50 };
  assertAlmostEquals(
    stageOf(plan(long, unit), "harvest").seconds.planning,
    7 + 2 + 4 + 0.5,
    1e-9,
  );
});

Deno.test("trainings are spread over nodes, longest first, and phases follow each other", () => {
  const unit = costs({
    topk: { ...NOTHING, fixed: 1 },
    nfm: { ...NOTHING, fixed: 0.1 },
    startSeconds: 1,
  });
  const storage = { bandwidth: 1e15, nodeBandwidth: 1e15 };
  const run = (nodes: number, seeds: number) =>
    plan({ ...SMALL, K: [10, 20], nodes, seeds, steps: 10, shards: 1, storage }, unit).totals;
  // Harvest and merge 1 each; dictionary 11; secondary 11 and machines 2 + 2, each with 16 batches of
  // 0.1 for its scales; evaluation 1.
  assertAlmostEquals(run(1, 1).seconds, 2 + 11 + 19.8 + 1, 1e-6);
  assertAlmostEquals(run(2, 1).seconds, 2 + 11 + 12.6 + 1, 1e-6);
  // Two seeds on two nodes do not take longer than one seed on one node.
  assertAlmostEquals(run(2, 2).seconds, 2 + 11 + 19.8 + 1, 1e-6);
  assertAlmostEquals(run(1, 2).deviceHours, (2 + 2 * (11 + 19.8 + 1)) / 3600, 1e-9);
});

Deno.test("bytes are those of the rows, of the models, and of what every training reads back", () => {
  const request: PlanRequest = {
    ...{ ...SMALL, seeds: 3, nodes: 2, dtype: "float16", shards: 4 },
    heldOut: { validation: 1000, test: 2000 },
  };
  const { totals, stages } = plan(request, costs());
  const row = 2 * 10 + 12;
  assertEquals(totals.activationBytes, 1_003_000 * row);
  assertEquals(totals.textBytes, 4 * 4 * 1_003_000);
  const sae = 1000 * 21 + 10;
  const nfm = 1000 * 20 + 10 * 10 + 10;
  assertEquals(totals.storageBytes, totals.activationBytes + 3 * 4 * (2 * sae + nfm));
  // The split fits into a node's cache: each of two nodes reads it once.
  assertEquals(stages[2].readBytes, 2 * 1e6 * row);
  const cut = plan({ ...request, cacheBytes: 1e6, steps: 2000 }, costs());
  // It does not: each of three trainings reads it in each of two epochs.
  assertEquals(cut.stages[2].readBytes, 3 * 2 * 1e6 * row);
});

Deno.test("waiting for the storage counts where it is longer than computing", () => {
  const unit = costs({ topk: { ...NOTHING, fixed: 1e-4 } });
  const slow = { ...SMALL, cacheBytes: 1, storage: { bandwidth: 1e6, nodeBandwidth: 1e6 } };
  const { bottleneck, totals, stages } = plan(slow, unit);
  assertEquals(bottleneck.name, "storage bandwidth");
  // A million rows of 52 bytes and 4 × 21,010 of the weights, one megabyte a second.
  assertAlmostEquals(stages[2].seconds.total, 52 + 0.08404, 1e-9);
  assertEquals(totals.spent.compute < totals.spent.storage, true);
});

Deno.test("what gives out first is named, whatever it is", () => {
  const fast = costs({ topk: { ...NOTHING, fixed: 1 } });
  const name = (changes: Partial<PlanRequest>, unit = fast) =>
    plan({ ...SMALL, ...changes }, unit).bottleneck.name;
  assertEquals(name({}), "compute");
  assertEquals(name({}, costs({ startSeconds: 1 })), "planning");
  assertEquals(name({ storage: { bytes: 1e6 } }), "storage size");
  assertEquals(name({ node: { deviceBytes: 1e3 } }), "device memory");
  assertEquals(name({ node: { hostBytes: 1e8 } }), "host memory");
  // Strings of V8: text in memory, ids of documents, the manifest.
  const large = { tokens: 1e9, storage: { bytes: 1e18 } };
  assertEquals(name(large), "host memory");
  assertEquals(name({ ...large, streamed: true }), "compute");
  assertEquals(name({ ...large, streamed: true, documentTokens: 10 }), "host memory");
  assertEquals(name({ ...large, streamed: true, documentTokens: 50 }), "planning");
  assertEquals(
    name({ ...large, streamed: true, tokens: 1e13, documentTokens: 1e6, batch: 1e6 }),
    "planning",
  );
});

Deno.test("a plan and the table tell the same where documents cannot all be held", () => {
  const { tokens, ...request }: PlanRequest = { ...SMALL, tokens: 1e9, storage: { bytes: 1e18 } };
  const result = plan({ ...request, tokens }, costs());
  const streamed = plan({ ...request, tokens, streamed: true }, costs());
  const planned = plan({ ...request, tokens, streamed: false }, costs());
  assertEquals([result.bottleneck, result.totals], [planned.bottleneck, streamed.totals]);
  assertEquals(result.exceeded, [planned.exceeded[0], ...streamed.exceeded]);
  const [row] = planScales(request, costs(), [tokens]);
  assertEquals([row.seconds, row.why], [result.totals.seconds, result.bottleneck.why]);
  // Memory that trainings lack is not won by it.
  const wide = plan({ ...SMALL, features: 1e7, node: { hostBytes: 2e9 } }, costs());
  assertEquals([wide.bottleneck.name, wide.request.streamed], ["host memory", false]);
});

Deno.test("more tokens, seeds, K or features never take less; more nodes never take longer", () => {
  for (const device of ["cpu-2", "h100"]) {
    const base: PlanRequest = {
      ...{ tokens: 1e7, features: 8192, K: [150, 300], seeds: 2, nodes: 3 },
      heldOut: { validation: 1e4, test: 1e5 },
    };
    const of = (changes: Partial<PlanRequest>) =>
      plan({ ...base, ...changes }, unitCosts(device)).totals;
    const { seconds, deviceHours, storageBytes, readBytes, deviceBytes } = of({});
    for (
      const larger of [
        { tokens: 2e7 },
        { seeds: 3 },
        { K: [150, 300, 600] },
        { features: 16_384 },
      ]
    ) {
      const more = of(larger);
      assert(more.seconds >= seconds && more.deviceHours > deviceHours);
      assert(more.storageBytes > storageBytes && more.readBytes >= readBytes);
      assert(more.deviceBytes >= deviceBytes);
    }
    assert(of({ nodes: 6 }).seconds <= seconds);
    assert(of({ dtype: "float16" }).storageBytes < storageBytes);
  }
});

Deno.test("a plan survives JSON, and what it prints states its assumptions", () => {
  const made = plan(
    { ...SMALL, shards: undefined, steps: undefined },
    costs({ topk: { ...NOTHING, fixed: 1 } }),
  );
  const again = new Plan(JSON.parse(JSON.stringify(made)));
  assertEquals(again, made);
  const text = String(made);
  assertEquals(String(again), text);
  for (const part of ["First bottleneck: compute", "Assumed: ", "round numbers", "dictionary"]) {
    assert(text.includes(part), part);
  }
  const html = made[Symbol.for("Jupyter.display") as never] as () => Record<string, string>;
  assert(html.call(made)["text/html"].includes("round numbers"));
});

Deno.test("costs of accelerators say that they were not measured, and scale with what is reached", () => {
  for (const name of ["h100", "a100", "rtx3090"]) {
    const { basis, statement, topk } = unitCosts(name);
    assertEquals(basis, "extrapolated");
    assert(statement.startsWith("extrapolated, not measured"));
    const half = unitCosts(name, { compute: 0.15, bandwidth: 0.25 }).topk;
    assertAlmostEquals(half.perFlop / topk.perFlop, 2, 1e-9);
    assertAlmostEquals(half.perByte / topk.perByte, 2, 1e-9);
  }
  assertThrows(() => unitCosts("abacus"), RangeError, '"abacus"');
  assertThrows(() => unitCosts("h100", { compute: 2 }), RangeError, "share of 2");
});

Deno.test("measured costs are kept for a machine and its threads", async () => {
  const dir = await Deno.makeTempDir();
  const before = Deno.env.get("INTERLENS_CACHE");
  Deno.env.set("INTERLENS_CACHE", dir);
  try {
    const of = { machine: "a machine / of mine", threads: 1 };
    assertEquals(await readCosts(of), undefined);
    await writeCosts(costs(), of);
    assertEquals(await readCosts(of), costs());
    assertEquals(await readCosts({ ...of, threads: 2 }), undefined);
  } finally {
    if (before === undefined) Deno.env.delete("INTERLENS_CACHE");
    else Deno.env.set("INTERLENS_CACHE", before);
    await Deno.remove(dir, { recursive: true });
  }
  assertThrows(
    () => checkCosts(costs({ topk: { ...NOTHING, perByte: -1 } })),
    RangeError,
    "topk.perByte = -1",
  );
  assertThrows(() => checkCosts({} as UnitCosts), RangeError, "hostBytes");
});

Deno.test("what cannot be planned is refused by the name of its value", () => {
  const wrong: [Partial<PlanRequest>, string][] = [
    [{ tokens: 0 }, "tokens = 0"],
    [{ tokens: 1.5 }, "tokens = 1.5"],
    [{ features: NaN }, "features = NaN"],
    [{ K: [] }, "K = nothing"],
    [{ K: [5, 5] }, "K = 5, 5"],
    [{ K: [0] }, "K = 0"],
    [{ nodes: 0 }, "nodes = 0"],
    [{ seeds: -1 }, "seeds = -1"],
    [{ l0: 2000 }, "2000 active features a token of 1000"],
    [{ batch: 2_000_000 }, "batches of 2000000 tokens"],
    [{ shards: 0 }, "shards = 0"],
    [{ contextLength: 1 }, "contextLength = 1"],
    [{ overhead: -1 }, "overhead = -1"],
    [{ model: "GPT-5" }, '"GPT-5" are not known'],
    [{ model: { ...SMALL.model as object, dMlp: 0 } as never }, "dMlp = 0"],
    [{ dtype: "int8" as never }, 'dtype "int8"'],
    [{ architecture: "gated" as never }, 'architecture "gated"'],
    [{ parts: "linear" as never }, 'parts "linear"'],
    [{ storage: { bandwidth: 0 } }, "storageBandwidth = 0"],
    [{ node: { hostBytes: -1 } }, "hostBytes = -1"],
    [{ textTokens: 10 }, "1000000 tokens of a text of 10"],
    [{ heldOut: { validation: 0, test: -1 } }, "test = -1"],
  ];
  for (const [change, message] of wrong) {
    assertThrows(() => plan({ ...SMALL, ...change }, costs()), RangeError, message);
  }
});

Deno.test("the command line names what is missing and what is no number", () => {
  const base = ["--tokens", "1e9", "--features", "50000", "--k", "150,1000,10000"];
  const { request, device, measure } = parsePlan([
    ...base,
    ...["--nodes", "8", "--l0", "32", "--dtype", "float16", "--device", "h100"],
    ...["--host-memory", "64e9", "--storage-size", "1e15", "--streamed"],
  ]);
  assertEquals(request, {
    ...{ tokens: 1e9, features: 50_000, K: [150, 1000, 10_000], nodes: 8, l0: 32 },
    ...{ dtype: "float16", streamed: true },
    node: { hostBytes: 64e9 },
    storage: { bytes: 1e15 },
  });
  assertEquals([device, measure], ["h100", false]);
  assertEquals(parsePlan(["--measure"]).request, undefined);
  assertEquals(parsePlan(["--measure", "--threads", "1"]).threads, 1);
  assertThrows(() => parsePlan([]), RangeError, "--tokens 1e9 and --features 50000 and --k");
  assertThrows(() => parsePlan(["--features", "10"]), RangeError, "--tokens 1e9 and --k 150");
  assertThrows(() => parsePlan([...base, "--nodes", "many"]), RangeError, '--nodes "many"');
  assertThrows(() => parsePlan([...base.slice(0, 4), "--k", "1,,2"]), RangeError, '--k ""');
  assertThrows(() => parsePlan([...base, "--threads", "0"]), RangeError, "0 threads");
});

Deno.test("a table over scales names what gives out at each, and what comes then", () => {
  const request = { features: 50_000, K: [150, 10_000], nodes: 8, dtype: "float16" } as const;
  const rows = planScales(request, unitCosts("h100"));
  assertEquals(rows.map(({ tokens }) => tokens), [1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12]);
  for (const [i, row] of rows.entries()) {
    if (i > 0) assert(row.seconds > rows[i - 1].seconds && row.readBytes > rows[i - 1].readBytes);
  }
  assertEquals(rows[0].bottleneck, "planning");
  assertEquals(rows.at(-1)!.bottleneck, "host memory");
  assertEquals(rows[0].then, []);
  assertEquals(rows[4].then, ["compute"]);
  assertEquals(rows.at(-1)!.then, ["planning", "storage size", "compute"]);
  const shown = planTable(request, unitCosts("h100"), [1e5, 1e6]);
  const lines = markdown(shown).split("\n");
  assertEquals(lines.length, 2 + 2);
  assert(lines[0].startsWith("| tokens | time | device hours |"));
  assert(lines[2].startsWith("| 10⁵ | "));
});

Deno.test("bytes, times and counts are read in their units", () => {
  assertEquals(
    [0, 999, 1000, 999_950, 6.412e12, 1.5e19].map(formatBytes),
    ["0 B", "999 B", "1 kB", "1 MB", "6.41 TB", "15 EB"],
  );
  assertEquals(
    [1, 7200, 200_000, 8e7].map(formatDuration),
    ["1.0 s", "2 h 0 min", "2 d 8 h", "2.54 years"],
  );
  assertEquals([1000, 1e5, 1e12, 348_000].map(formatCount), ["1000", "10⁵", "10¹²", "348,000"]);
});
