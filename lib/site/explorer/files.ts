/**
 * The explorer's data as files: one table of all features that a search looks through, and the features
 * themselves in shards that are read when one of theirs is opened.
 *
 * | file                  | content                                                                    |
 * | --------------------- | -------------------------------------------------------------------------- |
 * | `explorer.json`       | {@linkcode ExplorerIndex}: what the numbers are of, pieces of text, parts  |
 * | `list-000.json`       | {@linkcode ListPart}: columns of up to 4,096 features for list and search  |
 * | `features-0000.json`  | {@linkcode StoredFeature}s of 64 features, in the order of the list        |
 *
 * Pieces of text are numbers into one table, the most frequent first; activations along a context are
 * one character a token. So 4,096 features take some four megabytes.
 *
 * @module
 */
import { join } from "node:path";
import { writeFileAtomic } from "../../files/mod.ts";
import type {
  ExplorerAbout,
  ExplorerContext,
  ExplorerData,
  ExplorerFeature,
  ExplorerToken,
} from "./data.ts";

/** Features of a part of the list. */
export const LIST_PART = 4096;
/** Features of a shard. */
export const SHARD = 64;
/** Activations are stored in 64 steps, as characters of this list; 0 is nothing. */
export const LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/** `explorer.json`. */
export interface ExplorerIndex {
  readonly format: 1;
  readonly about: ExplorerAbout;
  /** Number of features. */
  readonly features: number;
  /** {@linkcode LIST_PART}. */
  readonly listPart: number;
  /** {@linkcode SHARD}. */
  readonly shard: number;
  /** Pieces of text. */
  readonly pieces: readonly string[];
}

/** `list-….json`: one entry a feature in every column. */
export interface ListPart {
  readonly feature: readonly number[];
  readonly density: readonly number[];
  readonly max: readonly number[];
  /** Pieces that stand for it. */
  readonly words: readonly (readonly number[])[];
  /** Label, or an empty text; the column is left out if no feature has one. */
  readonly label?: readonly string[];
  /** `effect` of its strongest pair; 0 if it has none. The column is left out without a machine. */
  readonly pair?: readonly number[];
}

/** Document, place of the chosen token, activation at it, activations, pieces. */
export type StoredContext = readonly [number, number, number, string, readonly number[]];

/** A feature in a shard. */
export interface StoredFeature {
  readonly feature: number;
  readonly top: readonly StoredContext[];
  readonly active: readonly StoredContext[];
  /** Piece, effect, piece, effect, … */
  readonly raised: readonly number[];
  /** The same. */
  readonly lowered: readonly number[];
  /** Feature, tokens together, expected, effect, gain, draws as strong, pieces that it raises. */
  readonly partners: readonly (readonly [
    number,
    number,
    number,
    number,
    number,
    number,
    readonly number[],
  ])[];
}

/** Files by name. */
export type ExplorerFiles = ReadonlyMap<string, unknown>;

/**
 * The data as the content of files.
 *
 * @param data What `exploreDictionary` measured.
 */
export function explorerFiles({ about, features }: ExplorerData): ExplorerFiles {
  const pieces = new Pieces(features);
  const files = new Map<string, unknown>();
  const index: ExplorerIndex = {
    ...{ format: 1, about, features: features.length, listPart: LIST_PART, shard: SHARD },
    pieces: pieces.table,
  };
  files.set("explorer.json", index);
  const labelled = features.some(({ label }) => label);
  const paired = about.pairTokens > 0;
  for (const [part, some] of chunks(features, LIST_PART).entries()) {
    const list: ListPart = {
      feature: some.map(({ feature }) => feature),
      density: some.map(({ density }) => rounded(density)),
      max: some.map(({ max }) => rounded(max)),
      words: some.map(({ words }) => words.map((word) => pieces.of(word))),
      ...labelled && { label: some.map(({ label }) => label ?? "") },
      ...paired && { pair: some.map(({ partners }) => rounded(partners[0]?.effect ?? 0)) },
    };
    files.set(`list-${String(part).padStart(3, "0")}.json`, list);
  }
  for (const [shard, some] of chunks(features, SHARD).entries()) {
    files.set(
      `features-${String(shard).padStart(4, "0")}.json`,
      some.map((feature) => stored(feature, pieces)),
    );
  }
  return files;
}

/**
 * Writes the data into a folder, made if missing; `publish` makes pages of it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { type ExplorerData, readExplorer, writeExplorer } from "interlens";
 *
 * const data: ExplorerData = {
 *   about: {
 *     ...{ model: "a model", hook: "blocks.0.hook_resid_post", text: "a text", tokens: 10 },
 *     ...{ pairTokens: 0, draws: 0, configuration: {}, fingerprint: "0", version: "0.1.0" },
 *   },
 *   features: [],
 * };
 * const dir = await Deno.makeTempDir();
 * await writeExplorer(data, dir);
 * assertEquals([...(await readExplorer(dir)).keys()], ["explorer.json"]);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param data What `exploreDictionary` measured.
 * @param dir The folder.
 */
export async function writeExplorer(data: ExplorerData, dir: string): Promise<void> {
  // The index last: a folder with one is complete.
  for (const [name, content] of [...explorerFiles(data)].reverse()) {
    await writeFileAtomic(join(dir, name), JSON.stringify(content));
  }
}

/**
 * Reads what `writeExplorer` wrote.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { readExplorer } from "interlens";
 *
 * await assertRejects(() => readExplorer("/nowhere"), Error, "deno task explorer");
 * ```
 *
 * @throws {Error} If a file is missing or not of this form.
 */
export async function readExplorer(dir: string): Promise<ExplorerFiles> {
  const read = async (name: string) => {
    try {
      return JSON.parse(await Deno.readTextFile(join(dir, name)));
    } catch (error) {
      const why = error instanceof SyntaxError ? "is not JSON" : "cannot be read";
      throw new Error(
        `Cannot use the explorer's data in "${dir}": "${name}" ${why}; make it again with ` +
          `\`deno task explorer\``,
        { cause: error },
      );
    }
  };
  const index: ExplorerIndex = await read("explorer.json");
  if (index.format !== 1 || !Number.isInteger(index.features)) {
    throw new Error(
      `Cannot use the explorer's data in "${dir}": expected format 1, got ${index.format}; make it ` +
        `again with \`deno task explorer\``,
    );
  }
  const files = new Map<string, unknown>([["explorer.json", index]]);
  for (let part = 0; part * index.listPart < index.features; part++) {
    const name = `list-${String(part).padStart(3, "0")}.json`;
    files.set(name, await read(name));
  }
  for (let shard = 0; shard * index.shard < index.features; shard++) {
    const name = `features-${String(shard).padStart(4, "0")}.json`;
    files.set(name, await read(name));
  }
  return files;
}

function stored(of: ExplorerFeature, pieces: Pieces): StoredFeature {
  const tokens = (list: readonly ExplorerToken[]) =>
    list.flatMap(({ piece, effect }) => [pieces.of(piece), rounded(effect)]);
  const contexts = (list: readonly ExplorerContext[]) =>
    list.map(({ document, peak, value, levels, pieces: text }): StoredContext => [
      ...[document, peak, rounded(value)] as const,
      levels.map((level) => LEVELS[Math.ceil(level * (LEVELS.length - 1))]).join(""),
      text.map((piece) => pieces.of(piece)),
    ]);
  return {
    feature: of.feature,
    top: contexts(of.top),
    active: contexts(of.active),
    raised: tokens(of.raised),
    lowered: tokens(of.lowered),
    partners: of.partners.map((partner) => [
      ...[partner.feature, partner.together, rounded(partner.expected)] as const,
      ...[rounded(partner.effect), rounded(partner.gain), partner.asStrong] as const,
      partner.raised.map((piece) => pieces.of(piece)),
    ]),
  };
}

/** All pieces of text that occur, the most frequent with the shortest numbers. */
class Pieces {
  readonly table: string[];
  readonly #number: Map<string, number>;

  constructor(features: readonly ExplorerFeature[]) {
    const counts = new Map<string, number>();
    const count = (piece: string) => counts.set(piece, (counts.get(piece) ?? 0) + 1);
    for (const { words, top, active, raised, lowered, partners } of features) {
      words.forEach(count);
      for (const { pieces } of [...top, ...active]) pieces.forEach(count);
      for (const { piece } of [...raised, ...lowered]) count(piece);
      for (const { raised } of partners) raised.forEach(count);
    }
    this.table = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
      .map(([piece]) => piece);
    this.#number = new Map(this.table.map((piece, i) => [piece, i]));
  }

  of(piece: string): number {
    return this.#number.get(piece)!;
  }
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const parts: T[][] = [];
  for (let i = 0; i < items.length; i += size) parts.push(items.slice(i, i + size));
  return parts;
}

/** Three digits: what is shown. */
function rounded(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(3)) : 0;
}
