/**
 * Whether the four versions of a frame differ in nothing but the two factors, as a model reads them.
 *
 * @module
 */
import type { Tokenizer } from "../tokenizer/mod.ts";
import type { Stimulus, StimulusDesign } from "./stimuli.ts";
import { CELLS } from "./stimuli.ts";
import { targetToken } from "./target_token.ts";

/** What should be the same in all versions of a frame. */
export interface StimulusShape {
  /** Number of tokens, BOS included. */
  readonly tokens: number;
  /** Index of the token that is measured, BOS being 0; see {@linkcode targetToken}. */
  readonly target: number;
  /** The word that is measured. */
  readonly span: string;
  /** Number of punctuation marks and symbols. */
  readonly punctuation: number;
  /** Number of digits. */
  readonly digits: number;
  /** Number of capital letters. */
  readonly capitals: number;
}

/** A property in which the versions of a frame differ. */
export interface Imbalance {
  readonly frame: string;
  readonly property: keyof StimulusShape;
  /** Its values, in the order of `CELLS`. */
  readonly values: readonly (number | string)[];
  /** Rows of the file, in the same order. */
  readonly rows: readonly number[];
}

/** What {@linkcode checkStimuli} finds. */
export interface StimulusCheck {
  /** Of every stimulus, in the order of the design. */
  readonly shapes: readonly StimulusShape[];
  /** Empty if every frame is balanced. */
  readonly unbalanced: readonly Imbalance[];
}

/**
 * Measures every stimulus as the model will read it, and lists the frames whose versions differ in
 * length, place or identity of the target, punctuation, digits or capitals. A difference there is a
 * second explanation of whatever the factors seem to do.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { checkStimuli, loadModel, loadStimuli, openDevice } from "interlens";
 *
 * await openDevice();
 * const { tokenizer } = await loadModel(undefined, { stopAtLayer: 1 });
 * const { unbalanced } = checkStimuli(await loadStimuli("paris_folk"), tokenizer, {
 *   contextLength: 128,
 * });
 * assertEquals(unbalanced, []);
 * ```
 *
 * @param tokenizer The model's.
 * @param options.contextLength Most tokens that a text may have, BOS included.
 * @throws {RangeError} If a text is longer, naming file, row and column.
 */
export function checkStimuli(
  design: StimulusDesign,
  tokenizer: Pick<Tokenizer, "encode" | "decode">,
  { contextLength }: { contextLength: number },
): StimulusCheck {
  const shapes = design.stimuli.map((stimulus) => {
    const shape = shapeOf(stimulus, tokenizer);
    if (shape.tokens > contextLength) {
      throw new RangeError(
        `Cannot use the stimuli in "${design.path}": row ${stimulus.row}, column "text": ` +
          `${shape.tokens} tokens, BOS included, are more than the context of ${contextLength}; ` +
          `shorten the text or give a longer context`,
      );
    }
    return shape;
  });
  const unbalanced: Imbalance[] = [];
  for (const [i, frame] of design.frames.entries()) {
    const first = CELLS.length * i;
    const versions = shapes.slice(first, first + CELLS.length);
    const rows = design.stimuli.slice(first, first + CELLS.length).map(({ row }) => row);
    for (const property of Object.keys(versions[0]) as (keyof StimulusShape)[]) {
      const values = versions.map((version) => version[property]);
      if (new Set(values).size > 1) unbalanced.push({ frame, property, values, rows });
    }
  }
  return { shapes, unbalanced };
}

function shapeOf(
  { text, targetSpan }: Stimulus,
  tokenizer: Pick<Tokenizer, "encode" | "decode">,
): StimulusShape {
  const count = (pattern: RegExp) => text.match(pattern)?.length ?? 0;
  return {
    tokens: tokenizer.encode(text).length + 1,
    target: targetToken(tokenizer, text, targetSpan),
    span: targetSpan,
    punctuation: count(/[\p{P}\p{S}]/gu),
    digits: count(/\p{N}/gu),
    capitals: count(/\p{Lu}/gu),
  };
}
