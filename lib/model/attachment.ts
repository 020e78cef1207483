/**
 * Attachments: models of an activation that are spliced into a run and bring hook points of their
 * own, such as a dictionary with its codes.
 *
 * @module
 */
import type { tf } from "../tensor/mod.ts";
import type { Steps } from "./steps.ts";
import type { Tokens } from "./tokens.ts";

/** One run as an attachment sees it. */
export interface AttachmentRun {
  /** Token ids of the run, one list a sequence: of the prompt, or of the token that is read next. */
  readonly tokens: Tokens;
  /**
   * Computes inside `tf.tidy`; a clone of what comes out belongs to the run and lives until the
   * attachment is done, or a hook replaces it.
   */
  own(compute: () => tf.Tensor): tf.Tensor;
  /**
   * Passes a tensor by a point of the attachment and returns it, or what a hook put in its place:
   * then the tensor is gone if `own` made it.
   */
  at(name: string, tensor: tf.Tensor): Steps<tf.Tensor>;
}

/**
 * Something that takes the place of an activation in a run: `attachSae` and `attachNfm` make them.
 *
 * Hooks at `hook` itself come first and see the activation of the model, which is also what a cache
 * keeps under that name; then the attachment runs on it, and what it returns flows on. Its points
 * are called `hook` + `.` + name; something else may be attached to one of them.
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
 *   *run(x, { at, own }) {
 *     return yield* at("hook_half", own(() => tf.mul(x, 0.5)));
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
 * logits?.dispose();
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
   * @param x The activation; it belongs to the model's run.
   * @param run The run.
   * @returns A tensor of the same shape: `x`, or one that the run owns.
   */
  run(x: tf.Tensor, run: AttachmentRun): Steps<tf.Tensor>;
}

/**
 * Hook points of a run with attachments, each followed by the points of what is attached to it.
 *
 * @throws {RangeError} If two attachments bring a point of the same name.
 */
export function withAttachments(names: string[], attachments: readonly Attachment[]): string[] {
  if (attachments.length === 0) return names;
  const withOwn = (name: string): string[] => [
    name,
    ...attachments
      .filter(({ hook }) => hook === name)
      .flatMap(({ points }) => points.flatMap((point) => withOwn(`${name}.${point}`))),
  ];
  const all = names.flatMap(withOwn);
  const seen = new Set<string>();
  for (const name of all) {
    if (seen.has(name)) {
      throw new RangeError(
        `Cannot attach two things with the point "${name}" to one run: attach one of them to ` +
          `another hook, or to a point of the other`,
      );
    }
    seen.add(name);
  }
  return all;
}
