/**
 * Clamping: a feature is held at a value while the model runs, and what that changes is measured
 * beside what an equally long step in a random direction changes.
 *
 *     x ← x + (f′ − f) d
 *
 * with the feature's code f at each position, the value f′ that it is held at, and its decoder row d
 * in the units of the model. What the dictionary does not explain stays as it is.
 *
 * @module
 */
import { type AttachOptions, type Sae, toStoreUnits } from "../dictionary/mod.ts";
import { keptPositions } from "../dictionary/attach_sae.ts";
import { clusterBootstrap, type Interval } from "../metrics/mod.ts";
import type { Attachment, Model } from "../model/mod.ts";
import { Rng, tf } from "../tensor/mod.ts";

/** Which feature, at which value; see {@linkcode clampFeature}. */
export interface ClampOptions extends Omit<AttachOptions, "useErrorTerm"> {
  /** Number of the feature. */
  feature: number;
  /** Value that it is held at, at least 0, in the units of the dictionary: 0 ablates it. */
  value: number;
  /**
   * `"decoder"` (default): along the feature's decoder row. `"random"`: the control, a step of the
   * same length at every position in a direction that the seed names.
   */
  direction?: "decoder" | "random";
  /** Names the random direction. Default 0. */
  seed?: number;
  /**
   * `"B8"`: the study's hook sits on the dictionary, which the generating model does not call, and
   * returns the old reconstruction: nothing changes. Default: none.
   */
  faithful?: readonly "B8"[];
}

/**
 * Holds a feature at a value: for `attach` of any run, `generate` included, where it acts on the
 * prompt and at every further token.
 *
 * ```ts
 * import { assertEquals, assertNotEquals } from "@std/assert";
 * import { clampFeature, openDevice, randomModel, Sae, tf } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 1 }, {
 *   W_enc: tf.tensor2d([[1], [0], [0], [0]]),
 *   b_enc: tf.zeros([1]),
 *   W_dec: tf.tensor2d([[1, 0, 0, 0]]),
 *   b_dec: tf.zeros([4]),
 * });
 * const options = { hook: "blocks.0.hook_resid_post", feature: 0, value: 50 };
 * const write = (clamp?: ReturnType<typeof clampFeature>) =>
 *   model.generate("abc", { maxNewTokens: 6, attach: clamp && [clamp] });
 * assertNotEquals(await write(clampFeature(sae, options)), await write());
 * // What the study ran:
 * assertEquals(await write(clampFeature(sae, { ...options, faithful: ["B8"] })), await write());
 * sae.dispose();
 * ```
 *
 * @param sae The dictionary; it must live as long as the clamp is used.
 * @param options Which feature, where, at which value. Positions of `maskedTokens` and activations
 * above `maxNorm` stay as they are.
 * @returns An attachment without points of its own.
 * @throws {RangeError} If the feature does not exist, no hook is known, the value is below 0 or the
 * dictionary is a transcoder. In a run: if the activation has another width than the dictionary.
 */
export function clampFeature(sae: Sae, options: ClampOptions): Attachment {
  const { feature, value, direction = "decoder", seed = 0, faithful = [] } = options;
  const { maskedTokens = [], maxNorm = Infinity } = options;
  const { dIn, dSae, dOut } = sae.config;
  const hook = options.hook ?? sae.metadata.hook_name;
  if (typeof hook !== "string") {
    throw new RangeError(
      `Cannot clamp a feature of a dictionary that does not say where it was trained: give hook, ` +
        `such as "blocks.15.hook_resid_post"`,
    );
  }
  if (dOut !== undefined) {
    throw new RangeError(
      `Cannot clamp a feature of a transcoder at "${hook}": it writes another activation than it reads`,
    );
  }
  if (!Number.isInteger(feature) || feature < 0 || feature >= dSae) {
    throw new RangeError(`Cannot clamp feature ${feature}: expected an integer in 0…${dSae - 1}`);
  }
  if (!(value >= 0 && value < Infinity)) {
    throw new RangeError(
      `Cannot hold feature ${feature} at ${value}: a code is a number from 0 on`,
    );
  }
  if (!(maxNorm > 0)) {
    throw new RangeError(`Cannot keep activations above a norm of ${maxNorm}: expected above 0`);
  }
  const masked = new Set(maskedTokens);
  const noise = new Rng(seed, "clamp", feature).normals(dIn, 1);
  return {
    hook,
    points: [],
    // deno-lint-ignore require-yield -- an attachment without points has nothing to wait for
    *run(activation, { own, tokens }) {
      if (faithful.includes("B8")) return activation;
      const [batch, pos] = activation.shape;
      if (activation.size !== batch * pos * dIn) {
        throw new RangeError(
          `Cannot clamp a feature of a dictionary of width ${dIn} at "${hook}", whose activations ` +
            `have shape [${activation.shape}]`,
        );
      }
      return own(() => {
        const x = tf.reshape(activation, [batch, pos, dIn]);
        const rows = tf.reshape(toStoreUnits(x, sae.normalizer), [batch * pos, dIn]);
        const codes = tf.slice(sae.encode(rows as tf.Tensor2D), [0, feature], [-1, 1]);
        const row = tf.div(tf.slice(sae.W_dec, [feature, 0], [1, dIn]), sae.normalizer?.scale ?? 1);
        const along = direction === "decoder" ? row : ofLength(tf.tensor2d(noise, [1, dIn]), row);
        const step = tf.reshape(tf.mul(tf.sub(value, codes), along), [batch, pos, dIn]);
        const kept = keptPositions(x, tokens, masked, maxNorm);
        return tf.reshape(tf.where(kept, x, tf.add(x, step)), activation.shape);
      });
    },
  };
}

/** `direction` with the norm of `other`. */
function ofLength(direction: tf.Tensor, other: tf.Tensor): tf.Tensor {
  return tf.mul(direction, tf.div(tf.norm(other), tf.norm(direction)));
}

/** What to measure; see {@linkcode measureClamp}. */
export interface ClampMeasureOptions extends Omit<ClampOptions, "direction"> {
  /** Ids whose probability is followed, such as the tokens of the feature's label. Default: none. */
  tokens?: readonly number[];
  /** Random directions of the control, at least 1. Default 5. */
  controls?: number;
  /** Prompts that run together. Default 8. */
  batchSize?: number;
}

/** An effect beside that of its control. */
export interface ClampContrast {
  /** Of the clamp, mean over prompts. */
  readonly clamp: Interval;
  /** Of steps of the same length in random directions. */
  readonly control: Interval;
  /** Clamp − control, paired by prompt. */
  readonly difference: Interval;
}

/** What a clamp does to the next token after a prompt. Intervals draw prompts. */
export interface ClampEffect {
  /** KL(model as it is ‖ clamped) of the next token, nats. */
  readonly kl: ClampContrast;
  /** Change of the probability of `tokens` together, in percentage points. */
  readonly probability: ClampContrast;
  /** Probability of `tokens` together without a clamp, in percent, mean over prompts. */
  readonly clean: number;
}

/**
 * Measures what a clamp does to the prediction after each prompt.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { measureClamp, openDevice, randomModel, Sae, tf } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 1 }, {
 *   W_enc: tf.zeros([4, 1]),
 *   b_enc: tf.zeros([1]),
 *   W_dec: tf.ones([1, 4]),
 *   b_dec: tf.zeros([4]),
 * });
 * // Held at the value that it has: nothing changes.
 * const { kl } = await measureClamp(model, sae, ["abc", "de"], {
 *   hook: "blocks.0.hook_resid_post",
 *   feature: 0,
 *   value: 0,
 * });
 * assertAlmostEquals(kl.clamp.estimate, 0, 1e-6);
 * sae.dispose();
 * ```
 *
 * @param model The model, with its output head.
 * @param sae The dictionary.
 * @param prompts At least two, at best of neutral content; BOS is put in front of each.
 * @param options Which feature, at which value, and what to follow. `maskedTokens` is by default the
 * beginning-of-sequence token.
 * @throws {RangeError} If there are fewer than two prompts, or as `clampFeature`.
 */
export async function measureClamp(
  model: Pick<Model, "runWithHooks" | "toTokens" | "tokenizer">,
  sae: Sae,
  prompts: readonly string[],
  options: ClampMeasureOptions,
): Promise<ClampEffect> {
  const { tokens = [], controls = 5, seed = 0, batchSize = 8, ...rest } = options;
  if (prompts.length < 2 || !Number.isInteger(controls) || controls < 1) {
    throw new RangeError(
      `Cannot measure a clamp on ${prompts.length} prompts with ${controls} controls: give at ` +
        `least 2 prompts and 1 control`,
    );
  }
  const clamp = { maskedTokens: [model.tokenizer.bosId], ...rest };
  const attachments = [
    clampFeature(sae, clamp),
    ...Array.from(
      { length: controls },
      (_, i) => clampFeature(sae, { ...clamp, direction: "random", seed: seed + i }),
    ),
  ];
  const kl = attachments.map((): number[] => []);
  const change = attachments.map((): number[] => []);
  const clean: number[] = [];
  for (let start = 0; start < prompts.length; start += batchSize) {
    const batch = model.toTokens(prompts.slice(start, start + batchSize));
    const before = await nextLogProbs(model, batch);
    const usual = await probabilities(before, tokens);
    clean.push(...usual);
    for (const [i, attachment] of attachments.entries()) {
      const after = await nextLogProbs(model, batch, attachment);
      const divergence = tf.tidy(() => tf.sum(tf.mul(tf.exp(before), tf.sub(before, after)), 1));
      kl[i].push(...await divergence.data());
      const now = await probabilities(after, tokens);
      change[i].push(...usual.map((p, n) => 100 * (now[n] - p)));
      tf.dispose([after, divergence]);
    }
    before.dispose();
  }
  return {
    kl: contrast(kl),
    probability: contrast(change),
    clean: 100 * clean.reduce((sum, p) => sum + p, 0) / clean.length,
  };
}

/** Log-probabilities after the last token of each sequence, `[sequences, vocab]`. */
async function nextLogProbs(
  model: Pick<Model, "runWithHooks">,
  batch: number[][],
  attachment?: Attachment,
): Promise<tf.Tensor2D> {
  const logits = await model.runWithHooks(batch, { attach: attachment && [attachment] });
  if (!logits) throw new Error("Cannot measure a clamp: the model gave no logits");
  const last = tf.tidy(() => {
    const [sequences, pos, vocab] = logits.shape;
    const rows = tf.tensor1d(batch.map(({ length }, i) => i * pos + length - 1), "int32");
    return tf.logSoftmax(tf.gather(tf.reshape(logits, [sequences * pos, vocab]), rows));
  });
  logits.dispose();
  return last as tf.Tensor2D;
}

/** Probability of some ids together, one number a row. */
async function probabilities(logProbs: tf.Tensor2D, ids: readonly number[]): Promise<number[]> {
  if (ids.length === 0) return Array(logProbs.shape[0]).fill(0);
  const sums = tf.tidy(() =>
    tf.sum(tf.exp(tf.gather(logProbs, tf.tensor1d([...new Set(ids)], "int32"), 1)), 1)
  );
  const values = await sums.data();
  sums.dispose();
  return [...values];
}

/** Of `[clamp, control, control, …]` by prompt. */
function contrast([clamp, ...controls]: number[][]): ClampContrast {
  const control = clamp.map((_, n) =>
    controls.reduce((sum, values) => sum + values[n], 0) / controls.length
  );
  const mean = (values: number[]) => clusterBootstrap([values], ([total]) => total / values.length);
  return {
    clamp: mean(clamp),
    control: mean(control),
    difference: mean(clamp.map((value, n) => value - control[n])),
  };
}
