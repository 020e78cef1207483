/**
 * What stimuli do to a dictionary's features: one number a text and feature.
 *
 * Every text is run with BOS in front and padding behind, which no earlier position sees, so a text has
 * the same numbers alone and in any batch. BOS and sinks are in no statistic.
 *
 * @module
 */
import type { ActivationSource } from "../activations/mod.ts";
import { activationsOf, type HookValues } from "../activations/source.ts";
import { checkStimuli, type StimulusDesign } from "../corpus/mod.ts";
import { type InputNormalizer, type Sae, toStoreUnits } from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import type { CrossedCells } from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { whileRunning } from "../training/mod.ts";

/** Where a text is read: at the last token of its target span, or over all of its tokens. */
export type MeasuredAt = "target" | "mean" | "max";

/** The part of a model that measuring uses; `Model` has it. */
export type StimulusReader = ActivationSource & { readonly tokenizer: Tokenizer };

/** How stimuli are measured. */
export interface MeasureOptions {
  /** Hook point. Default: where the dictionary was trained, `sae.metadata.hook_name`. */
  hook?: string;
  /** How activations are made into inputs of the dictionary. Default: as it was trained. */
  normalizer?: InputNormalizer | null;
  /** Default `"target"`. */
  at?: MeasuredAt;
  /** Texts that run together; default 16. It changes no number. */
  batchSize?: number;
  /** A position whose activation has a larger norm is a sink. A store's manifest has its own. */
  maxNorm?: number;
  /** Stops between batches. */
  signal?: AbortSignal;
  /**
   * Defects of the study to repeat; the first two only over all tokens.
   *
   * - `"B4"`: texts are padded on the left to the longest of their batch, with EOS, and the first n
   *   positions are read, n being the tokens of the text: padding instead of its last tokens. Padding
   *   is run as a sequence of its own.
   * - `"B5"`: BOS and sinks are read, too.
   * - `"B7"`: the dictionary gets raw activations.
   */
  faithful?: readonly ("B4" | "B5" | "B7")[];
}

/** What was measured; row i of everything is stimulus i of the design. */
export interface StimulusCodes {
  readonly design: StimulusDesign;
  readonly at: MeasuredAt;
  /** Activations of the dictionary's features, `[stimuli, dSae]`, in its units. */
  readonly features: Float32Array;
  readonly dSae: number;
  /**
   * The activation at the hook point, `[stimuli, dModel]`, in the units of the model: of the target, or
   * the mean over all tokens that were read.
   */
  readonly activations: Float32Array;
  readonly dModel: number;
  /** Length of each text in tokens, BOS included. */
  readonly tokens: readonly number[];
  /** Stimuli whose target is a sink, or that have nothing else: leave their frames out. */
  readonly sinks: readonly number[];
  /** What a mean is of, token by token; only at `"mean"`. */
  readonly read?: StimulusTokens;
}

/** The tokens that texts were read over. */
export interface StimulusTokens {
  /** Inputs of the dictionary, `[tokens, dModel]`, in its units. */
  readonly x: Float32Array;
  /** First token of each text, and the number of tokens at the end, `[stimuli + 1]`. */
  readonly starts: Int32Array;
}

/**
 * Measures features and activations of every stimulus of a design.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { measureStimuli, openDevice, randomModel, Sae, type StimulusDesign, tf } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 2 }, {
 *   W_enc: tf.ones([4, 2]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.ones([2, 4]),
 *   b_dec: tf.zeros([4]),
 * });
 * const shared = { design: "tiny", frame: "1", targetSpan: "on", row: 2 };
 * const design: StimulusDesign = {
 *   name: "tiny",
 *   path: "tiny.csv",
 *   levels: { a: ["red", "dim"], b: ["sun", "sky"] },
 *   frames: ["1"],
 *   stimuli: [
 *     { ...shared, a: 1, b: 1, text: "red sun on" },
 *     { ...shared, a: 1, b: 0, text: "red sky on" },
 *     { ...shared, a: 0, b: 1, text: "dim sun on" },
 *     { ...shared, a: 0, b: 0, text: "dim sky on" },
 *   ],
 * };
 * const codes = await measureStimuli(model, sae, design, { hook: "blocks.0.hook_resid_post" });
 * assertEquals([codes.features.length, codes.activations.length], [4 * 2, 4 * 4]);
 * assertEquals(codes.tokens, [11, 11, 11, 11]); // bytes, and BOS
 * sae.dispose();
 * ```
 *
 * @param model The model.
 * @param sae The dictionary.
 * @param design The stimuli.
 * @param options Where to read, and how.
 * @throws {RangeError} If the hook point does not exist or has another width than the dictionary, a text
 * is longer than the context, an option is out of range, or a defect has no effect where it is read.
 * @throws {DOMException} If the signal stops it.
 */
export async function measureStimuli(
  model: StimulusReader,
  sae: Sae,
  design: StimulusDesign,
  options: MeasureOptions = {},
): Promise<StimulusCodes> {
  const { at = "target", batchSize = 16, signal } = options;
  const settings = requireSettings(model, sae, options);
  const { shapes } = checkStimuli(design, model.tokenizer, {
    contextLength: model.cfg.contextLength,
  });
  const { dSae, dIn } = sae.config;
  const count = design.stimuli.length;
  const features = new Float32Array(count * dSae);
  const activations = new Float32Array(count * dIn);
  const sinks: number[] = [];
  const inputs: Float32Array[] = [];
  const starts = new Int32Array(count + 1);
  const line = progress(`Measuring ${design.name}`, { total: count, unit: "texts" });
  return await whileRunning(signal, async () => {
    for (let start = 0; start < count; start += batchSize) {
      await new Promise((resolve) => setTimeout(resolve, 0)); // the Stop button can be heard
      if (signal?.aborted) line.stop("stopped");
      signal?.throwIfAborted();
      const texts = design.stimuli.slice(start, start + batchSize);
      const batch = await runTexts(model, texts.map(({ text }) => text), settings);
      if (batch.values.width !== dIn) {
        throw new RangeError(
          `Cannot encode "${settings.hook}", whose activations have ${batch.values.width} elements, ` +
            `with a dictionary of width ${dIn}`,
        );
      }
      const read = texts.map((_, i) => {
        const all = at === "target" ? [batch.row(i, shapes[start + i].target)] : batch.window(i);
        const rows = at === "target" ? all : all.filter((row) => batch.counts(i, row));
        if (rows.length === 0 || at === "target" && batch.isSink(rows[0])) sinks.push(start + i);
        return rows;
      });
      activations.set(means(batch.values, read), start * dIn);
      const { codes, x } = await encode(batch.values, read, sae, {
        at,
        normalizer: settings.normalizer,
      });
      features.set(codes, start * dSae);
      inputs.push(...x);
      read.forEach((rows, i) => starts[start + i + 1] = starts[start + i] + rows.length);
      const bad = codes.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) {
        const { row } = texts[Math.floor(bad / dSae)];
        throw new RangeError(
          `Cannot measure row ${row} of "${design.path}": feature ${bad % dSae} is ${
            codes[bad]
          }; ` +
            `check the weights of the model and of the dictionary`,
        );
      }
      line.update(start + texts.length);
    }
    line.finish();
    return {
      design,
      at,
      features,
      dSae,
      activations,
      dModel: dIn,
      tokens: shapes.map(({ tokens }) => tokens),
      sinks,
      ...at === "mean" && { read: { x: joined(inputs), starts } },
    };
  });
}

/**
 * One number a stimulus as the four cells of a crossed design.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { cellsOf } from "interlens";
 *
 * const design = { name: "paris_folk", frames: ["morning", "evening"] };
 * const cells = cellsOf(design, [111, 110, 101, 100, 211, 210, 201, 200]);
 * assertEquals([...cells.a0b1], [101, 201]);
 * ```
 *
 * @param design The stimuli.
 * @param values One number each, in their order.
 * @throws {RangeError} If there are more or fewer numbers than stimuli.
 */
export function cellsOf(
  design: Pick<StimulusDesign, "name" | "frames">,
  values: ArrayLike<number>,
): Cells {
  const frames = design.frames.length;
  if (values.length !== 4 * frames) {
    throw new RangeError(
      `Cannot sort ${values.length} numbers into the cells of "${design.name}": expected one for each ` +
        `of its ${4 * frames} stimuli`,
    );
  }
  const cell = (c: number) => Float64Array.from({ length: frames }, (_, f) => values[4 * f + c]);
  return { a1b1: cell(0), a1b0: cell(1), a0b1: cell(2), a0b0: cell(3) };
}

/**
 * Vectors of the stimuli as the four cells of a crossed design, for `vectorContrast`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { vectorCellsOf } from "interlens";
 *
 * const design = { name: "paris_folk", frames: ["morning"] };
 * assertEquals([...vectorCellsOf(design, [1, 1, 1, 0, 0, 1, 0, 0], 2).a1b0], [1, 0]);
 * ```
 *
 * @param design The stimuli.
 * @param vectors Row-major, `[stimuli, width]`, in their order.
 * @returns `[frames × width]` in each cell.
 * @throws {RangeError} If there are more or fewer vectors than stimuli.
 */
export function vectorCellsOf(
  design: Pick<StimulusDesign, "name" | "frames">,
  vectors: ArrayLike<number>,
  width: number,
): Cells {
  const frames = design.frames.length;
  if (vectors.length !== 4 * frames * width) {
    throw new RangeError(
      `Cannot sort ${
        vectors.length / width
      } vectors into the cells of "${design.name}": expected one ` +
        `for each of its ${4 * frames} stimuli`,
    );
  }
  const cell = (c: number) =>
    Float64Array.from({ length: frames * width }, (_, i) => {
      const frame = Math.floor(i / width);
      return vectors[(4 * frame + c) * width + i % width];
    });
  return { a1b1: cell(0), a1b0: cell(1), a0b1: cell(2), a0b0: cell(3) };
}

/**
 * One column of a matrix, such as a feature of all stimuli.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { columnOf } from "interlens";
 *
 * assertEquals([...columnOf([1, 2, 3, 4], 2, 1)], [2, 4]);
 * ```
 *
 * @param matrix Row-major, `[rows, width]`.
 */
export function columnOf(matrix: ArrayLike<number>, width: number, column: number): Float64Array {
  return Float64Array.from(
    { length: matrix.length / width },
    (_, row) => matrix[row * width + column],
  );
}

/** Cells that can be walked through. */
type Cells = Record<keyof CrossedCells, Float64Array>;

interface Settings {
  readonly hook: string;
  readonly normalizer: InputNormalizer | null;
  readonly maxNorm: number;
  readonly leftPadded: boolean;
  readonly withBos: boolean;
}

function requireSettings(
  model: StimulusReader,
  sae: Sae,
  { at = "target", batchSize = 16, maxNorm = Infinity, faithful = [], ...options }: MeasureOptions,
): Settings {
  const hook = options.hook ?? sae.metadata.hook_name;
  const names = model.hookNames();
  if (typeof hook !== "string" || !names.includes(hook)) {
    throw new RangeError(
      typeof hook === "string"
        ? `There is no hook point "${hook}" in "${model.cfg.name}": model.hookNames() lists all, such ` +
          `as "${names.at(-1)}"`
        : "Cannot measure with a dictionary that does not say where it was trained: give hook, such " +
          `as "${names.at(-1)}"`,
    );
  }
  if (!["target", "mean", "max"].includes(at)) {
    throw new RangeError(`Cannot measure at "${at}": expected "target", "mean" or "max"`);
  }
  if (!(Number.isInteger(batchSize) && batchSize >= 1)) {
    throw new RangeError(
      `Cannot measure ${batchSize} texts at once: expected an integer from 1 on`,
    );
  }
  if (!(maxNorm > 0)) {
    throw new RangeError(
      `Cannot leave out activations above a norm of ${maxNorm}: give one above 0`,
    );
  }
  const idle = faithful.find((id) => at === "target" && (id === "B4" || id === "B5"));
  if (idle) {
    throw new RangeError(
      `Cannot repeat ${idle} at the target, where it has no effect: measure at "mean" or "max"`,
    );
  }
  const normalizer = options.normalizer === undefined ? sae.normalizer : options.normalizer;
  return {
    hook,
    normalizer: faithful.includes("B7") ? null : normalizer,
    maxNorm,
    leftPadded: faithful.includes("B4"),
    withBos: faithful.includes("B5"),
  };
}

/** Activations of some texts, and which rows of them are read. */
interface TextBatch {
  readonly values: HookValues;
  /** Row of a position of a text; BOS is position 0. */
  row(text: number, position: number): number;
  /** Rows that a text is read over. */
  window(text: number): number[];
  /** Whether a row enters a statistic. */
  counts(text: number, row: number): boolean;
  isSink(row: number): boolean;
}

async function runTexts(
  model: StimulusReader,
  texts: readonly string[],
  { hook, maxNorm, leftPadded, withBos }: Settings,
): Promise<TextBatch> {
  const { bosId, eosId } = model.tokenizer;
  const sequences = texts.map((text) => [bosId, ...model.tokenizer.encode(text)]);
  const lengths = sequences.map(({ length }) => length);
  const longest = Math.max(...lengths);
  const padding = leftPadded ? longest - Math.min(...lengths) : 0;
  const padded = padding > 0 ? [...sequences, new Array<number>(padding).fill(eosId)] : sequences;
  const { at: [values], pos } = await activationsOf(model, padded, [hook]);
  const { width } = values;
  const row = (text: number, position: number) => text * pos + position;
  const isSink = (row: number) => {
    let square = 0;
    for (let i = row * width; i < (row + 1) * width; i++) square += values.values[i] ** 2;
    return Math.sqrt(square) > maxNorm;
  };
  return {
    values,
    row,
    isSink,
    window(text) {
      const pads = leftPadded ? longest - lengths[text] : 0;
      return Array.from(
        { length: lengths[text] },
        (_, p) => p < pads ? row(texts.length, p) : row(text, p - pads),
      );
    },
    counts: (text, index) => withBos || index !== row(text, 0) && !isSink(index),
  };
}

/** The mean of the rows of each text, `[texts, width]`; 0 without rows. */
function means({ values, width }: HookValues, read: readonly number[][]): Float32Array {
  const result = new Float32Array(read.length * width);
  const sum = new Float64Array(width);
  for (const [text, rows] of read.entries()) {
    sum.fill(0);
    for (const row of rows) {
      for (let i = 0; i < width; i++) sum[i] += values[row * width + i];
    }
    for (let i = 0; i < width; i++) result[text * width + i] = sum[i] / Math.max(1, rows.length);
  }
  return result;
}

/** Features of each text, `[texts, dSae]`, 0 without rows; and for means the inputs of each text. */
async function encode(
  { values, width }: HookValues,
  read: readonly number[][],
  sae: Sae,
  { at, normalizer }: { at: MeasuredAt; normalizer: InputNormalizer | null },
): Promise<{ codes: Float32Array; x: Float32Array[] }> {
  const inputs = (rows: readonly number[]) => {
    const gathered = new Float32Array(rows.length * width);
    for (const [i, row] of rows.entries()) {
      gathered.set(values.subarray(row * width, (row + 1) * width), i * width);
    }
    return toStoreUnits(tf.tensor2d(gathered, [rows.length, width]), normalizer);
  };
  if (at === "target") {
    const codes = tf.tidy(() => sae.encode(inputs(read.map(([row]) => row))));
    const result = await codes.data<"float32">();
    codes.dispose();
    return { codes: result, x: [] };
  }
  // Text by text: what is computed together does not depend on the batch.
  const codes = new Float32Array(read.length * sae.config.dSae);
  const kept: Float32Array[] = [];
  for (const [text, rows] of read.entries()) {
    if (rows.length === 0) continue;
    const [x, pooled] = tf.tidy(() => {
      const x = inputs(rows);
      const codes = sae.encode(x);
      return [x, at === "mean" ? tf.mean(codes, 0) : tf.max(codes, 0)] as tf.Tensor[];
    });
    codes.set(await pooled.data<"float32">(), text * sae.config.dSae);
    if (at === "mean") kept.push(await x.data<"float32">());
    tf.dispose([x, pooled]);
  }
  return { codes, x: kept };
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
