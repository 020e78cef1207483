import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { withAttachments } from "../../lib/model/attachment.ts";
import {
  type Attachment,
  type AttachmentRun,
  type Model,
  randomModel,
} from "../../lib/model/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";

const HOOK = "blocks.0.hook_resid_post";
const TOKENS = [[1, 7, 9, 4], [1, 30, 2]];

/** Multiplies, passing by one point. */
function times(factor: number, point: string, hook = HOOK): Attachment {
  return {
    hook,
    points: [point],
    *run(x, { own, at }) {
      return yield* at(point, own(() => tf.mul(x, factor)));
    },
  };
}

function attachTest(name: string, fn: (model: Model) => Promise<void>): void {
  Deno.test(name, async () => {
    await openDevice();
    const model = randomModel({}, 0);
    const before = tf.memory().numTensors;
    await fn(model);
    assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
    model.dispose();
  });
}

/** What the next block sees, over what the model gave: one number if all are the same. */
async function factorOf(model: Model, attach: Attachment[]): Promise<number> {
  const next = HOOK.replace("0.hook_resid_post", "1.hook_resid_pre");
  const { cache, logits } = await model.runWithCache(TOKENS, { attach, names: [HOOK, next] });
  const [x, y] = [await cache.get(HOOK).data(), await cache.get(next).data()];
  logits!.dispose();
  cache.dispose();
  const factor = y[0] / x[0];
  assertEquals(
    [...y].map((value, i) => Math.abs(value - factor * x[i]) < 1e-4),
    Array(y.length).fill(true),
  );
  return factor;
}

attachTest(
  "what an attachment returns flows on, and the cache has what came before",
  async (model) => {
    assertEquals(await factorOf(model, [times(2, "hook_a")]), 2);
  },
);

attachTest(
  "several attachments at a hook run in order, each on what the one before returned",
  async (model) => {
    const seen: string[] = [];
    const say = (word: string, factor: number): Attachment => ({
      ...times(factor, word),
      *run(x, run) {
        seen.push(word);
        return yield* times(factor, word).run(x, run);
      },
    });
    assertEquals(await factorOf(model, [say("hook_a", 2), say("hook_b", 4)]), 8);
    assertEquals(seen, ["hook_a", "hook_b"]);
  },
);

attachTest("one may be attached to a point of another", async (model) => {
  const inner = times(4, "hook_b", `${HOOK}.hook_a`);
  assertEquals(await factorOf(model, [inner, times(2, "hook_a")]), 8);
  assertEquals(withAttachments([HOOK, "z"], [inner, times(2, "hook_a")]), [
    HOOK,
    `${HOOK}.hook_a`,
    `${HOOK}.hook_a.hook_b`,
    "z",
  ]);
});

attachTest(
  "an attachment may return what it was given, or what belongs to others",
  async (model) => {
    const mine = tf.ones<tf.Rank.R3>([2, 4, 16]);
    const returning = (what: (x: tf.Tensor, run: AttachmentRun) => tf.Tensor): Attachment => ({
      hook: HOOK,
      points: [],
      // deno-lint-ignore require-yield
      *run(x, run) {
        return what(x, run);
      },
    });
    assertEquals(await factorOf(model, [returning((x) => x)]), 1);
    assertEquals(await factorOf(model, [returning((x, { own }) => own(() => x))]), 1);
    (await model.runWithHooks(TOKENS, { attach: [returning(() => mine)] }))!.dispose();
    (await model.runWithHooks(TOKENS, { attach: [returning((_, { own }) => own(() => mine))] }))!
      .dispose();
    assertEquals(mine.isDisposed, false);
    mine.dispose();
  },
);

attachTest(
  "an attachment is told the tokens of the run, one at a time while writing",
  async (model) => {
    const told: number[][][] = [];
    const listen: Attachment = {
      hook: HOOK,
      points: [],
      // deno-lint-ignore require-yield
      *run(x, { tokens }) {
        told.push(tokens.map((ids) => Array.from(ids)));
        return x;
      },
    };
    (await model.runWithHooks(TOKENS, { attach: [listen] }))!.dispose();
    assertEquals(told.splice(0), [TOKENS]);
    await model.generate("ab", { maxNewTokens: 3, attach: [listen] });
    assertEquals(told[0], model.toTokens("ab"));
    assertEquals(told.slice(1).map((tokens) => [tokens.length, tokens[0].length]), [[1, 1], [
      1,
      1,
    ]]);
  },
);

attachTest("another shape is refused by name, and nothing is left behind", async (model) => {
  const cut: Attachment = {
    hook: HOOK,
    points: ["hook_a"],
    *run(x, { own, at }) {
      return yield* at("hook_a", own(() => tf.slice(x, 0, 1)));
    },
  };
  await assertRejects(
    () => model.runWithHooks(TOKENS, { attach: [cut] }),
    RangeError,
    `What is attached to "${HOOK}" returned float32 of shape [1,4,16]: expected float32 of shape [2,4,16]`,
  );
});

attachTest("two points of one name, and a hook that is not reached, are refused", async (model) => {
  assertThrows(
    () => withAttachments([HOOK], [times(2, "hook_a"), times(3, "hook_a")]),
    RangeError,
    `two things with the point "${HOOK}.hook_a"`,
  );
  await assertRejects(
    () => model.runWithHooks(TOKENS, { attach: [times(2, "hook_a")], stopAtLayer: 0 }),
    RangeError,
    "is not reached",
  );
  await assertRejects(
    () => model.runWithHooks(TOKENS, { hooks: { [`${HOOK}.hook_a`]: () => {} } }),
    RangeError,
    `No hook point "${HOOK}.hook_a"`,
  );
});
