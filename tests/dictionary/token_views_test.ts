import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type ActivationReader,
  limitTokens,
  memoryStore,
  type SplitName,
  tokenSplit,
} from "../../lib/dictionary/mod.ts";
import { configHash } from "../../lib/files/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";

const NAMES: SplitName[] = ["train", "validation", "test"];

/** Rows are [number of the token, number of its document], both counted over all splits. */
function world(sizes = [60, 10, 20]): ActivationReader {
  let next = 0;
  let document = 0;
  const part = (tokens: number) => {
    const first = document;
    const rows = Array.from(
      { length: tokens },
      (_, i) => [next++, document = first + Math.floor(i / 5)],
    );
    document++;
    return {
      rows: Float32Array.from(rows.flat()),
      document: Int32Array.from(rows, ([, d]) => d - first),
    };
  };
  const [train, validation, test] = sizes.map(part);
  return memoryStore(2, { train, validation, test }, { sizes });
}

async function tokensOf(store: ActivationReader, name: SplitName): Promise<number[]> {
  const split = store.split(name);
  const rows = await (await split.rows(0, split.tokens)).array();
  return rows.map(([token]) => token);
}

Deno.test("A limit keeps the first tokens, and an epoch of it has each of them once", async () => {
  await openDevice();
  const store = limitTokens(world(), { train: 24 });
  assertEquals(await tokensOf(store, "train"), Array.from({ length: 24 }, (_, i) => i));
  assertEquals(store.split("test").tokens, 20);
  const { document } = store.split("train");
  assertEquals([document.length, document[23]], [24, 4]);
  const seen: number[] = [];
  for (let step = 0; step < 3; step++) {
    const x = await store.split("train").shuffledBatch(step, 8, 1);
    seen.push(...(await x.array()).map(([token]) => token));
  }
  assertEquals(seen.toSorted((a, b) => a - b), Array.from({ length: 24 }, (_, i) => i));
  await assertRejects(
    async () => await store.split("train").rows(20, 5),
    RangeError,
    "the view has 24",
  );
});

Deno.test("Views are told apart from their store and from each other", () => {
  const store = world();
  const views = [
    store,
    limitTokens(store, { train: 24 }),
    limitTokens(store, { train: 25 }),
    tokenSplit(store),
    tokenSplit(store, { seed: 1 }),
  ];
  const hashes = views.map(({ manifest }) => configHash(manifest));
  assertEquals(new Set(hashes).size, views.length);
});

Deno.test("Impossible limits are refused", () => {
  for (const train of [0, 61, 1.5]) {
    assertThrows(() => limitTokens(world(), { train }), RangeError, "1…60");
  }
});

Deno.test("A token split has every token once, keeps the sizes, and shares documents", async () => {
  await openDevice();
  const store = world();
  const mixed = tokenSplit(store, { seed: 3 });
  const tokens = await Promise.all(NAMES.map((name) => tokensOf(mixed, name)));
  assertEquals(tokens.map(({ length }) => length), [60, 10, 20]);
  assertEquals(tokens.flat().toSorted((a, b) => a - b), Array.from({ length: 90 }, (_, i) => i));
  const shared = (view: ActivationReader) => {
    const train = new Set(Array.from(view.split("train").document));
    return Array.from(view.split("test").document).filter((d) => train.has(d)).length;
  };
  assert(shared(mixed) > 10, `${shared(mixed)}`);
  assertNotEquals(await tokensOf(tokenSplit(store, { seed: 4 }), "test"), tokens[2]);
});

Deno.test("A token split knows the document of every row, in any order", async () => {
  await openDevice();
  const test = tokenSplit(world(), { seed: 3 }).split("test");
  const indices = Int32Array.of(19, 0, 7, 7);
  const rows = await (await test.batch!(indices)).array();
  assertEquals(rows.map(([, document]) => document), [...indices].map((i) => test.document[i]));
});

Deno.test("A view of activations that are read in order only is refused when it is read", async () => {
  const store = world();
  const inOrder: ActivationReader = {
    ...store,
    split: (name) => ({ ...store.split(name), batch: undefined }),
  };
  await assertRejects(
    async () => await limitTokens(inOrder, { train: 4 }).split("train").shuffledBatch(0, 2, 0),
    TypeError,
    "read in order only",
  );
});
