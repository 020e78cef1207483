import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openDevice, Rng } from "../../lib/tensor/mod.ts";
import type { Document } from "../../lib/corpus/mod.ts";
import {
  type ActivationStore,
  harvest,
  harvestHooks,
  type HarvestOptions,
  type HarvestSettings,
} from "../../lib/activations/mod.ts";
import { type ActivationReader, pairReader } from "../../lib/dictionary/mod.ts";
import { inScratch, namesBelow } from "../files/scratch.ts";
import { activationAt, fakeSource, HOOK, OTHER, quietly } from "./fake_source.ts";
import { streamedTexts } from "./streamed_texts.ts";

await openDevice();

const settings = {
  contextLength: 8,
  tokens: { train: 1500, validation: 100, test: 50 },
  batchSize: 4,
  maxNormRatio: null,
  normalizer: { clipSigma: null, scale: false },
} satisfies HarvestSettings;
const options = { ...settings, hook: HOOK } satisfies HarvestOptions;
const names = ["train", "validation", "test"] as const;

async function rowsOf(store: ActivationStore, name: typeof names[number]): Promise<Float32Array> {
  const split = store.split(name);
  const x = split.rows(0, split.tokens);
  const values = await x.data<"float32">();
  x.dispose();
  return values;
}

Deno.test("documents that stream are stored as they are, each in one split, as many as asked for", () =>
  inScratch(async (dir) => {
    const texts = new Map<string, string>();
    const documents = streamedTexts(({ id, text }) => texts.set(id, text));
    const store = await quietly(() => harvest(fakeSource(2), documents, { ...options, dir }));
    const seen = new Set<string>();
    for (const name of names) {
      const split = store.split(name);
      assertEquals(split.tokens, settings.tokens[name]);
      const values = await rowsOf(store, name);
      const stored = new Map<string, string>();
      for (let t = 0; t < split.tokens; t++) {
        assertEquals(values[2 * t], activationAt(split.tokenIds[t], split.positions[t], 0));
        const id = split.documents[split.document[t]];
        stored.set(id, (stored.get(id) ?? "") + String.fromCharCode(96 + split.tokenIds[t]));
      }
      assertEquals([...stored.keys()].sort(), [...split.documents].sort());
      let cut = 0;
      for (const [id, letters] of stored) {
        assert(!seen.has(id), `${id} is in one split`);
        seen.add(id);
        const sorted = (text: string) => [...text].sort().join("");
        if (sorted(letters) !== sorted(texts.get(id)!)) cut++;
      }
      assert(cut <= 1, "only the last document of a split is cut");
    }
    // Reading ended when all splits had enough.
    assert(texts.size < 300, `${texts.size} documents were read`);
  }));

Deno.test("few documents are held, whatever the length of the source", () =>
  inScratch(async (dir) => {
    // How far reading is ahead of the last run of the model, in letters.
    let [read, most] = [0, 0];
    const documents = streamedTexts(({ text }) => most = Math.max(most, read += text.length));
    const model = fakeSource(2, { afterRun: () => read = 0 });
    await quietly(() => harvest(model, documents, { ...options, batchSize: 1, dir }));
    assert(model.runs.length > 200 && most < 300, `${most} letters in ${model.runs.length} runs`);
  }));

Deno.test("a source with too few tokens is refused with what it has, all of it can be taken", () =>
  inScratch(async (dir) => {
    const tokens = { train: "all", validation: 100, test: 100_000 } as const;
    await assertRejects(
      () => quietly(() => harvest(fakeSource(2), streamedTexts(), { ...options, tokens, dir })),
      RangeError,
      'Cannot harvest 100000 tokens of "test": the 300 documents of the source have',
    );
    const all = { train: "all", validation: "all", test: "all" } as const;
    let letters = 0;
    const documents = streamedTexts(({ text }) => letters += text.length);
    const store = await quietly(() =>
      harvest(fakeSource(2), documents, { ...options, tokens: all, dir })
    );
    assertEquals(names.reduce((sum, name) => sum + store.split(name).tokens, 0), letters);
  }));

Deno.test("streamed documents without a name, with bad shares or equal ids are refused", () =>
  inScratch(async (dir) => {
    const documents = streamedTexts();
    const twice = {
      ...documents,
      source: {
        async *[Symbol.asyncIterator](): AsyncGenerator<Document> {
          yield* documents.source;
          yield* documents.source;
        },
      },
    };
    const all = { train: "all", validation: "all", test: "all" } as const;
    const run = (changed: typeof documents) => () =>
      quietly(() => harvest(fakeSource(2), changed, { ...options, tokens: all, dir }));
    await assertRejects(run({ ...documents, name: "" }), RangeError, "have no name");
    const shares = { train: 0.8, validation: 0.1, test: 0.2 };
    await assertRejects(run({ ...documents, shares }), RangeError, "test 0.2");
    await assertRejects(run(twice), RangeError, 'two documents with the id "text/0"');
  }));

Deno.test("one run of the model fills a store for each hook point, with the same tokens", () =>
  inScratch(async (dir) => {
    // "t" is a sink at one of them: it is left out at both.
    const at = (token: number, position: number, j: number) =>
      token === 20 ? 300 : activationAt(token, position, j);
    const model = fakeSource(2, { at });
    const stores = await quietly(() =>
      harvestHooks(model, streamedTexts(), {
        ...settings,
        maxNormRatio: 5,
        hooks: [OTHER, HOOK],
        dir,
      })
    );
    assert(
      model.runs.every(({ names, stopAtLayer }) =>
        `${names}` === `${OTHER},${HOOK}` && stopAtLayer === 4
      ),
    );
    const [a, b] = [stores[OTHER], stores[HOOK]];
    assertEquals([a.dModel, b.dModel, a.hook, b.hook], [4, 2, OTHER, HOOK]);
    for (const name of names) {
      const [left, right] = [a.split(name), b.split(name)];
      assertEquals(left.tokenIds, right.tokenIds);
      assertEquals(left.document, right.document);
      assertEquals(left.positions, right.positions);
      assert(!left.tokenIds.includes(20));
      assertEquals(a.manifest.splits[name].sinks, b.manifest.splits[name].sinks);
      const [wide, values] = [await rowsOf(a, name), await rowsOf(b, name)];
      assertEquals(wide.filter((_, i) => i % 2 === 0), values.map((value) => -value));
    }
    assert(a.manifest.splits.train.sinks > 0);
    assertEquals(pairReader(a, b).target, b);
    // Another seed has as many tokens of as many documents, but not the same ones.
    const other = await quietly(() =>
      harvest(fakeSource(2, { at }), streamedTexts(), {
        ...options,
        tokens: { ...settings.tokens, train: b.split("train").tokens },
        seed: 1,
        dir,
      })
    );
    assertThrows(() => pairReader(a, other), RangeError, "Cannot pair two stores");
    // Nor do ids that differ go together where documents agree.
    const changed = (store: ActivationStore): ActivationReader => ({
      dModel: store.dModel,
      manifest: {},
      split: (name) => {
        const { tokens, document, tokenIds } = store.split(name);
        const ids = tokenIds.with(3, 27);
        const read = () => Promise.reject(new Error("nothing is read"));
        return { tokens, document, tokenIds: ids, rows: read, shuffledBatch: read };
      },
    });
    const { tokenIds } = a.split("train");
    assertThrows(
      () => pairReader(a, changed(b)),
      RangeError,
      `train splits have token 3 with id ${tokenIds[3]} and 27`,
    );
  }));

Deno.test("float16 stores the nearest of its numbers and refuses what is beyond them", () =>
  inScratch(async (dir) => {
    const rng = new Rng(3);
    const noise = rng.normals(27 * 8 * 2, 100);
    const at = (token: number, position: number, j: number) =>
      noise[(token * 8 + position) * 2 + j];
    const run = (dtype: "float16" | "float32") =>
      quietly(() => harvest(fakeSource(2, { at }), streamedTexts(), { ...options, dtype, dir }));
    const [half, single] = [await run("float16"), await run("float32")];
    assertEquals(half.manifest.dtype, "float16");
    for (const name of names) {
      const [rounded, exact] = [await rowsOf(half, name), await rowsOf(single, name)];
      assertEquals(rounded, Float32Array.from(Float16Array.from(exact)));
      assert(exact.every((x, i) => Math.abs(rounded[i] - x) <= Math.abs(x) * 2 ** -11));
    }
    const bytes = async (store: ActivationStore) =>
      (await Deno.stat(`${store.dir}/train-00000.safetensors`)).size;
    assert(await bytes(half) < await bytes(single));

    const large = fakeSource(2, { hash: "large", at: (_, position) => position === 3 ? 65505 : 1 });
    await assertRejects(
      () => quietly(() => harvest(large, streamedTexts(), { ...options, dtype: "float16", dir })),
      Error,
      `position 3 of the sequence that starts at its token 0, is 65505 in dimension 0: nothing was ` +
        `stored. float16 ends at 65504, so harvest with dtype "float32"`,
    );
    assert(!namesBelow(dir).some((name) => name.startsWith("unfinished")));
  }));

Deno.test({
  name: "a harvest that is killed again and again ends with the bytes of one that was not",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inScratch(async (dir) => {
      const probe = new URL("./kill_probe.ts", import.meta.url).pathname;
      const run = async (dir: string, slowness: number, killAt?: number) => {
        const process = new Deno.Command(Deno.execPath(), {
          args: ["run", "-A", "--no-check", probe, dir, `${slowness}`],
          stdout: "piped",
          stderr: "null",
        }).spawn();
        let runs = 0;
        for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
          const seen = text.split("\n").filter((line) => /^\d+$/.test(line)).map(Number);
          runs = Math.max(runs, ...seen);
          if (killAt !== undefined && runs >= killAt) process.kill("SIGKILL");
        }
        const { code, signal } = await process.status;
        assert(signal === "SIGKILL" || code === 0, `The probe ended with code ${code}`);
        return runs;
      };
      const whole = await run(`${dir}/whole`, 0);
      const rng = new Rng(9);
      let ran = 0;
      for (let k = 0; k < 4; k++) {
        ran += await run(`${dir}/killed`, 2, 1 + rng.integer(Math.floor(whole / 4)));
      }
      const last = await run(`${dir}/killed`, 0);
      assert(last < whole && ran + last >= whole, `${last} of ${whole} runs after ${ran}`);

      const contents = async (dir: string) => {
        const names = namesBelow(dir).filter((name) => /\.(json|safetensors)$/.test(name));
        const entries = names.filter((name) => !name.endsWith("artefact.json"))
          .map(async (name) => [name, await Deno.readFile(`${dir}/${name}`)] as const);
        return Object.fromEntries(await Promise.all(entries));
      };
      const files = await contents(`${dir}/whole`);
      assert(Object.keys(files).length > 70, "there are many shards");
      assertEquals(await contents(`${dir}/killed`), files);
      assertEquals(namesBelow(`${dir}/killed`), namesBelow(`${dir}/whole`));
    }),
});
