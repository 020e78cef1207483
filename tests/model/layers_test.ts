import { assertAlmostEquals, assertEquals } from "@std/assert";
import { causalMask, MASKED } from "../../lib/model/attention.ts";
import { swiGlu } from "../../lib/model/mlp.ts";
import { rmsScale } from "../../lib/model/norm.ts";
import { Rope, type RopeTables, rotate } from "../../lib/model/rope.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "./close.ts";
import { dot, rope } from "./reference.ts";

function ropeTables(pos: number, dHead: number, ropeTheta: number): RopeTables {
  using rope = new Rope({ dHead, ropeTheta, contextLength: pos });
  return rope.tables(0, pos);
}

async function valuesOf(compute: () => tf.Tensor): Promise<number[]> {
  const t = tf.tidy(compute);
  const values = [...await t.data<"float32">()];
  t.dispose();
  return values;
}

eachBackend("RMSNorm divides by the root of the mean square plus epsilon", async () => {
  const scale = await valuesOf(() => rmsScale(tf.tensor3d([[[3, -4, 0, 12], [0, 0, 0, 0]]]), 1e-4));
  // 3² + 4² + 12² = 169 over 4; a vector of zeros is held by epsilon alone.
  assertClose(scale, [Math.sqrt(169 / 4 + 1e-4), 0.01]);
});

eachBackend("RoPE turns every pair by its own angle", async () => {
  const [batch, heads, pos, dHead, theta] = [2, 3, 5, 8, 100];
  const x = [...new Rng(0).normals(batch * heads * pos * dHead, 1)];
  const ours = await valuesOf(() =>
    rotate(tf.tensor4d(x, [batch, heads, pos, dHead]), ropeTables(pos, dHead, theta))
  );
  const exact = Array.from(
    { length: batch * heads * pos },
    (_, i) => rope(x.slice(i * dHead, (i + 1) * dHead), i % pos, theta),
  ).flat();
  assertClose(ours, exact);
});

Deno.test("RoPE is a rotation: position 0 stays, and lengths are kept", async () => {
  await openDevice();
  const x = [...new Rng(1).normals(3 * 6, 1)];
  const turned = await valuesOf(() => rotate(tf.tensor4d(x, [1, 1, 3, 6]), ropeTables(3, 6, 50)));
  assertEquals(turned.slice(0, 6), x.slice(0, 6));
  const row = (of: number[], p: number) => of.slice(6 * p, 6 * (p + 1));
  for (const p of [1, 2]) {
    const length = dot(row(x, p), row(x, p));
    assertAlmostEquals(dot(row(turned, p), row(turned, p)), length, 1e-6 * length);
  }
});

Deno.test("RoPE makes a score depend on the distance of two positions alone", async () => {
  await openDevice();
  const [pos, dHead] = [6, 8];
  const rng = new Rng(2);
  const [q, k] = [[...rng.normals(dHead, 1)], [...rng.normals(dHead, 1)]];
  const everywhere = (vector: number[]) =>
    valuesOf(() => {
      const x = tf.tile(tf.tensor4d(vector, [1, 1, 1, dHead]), [1, 1, pos, 1]) as tf.Tensor4D;
      return rotate(x, ropeTables(pos, dHead, 30));
    });
  const [qs, ks] = [await everywhere(q), await everywhere(k)];
  const at = (of: number[], p: number) => of.slice(p * dHead, (p + 1) * dHead);
  const score = (i: number, j: number) => dot(at(qs, i), at(ks, j));
  assertAlmostEquals(score(5, 3), score(2, 0), 1e-5);
  assertAlmostEquals(score(4, 1), score(3, 0), 1e-5);
});

eachBackend("SwiGLU multiplies silu of the gate with what it gates", async () => {
  const gate = [-30, -1, 0, 1, 30];
  const up = [2, -3, 5, 7, 0.5];
  const ours = await valuesOf(() => swiGlu(tf.tensor1d(gate), tf.tensor1d(up)));
  assertClose(ours, gate.map((g, i) => g / (1 + Math.exp(-g)) * up[i]));
});

Deno.test("a causal mask lets a query see itself and what came before", async () => {
  await openDevice();
  assertEquals(await valuesOf(() => causalMask(2, 0)), [0, MASKED, 0, 0]);
  assertEquals(await valuesOf(() => causalMask(2, 1)), [0, 0, MASKED, 0, 0, 0]);
});

Deno.test("a window lets a query see itself and the keys just before it", async () => {
  await openDevice();
  const M = MASKED;
  assertEquals(await valuesOf(() => causalMask(3, 0, 2)), [0, M, M, 0, 0, M, M, 0, 0]);
  assertEquals(await valuesOf(() => causalMask(1, 3, 2)), [M, M, 0, 0]);
  assertEquals(await valuesOf(() => causalMask(2, 1, 1)), [M, 0, M, M, M, 0]);
});

eachBackend("attention with equal keys is the mean of the values so far", async () => {
  const model = randomModel({ nLayers: 1, dModel: 8, nHeads: 2, nKvHeads: 1 }, 0);
  const [pos, dHead] = [4, 4];
  const { logits, cache } = await model.runWithCache([[5, 6, 7, 8]], {
    names: ["blocks.0.attn.hook_v"],
  });
  const v = await cache.get("blocks.0.attn.hook_v").data();
  let z: ArrayLike<number> = [];
  const replaced = await model.runWithHooks([[5, 6, 7, 8]], {
    hooks: {
      "blocks.0.attn.hook_rot_k": (k) => tf.zerosLike(k),
      "blocks.0.attn.hook_z": async (t) => {
        z = await t.data();
      },
    },
  });
  const exact: number[] = [];
  for (let p = 0; p < pos; p++) {
    for (let h = 0; h < 2; h++) {
      for (let c = 0; c < dHead; c++) {
        let sum = 0;
        for (let j = 0; j <= p; j++) sum += v[j * dHead + c];
        exact.push(sum / (p + 1));
      }
    }
  }
  assertClose(z, exact);
  tf.dispose([logits!, replaced!]);
  cache.dispose();
  model.dispose();
});
