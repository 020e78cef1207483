import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { writeSafetensors } from "../../lib/files/mod.ts";
import { loadModel } from "../../lib/model/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { tokenizerFiles } from "./checkpoint.ts";
import fixture from "../fixtures/variants.json" with { type: "json" };

/** What the reference implementation and this one may differ by, relative to the block's RMS. */
const TOLERANCE = 2e-4;

/** The weights of the fixture: see its script. */
function weights(shapes: Record<string, number[]>) {
  return Object.fromEntries(
    Object.keys(shapes).sort().map((name, place) => {
      const [scale, offset] = name.endsWith("norm.weight") ? [0.25, 1] : [0.5, 0];
      const data = new Float32Array(shapes[name].reduce((a, b) => a * b, 1));
      let state = place;
      for (let i = 0; i < data.length; i++) {
        state = (Math.imul(1664525, state) + 1013904223) >>> 0;
        data[i] = (state / 2 ** 31 - 1) * scale + offset;
      }
      return [name, { dtype: "F32" as const, shape: shapes[name], data }];
    }),
  );
}

function assertNear(found: Float32Array, expected: number[], what: string): void {
  assertEquals(found.length, expected.length);
  const rms = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / expected.length);
  const worst = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - found[i])), 0);
  assert(worst <= TOLERANCE * rms, `${what} differs by ${worst}, with an RMS of ${rms}`);
}

for (const { title, config, shapes, hidden, logits } of fixture.variants) {
  Deno.test(`${title}: every block and the logits are those of the reference`, () =>
    inScratch(async (folder) => {
      await openDevice();
      await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(config));
      await tokenizerFiles(folder);
      await writeSafetensors(
        join(folder, "model.safetensors"),
        weights(shapes as unknown as Record<string, number[]>),
      );
      using model = await loadModel(folder);
      const last = model.cfg.nLayers - 1;
      const { logits: found, cache } = await model.runWithCache([fixture.tokens], {
        names: /^hook_embed$|hook_resid_post$/,
      });
      using _ = cache;
      assertNear(await cache.get("hook_embed").data<"float32">(), hidden[0], "the embedding");
      for (let l = 0; l <= last; l++) {
        const values = await cache.get(`blocks.${l}.hook_resid_post`).data<"float32">();
        assertNear(values, hidden[l + 1], `block ${l}`);
      }
      const all = await found!.data<"float32">();
      assertNear(all.slice(-logits.length), logits, "the logits");
      found!.dispose();
    }));
}
