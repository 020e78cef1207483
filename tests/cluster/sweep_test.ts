import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  dependencies,
  requireUnit,
  type StudyText,
  sweep,
  sweepEvaluations,
  unitHash,
  withDependencies,
} from "../../lib/cluster/mod.ts";

const DATA: StudyText = {
  ...{ model: null, text: "brown", seed: 7, shards: 2 },
  harvest: {
    hook: "blocks.15.hook_resid_post",
    tokens: { train: 4000, validation: 100, test: 500 },
  },
};
const OPTIONS = {
  data: DATA,
  sae: { architecture: "topk", dSae: 64, k: 8, steps: 10 } as const,
  nfm: { steps: 10, K: 999 },
  tokens: [1000, "all"] as const,
  K: [4, 8],
  seeds: [0, 1, 2],
};

Deno.test("the units of a sweep come once, and after those that they need", () => {
  const units = sweep(OPTIONS);
  const done = new Set<string>();
  for (const unit of units) {
    requireUnit(unit);
    assert(dependencies(unit).every((needed) => done.has(unitHash(needed))));
    assert(!done.has(unitHash(unit)));
    done.add(unitHash(unit));
  }
});

Deno.test("a sweep has a dictionary a seed, and machines for each seed, tokens and K", () => {
  const trainings = sweep(OPTIONS).filter((unit) => unit.kind === "train");
  assertEquals(trainings.filter(({ trainer }) => trainer === "sae").length, 3);
  const machines = trainings.filter((unit) => unit.trainer === "nfm");
  assertEquals(machines.length, 3 * 2 * (1 + 2));
  // A machine and the dictionary under it have one seed; the documents keep theirs.
  assert(machines.every(({ sae, config }) => sae.seed === config.seed));
  assert(trainings.every(({ data }) => data.seed === 7));
  assertEquals(new Set(machines.map(({ tokens }) => tokens)), new Set([1000, undefined]));
});

Deno.test("a larger sweep trains what a smaller one did, and more", () => {
  const trained = (options: typeof OPTIONS) =>
    new Set(sweep(options).filter(({ kind }) => kind !== "evaluate").map(unitHash));
  const [smaller, larger] = [trained({ ...OPTIONS, K: [8], seeds: [1] }), trained(OPTIONS)];
  assert(smaller.isSubsetOf(larger) && smaller.size < larger.size);
});

Deno.test("machines with pairs are evaluated beside one without, of the same tokens and seed", () => {
  for (const { models } of sweepEvaluations(OPTIONS)) {
    const { linear, ...pairs } = models;
    assertEquals(Object.keys(pairs), ["K 4", "K 8"]);
    assert(linear.trainer === "nfm" && linear.config.parts === "linear");
    assertEquals(linear.config.K, undefined);
    for (const model of Object.values(pairs)) {
      assert(model.trainer === "nfm" && model.config.parts === "both");
      assertEquals([model.tokens, model.config.seed], [linear.tokens, linear.config.seed]);
    }
  }
});

Deno.test("a number of units that come twice run once", () => {
  const [evaluation] = sweepEvaluations(OPTIONS);
  assertEquals(withDependencies([evaluation, evaluation]), withDependencies([evaluation]));
});

Deno.test("a sweep over more tokens than are harvested is refused", () => {
  assertThrows(
    () => sweep({ ...OPTIONS, tokens: [4001] }),
    RangeError,
    '"models.linear.tokens" is 4001, expected an integer in 1…4000',
  );
  const all = { ...DATA.harvest, tokens: { ...DATA.harvest.tokens, train: "all" as const } };
  sweep({ ...OPTIONS, data: { ...DATA, harvest: all }, tokens: [4001] });
});
