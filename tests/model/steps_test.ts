import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { runAsync, runSync, type Steps } from "../../lib/model/steps.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";

/** Adds what promises give, and says that it was left. */
function* sum(left: string[], ...promises: Promise<number>[]): Steps<number> {
  let total = 0;
  try {
    for (const promise of promises) total += (yield { hook: "h", promise }) as number;
    return total;
  } finally {
    left.push("left");
  }
}

Deno.test("steps go on with what a promise resolves to", async () => {
  assertEquals(await runAsync(sum([], Promise.resolve(1), Promise.resolve(2))), 3);
  assertEquals(await runAsync(sum([])), 0);
  assertEquals(runSync(sum([])), 0);
});

Deno.test("a rejected promise is thrown inside the steps, which may handle it", async () => {
  const left: string[] = [];
  const failing = () => Promise.reject(new Error("no"));
  await assertRejects(() => runAsync(sum(left, failing())), Error, "no");
  assertEquals(left, ["left"]);
  function* handling(): Steps<string> {
    try {
      yield* sum(left, failing());
    } catch {
      return (yield { hook: "h", promise: Promise.resolve("handled") }) as string;
    }
    return "not reached";
  }
  assertEquals(await runAsync(handling()), "handled");
});

Deno.test("without waiting, a promise is refused by the name of its hook, and the steps are left", () => {
  const left: string[] = [];
  assertThrows(
    () => runSync(sum(left, Promise.resolve(1))),
    TypeError,
    'The hook at "h" returned a promise',
  );
  assertEquals(left, ["left"]);
});

Deno.test("a tensor that nobody waits for any more is disposed of", async () => {
  await openDevice();
  const before = tf.memory().numTensors;
  const late = Promise.resolve(tf.ones([2])) as unknown as Promise<number>;
  assertThrows(() => runSync(sum([], late)), TypeError);
  await late;
  await Promise.resolve();
  assertEquals(tf.memory().numTensors, before);
});
