/**
 * Examples as they are looked at: text with the activation as background.
 *
 * @module
 */
import {
  type Displayable,
  escapeHtml,
  formatNumber,
  JUPYTER_DISPLAY,
  type MimeBundle,
} from "../display/mod.ts";
import type { Example, Examples, FeatureExamples } from "./examples.ts";

/** Kinds of examples. */
export type ExampleKind = "top" | "quantiles" | "bottom" | "lowestCodes" | "random" | "inactive";

/** What to show; see {@linkcode showExamples}. */
export interface ExamplesViewOptions {
  /** Numbers of the features, in order. Default: all that were collected. */
  features?: readonly number[];
  /** Kinds, in order. Default top, quantiles and bottom. */
  kinds?: readonly ExampleKind[];
  /** Examples of each kind at most. Default 5. */
  count?: number;
  /** A name for a feature, such as its label. */
  label?: (feature: number) => string | undefined;
  /** What the whole shows. */
  caption?: string;
}

const TITLES: Record<ExampleKind, string> = {
  top: "strongest",
  quantiles: "active, from strong to weak",
  bottom: "lowest before the activation function",
  lowestCodes: "lowest code, the first of the text (B24)",
  random: "random",
  inactive: "not active",
};

/**
 * Examples that render in Jupyter and print in a terminal; made by `showExamples`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { type Examples, type ExamplesView, JUPYTER_DISPLAY, showExamples } from "interlens";
 *
 * const ids = Int32Array.of(0, 1);
 * const top = { sequence: 0, document: 0, position: 1, ids, values: Float32Array.of(0, 2), peak: 1, value: 2 };
 * const none = { bottom: [], active: [], random: [], inactive: [], tokens: [] };
 * const examples: Examples = {
 *   features: [{ feature: 7, density: 0.5, max: 2, top: [top], ...none }],
 *   tokens: 2,
 *   texts: () => ["the", " kettle"],
 * };
 * const view: ExamplesView = showExamples(examples, { kinds: ["top"] });
 * assertEquals(view[JUPYTER_DISPLAY]()["text/plain"], view.toString());
 * ```
 */
export class ExamplesView implements Displayable {
  readonly #examples: Examples;
  readonly #options: ExamplesViewOptions;

  /** Use {@linkcode showExamples}. */
  constructor(examples: Examples, options: ExamplesViewOptions) {
    this.#examples = examples;
    this.#options = options;
    this.#features();
  }

  /** HTML in which all text is escaped, and the same as text. */
  [JUPYTER_DISPLAY](): MimeBundle {
    return { "text/html": this.#html(), "text/plain": this.toString() };
  }

  /** The examples as text: `⟦…⟧` is the chosen token, behind each context stands its value. */
  toString(): string {
    const { caption } = this.#options;
    const lines = this.#features().flatMap((of) => [
      "",
      this.#title(of),
      ...this.#groups(of).flatMap(({ title, examples }) => [
        `  ${title}`,
        ...examples.map((example) => {
          const text = this.#pieces(example)
            .map((piece, i) => i === example.peak ? `⟦${piece}⟧` : piece).join("");
          return `    ${text}  ${formatNumber(example.value, 3)}`;
        }),
      ]),
    ]);
    return [...caption ? [caption] : [], ...lines].join("\n").replace(/^\n/, "");
  }

  /** What `console.log` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }

  #html(): string {
    const { caption } = this.#options;
    const parts = this.#features().map((of) => {
      const groups = this.#groups(of).map(({ title, examples, scale }) => {
        const rows = examples.map((example) =>
          `<tr><td style="text-align: right">${formatNumber(example.value, 3)}</td>` +
          `<td style="text-align: left">${this.#context(example, scale)}</td></tr>`
        );
        return `<tr><th colspan="2" scope="colgroup" style="text-align: left">${title}</th></tr>` +
          rows.join("");
      });
      return `<p><strong>${escapeHtml(this.#title(of))}</strong></p>` +
        `<div style="overflow-x: auto"><table><tbody>${groups.join("")}</tbody></table></div>`;
    });
    return `<div class="il-examples">${caption ? `<p>${escapeHtml(caption)}</p>` : ""}` +
      `${parts.join("\n")}</div>`;
  }

  #context(example: Example, scale: number): string {
    return this.#pieces(example).map((piece, i) => {
      const color = activationColor(example.values[i], scale);
      const text = escapeHtml(piece);
      const coloured = color ? `<span style="background-color: ${color}">${text}</span>` : text;
      return i === example.peak ? `<strong>${coloured}</strong>` : coloured;
    }).join("");
  }

  #features(): FeatureExamples[] {
    const { features } = this.#examples;
    return (this.#options.features ?? features.map(({ feature }) => feature)).map((number) => {
      const found = features.find(({ feature }) => feature === number);
      if (found) return found;
      throw new RangeError(
        `Cannot show feature ${number}: examples were collected of ${features.length} others; name ` +
          `it in the features of collectExamples`,
      );
    });
  }

  #title({ feature, density, max }: FeatureExamples): string {
    const label = this.#options.label?.(feature);
    const name = label === undefined ? "" : ` · ${visible(label)}`;
    return `Feature ${feature}${name} · active on ${formatNumber(100 * density, 2)} % of tokens, ` +
      `at most ${formatNumber(max, 3)}`;
  }

  /** The contexts of each kind, and the value that has the full colour. */
  #groups(of: FeatureExamples): { title: string; examples: Example[]; scale: number }[] {
    const { kinds = ["top", "quantiles", "bottom"], count = 5 } = this.#options;
    return kinds.map((kind) => {
      const examples = kind === "quantiles"
        ? spread(of.active, count)
        : of[kind]?.slice(0, count) ?? [];
      const largest = Math.max(0, ...examples.flatMap(({ values }) => [...values].map(size)));
      return { title: TITLES[kind], examples, scale: kind === "bottom" ? largest : of.max };
    }).filter(({ examples }) => examples.length > 0);
  }

  #pieces(example: Example): string[] {
    return this.#examples.texts(example).map((piece) => piece === "" ? "⋯" : visible(piece));
  }
}

const size = (value: number) => Number.isNaN(value) ? 0 : Math.abs(value);

/** `count` items at even steps from the first to the last; of sorted ones, their quantiles. */
export function spread<T>(items: readonly T[], count: number): T[] {
  if (items.length <= count) return [...items];
  const step = (items.length - 1) / Math.max(1, count - 1);
  return Array.from({ length: count }, (_, i) => items[Math.round(i * step)]);
}

/** Text on one line, without characters that act on the text around them. */
export function visible(text: string): string {
  return text.replaceAll("\n", "↵").replaceAll("\t", "→")
    // deno-lint-ignore no-control-regex -- control characters are what is replaced
    .replace(/[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "·");
}

/** Opacity of the strongest background: text of the page stays readable on it, dark or light. */
const STRONGEST = 0.6;

/**
 * Background of a token: blue for what is above 0, orange for what is below, the more opaque the
 * larger. Both are of Okabe and Ito's colours, which the colour-blind can tell apart; as a veil over
 * the page's own background they need no other colour of the text.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { activationColor } from "interlens";
 *
 * assertEquals(activationColor(2, 4), "rgba(0,114,178,0.30)");
 * assertEquals(activationColor(-4, 4), "rgba(213,94,0,0.60)");
 * assertEquals(activationColor(0, 4), undefined);
 * ```
 *
 * @param value Activation; NaN has no colour.
 * @param scale Size of the value that has the full colour.
 * @returns A colour for CSS, or undefined where there is nothing to see.
 */
export function activationColor(value: number, scale: number): string | undefined {
  const opacity = STRONGEST * Math.min(1, Math.abs(value) / scale);
  if (!(opacity >= 0.005)) return undefined;
  return `rgba(${value > 0 ? "0,114,178" : "213,94,0"},${opacity.toFixed(2)})`;
}

/**
 * Examples of features as the last value of a cell or for `console.log`.
 *
 * Each context stands on a line with the value at its chosen token, which is bold; the background of
 * a token is its own value.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { type Examples, showExamples } from "interlens";
 *
 * const ids = Int32Array.of(0, 1);
 * const example = { sequence: 0, document: 0, position: 1, ids, values: Float32Array.of(0, 2), peak: 1, value: 2 };
 * const none = { bottom: [], active: [], random: [], inactive: [], tokens: [] };
 * const examples: Examples = {
 *   features: [{ feature: 7, density: 0.5, max: 2, top: [example], ...none }],
 *   tokens: 2,
 *   texts: () => ["a ", "<b>"],
 * };
 * const view = showExamples(examples);
 * assert(view.toString().includes("a ⟦<b>⟧  2"));
 * ```
 *
 * @param examples From `collectExamples`.
 * @param options Which, and how many.
 * @throws {RangeError} If a feature was not collected.
 */
export function showExamples(examples: Examples, options: ExamplesViewOptions = {}): ExamplesView {
  return new ExamplesView(examples, options);
}
