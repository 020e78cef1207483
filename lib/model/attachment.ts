/**
 * Attachments: models of an activation that are spliced into a run and bring hook points of their
 * own, such as a dictionary with its codes.
 *
 * @module
 */
import type { tf } from "../tensor/mod.ts";
import type { Steps } from "./steps.ts";

/**
 * Computes a tensor inside `tf.tidy` and passes it by a point of the attachment. What comes back,
 * a hook's replacement perhaps, belongs to the run and lives until the attachment is done.
 */
export type AttachmentPoint = (name: string, compute: () => tf.Tensor) => Steps<tf.Tensor>;

/**
 * Something that takes the place of an activation in a run: `attachSae` and `attachNfm` make them.
 *
 * Hooks at `hook` itself come first and see the activation of the model, which is also what a cache
 * keeps under that name; then the attachment runs on it, and what it returns flows on. Its points
 * are called `hook` + `.` + name.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { type Attachment, openDevice, randomModel, tf } from "interlens";
 *
 * await openDevice();
 * const model = randomModel({ nLayers: 1 }, 0);
 * const halve: Attachment = {
 *   hook: "blocks.0.hook_resid_post",
 *   points: ["hook_half"],
 *   *run(x, at) {
 *     return yield* at("hook_half", () => tf.mul(x, 0.5));
 *   },
 * };
 * const { cache, logits } = await model.runWithCache([[1, 2]], {
 *   attach: [halve],
 *   names: /resid_post/,
 * });
 * assertEquals(cache.names(), [
 *   "blocks.0.hook_resid_post",
 *   "blocks.0.hook_resid_post.hook_half",
 * ]);
 * tf.dispose(logits!);
 * cache.dispose();
 * model.dispose();
 * ```
 */
export interface Attachment {
  /** The hook point whose activation it takes and replaces. */
  readonly hook: string;
  /** Names of its points in the order in which it reaches them. */
  readonly points: readonly string[];
  /**
   * Computes what flows on.
   *
   * @param x The activation; it belongs to the run.
   * @param at Passes tensors by its points.
   * @returns A tensor of the same shape: `x`, or what `at` gave.
   */
  run(x: tf.Tensor, at: AttachmentPoint): Steps<tf.Tensor>;
}

/**
 * Hook points of a run with attachments, each followed by the points of what is attached to it.
 *
 * @throws {RangeError} If two attachments bring a point of the same name.
 */
export function withAttachments(names: string[], attachments: readonly Attachment[]): string[] {
  if (attachments.length === 0) return names;
  const all = names.flatMap((name) => [
    name,
    ...attachments
      .filter(({ hook }) => hook === name)
      .flatMap(({ points }) => points.map((point) => `${name}.${point}`)),
  ]);
  const twice = all.find((name, i) => all.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new RangeError(
      `Cannot attach two things with the point "${twice}" to one run: give them other hooks, or ` +
        `run them one after the other`,
    );
  }
  return all;
}
