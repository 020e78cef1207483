import { assertEquals } from "@std/assert";
import type { ModelConfig } from "../../lib/model/mod.ts";
import { HookTable } from "../../lib/model/hooks.ts";
import { forward, KvCache } from "../../lib/model/llama.ts";
import { hookNames } from "../../lib/model/names.ts";
import { Rope } from "../../lib/model/rope.ts";
import { runAsync } from "../../lib/model/steps.ts";
import { canRunGraphs } from "../../lib/tensor/graph.ts";
import { tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "./close.ts";
import { plainWeights, tinyConfig, toLlamaWeights } from "./reference.ts";

const VARIANTS: [string, Partial<ModelConfig>, boolean][] = [
  ["grouped queries", {}, false],
  ["one key head for all", { nKvHeads: 1 }, false],
  ["as many key heads as query heads", { nKvHeads: 4 }, false],
  ["biases and a sliding window", { slidingWindow: 3 }, true],
];

for (const [what, overrides, biases] of VARIANTS) {
  eachBackend(
    `a run that nothing waits inside gives what one op after the other gives: ${what}`,
    async () => {
      const cfg = tinyConfig(overrides);
      const weights = toLlamaWeights(plainWeights(cfg, 0, { biases }), cfg.tied);
      using rope = new Rope(cfg);
      const before = tf.memory().numTensors;
      // A prompt of two sequences, more of it, and single tokens beyond the window.
      const pieces = [[[1, 5, 9, 14], [8, 3, 3, 0]], [[22, 3], [7, 11]], [[2], [4]], [[6], [6]]];

      /** Logits of every piece, each going on from those before it; and whether graphs ran. */
      const run = async (waiting: string[]) => {
        const all: Float32Array[] = [];
        const { kernelNames } = await tf.profile(async () => {
          using past = new KvCache();
          const reached = hookNames(cfg);
          for (const piece of pieces) {
            const hooks = new HookTable({
              hooks: Object.fromEntries(waiting.map((name) => [name, () => {}])),
              reached,
              tokens: piece,
            });
            const tokens = tf.tensor2d(piece, undefined, "int32");
            const logits = await runAsync(
              forward(tokens, { cfg, weights, rope }, { hooks, past }),
            );
            all.push(await logits!.data<"float32">());
            tf.dispose([tokens, logits!]);
          }
          return [];
        });
        return { all, byGraph: !kernelNames.includes("Softmax") };
      };

      const plain = await run(hookNames(cfg).filter((name) => name.endsWith("hook_mlp_out")));
      assertEquals(plain.byGraph, false);
      // Three blocks in one graph, one and two, two and one.
      for (const waiting of [[], ["blocks.0.hook_resid_post"], ["blocks.2.hook_resid_pre"]]) {
        const fast = await run(waiting);
        assertEquals(fast.byGraph, canRunGraphs());
        pieces.forEach((_, i) => assertClose(fast.all[i], plain.all[i], `piece ${i}, ${waiting}`));
      }
      assertEquals(tf.memory().numTensors, before);
    },
  );
}
