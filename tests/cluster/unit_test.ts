import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import {
  dependencies,
  parseUnit,
  requireUnit,
  type StudyText,
  type Unit,
  unitCommand,
  unitHash,
  unitName,
} from "../../lib/cluster/mod.ts";

const DATA: StudyText = {
  model: null,
  text: "brown",
  seed: 0,
  harvest: {
    hook: "blocks.15.hook_resid_post",
    contextLength: 128,
    tokens: { train: 40_000, validation: "all", test: 0 },
    maxNormRatio: null,
    normalizer: { clipSigma: null, scale: true },
  },
  shards: 3,
};
const SAE = { architecture: "topk", dSae: 64, k: 8, steps: 10, seed: 0 } as const;
const NFM = { parts: "both", K: 4, steps: 10, seed: 0 } as const;

const UNITS: Unit[] = [
  { kind: "harvest", data: DATA, shard: 2 },
  { kind: "merge", data: DATA },
  { kind: "train", trainer: "sae", data: DATA, config: SAE, window: 4 },
  { kind: "train", trainer: "secondary", data: DATA, sae: SAE, config: SAE },
  { kind: "train", trainer: "nfm", data: DATA, sae: SAE, config: NFM, tokens: 1000 },
  {
    kind: "evaluate",
    ...{ data: DATA, sae: SAE, split: "test", seed: 0 },
    models: {
      "K 4": { trainer: "nfm", tokens: 1000, config: NFM },
      "two dictionaries": { trainer: "secondary", config: SAE },
    },
  },
  {
    kind: "measure",
    ...{ data: DATA, sae: SAE, nfm: NFM, design: "paris_folk" },
    options: { at: "mean", draws: 100 },
  },
];

/** A copy with one field changed; `undefined` removes it. */
function changed(unit: Unit, path: string, value: unknown): unknown {
  const copy = structuredClone(unit);
  const names = path.split(".");
  let inner = copy as unknown as Record<string, unknown>;
  for (const name of names.slice(0, -1)) inner = inner[name] as Record<string, unknown>;
  if (value === undefined) delete inner[names.at(-1)!];
  else inner[names.at(-1)!] = value;
  return copy;
}

Deno.test("a unit is the same after a way through JSON, whatever the order of its fields", () => {
  for (const unit of UNITS) {
    const reversed = Object.fromEntries(Object.entries(unit).reverse()) as unknown as Unit;
    assertEquals(unitHash(parseUnit(JSON.stringify(reversed))), unitHash(unit));
  }
  assertEquals(new Set(UNITS.map(unitHash)).size, UNITS.length);
});

Deno.test("every field of a unit is in its name", () => {
  const [harvest, , sae, , nfm, evaluate, measure] = UNITS;
  const changes: [Unit, string, unknown][] = [
    [harvest, "shard", 1],
    [harvest, "data.shards", 4],
    [harvest, "data.model", "other/model"],
    [harvest, "data.text", "wikitext"],
    [harvest, "data.seed", 1],
    [harvest, "data.harvest.tokens.train", 40_001],
    [sae, "config.seed", 1],
    [sae, "window", 5],
    [sae, "tokens", 10],
    [nfm, "sae.seed", 1],
    [nfm, "tokens", 1001],
    [evaluate, "models.K 4.config.K", 5],
    [evaluate, "split", "validation"],
    [measure, "design", "paris_bidding"],
    [measure, "options.at", "target"],
  ];
  for (const [unit, path, value] of changes) {
    const other = changed(unit, path, value) as Unit;
    requireUnit(other);
    assertNotEquals(unitHash(other), unitHash(unit), path);
  }
});

Deno.test("dependencies are units that the commands make, and end at harvests", () => {
  const visit = (unit: Unit, depth: number): void => {
    assert(depth < 5);
    for (const needed of dependencies(unit)) {
      requireUnit(needed);
      visit(needed, depth + 1);
    }
    if (dependencies(unit).length === 0) assertEquals(unit.kind, "harvest");
  };
  for (const unit of UNITS) visit(unit, 0);
});

Deno.test("the dictionary under a machine is trained on all tokens, in the window of the machine", () => {
  const nfm = { ...UNITS[4], window: 4 } as Unit;
  const [, under] = dependencies(nfm);
  assertEquals(under, UNITS[2]);
});

Deno.test("the models of an evaluation are the units that trainings have", () => {
  const [, , nfm] = dependencies(UNITS[5]);
  assertEquals(unitHash(nfm), unitHash(UNITS[4]));
});

Deno.test("a command carries its unit whole", () => {
  for (const unit of UNITS) {
    const [task, , name, spec, json, storage, place] = unitCommand(unit, "s3://bucket/a b");
    assertEquals([task, spec, storage, place], ["task", "--spec", "--storage", "s3://bucket/a b"]);
    assertEquals(name, unit.kind === "merge" ? "harvest" : unit.kind);
    assertEquals(parseUnit(json), unit);
  }
});

Deno.test("names of units are short and tell them apart", () => {
  const names = UNITS.map(unitName);
  assertEquals(names[0], "harvest 3/3");
  assertEquals(new Set(names).size, names.length);
  assert(names.every((name) => name.length < 80));
});

Deno.test("what is no unit is refused by the name of the field", () => {
  const [harvest, , sae, secondary, nfm, evaluate, measure] = UNITS;
  const wrong: [Unit, string, unknown, string][] = [
    [harvest, "kind", "dig", '"kind" is "dig"'],
    [harvest, "kind", "__proto__", '"kind" is "__proto__"'],
    [harvest, "shard", 3, '"shard" is 3, expected an integer in 0…2'],
    [harvest, "shard", "1", '"shard" is "1"'],
    [harvest, "shard", undefined, '"shard" is missing'],
    [harvest, "data", null, '"data" is null, expected an object'],
    [harvest, "data.shards", 0, '"data.shards" is 0'],
    [harvest, "data.text", "", '"data.text" is ""'],
    [harvest, "data.text", "a\0b", '"data.text" is "a\\u0000b"'],
    [harvest, "data.model", 7, '"data.model" is 7'],
    [harvest, "data.harvest.dir", "/etc", 'unknown "data.harvest.dir"'],
    [harvest, "data.harvest.hook", "../../x", '"data.harvest.hook" is "../../x"'],
    [harvest, "data.harvest.tokens.train", -1, 'integer from 0 on, or "all"'],
    [harvest, "data.harvest.tokens.train", "some", '"data.harvest.tokens.train" is "some"'],
    [harvest, "data.harvest.normalizer.scale", 1, "expected true or false"],
    [harvest, "tokens", 5, 'unknown "tokens"'],
    [sae, "trainer", "pca", '"trainer" is "pca", expected "sae" or "secondary" or "nfm"'],
    [sae, "config.architecture", "linear", '"config.architecture" is "linear"'],
    [sae, "config.learningRate", "fast", '"config.learningRate" is "fast"'],
    [sae, "config.steps", 1.5, '"config.steps" is 1.5'],
    [sae, "config.widths", 3, '"config.widths" is 3, expected a list'],
    [sae, "config.faithful", ["B1"], '"config.faithful.0" is "B1"'],
    [sae, "config.cache", "/tmp", 'unknown "config.cache"'],
    [sae, "sae", SAE, 'unknown "sae"'],
    [secondary, "sae", undefined, '"sae" is missing'],
    [nfm, "config.head", "tanh", '"config.head" is "tanh"'],
    [nfm, "tokens", 0, '"tokens" is 0'],
    [evaluate, "models", [], '"models" is []'],
    [evaluate, "models.K 4.trainer", "sae", '"models.K 4.trainer" is "sae"'],
    [evaluate, "models", { "../x": 0 }, 'has the name "../x"'],
    [evaluate, "split", "dev", '"split" is "dev"'],
    [measure, "design", "../../etc/passwd", '"design" is "../../etc/passwd"'],
    [measure, "design", "paris_folk.csv", '"design" is "paris_folk.csv"'],
    [measure, "options.at", "max", '"options.at" is "max"'],
  ];
  for (const [unit, path, value, message] of wrong) {
    assertThrows(() => requireUnit(changed(unit, path, value)), RangeError, message);
  }
  for (const none of [null, 7, [], "harvest"]) assertThrows(() => requireUnit(none), RangeError);
  assertThrows(() => parseUnit(""), SyntaxError, "expected JSON");
  assertThrows(() => parseUnit('{"kind":"merge","kind":"harvest"}'), RangeError, '"kind" twice');
});
