import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  type EvaluateUnit,
  type HarvestUnit,
  type MeasureUnit,
  type MergeUnit,
  readRecord,
  runUnit,
  type StudyText,
  type TrainSaeUnit,
  type Unit,
  unitHash,
  withDependencies,
} from "../../lib/cluster/mod.ts";
import { pairedBootstrap } from "../../lib/metrics/mod.ts";
import { openStorage, type Storage } from "../../lib/storage/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { s3Test, withEnvironment } from "../storage/places.ts";
import { contentsOf, onNode, TINY_NFM, TINY_SAE, writeTinyStudy } from "./tiny_study.ts";

await openDevice();

/** Names and dictionaries, machines and a stimulus design on them. */
function chain(data: StudyText): { evaluation: EvaluateUnit; measure: MeasureUnit } {
  const { K: _, ...linear } = TINY_NFM;
  return {
    evaluation: {
      kind: "evaluate",
      ...{ data, sae: TINY_SAE, split: "test", seed: 0 },
      models: {
        linear: { trainer: "nfm", tokens: 1600, config: { ...linear, parts: "linear" } },
        both: { trainer: "nfm", tokens: 1600, config: TINY_NFM },
        all: { trainer: "nfm", config: TINY_NFM },
        second: { trainer: "secondary", config: TINY_SAE },
      },
    },
    measure: {
      kind: "measure",
      ...{ data, sae: TINY_SAE, nfm: TINY_NFM, tokens: 1600, design: "paris_folk" },
      options: { draws: 99, permutations: 9, untrained: 2 },
    },
  };
}

/** A storage whose calls are counted. */
function counted(storage: Storage): Storage & { calls: Record<string, number> } {
  const calls: Record<string, number> = {};
  return new Proxy(Object.assign(storage, { calls }), {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        calls[String(name)] = (calls[String(name)] ?? 0) + 1;
        return value.apply(target, args);
      };
    },
  });
}

Deno.test("a chain of units, from text to a design, is the same wherever and in whatever order it ran", async () => {
  await inScratch(async (folder) => {
    const data = await writeTinyStudy(folder);
    const { evaluation, measure } = chain(data);
    const units = withDependencies([evaluation, measure]);
    assertEquals(
      units.map(({ kind }) => kind).toSorted(),
      ["evaluate", "harvest", "harvest", "harvest", "measure", "merge", ...Array(5).fill("train")],
    );

    const one = openStorage(join(folder, "one"));
    await onNode(join(folder, "node"), async () => {
      for (const unit of units) await runUnit(unit, { storage: one });
    });
    // A cache for every unit, the last part first: as if each had run on a node of its own.
    const other = openStorage(join(folder, "other"));
    const [harvests, rest] = [units.slice(0, 3), units.slice(3)];
    for (const unit of [...harvests.toReversed(), ...rest]) {
      await onNode(join(folder, unitHash(unit)), () => runUnit(unit, { storage: other }));
    }
    const contents = await contentsOf(one);
    assertEquals(await contentsOf(other), contents);
    // Nothing unfinished is left.
    assertEquals(Object.keys(contents).filter((key) => /^(checkpoints|probes)/.test(key)), []);

    const { result } = (await readRecord(one, evaluation))!;
    assertEquals(result.tokens, (await readRecord(one, units[3] as MergeUnit))!.result.tokens.test);
    assert(result.l0 > 0 && result.l0 <= TINY_SAE.k!);
    const { linear, both, all, second } = result.models;
    for (const { fvu, reduction, perDocument } of [linear, both, all, second]) {
      const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
      const share = 1 - sum(perDocument.squaredError) / sum(result.sae.perDocument.squaredError);
      assert(Math.abs(reduction.estimate - share) < 1e-9);
      assert(Math.abs(sum(perDocument.squaredError) / sum(perDocument.variation) - fvu) < 1e-9);
      assertEquals(perDocument.document, result.sae.perDocument.document);
    }
    // Beside a machine without pairs of the same tokens stands one with them, and no other.
    assertEquals(both.beyondLinear, pairedBootstrap(linear.perDocument, both.perDocument));
    assertEquals([linear, all, second].map(({ beyondLinear }) => beyondLinear), [
      ...[undefined, undefined, undefined],
    ]);
    const measured = (await readRecord(one, measure))!.result;
    assertEquals([measured.design, measured.measures.length], ["paris_folk", 7]);
    assertEquals(measured.replication.permuted.length, 9);
    assert(!JSON.stringify(measured).includes(folder));

    // Done is done: nothing is written, nothing read but the record, and what a training that died
    // behind its record has left is looked for.
    const watched = counted(openStorage(join(folder, "one")));
    for (const unit of units) {
      const again = await runUnit(unit, { storage: watched });
      assertEquals(again, await readRecord(one, unit));
    }
    assertEquals(watched.calls, { stat: units.length, read: units.length, list: 5 });
  });
});

s3Test("units make the same on an object store as in a folder, shard by shard", async (bench) => {
  const { folder, place } = bench;
  const study = await writeTinyStudy(folder, 2);
  const data = { ...study, harvest: { ...study.harvest, shardTokens: 300 } };
  const units = withDependencies([{
    kind: "evaluate",
    ...{ data, sae: TINY_SAE, window: 2, split: "test", seed: 0 },
    models: { both: { trainer: "nfm", tokens: 1600, config: TINY_NFM } },
  }]);
  // Without the proxy: this process cannot serve while it waits for a shard.
  await withEnvironment({ ...bench.env, AWS_ENDPOINT_URL_S3: bench.server }, async () => {
    const [shared, bucket] = [openStorage(join(folder, "shared")), openStorage(place)];
    for (const storage of [shared, bucket]) {
      for (const unit of units) {
        await onNode(join(folder, storage.url.slice(0, 2)), () => runUnit(unit, { storage }));
      }
    }
    assertEquals(await contentsOf(bucket), await contentsOf(shared));
  });
});

Deno.test("text that streams is harvested in parts, too", async () => {
  await inScratch(async (folder) => {
    const data: StudyText = { ...await writeTinyStudy(folder, 2), stream: true };
    const storage = openStorage(join(folder, "storage"));
    for (const unit of withDependencies([{ kind: "merge", data }])) {
      await onNode(join(folder, "node"), () => runUnit(unit, { storage }));
    }
    const { tokens } = (await readRecord(storage, { kind: "merge", data }))!.result;
    assertEquals(tokens, data.harvest.tokens as typeof tokens);
  });
});

Deno.test("a unit that lacks what it needs says what, before anything is loaded", async () => {
  await inScratch(async (folder) => {
    // There is no such model: whoever loads it says so.
    const data: StudyText = {
      ...{ model: join(folder, "nothing"), text: "brown", seed: 0, shards: 3 },
      harvest: {
        hook: "blocks.0.hook_resid_post",
        tokens: { train: 1600, validation: 9, test: 9 },
      },
    };
    const storage = openStorage(join(folder, "storage"));
    const { evaluation, measure } = chain(data);
    const run = (unit: Unit) => onNode(folder, () => runUnit(unit, { storage }));
    await assertRejects(
      () => run({ kind: "merge", data }),
      Error,
      'Cannot run "merge 3": it needs "harvest 1/3" and 2 more',
    );
    const sae: TrainSaeUnit = { kind: "train", trainer: "sae", data, config: TINY_SAE };
    await assertRejects(() => run(sae), Error, 'it needs "merge 3", not done in "file://');
    await assertRejects(() => run(evaluation), Error, 'it needs "merge 3" and 5 more');
    await assertRejects(() => run(measure), Error, 'it needs "merge 3" and 2 more');
    await assertRejects(() => run({ ...measure, design: "nowhere" }), Error, "nowhere.csv");
    await assertRejects(() => run({ kind: "harvest", data, shard: 0 }), Error, "nothing");
    await assertRejects(
      () => run({ kind: "harvest", data, shard: 3 } as HarvestUnit),
      RangeError,
      '"shard" is 3',
    );
  });
});

Deno.test("a storage that takes nothing is found out before the model is loaded", async () => {
  await inScratch(async (folder) => {
    const data = { ...await writeTinyStudy(folder), model: join(folder, "nothing") };
    await Deno.writeTextFile(join(folder, "file"), "no folder");
    const storage = openStorage(join(folder, "file"));
    const error = await assertRejects(
      () => runUnit({ kind: "harvest", data, shard: 0 }, { storage }),
      Error,
    );
    assert(error.message.includes(join(folder, "file")), error.message);
  });
});

Deno.test("a record that is none of the unit's is not taken for it", async () => {
  await inScratch(async (folder) => {
    const data = await writeTinyStudy(folder);
    const unit: HarvestUnit = { kind: "harvest", data, shard: 0 };
    const storage = openStorage(join(folder, "storage"));
    for (const content of ["", "{}", '{"hash": "0123456789abcdef", "result": {}}', "null"]) {
      await storage.write(`units/${unitHash(unit)}.json`, content);
      await assertRejects(() => runUnit(unit, { storage }), Error, 'no record of "harvest 1/3"');
    }
    // A key that would lead out of the cache is none of ours.
    const merge: MergeUnit = { kind: "merge", data };
    const sae: TrainSaeUnit = { kind: "train", trainer: "sae", data, config: TINY_SAE };
    for (const artefact of ["../../etc", "/etc/passwd", "sae/../..", "sae/xyz", 7]) {
      const record = { hash: unitHash(merge), result: { artefact } };
      await storage.write(`units/${unitHash(merge)}.json`, JSON.stringify(record));
      await assertRejects(
        () => onNode(folder, () => runUnit(sae, { storage })),
        RangeError,
        "Cannot use the artefact",
      );
    }
  });
});
