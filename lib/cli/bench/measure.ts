/**
 * Measuring: repeated times with their spread, and two programs in turn.
 *
 * @module
 */
import { tf } from "../../tensor/mod.ts";

/** Median of some numbers, and the least and the greatest of them. */
export interface Spread {
  readonly median: number;
  readonly range: readonly [number, number];
}

/** One measured figure. */
export interface BenchRow {
  readonly work: string;
  /** Milliseconds of a repetition. */
  readonly ms?: Spread;
  /** Memory, where that was measured. */
  readonly bytes?: number;
  /** What it means: a rate, or a ratio to another row. */
  readonly rate: string;
  /** What the matrix products alone would take, by what all of it took. */
  readonly share?: Spread;
  /** The same work by another program, in turn with ours. */
  readonly peer?: {
    readonly name: string;
    /** Milliseconds. */
    readonly ms: Spread;
    /** Their time by ours, pair by pair: above 1 where ours is faster. */
    readonly ratio: Spread;
  };
}

/** What a section knows about the machine. */
export interface Machine {
  /** Rate of the matrix product of this minute. */
  readonly gflops: number;
  /** A matrix product, now: milliseconds, and its multiplications and additions. */
  readonly product: () => Promise<{ ms: number; operations: number }>;
  /** False on a backend that is too slow for full sizes. */
  readonly full: boolean;
}

/**
 * Median, the upper one of two, and range.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { spread } from "./measure.ts";
 *
 * assertEquals(spread([3, 1, 9]), { median: 3, range: [1, 9] });
 * ```
 */
export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1], range: [sorted[0], sorted.at(-1)!] };
}

/** Milliseconds of a function. */
export async function milliseconds(run: () => unknown): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

/** Waits until a tensor is computed, and disposes of it. */
export async function finish(result: tf.Tensor): Promise<void> {
  // One element is enough to wait for all of it.
  const probe = tf.tidy(() => tf.slice(tf.reshape(result, [-1]), 0, 1));
  await probe.data();
  tf.dispose([result, probe]);
}

/** Times of a function that gives a tensor, after one run that does not count. */
export async function time(
  work: string,
  run: () => tf.Tensor | Promise<tf.Tensor>,
  { repetitions = 7, rate }: { repetitions?: number; rate: (ms: number) => string },
): Promise<BenchRow & { ms: Spread }> {
  const once = async () => finish(await run());
  await once();
  const times: number[] = [];
  for (let i = 0; i < repetitions; i++) times.push(await milliseconds(once));
  const ms = spread(times);
  return { work, ms, rate: rate(ms.median) };
}

/**
 * Times of the same work by us and by another program, in turn, so that what else happens on the
 * machine meets both; the ratio is taken pair by pair.
 *
 * @param ours Gives our milliseconds.
 * @param theirs Gives those of the other program; undefined where there is none.
 * @param options.floor Milliseconds that the matrix products of the work take alone, in turn too.
 */
export async function inTurn(
  work: string,
  ours: () => Promise<number>,
  theirs: { name: string; run: () => Promise<number> } | undefined,
  { repetitions = 3, rate, floor }: {
    repetitions?: number;
    rate: (ms: number) => string;
    floor?: () => Promise<number>;
  },
): Promise<BenchRow> {
  const [mine, others, floors]: number[][] = [[], [], []];
  // The first pair does not count: it allocates, compiles and fills caches.
  for (let i = 0; i <= (repetitions > 1 ? repetitions : 0); i++) {
    const [a, b, c] = [await ours(), await theirs?.run(), await floor?.()];
    if (i === 0 && repetitions > 1) continue;
    mine.push(a);
    if (c !== undefined) floors.push(c);
    if (b !== undefined) others.push(b);
  }
  const ms = spread(mine);
  return {
    work,
    ms,
    rate: rate(ms.median),
    ...floor && { share: spread(floors.map((c, i) => c / mine[i])) },
    ...theirs && {
      peer: {
        name: theirs.name,
        ms: spread(others),
        ratio: spread(others.map((b, i) => b / mine[i])),
      },
    },
  };
}

/** The most memory that this process has held, in bytes; undefined where the system does not say. */
export async function peakMemory(): Promise<number | undefined> {
  const status = await Deno.readTextFile("/proc/self/status").catch(() => "");
  const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : 1024 * Number(kilobytes);
}
