import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { EVALUATE } from "../../lib/cli/evaluate.ts";
import { HARVEST } from "../../lib/cli/harvest.ts";
import { MEASURE } from "../../lib/cli/measure.ts";
import { TRAIN } from "../../lib/cli/train.ts";
import { readUnit } from "../../lib/cli/unit_command.ts";
import { dependencies, unitCommand, unitHash, unitName } from "../../lib/cluster/mod.ts";
import { ROOT } from "../../lib/files/mod.ts";
import { writeTinyStudy } from "../cluster/tiny_study.ts";
import { inScratch } from "../files/scratch.ts";

/** Runs `deno` in the root of the repository. */
async function deno(args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { ...env, NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

/** Lines of JSON that a program is meant to read. */
function messages(text: string): Record<string, unknown>[] {
  return text.split("\n").filter((line) => line.startsWith('{"interlens"')).map((line) =>
    JSON.parse(line)
  );
}

Deno.test("a command runs its unit once, says how far it is, and ends with a record", async () => {
  await inScratch(async (folder) => {
    const { model, text, harvest } = await writeTinyStudy(folder);
    const config = join(folder, "run.json");
    await Deno.writeTextFile(config, JSON.stringify({ model, text, harvest, shards: 2 }));
    const storage = join(folder, "storage");
    const env = { INTERLENS_CACHE: join(folder, "cache"), INTERLENS_PROGRESS: "json" };
    const args = ["task", "-q", "harvest", "--shard", "2/2", "--config", config];

    const { unit } = await readUnit(HARVEST, [...args.slice(3), "--storage", storage]);
    const first = await deno([...args, "--storage", storage], env);
    assertEquals(first.code, 0, first.err);
    const states = messages(first.err);
    assert(states.length >= 2);
    assert(states.every((state) => state.interlens === "progress" && Number(state.total) > 0));
    const [record, ...more] = messages(first.out);
    assertEquals(more, []);
    assertEquals(
      [record.interlens, record.unit, record.hash, record.loaded],
      ["record", "harvest 2/2", unitHash(unit), false],
    );

    // The same unit as JSON, as a driver runs it.
    const again = await deno(unitCommand(unit, `file://${storage}`), env);
    assertEquals([again.code, messages(again.out)[0].loaded], [0, true]);
    assertEquals(messages(again.err), []);

    const early = await deno(
      ["task", "-q", "train", "--trainer", "sae", "--config", config, "--storage", storage],
      env,
    );
    assertEquals([early.code, early.out], [1, ""]);
    assertMatch(early.err, /^Cannot run "train SAE .*": it needs "merge 2", not done in .*\n$/);
  });
});

Deno.test("bad input is one clear line and exit code 1", async () => {
  await inScratch(async (folder) => {
    const storage = ["--storage", folder];
    const wrong: [string[], RegExp][] = [
      [["train", "--spec", "{", ...storage], /^Cannot read the unit "{": expected JSON/],
      [["train", "--spec", "{}", ...storage], /"kind" is missing, expected "harvest" or/],
      [["harvest", "--shard", "3/64"], /^Cannot tell where results go: give --storage/],
      [["harvest", "--shard", "1/2", "--storage", "ftp://x"], /^"ftp:\/\/x" is no place for files/],
      [["harvest", "--shrad", "1/2", ...storage], /'--shrad': deno task harvest knows --shard, /],
      [["train", "--trainer"], /deno task train knows --trainer, --parts, /],
      [["plan", "--token", "1"], /'--token': deno task plan knows --tokens, /],
    ];
    for (const [args, message] of wrong) {
      const { code, out, err } = await deno(["task", "-q", ...args]);
      assertEquals([code, out, err.trimEnd().split("\n").length], [1, "", 1], err);
      assertMatch(err, message);
    }
  });
});

Deno.test("every command says which flags it has, and what they are for", async () => {
  for (const task of ["harvest", "train", "evaluate", "measure", "plan"]) {
    const { code, out, err } = await deno(["task", "-q", task, "--help"]);
    assertEquals([code, err], [0, ""]);
    const [first, , ...lines] = out.trimEnd().split("\n");
    assertMatch(first, new RegExp(`^deno task ${task}: .*\\.$`));
    // Each says what it is for, in lines that a terminal has room for.
    for (const line of lines) assertMatch(line, /^ {2}(--[a-z0-9-]+( \S+)?)? {2,}\S.{0,97}$/);
    for (const line of lines) assert(line.length <= 100, line);
  }
});

Deno.test("flags name the units that a sweep has", async () => {
  const storage = ["--storage", "s3://bucket/study"];
  const read = async (command: typeof TRAIN, ...args: string[]) =>
    (await readUnit(command, [...args, ...storage])).unit;
  const evaluation = await read(EVALUATE, "--tokens", "1e4", "--k", "16,64", "--seed", "2");
  const needed = new Set(dependencies(evaluation).map(unitHash));
  const trained = [
    await read(HARVEST, "--merge"),
    await read(TRAIN, "--trainer", "sae", "--seed", "2"),
    ...["16", "64"].map((k) => ["--parts", "both", "--k", k]),
    ["--parts", "linear"],
  ];
  const units = [];
  for (const one of trained) {
    units.push(
      Array.isArray(one)
        ? await read(TRAIN, "--trainer", "nfm", "--tokens", "10000", "--seed", "2", ...one)
        : one,
    );
  }
  assertEquals(new Set(units.map(unitHash)), needed);
  const measure = await read(MEASURE, "--design", "paris_folk", "--k", "64", "--seed", "2");
  assertEquals(unitName(measure), "measure paris_folk, seed 2");
  assert(needed.isSupersetOf(new Set(dependencies(measure).slice(0, 2).map(unitHash))));
});

Deno.test("a configuration file may set every field that a unit has", async () => {
  const loop = { clipNorm: 1, decay: "cosine", evaluateEvery: 10, patience: 3 };
  const changes = {
    harvest: { dtype: "float16", shardTokens: 1000 },
    sae: {
      ...loop,
      ...{ architecture: "matryoshka", widths: [256, 2048], l0Coefficient: 1, l0WarmupSteps: 1 },
      ...{
        initialThreshold: 0.1,
        bandwidth: 0.1,
        preActCoefficient: 0,
        skip: true,
        faithful: true,
      },
    },
    nfm: { ...loop, input: "activations", updates: "all", shuffle: "s3", epsilon: 1e-7 },
  };
  await inScratch(async (folder) => {
    const path = join(folder, "run.json");
    await Deno.writeTextFile(path, JSON.stringify(changes));
    const args = ["--trainer", "nfm", "--config", path, "--storage", folder];
    const { unit } = await readUnit(TRAIN, args);
    assert(unit.kind === "train" && unit.trainer === "nfm");
    const given: Record<string, object> = {
      ...{ harvest: unit.data.harvest, sae: unit.sae, nfm: unit.config },
    };
    for (const [section, fields] of Object.entries(changes)) {
      assertEquals({ ...given[section], ...fields }, given[section]);
    }
    await Deno.writeTextFile(path, JSON.stringify({ sae: { width: 3 } }));
    const { message } = await assertRejects(() => readUnit(TRAIN, args), RangeError);
    const known = message.split("has ")[1].split(" here")[0].split(", ");
    assert(known.includes("widths"), message);
    assertEquals(known.length, new Set(known).size);
  });
});

Deno.test("flags that name no unit are refused", async () => {
  const storage = ["--storage", "/tmp"];
  const wrong: [typeof TRAIN, string[], string][] = [
    [HARVEST, [], "Give --shard"],
    [HARVEST, ["--shard", "1/2", "--merge"], "Give --shard"],
    [HARVEST, ["--shard", "0/2"], '"0/2"'],
    [HARVEST, ["--shard", "3/2"], '"3/2"'],
    [HARVEST, ["--shard", "1/2/3"], '"1/2/3"'],
    [HARVEST, ["--merge", "--shards", "0"], '"data.shards" is 0'],
    [HARVEST, ["--merge", "--shards", "abc"], '--shards "abc"'],
    [HARVEST, ["--shard", "1/4", "--shards", "4"], 'Cannot combine --shard "1/4" with --shards'],
    [TRAIN, [], "Cannot train nothing"],
    [TRAIN, ["--trainer", "pca"], 'Cannot train "pca"'],
    [TRAIN, ["--trainer", "sae", "--k", "3"], "--k"],
    [TRAIN, ["--trainer", "sae", "--tokens", "many"], '--tokens "many"'],
    [TRAIN, ["--trainer", "nfm", "--parts", "some"], '"config.parts" is "some"'],
    [EVALUATE, ["--k", "1,,2"], '--k ""'],
    [EVALUATE, ["--split", "dev"], '"split" is "dev"'],
    [MEASURE, [], "--design"],
    [MEASURE, ["--design", "../x"], '"design" is "../x"'],
    [TRAIN, ["--spec", '{"kind":"merge"}', "--seed", "1"], "Cannot combine --spec with --seed"],
    [TRAIN, ["--config", "/no/such/file"], 'Cannot read the configuration "/no/such/file"'],
  ];
  for (const [command, args, message] of wrong) {
    await assertRejects(() => readUnit(command, [...args, ...storage]), Error, message);
  }
  const { unit } = await readUnit(HARVEST, ["--merge", ...storage]);
  const spec = ["--spec", JSON.stringify(unit), ...storage];
  await assertRejects(() => readUnit(TRAIN, spec), RangeError, '"merge" by "deno task train"');
});
