import { assert } from "@std/assert";
import type {
  ActivationCache,
  LossInput,
  Model,
  NameFilter,
  RunOptions,
} from "../../lib/model/mod.ts";
import { hookPairs } from "../../lib/model/hooks.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";

/** What is differentiated: the sum of these terms. */
export interface Differentiated extends RunOptions {
  /** Terms of the loss. */
  terms(run: LossInput): tf.Tensor;
  /** Activations that the terms need beside the logits. */
  needs?: NameFilter;
  /** Points to check. Default: all that the run reaches. */
  names?: NameFilter;
}

/**
 * A step of 0.03 along a vector of length 1, where activations are of length 5 to 15 and norms of
 * size 1 and more: far enough for the rounding of the loss to be small against its change, near
 * enough for the fifth derivative to be small.
 */
const STEP = 0.03;

/**
 * Asserts that gradients are slopes of the loss, at each point along a direction of its own, half of
 * it the gradient's and half random:
 *
 *     D(h) = (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12h,  D(h) = L' + O(h⁴)
 *
 * The tolerance is what is known of both errors. The error of D(2h) is 16 times that of D(h), so
 * |D(2h) - D(h)| is 15 times what D(h) may be off by; half of it is allowed. Each term has passed
 * through fewer than 200 roundings of at most 2^-24, and errors of either sign add like random
 * steps: √200 · 2^-24 · √Σ term² for the loss. D(h) multiplies that by less than 1.5 / h, and 4 of
 * these are allowed. Together they are required to be below 2 % of the gradient, so that the
 * assertion means something.
 *
 * @returns Names of the points that were checked.
 */
export async function assertGradients(
  model: Model,
  tokens: number[][],
  { terms, needs, names, ...options }: Differentiated,
): Promise<string[]> {
  const sum = (run: LossInput) => tf.sum(terms(run));
  const { logits, cache, gradients } = await model.runWithCache(tokens, {
    ...options,
    names,
    gradientOf: sum,
  });
  const sizes = tf.tidy(() => tf.norm(terms({ logits, cache })));
  const size = (await sizes.data())[0];
  tf.dispose([sizes, ...logits ? [logits] : []]);
  cache.dispose();

  const checked = gradients.names();
  for (const name of checked) {
    const gradient = await gradients.get(name).data<"float32">();
    const direction = directionOf(gradient, name);
    const along = tf.tensor(direction, gradients.get(name).shape);
    const losses = new Map<number, number>();
    for (const k of [-4, -2, -1, 1, 2, 4]) {
      const hooks = [
        ...hookPairs(options.hooks ?? []),
        [name, (x: tf.Tensor) => tf.add(x, tf.mul(along, k * STEP))] as const,
      ];
      losses.set(k, await lossOf(model, tokens, sum, { ...options, hooks, needs }));
    }
    along.dispose();
    const slope = (k: number) =>
      (8 * (losses.get(k)! - losses.get(-k)!) - (losses.get(2 * k)! - losses.get(-2 * k)!)) /
      (12 * k * STEP);

    const expected = gradient.reduce((all, g, i) => all + g * direction[i], 0);
    const tolerance = Math.abs(slope(2) - slope(1)) / 2 +
      4 * Math.sqrt(200) * 2 ** -24 * size * 1.5 / STEP;
    const error = Math.abs(slope(1) - expected);
    const what = `the gradient at ${name} is off by ${error} along ${expected}`;
    assert(error <= tolerance, `${what}, with a tolerance of ${tolerance}`);
    const length = Math.hypot(...gradient);
    assert(tolerance < 0.02 * length, `${what}: ${tolerance} means nothing beside ${length}`);
  }
  gradients.dispose();
  return checked;
}

/** Half the direction of the gradient, half a random one; of length 1. */
function directionOf(gradient: Float32Array, name: string): Float32Array {
  const random = new Rng(0, name).normals(gradient.length, 1);
  const [a, b] = [Math.hypot(...gradient), Math.hypot(...random)];
  const both = random.map((r, i) => r / b + gradient[i] / a);
  const length = Math.hypot(...both);
  return both.map((value) => value / length);
}

async function lossOf(
  model: Model,
  tokens: number[][],
  sum: (run: LossInput) => tf.Tensor,
  { needs, ...options }: RunOptions & { needs?: NameFilter },
): Promise<number> {
  let logits: tf.Tensor3D | undefined;
  let cache: ActivationCache | undefined;
  if (needs) ({ logits, cache } = await model.runWithCache(tokens, { ...options, names: needs }));
  else logits = await model.runWithHooks(tokens, options);
  const loss = tf.tidy(() => sum({ logits, cache: cache! }));
  const [value] = await loss.data();
  tf.dispose([loss, ...logits ? [logits] : []]);
  cache?.dispose();
  return value;
}
