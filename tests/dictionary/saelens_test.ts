import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  jumpReluLoss,
  Sae,
  type SaeWeights,
  toModelUnits,
  toStoreUnits,
} from "../../lib/dictionary/mod.ts";
import { weightShapes } from "../../lib/dictionary/sae.ts";
import { sha256 } from "../../lib/files/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { inScratch } from "../files/scratch.ts";
import { normalizedSae, OURS } from "../fixtures/saelens_ours.ts";

interface Read {
  class: string;
  codes: number[];
  output: number[];
}

const FIXTURES = join(import.meta.dirname!, "..", "fixtures");
const recorded: {
  saved: Record<string, Read>;
  ours: Record<string, Read & { cfg: Record<string, unknown>; sha256: string }>;
  jumpReluStep: {
    bandwidth: number;
    l0Coefficient: number;
    preActCoefficient: number;
    dead: number[];
    loss: number;
    weights: Record<string, number[]>;
    grads: Record<string, number[]>;
  };
} = JSON.parse(await Deno.readTextFile(join(FIXTURES, "saelens.json")));

const [tokens, dIn] = [6, 4];

/** The inputs of `saelens.py`. */
const inputs = () =>
  tf.tensor2d(Array.from({ length: tokens * dIn }, (_, i) => 2 * Math.sin(1 + i * 1.7)), [
    tokens,
    dIn,
  ]);

/** Codes and outputs for raw activations. */
async function outputsOf(sae: Sae): Promise<{ codes: number[]; output: number[] }> {
  const x = toStoreUnits(inputs(), sae.normalizer);
  const y = toModelUnits(sae.reconstruct(x), sae.outputNormalizer);
  return { codes: [...await sae.encode(x).data()], output: [...await y.data()] };
}

function assertClose(ours: number[], theirs: number[], name: string) {
  assertEquals(ours.length, theirs.length, name);
  const largest = Math.max(...theirs.map(Math.abs));
  // Sums of at most 9 products in float32, and the folding of scales before them.
  ours.forEach((value, i) =>
    assert(Math.abs(value - theirs[i]) < 3e-6 * largest, `${name}: ${value}, not ${theirs[i]}`)
  );
}

eachBackend("Dictionaries that SAELens saved give its codes and its outputs", async () => {
  for (const [name, theirs] of Object.entries(recorded.saved)) {
    const sae = await Sae.load(join(FIXTURES, "saelens", name));
    const { codes, output } = await outputsOf(sae);
    // SAELens divides codes of this setting when it decodes, so ours are its codes before that.
    assertClose(codes, theirs.codes, `codes of ${name}`);
    assertClose(output, theirs.output, `output of ${name}`);
    assertEquals(sae.metadata.hook_name, "blocks.3.hook_resid_post");
    sae.dispose();
  }
});

eachBackend(
  "Dictionaries saved here are those that SAELens was seen to read, with our outputs",
  async () => {
    await inScratch(async (dir) => {
      for (const name of Object.keys(OURS)) {
        const theirs = recorded.ours[name];
        const sae = normalizedSae(name);
        await sae.save(dir);
        const { interlens_version, ...metadata } =
          JSON.parse(await Deno.readTextFile(join(dir, "cfg.json"))).metadata;
        const cfg = JSON.parse(await Deno.readTextFile(join(dir, "cfg.json")));
        assertEquals({ ...cfg, metadata }, theirs.cfg);
        assert(typeof interlens_version === "string");
        const bytes = await Deno.readFile(join(dir, "sae_weights.safetensors"));
        assertEquals(await sha256(bytes), theirs.sha256);
        const { codes, output } = await outputsOf(sae);
        assertClose(codes, theirs.codes, `codes of ${name}`);
        assertClose(output, theirs.output, `output of ${name}`);
        const loaded = await outputsOf(await Sae.load(dir));
        assertClose(loaded.output, theirs.output, `output of ${name}, loaded`);
      }
    });
  },
);

const python = Deno.env.get("INTERLENS_PEERS_PYTHON");
const hasSaeLens = !!python &&
  await new Deno.Command(python, { args: ["-c", "import sae_lens"], stderr: "null" }).output()
    .then(({ success }) => success, () => false);

Deno.test({
  name: "SAELens loads dictionaries saved here, and gives our codes and outputs",
  ignore: !hasSaeLens,
  fn: async () => {
    await openDevice();
    await inScratch(async (dir) => {
      const names = Object.keys(OURS);
      for (const name of names) await normalizedSae(name).save(join(dir, name));
      const args = [
        join(FIXTURES, "saelens.py"),
        "--read",
        ...names.map((name) => join(dir, name)),
      ];
      const { stdout, success } = await new Deno.Command(python!, { args, stderr: "inherit" })
        .output();
      assert(success);
      const theirs: Read[] = JSON.parse(new TextDecoder().decode(stdout));
      for (const [i, name] of names.entries()) {
        const { codes, output } = await outputsOf(normalizedSae(name));
        assertClose(codes, theirs[i].codes, `codes of ${name}`);
        assertClose(output, theirs[i].output, `output of ${name}`);
      }
    });
  },
});

eachBackend("A step of JumpReLU has the loss and the gradients of SAELens'", async () => {
  const { weights, grads, loss, dead, ...options } = recorded.jumpReluStep;
  const shapes = weightShapes({ architecture: "jumprelu", dIn, dSae: 9 });
  const tensors = Object.entries(shapes).map((
    [name, shape],
  ) => [name, tf.tensor(weights[name], shape)]);
  const ours = jumpReluLoss(Object.fromEntries(tensors) as unknown as SaeWeights, inputs(), {
    ...options,
    dead: Int32Array.from(dead),
  });
  assertClose([...await ours.scalars.loss.data()], [loss], "loss");
  for (const name of Object.keys(shapes)) {
    assert(Math.max(...grads[name].map(Math.abs)) > 1e-3, `${name} has a gradient`);
    assertClose([...await ours.grads[name].data()], grads[name], name);
  }
});

eachBackend("A file of another form is one error that names the field", async () => {
  await inScratch(async (dir) => {
    await normalizedSae("topk").save(dir);
    const path = join(dir, "cfg.json");
    const cfg = JSON.parse(await Deno.readTextFile(path));
    for (
      const [change, message] of [
        [{ architecture: "temporal" }, 'architecture is "temporal", expected "standard" or "topk"'],
        [{ architecture: "batchtopk" }, 'architecture is "batchtopk"'],
        [{ normalize_activations: "layer_norm" }, 'normalize_activations is "layer_norm"'],
        [{ reshape_activations: "hook_q" }, 'reshape_activations is "hook_q"'],
        [{ dtype: "float64" }, 'dtype is "float64"'],
        [{ dtype: undefined }, 'dtype is "undefined"'],
        [{ d_sae: 8 }, "W_enc has shape [4,9]"],
        [{ d_in: "4" }, 'd_in is "4", expected an integer'],
        [{ k: 0 }, "k is 0"],
        [{ metadata: {} }, "metadata.sae_lens_version is undefined, expected 6.0.0 or later"],
        [{ metadata: { sae_lens_version: "5.10.1" } }, 'sae_lens_version is "5.10.1"'],
        [{ architecture: "gated" }, "it has no b_gate, r_mag, b_mag"],
        [
          { architecture: "jumprelu", rescale_acts_by_decoder_norm: true },
          "by_decoder_norm is true",
        ],
        [{ architecture: "transcoder" }, "apply_b_dec_to_input is true, expected false"],
      ] as const
    ) {
      await Deno.writeTextFile(path, JSON.stringify({ ...cfg, ...change }));
      await assertRejects(() => Sae.load(dir), Error, message);
    }
    await normalizedSae("jumprelu").save(dir);
    const jumprelu = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...jumprelu, architecture: "standard" }));
    await assertRejects(
      () => Sae.load(dir),
      Error,
      "it has threshold, which a standard dictionary",
    );
  });
});
