import { assertEquals, assertRejects } from "@std/assert";
import { openWeights } from "../../lib/weights/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { assertRecorded, recorded, recordedPath } from "./recorded.ts";

Deno.test("a folder with one safetensors file is read exactly, in every float type", async () => {
  using weights = await openWeights(recordedPath("safetensors"));
  assertEquals(weights.path, recordedPath("safetensors/model.safetensors"));
  assertEquals(weights.files, [weights.path]);
  assertEquals(
    weights.names().sort(),
    [...Object.keys(recorded("safetensors")), "double", "position_ids"].sort(),
  );
  await assertRecorded(weights, "safetensors");
});

Deno.test("safetensors shards are read as one", async () => {
  using weights = await openWeights(recordedPath("safetensors_shards"));
  assertEquals(weights.names().sort(), Object.keys(recorded("safetensors_shards")).sort());
  assertEquals(
    weights.files,
    [1, 2].map((i) => recordedPath(`safetensors_shards/model-0000${i}-of-00002.safetensors`)),
  );
  await assertRecorded(weights, "safetensors_shards");
});

Deno.test("a tensor that is absent, of another shape, or no float is refused by name", async () => {
  using weights = await openWeights(recordedPath("safetensors"));
  assertEquals(weights.has("scalar"), true);
  assertEquals(weights.has("toString"), false);
  const refused: [() => Promise<unknown>, string][] = [
    [() => weights.read("toString", []), 'Cannot read "toString"'],
    [() => weights.read("float32.matrix", [7, 5]), "its shape is [5,7], expected [7,5]"],
    [
      () => weights.read("position_ids", [6]),
      "its number format is I64, expected F32, F16 or BF16",
    ],
    [() => weights.read("double", [2]), 'Cannot read "double"'],
    [() => weights.readRows("cube", 0, 1), "expected [rows, columns]"],
    [() => weights.readRows("float32.matrix", 4, 2), "it has 5 rows"],
    [() => weights.readRows("float32.matrix", -1, 1), "it has 5 rows"],
    [() => weights.readRows("float32.matrix", 0.5, 1), "it has 5 rows"],
  ];
  for (const [read, message] of refused) await assertRejects(read, Error, message);
});

Deno.test("reads that are asked for at once do not mix", async () => {
  using weights = await openWeights(recordedPath("safetensors"));
  await Promise.all(Array.from({ length: 20 }, () => assertRecorded(weights, "safetensors")));
});

Deno.test("a folder without weights is refused, saying what it holds", () =>
  inScratch(async (folder) => {
    await assertRejects(() => openWeights(folder), Error, "it holds nothing");
    await Deno.writeTextFile(`${folder}/config.json`, "{}");
    await assertRejects(() => openWeights(folder), Error, 'it holds "config.json"');
    await assertRejects(() => openWeights(`${folder}/none`), Error, "there is no such folder");
    await assertRejects(() => openWeights(`${folder}/config.json`), Error, "no such folder");
  }));

/** A folder with the two recorded shards `a` and `b`, and an index that `change` has changed. */
async function withIndex(
  change: (weightMap: Record<string, unknown>) => unknown,
  use: (folder: string) => Promise<void>,
): Promise<void> {
  await inScratch(async (folder) => {
    const from = recordedPath("safetensors_shards");
    const weightMap: Record<string, unknown> = {};
    for (const [i, name] of ["a", "b"].entries()) {
      const shard = `model-0000${i + 1}-of-00002.safetensors`;
      await Deno.copyFile(`${from}/${shard}`, `${folder}/${name}`);
      const index = JSON.parse(await Deno.readTextFile(`${from}/model.safetensors.index.json`));
      for (const [tensor, file] of Object.entries(index.weight_map)) {
        if (file === shard) weightMap[tensor] = name;
      }
    }
    const json = change(weightMap) ?? { weight_map: weightMap };
    await Deno.writeTextFile(
      `${folder}/model.safetensors.index.json`,
      typeof json === "string" ? json : JSON.stringify(json),
    );
    await use(folder);
  });
}

Deno.test("an index that does not agree with its files is refused, naming the tensor", async () => {
  const cases: [(weightMap: Record<string, unknown>) => unknown, string][] = [
    [(map) => void (map.other = "a"), '"other" lies in "a", which does not hold it'],
    [(map) => void delete map.scalar, '"scalar", which by the index lies in no file'],
    [(map) => void (map.scalar = map.scalar === "a" ? "b" : "a"), "which by the index lies in"],
    [(map) => void (map.scalar = "c"), '/c": there is no such file'],
  ];
  for (const [change, message] of cases) {
    await withIndex(change, async (folder) => {
      await assertRejects(() => openWeights(folder), Error, message);
    });
  }
});

Deno.test("an index that names a file outside its folder is refused", async () => {
  const names = ["../b", "/etc/passwd", "x/b", "x\\b", "C:b", "", ".", "..", "b\0", 7, null, ["b"]];
  for (const name of names) {
    await withIndex((map) => void (map.scalar = name), async (folder) => {
      await assertRejects(() => openWeights(folder), Error, 'the tensor "scalar" lies in');
    });
  }
});

Deno.test("a file that is no index is refused, naming the field", async () => {
  const cases: [string, string][] = [
    ["{", "it is not JSON"],
    ["null", '"weight_map" must be an object'],
    ['{"weight_map": ["a"]}', '"weight_map" must be an object'],
    ['{"weight_map": {"x": "a", "\\u0078": "b"}}', 'the field "x" twice'],
  ];
  for (const [json, message] of cases) {
    await withIndex(() => json, async (folder) => {
      await assertRejects(() => openWeights(folder), Error, message);
    });
  }
});

Deno.test("shards that are links, as in a hub's cache, are followed", () =>
  withIndex(() => {}, async (folder) => {
    await Deno.mkdir(`${folder}/snapshot`);
    for (const name of ["a", "b", "model.safetensors.index.json"]) {
      await Deno.symlink(`${folder}/${name}`, `${folder}/snapshot/${name}`);
    }
    using weights = await openWeights(`${folder}/snapshot`);
    await assertRecorded(weights, "safetensors_shards");
  }));

Deno.test("a folder where a file should be is refused", () =>
  inScratch(async (folder) => {
    await Deno.mkdir(`${folder}/model.safetensors`);
    await assertRejects(() => openWeights(folder), Error, "it is not a file");
  }));

Deno.test("a file that is cut while it is open is refused at the byte where it ends", () =>
  inScratch(async (folder) => {
    await Deno.copyFile(
      recordedPath("safetensors/model.safetensors"),
      `${folder}/model.safetensors`,
    );
    using weights = await openWeights(folder);
    await Deno.truncate(`${folder}/model.safetensors`, 8);
    await assertRejects(() => weights.read("cube", [2, 3, 4]), Error, "ends at byte");
  }));
