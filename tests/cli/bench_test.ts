import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { parseBench } from "../../lib/cli/bench.ts";
import { inTurn, peakMemory, spread } from "../../lib/cli/bench/measure.ts";
import { Peer, PEERS_PYTHON } from "../../lib/cli/bench/peer.ts";

Deno.test("the bench measures the sections that are named, in their own order", () => {
  assertEquals(parseBench(["sae", "adam"]).sections, ["adam", "sae"]);
  assertEquals(parseBench(["--backend", "wasm"]).backend, "wasm");
  assertThrows(() => parseBench(["gpt"]), RangeError, "adam, sparse, sae, nfm, store, model");
});

Deno.test("the spread of times is their median, and the least and the greatest", () => {
  assertEquals(spread([30, 4, 100, 20]), { median: 30, range: [4, 100] });
});

Deno.test("two programs are measured in turn and compared pair by pair, but for the first pair", async () => {
  const order: string[] = [];
  const [ours, theirs] = [[999, 10, 40, 20], [1, 30, 40, 10]];
  const row = await inTurn("work", () => {
    order.push("ours");
    return Promise.resolve(ours.shift()!);
  }, {
    name: "another",
    run: () => {
      order.push("theirs");
      return Promise.resolve(theirs.shift()!);
    },
  }, { repetitions: 3, rate: (ms) => `${ms}` });
  assertEquals(order, Array(4).fill(["ours", "theirs"]).flat());
  assertEquals(row.ms, { median: 20, range: [10, 40] });
  // 30/10, 40/40, 10/20: not the ratio of the medians.
  assertEquals(row.peer?.ratio, { median: 1, range: [0.5, 3] });
});

Deno.test({
  name: "the peak of memory is at least what is held now",
  ignore: Deno.build.os !== "linux",
  fn: async () => assert((await peakMemory())! >= 0.5 * Deno.memoryUsage().rss),
});

Deno.test("an interpreter that ends is named by what it was asked", async () => {
  const before = Deno.env.get(PEERS_PYTHON);
  try {
    Deno.env.delete(PEERS_PYTHON);
    assertEquals(Peer.start("sae"), undefined);
    // Any program that ends without an answer.
    Deno.env.set(PEERS_PYTHON, Deno.build.os === "windows" ? "hostname" : "true");
    await using peer = Peer.start("model")!;
    await assertRejects(() => peer.ask("load"), Error);
  } finally {
    before === undefined ? Deno.env.delete(PEERS_PYTHON) : Deno.env.set(PEERS_PYTHON, before);
  }
});
