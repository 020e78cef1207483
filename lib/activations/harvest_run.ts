/**
 * A harvest at work: model runs to shards, at one hook point or several, kept on disk often enough
 * that little is lost when the process is killed.
 *
 * Every so often the rows that fill no shard yet and a record of how far the work is are written.
 * The next harvest of the same configuration goes on from there, does what came after it again, and
 * ends with the same bytes.
 *
 * @module
 */
import { join } from "node:path";
import { configHash, requireSpace, writeFileAtomic } from "../files/mod.ts";
import { type Progress, progress } from "../display/mod.ts";
import { type SplitName, SPLITS } from "../corpus/mod.ts";
import {
  type ActivationManifest,
  checkShard,
  MANIFEST,
  type Shard,
  type SplitManifest,
  type StoreDtype,
} from "./manifest.ts";
import type { NormalizerOptions } from "./normalizer.ts";
import type { PlannedSequence } from "./plan.ts";
import { bytesPerToken, defaultShardTokens, ShardWriter } from "./shard_writer.ts";
import { activationsOf, type ActivationSource, type HookValues } from "./source.ts";
import { fitOnTraining } from "./store.ts";
import { bySplit, type Work, type WorkBatch } from "./work.ts";

/** What decides a harvest's content, and what does not. */
export interface RunSettings {
  readonly hooks: readonly string[];
  readonly contextLength: number;
  readonly seed: number;
  readonly maxNormRatio: number | null;
  readonly normalizer: NormalizerOptions;
  readonly dtype: StoreDtype;
  readonly shardTokens?: number;
  /** Seconds between two records of how far it is. */
  readonly keepEvery: number;
  readonly signal?: AbortSignal;
  /** What the progress line calls it. */
  readonly label: string;
  /** Stands in the names of files behind the split, for one part of several. */
  readonly part?: string;
  /** Called with every file that is complete. */
  readonly onShard?: (path: string, shard: Shard) => void;
}

/** What a harvest has of a split. */
interface SplitState {
  tokens: number;
  sinks: number;
  sequences: number;
  documents: string[];
}

/** Content of `harvest.json`: how far it is. */
interface HarvestRecord {
  readonly config: string;
  /** Piece of the work that is next. */
  readonly next: number;
  readonly splits: Record<SplitName, SplitState>;
  /** Squared norm above which a token is a sink, by hook; not in the record if there is none. */
  readonly limits: number[];
  readonly widths: number[];
  readonly shards: Record<SplitName, Shard[]>[];
  /** Number in the names of the files with rows that fill no shard yet. */
  readonly partial: number;
}

/** A token that is neither BOS nor padding. */
interface TokenRow {
  /** Its row among the activations of a batch. */
  readonly row: number;
  readonly sequence: PlannedSequence;
  readonly position: number;
}

const RECORD = "harvest.json";
/** The largest float16. */
const MAX_FLOAT16 = 65504;

/** Folder of a hook's store in that of a harvest; one hook has it for itself. */
export function hookDir(dir: string, hook: string, hooks: readonly string[]): string {
  return hooks.length === 1 ? dir : join(dir, hook);
}

/** Does the work, from where an earlier run was if it left a record in the folder. */
export class HarvestRun {
  readonly #dir: string;
  readonly #model: ActivationSource;
  readonly #work: Work;
  readonly #settings: RunSettings;
  readonly #config: string;
  readonly #masked: ReadonlySet<number>;
  #next = 0;
  #splits: Record<SplitName, SplitState> = bySplit(() => ({
    tokens: 0,
    sinks: 0,
    sequences: 0,
    documents: [],
  }));
  #limits: number[];
  #widths: number[] = [];
  /** By hook, then by split. */
  #writers: Record<SplitName, ShardWriter>[] = [];
  #partial = 0;
  #keptAt = performance.now();

  /**
   * @param dir Folder to work in; its files become the store.
   * @param config Everything that decides the content.
   */
  constructor(
    dir: string,
    config: unknown,
    model: ActivationSource,
    work: Work,
    settings: RunSettings,
  ) {
    this.#dir = dir;
    this.#config = configHash(config);
    this.#model = model;
    this.#work = work;
    this.#settings = settings;
    this.#masked = new Set([model.tokenizer.bosId]);
    this.#limits = settings.maxNormRatio === null ? settings.hooks.map(() => Infinity) : [];
  }

  /**
   * Harvests, then writes manifests and normalisers.
   *
   * @throws What the model and the disk throw; what was done until then is kept if the signal or the
   * disk ended it.
   */
  async run(): Promise<void> {
    await this.collect(async () => {
      const { hooks } = this.#settings;
      for (const [h, hook] of hooks.entries()) {
        const dir = hookDir(this.#dir, hook, hooks);
        const manifest = this.manifest(h);
        await writeFileAtomic(join(dir, MANIFEST), JSON.stringify(manifest, null, 1) + "\n");
        await fitOnTraining(dir, manifest).save(dir);
      }
    });
    await Deno.remove(join(this.#dir, RECORD)).catch(() => {});
    await this.#removePartials();
  }

  /**
   * Harvests all rows into files, and does what is left to do with them.
   *
   * @throws As {@linkcode HarvestRun.run}.
   */
  async collect(finish: () => Promise<void>): Promise<void> {
    await this.#resume();
    const { hooks, label, signal } = this.#settings;
    const counts = SPLITS.map((name) => this.#work.tokens[name]);
    const total = counts.includes(undefined)
      ? undefined
      : counts.reduce((sum, count) => sum! + count!, 0);
    const line = total === undefined
      ? progress(label, { total: 1, unit: "sources" })
      : progress(label, { total: Math.max(1, total), unit: "tokens" });
    try {
      await this.#requireSpace(total);
      if (this.#limits.length < hooks.length) await this.#measureFirst(total);
      const soFar = bySplit((name) => this.#splits[name].tokens + this.#splits[name].sinks);
      const numbers = bySplit((name) => this.#splits[name].documents.length);
      for await (const piece of this.#work.pieces(this.#next, soFar, numbers)) {
        await turn();
        if (signal?.aborted) await this.keep();
        signal?.throwIfAborted();
        for (const name of SPLITS) {
          for (const id of piece.documents[name]) this.#splits[name].documents.push(id);
        }
        for (const [i, batch] of piece.batches.entries()) {
          if (i > 0) await turn();
          signal?.throwIfAborted();
          await this.#harvest(batch, total);
          this.#show(line, total);
        }
        this.#next = piece.next;
        if (performance.now() - this.#keptAt >= 1000 * this.#settings.keepEvery) await this.keep();
      }
      for (const name of SPLITS) {
        for (const writers of this.#writers) await writers[name].flush();
      }
      if (this.#widths.length === 0) await this.#measureFirst(total);
      this.#show(line, total);
      await finish();
    } catch (error) {
      line.stop(signal?.aborted ? "stopped" : "failed");
      throw error;
    }
    line.finish();
    const sinks = SPLITS.reduce((sum, name) => sum + this.#splits[name].sinks, 0);
    const kept = SPLITS.reduce((sum, name) => sum + this.#splits[name].tokens, 0);
    if (sinks > 0) console.log(`activations: left out ${sinks} sink tokens of ${kept + sinks}`);
  }

  /** What the manifest of a hook point's store says. */
  manifest(h: number): ActivationManifest {
    const { hooks, contextLength, seed, normalizer, dtype } = this.#settings;
    const { name, hash } = this.#model.cfg;
    const limit = this.#limits[h] ?? Infinity;
    return {
      format: 1,
      model: { name, hash },
      hook: hooks[h],
      dModel: this.#widths[h],
      ...dtype === "float32" ? {} : { dtype },
      contextLength,
      maskedTokens: [...this.#masked],
      maxNorm: Number.isFinite(limit) ? Math.sqrt(limit) : null,
      seed,
      normalizer,
      splits: bySplit((split): SplitManifest => ({
        ...this.#splits[split],
        shards: this.#writers[h][split].shards,
      })),
    };
  }

  /** Learns widths and limits from the first batch of the whole work, which another part stores. */
  async #measureFirst(total: number | undefined): Promise<void> {
    const batch = await this.#work.first?.();
    if (batch) await this.#measure(batch, total);
  }

  async #harvest(batch: WorkBatch, total: number | undefined): Promise<void> {
    const { split, sequences } = batch;
    const { at, rows, squares } = await this.#measure(batch, total);
    const state = this.#splits[split];
    const writers = this.#writers.map((writers) => writers[split]);
    for (const [k, { row, sequence, position }] of rows.entries()) {
      // A sink at one hook point is left out at all of them: their rows stay those of one token.
      if (this.#limits.some((limit, h) => squares[h][k] > limit)) {
        state.sinks++;
        continue;
      }
      for (const [h, { values, width }] of at.entries()) {
        if (writers[h].full) await writers[h].flush();
        const activation = values.subarray(row * width, (row + 1) * width);
        writers[h].add(activation, sequence.ids[position], sequence.document, position);
      }
      state.tokens++;
    }
    state.sequences += sequences.length;
  }

  /** Runs the model; sets widths and limits if this is the first batch. */
  async #measure(
    { split, sequences }: WorkBatch,
    total: number | undefined,
  ): Promise<{ at: HookValues[]; rows: TokenRow[]; squares: Float64Array[] }> {
    const { hooks } = this.#settings;
    const tokens = sequences.map(({ ids }) => [...ids]);
    const { at, pos } = await activationsOf(this.#model, tokens, hooks);
    if (this.#widths.length === 0) {
      this.#widths = at.map(({ width }) => width);
      await this.#requireSpace(total);
      this.#open();
    }
    // Row in `at`, sequence, position of every token that is neither BOS nor padding.
    const rows: TokenRow[] = [];
    for (const [i, sequence] of sequences.entries()) {
      for (let position = 0; position < sequence.ids.length; position++) {
        if (this.#masked.has(sequence.ids[position])) continue;
        rows.push({ row: i * pos + position, sequence, position });
      }
    }
    const squares = at.map((values, h) =>
      Float64Array.from(rows, ({ row, sequence, position }) => {
        const square = squaredNorm(values, row, this.#settings.dtype);
        if (Number.isFinite(square)) return square;
        throw this.#refusal(values, row, { hook: hooks[h], split, sequence, position });
      })
    );
    // Of one sequence, so that it does not depend on the size of batches.
    const first = rows.findLastIndex(({ sequence }) => sequence === sequences[0]) + 1;
    for (let h = this.#limits.length; h < hooks.length; h++) {
      this.#limits.push(this.#settings.maxNormRatio! ** 2 * median(squares[h].slice(0, first)));
    }
    return { at, rows, squares };
  }

  #open(): void {
    const { hooks, dtype, shardTokens, part, onShard } = this.#settings;
    const widths = this.#widths;
    this.#writers = hooks.map((hook, h) => {
      const dir = hookDir(this.#dir, hook, hooks);
      const rows = shardTokens ?? defaultShardTokens(widths[h], dtype);
      return bySplit((name) => {
        const most = Math.max(1, Math.min(rows, this.#work.tokens[name] ?? Infinity));
        const prefix = part === undefined ? name : `${name}-${part}`;
        return new ShardWriter(dir, prefix, widths[h], most, dtype, onShard);
      });
    });
  }

  /** Takes up what an earlier run left; anything that does not fit starts anew. */
  async #resume(): Promise<void> {
    const { hooks } = this.#settings;
    for (const hook of hooks) {
      await Deno.mkdir(hookDir(this.#dir, hook, hooks), { recursive: true });
    }
    const text = await Deno.readTextFile(join(this.#dir, RECORD)).catch(() => undefined);
    if (text === undefined) return;
    try {
      this.#restore(JSON.parse(text));
    } catch (error) {
      // Tried again with the same files, it would fail again.
      [this.#widths, this.#writers] = [[], []];
      console.log(`activations: what an earlier run left is damaged, starting anew (${error})`);
    }
  }

  /** @throws {Error} If a file of the record is missing or damaged. */
  #restore(record: HarvestRecord): void {
    if (record.config !== this.#config) return;
    const { hooks, dtype } = this.#settings;
    this.#widths = record.widths;
    this.#open();
    for (const [h, hook] of hooks.entries()) {
      const dir = hookDir(this.#dir, hook, hooks);
      const of = { dModel: record.widths[h], dtype };
      for (const name of SPLITS) {
        const shards = record.shards[h][name];
        for (const shard of shards) checkShard(join(dir, shard.file), shard, of);
        this.#writers[h][name].restore(this.#partialPath(record.partial, h, name), shards);
      }
    }
    this.#next = record.next;
    this.#splits = record.splits;
    if (this.#limits.length === 0) this.#limits = record.limits;
    this.#partial = record.partial;
  }

  /** Writes down how far it is. */
  async keep(): Promise<void> {
    if (this.#widths.length === 0) return;
    const partial = this.#partial + 1;
    for (const [h, writers] of this.#writers.entries()) {
      for (const name of SPLITS) await writers[name].save(this.#partialPath(partial, h, name));
    }
    const record: HarvestRecord = {
      config: this.#config,
      next: this.#next,
      splits: this.#splits,
      limits: this.#limits.filter(Number.isFinite),
      widths: this.#widths,
      shards: this.#writers.map((writers) => bySplit((name) => writers[name].shards)),
      partial,
    };
    await writeFileAtomic(join(this.#dir, RECORD), JSON.stringify(record));
    this.#partial = partial;
    await this.#removePartials(partial);
    this.#keptAt = performance.now();
  }

  #partialPath(partial: number, hook: number, split: SplitName): string {
    return join(this.#dir, `partial-${partial}-${hook}-${split}.safetensors`);
  }

  /** Removes files with rows of no shard but the ones of this number, and half-written ones. */
  async #removePartials(but?: number): Promise<void> {
    for await (const { name } of Deno.readDir(this.#dir)) {
      const [, number] = /^\.?partial-(\d+)-/.exec(name) ?? [];
      if (number === undefined || (Number(number) === but && !name.startsWith("."))) continue;
      await Deno.remove(join(this.#dir, name)).catch(() => {});
    }
  }

  async #requireSpace(total: number | undefined): Promise<void> {
    if (total === undefined || this.#widths.length === 0) return;
    const done = SPLITS.reduce((sum, name) => sum + this.#splits[name].tokens, 0);
    const bytes = this.#widths.reduce((b, w) => b + bytesPerToken(w, this.#settings.dtype), 0);
    await requireSpace(this.#dir, (total - done) * bytes, `Harvesting ${total} tokens`);
  }

  #show(line: Progress, total: number | undefined): void {
    const states = SPLITS.map((name) => this.#splits[name]);
    const done = states.reduce((sum, { tokens, sinks }) => sum + tokens + sinks, 0);
    if (total !== undefined) return line.update(done);
    const documents = states.reduce((sum, state) => sum + state.documents.length, 0);
    line.update(0, { tokens: done, documents });
  }

  /** Why an activation is not stored. */
  #refusal(
    { values, width }: HookValues,
    row: number,
    { hook, split, sequence, position }: {
      hook: string;
      split: SplitName;
      sequence: PlannedSequence;
      position: number;
    },
  ): BadActivation {
    const activation = values.subarray(row * width, (row + 1) * width);
    const notFinite = activation.findIndex((value) => !Number.isFinite(value));
    const dimension = notFinite >= 0
      ? notFinite
      : activation.findIndex((value) => Math.abs(value) > MAX_FLOAT16);
    return new BadActivation(
      `The activation of "${hook}" in split "${split}", document ` +
        `"${
          this.#splits[split].documents[sequence.document] ?? sequence.document
        }", position ${position} of the ` +
        `sequence that starts at its token ${sequence.start}, is ${activation[dimension]} in ` +
        `dimension ${dimension}: nothing was stored. ` +
        (notFinite >= 0
          ? `Leave the document out, or check the model's weights`
          : `float16 ends at ${MAX_FLOAT16}, so harvest with dtype "float32"`),
    );
  }
}

/** An activation that cannot be stored; going on would only find it again. */
export class BadActivation extends Error {}

/** A turn of the event loop, in which the Stop button can be heard. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Squared norm of a row; NaN if it cannot be stored. */
function squaredNorm({ values, width }: HookValues, row: number, dtype: StoreDtype): number {
  const most = dtype === "float16" ? MAX_FLOAT16 : Infinity;
  let sum = 0;
  for (let i = row * width; i < (row + 1) * width; i++) {
    const value = values[i];
    if (value > most || value < -most) return NaN;
    sum += value * value;
  }
  return sum;
}

/** The middle one of some numbers, the upper one of two. */
function median(values: Float64Array): number {
  return values.toSorted()[values.length >> 1];
}
