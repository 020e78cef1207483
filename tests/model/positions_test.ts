import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { randomModel } from "../../lib/model/mod.ts";
import { atPositions, type Positions, resolvePositions } from "../../lib/model/positions.ts";
import { tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

Deno.test("positions are a number, a list in any order, or a range without its end", () => {
  const of5 = (positions: Positions) => resolvePositions(positions, 5);
  assertEquals(of5(0), [0]);
  assertEquals(of5(-1), [4]);
  assertEquals(of5([3, -5, 1]), [3, 0, 1]);
  assertEquals(of5({ start: 1, end: 3 }), [1, 2]);
  assertEquals(of5({ start: -2 }), [3, 4]);
  assertEquals(of5({ end: -1 }), [0, 1, 2, 3]);
  assertEquals(of5({}), [0, 1, 2, 3, 4]);
});

Deno.test("a position that does not exist is refused", () => {
  const refused = (positions: Positions, message: string) =>
    assertThrows(() => resolvePositions(positions, 5), RangeError, message);
  refused(5, "position 5 of a run of 5 positions: expected an integer in -5…4");
  refused(-6, "position -6");
  refused(1.5, "position 1.5");
  refused([0, 7], "position 7");
  refused([], "no positions");
  refused({ start: 3, end: 3 }, "positions 3 to 3 of 5");
  refused({ start: 4, end: -3 }, "positions 4 to -3 of 5");
  refused({ end: 6 }, "position 6");
  refused({ start: 5 }, "position 5");
});

eachBackend("rows at positions are those of the whole, in the order of the list", async () => {
  const before = tf.memory().numTensors;
  const x = tf.tensor3d(Array.from({ length: 30 }, (_, i) => i), [2, 5, 3]);
  for (const positions of [[0], [4, 0, 1, 2], [2, 2], [1, 3]]) {
    const part = atPositions(x, "blocks.0.hook_resid_post", positions);
    const all = await x.array();
    assertEquals(await part.array(), all.map((rows) => positions.map((p) => rows[p])));
    part.dispose();
  }
  x.dispose();
  assertEquals(tf.memory().numTensors, before);
});

eachBackend("a cache keeps positions of activations, and queries of patterns", async () => {
  using model = randomModel({}, 0);
  const tokens = [[1, 7, 9, 4, 5], [1, 30, 2]];
  const names = [
    ...["blocks.0.ln1.hook_scale", "blocks.0.attn.hook_q", "blocks.0.attn.hook_attn_scores"],
    ...["blocks.0.attn.hook_pattern", "blocks.0.attn.hook_result", "blocks.0.hook_resid_post"],
  ];
  const all = await model.runWithCache(tokens, { names });
  const some = await model.runWithCache(tokens, { names, positions: [-1, 2] });
  assertEquals(some.logits!.shape, [2, 5, 259]);
  for (const name of names) {
    const heads = /scores|pattern/.test(name);
    type Rows = number[][][];
    const take = (rows: Rows) => [rows[4], rows[2]];
    const whole = await all.cache.get(name).array() as Rows[];
    const expected = heads
      ? whole.map((each) => (each as unknown as Rows[]).map(take))
      : whole.map(take);
    assertEquals(await some.cache.get(name).array() as unknown, expected as unknown, name);
  }
  for (const { logits, cache } of [all, some]) {
    logits!.dispose();
    cache.dispose();
  }
});

eachBackend("positions are checked before the run", async () => {
  using model = randomModel({}, 0);
  let ran = false;
  const hooks = { hook_embed: () => void (ran = true) };
  await assertRejects(
    () => model.runWithCache([[1, 2], [1]], { positions: 2, hooks }),
    RangeError,
    "a run of 2 positions",
  );
  assertEquals(ran, false);
});
