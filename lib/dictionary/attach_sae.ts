/**
 * A dictionary in the place of an activation, with its hook points.
 *
 * @module
 */
import type { Attachment, AttachmentRun, Steps, Tokens } from "../model/mod.ts";
import { tf } from "../tensor/mod.ts";
import type { Sae } from "./sae.ts";
import { toModelUnits, toStoreUnits } from "./units.ts";

/** Where and how to attach a dictionary. */
export interface AttachOptions {
  /** Hook point. Default: where the dictionary was trained, `sae.metadata.hook_name`. */
  hook?: string;
  /**
   * Adds what the reconstruction misses, so that without interventions the activation flows on as
   * it was, bit by bit. Default false.
   */
  useErrorTerm?: boolean;
  /** Ids whose positions keep their activation, such as BOS. Default: none. */
  maskedTokens?: readonly number[];
  /**
   * Positions whose activation has a larger norm keep it: sinks, which no dictionary was trained
   * on. A store's manifest has the norm above which it left them out. Default: none do.
   */
  maxNorm?: number;
}

/** What else explains an activation, computed from the codes and added to the reconstruction. */
export interface Correction {
  /** Names of its hook points in the order in which it reaches them. */
  readonly points: readonly string[];
  /**
   * @param codes `[batch, pos, dSae]`; they belong to the run.
   * @param run The run.
   * @returns `[batch, pos, dIn]`, in the units of the model; it belongs to the run.
   */
  run(codes: tf.Tensor3D, run: AttachmentRun): Steps<tf.Tensor>;
}

/**
 * Attaches a dictionary to a run: its reconstruction takes the place of the activation.
 *
 * Its hook points have SAELens' names, behind that of the hook and a dot, in this order:
 *
 * | point                | shape                | what                                            |
 * | -------------------- | -------------------- | ----------------------------------------------- |
 * | `hook_sae_input`     | `[batch, pos, dIn]`  | the activation as the model has it              |
 * | `hook_sae_acts_pre`  | `[batch, pos, dSae]` | before the activation function                  |
 * | `hook_sae_acts_post` | `[batch, pos, dSae]` | the codes, as `sae.encode` gives them           |
 * | `hook_sae_recons`    | `[batch, pos, dIn]`  | the reconstruction, in the units of the model   |
 * | `hook_sae_error`     | `[batch, pos, dIn]`  | what it misses; only with `useErrorTerm`        |
 * | `hook_sae_output`    | `[batch, pos, dIn]`  | what flows on                                   |
 *
 * The activation is normalised on its way in, and the reconstruction brought back. The error is
 * that of the dictionary without hooks, so what an intervention on the codes changes arrives in the
 * output; to gradients it is a constant (Marks et al., 2024, A.3), so that they pass through the
 * features alone. Positions of masked tokens and sinks have values at every point, but their
 * activation flows on unchanged, and so do their gradients. At `hook_z` the heads of a position are
 * read side by side.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { attachSae, openDevice, randomModel, Sae, tf } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 2 }, {
 *   W_enc: tf.tensor2d([[1, 0], [0, 1], [0, 0], [0, 0]]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.tensor2d([[1, 0, 0, 0], [0, 1, 0, 0]]),
 *   b_dec: tf.zeros([4]),
 * });
 * const hook = "blocks.0.hook_resid_post";
 * const attach = [attachSae(sae, { hook, useErrorTerm: true })];
 *
 * // What do the codes say, and what does the model predict without feature 1?
 * const { cache, logits } = await model.runWithCache([[1, 5, 9]], { attach, names: /acts_post/ });
 * assertEquals(cache.get(`${hook}.hook_sae_acts_post`).shape, [1, 3, 2]);
 * const ablated = await model.runWithHooks([[1, 5, 9]], {
 *   attach,
 *   hooks: { [`${hook}.hook_sae_acts_post`]: (codes) => tf.mul(codes, tf.tensor1d([1, 0])) },
 * });
 * tf.dispose([logits!, ablated!]);
 * cache.dispose();
 * sae.dispose();
 * ```
 *
 * @param sae The dictionary; it must live as long as the attachment is used.
 * @param options Where and how; `correction`: what else to add, as `attachNfm` does.
 * @returns What `attach` of a run takes.
 * @throws {RangeError} If no hook is known, an option is out of range, or the dictionary is a
 * transcoder. In a run: if the
 * activation has another width than the dictionary.
 */
export function attachSae(
  sae: Sae,
  options: AttachOptions & { correction?: Correction } = {},
): Attachment {
  const { useErrorTerm = false, maskedTokens = [], maxNorm = Infinity, correction } = options;
  const hook = options.hook ?? sae.metadata.hook_name;
  if (typeof hook !== "string") {
    throw new RangeError(
      `Cannot attach a dictionary that does not say where it was trained: give hook, such as ` +
        `"blocks.15.hook_resid_post"`,
    );
  }
  if (sae.config.dOut !== undefined) {
    throw new RangeError(
      `Cannot attach a transcoder to "${hook}": what it predicts is another activation than it reads`,
    );
  }
  if (!(maxNorm > 0)) {
    throw new RangeError(`Cannot keep activations above a norm of ${maxNorm}: expected above 0`);
  }
  const masked = new Set(maskedTokens);
  return {
    hook,
    points: [
      ...["hook_sae_input", "hook_sae_acts_pre", "hook_sae_acts_post", "hook_sae_recons"],
      ...correction?.points ?? [],
      ...useErrorTerm ? ["hook_sae_error"] : [],
      "hook_sae_output",
    ],
    *run(activation, run) {
      const { own, at } = run;
      const [batch, pos] = activation.shape;
      const width = activation.size / (batch * pos);
      if (width !== sae.config.dIn) {
        throw new RangeError(
          `Cannot attach a dictionary of width ${sae.config.dIn} to "${hook}", whose activations ` +
            `have shape [${activation.shape}]: expected ${width}`,
        );
      }
      const x = own(() => tf.reshape(activation, [batch, pos, width]));
      const clean = useErrorTerm ? own(() => withoutHooks(explain(x, UNHOOKED))) : undefined;
      const explained = yield* explain(x, run);
      const cleanError = clean && own(() => constant(x, () => tf.sub(x, clean)));
      const error = cleanError && (yield* at("hook_sae_error", own(() => cleanError)));
      const kept = own(() => keptPositions(x, run.tokens, masked, maxNorm));
      // A sum with the error has rounding errors: what nothing changed is x itself.
      const untouched = error
        ? own(() =>
          tf.logicalOr(
            kept,
            tf.logicalAnd(tf.equal(explained, clean!), tf.equal(error, cleanError!)),
          )
        )
        : kept;
      const output = own(() => join({ x, explained, error, untouched, kept }));
      const result = yield* at("hook_sae_output", output);
      return own(() => tf.reshape(result, activation.shape));
    },
  };

  /** The reconstruction and its correction, `[batch, pos, dIn]`, in the units of the model. */
  function* explain(x: tf.Tensor, run: AttachmentRun): Steps<tf.Tensor> {
    const { own, at } = run;
    const { dIn, dSae } = sae.config;
    const [batch, pos] = x.shape;
    const input = yield* at("hook_sae_input", own(() => x));
    const pre = yield* at(
      "hook_sae_acts_pre",
      own(() => {
        const rows = tf.reshape(toStoreUnits(input, sae.normalizer), [batch * pos, dIn]);
        return tf.reshape(sae.preActivations(rows as tf.Tensor2D), [batch, pos, dSae]);
      }),
    );
    const codes = yield* at("hook_sae_acts_post", own(() => sae.activate(pre)));
    const reconstruction = yield* at(
      "hook_sae_recons",
      own(() => {
        const rows = tf.matMul(tf.reshape(codes, [batch * pos, dSae]), sae.W_dec);
        const sum = tf.reshape(tf.add(rows, sae.b_dec), [batch, pos, dIn]);
        return toModelUnits(sum, sae.normalizer);
      }),
    );
    if (!correction) return reconstruction;
    const more = yield* correction.run(codes as tf.Tensor3D, run);
    return own(() => tf.add(reconstruction, more));
  }
}

const UNHOOKED: AttachmentRun = {
  tokens: [],
  own: (compute) => tf.tidy(compute),
  // deno-lint-ignore require-yield
  *at(_, tensor) {
    return tensor;
  },
};

/** The result of steps that never wait. */
function withoutHooks(steps: Steps<tf.Tensor>): tf.Tensor {
  return steps.next().value as tf.Tensor;
}

/** What is computed from `x`, and has no gradient. */
function constant(x: tf.Tensor, compute: () => tf.Tensor): tf.Tensor {
  return tf.customGrad((x) => ({
    value: compute(),
    gradFunc: () => tf.zerosLike(x as tf.Tensor),
  }))(x);
}

/** `x` where untouched, elsewhere the sum; its gradient passes to x where kept. */
function join(
  { x, explained, error, untouched, kept }: {
    x: tf.Tensor;
    explained: tf.Tensor;
    error: tf.Tensor | undefined;
    untouched: tf.Tensor;
    kept: tf.Tensor;
  },
): tf.Tensor {
  const parts = error ? [explained, error] : [explained];
  return tf.customGrad((...args) => {
    const save = args.at(-1) as unknown as (tensors: tf.Tensor[]) => void;
    save([kept]);
    return {
      value: tf.where(untouched, x, tf.addN(parts)),
      gradFunc: (dy: tf.Tensor, [kept]: tf.Tensor[]) => {
        const toX = tf.mul(dy, tf.cast(kept, "float32"));
        return [toX, ...parts.map(() => tf.sub(dy, toX))];
      },
    };
  })(x, ...parts);
}

/** True where the activation flows on, bool of the shape of `x`, `[batch, pos, dIn]`. */
export function keptPositions(
  x: tf.Tensor,
  tokens: Tokens,
  masked: Set<number>,
  maxNorm: number,
): tf.Tensor {
  const [batch, pos] = x.shape;
  // After the last block a generating run has the last position only.
  const skipped = Math.max(...tokens.map(({ length }) => length)) - pos;
  const byId = Uint8Array.from({ length: batch * pos }, (_, i) => {
    const id = tokens[Math.floor(i / pos)][skipped + i % pos];
    return id === undefined || masked.has(id) ? 1 : 0; // Padding has no id.
  });
  const kept = tf.tensor3d(byId, [batch, pos, 1], "bool");
  const all = Number.isFinite(maxNorm)
    ? tf.logicalOr(kept, tf.greater(tf.norm(x, 2, -1, true), maxNorm))
    : kept;
  return tf.broadcastTo(all, x.shape);
}
