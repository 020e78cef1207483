/**
 * Two stores whose rows belong together: what a transcoder reads, and what it predicts.
 *
 * @module
 */
import type { ActivationReader, SplitName } from "./reader.ts";

/** A store with another one, of the same tokens in the same order, as the target. */
export interface PairReader extends ActivationReader {
  /** What is predicted from the rows of this store. */
  readonly target: ActivationReader;
}

const SPLITS: SplitName[] = ["train", "validation", "test"];

/**
 * Puts two stores together; `trainSae` trains a transcoder on them.
 *
 * The same tokens must stand at the same places in both, as in the stores of one `harvestHooks`.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { memoryStore, openDevice, pairReader, trainSae } from "interlens";
 *
 * await openDevice();
 * const documents = Int32Array.from({ length: 64 }, (_, i) => i >> 3);
 * const store = (dModel: number, row: (i: number) => number[]) => {
 *   const split = { rows: Float32Array.from([...documents.keys()].flatMap(row)), document: documents };
 *   return memoryStore(dModel, { train: split, validation: split, test: split });
 * };
 * const input = store(2, (i) => [Math.sin(i), Math.cos(i)]);
 * const output = store(1, (i) => [Math.abs(Math.sin(i))]);
 * const { sae, metrics } = await trainSae(pairReader(input, output), {
 *   architecture: "batchtopk",
 *   dSae: 8,
 *   k: 2,
 *   skip: true,
 *   steps: 100,
 *   batchSize: 32,
 *   learningRate: 1e-2,
 * }, { cache: false });
 * assertEquals([sae.config.dIn, sae.config.dOut, metrics.fvu < 0.3], [2, 1, true]);
 * assertThrows(() => pairReader(input, memoryStore(1, {
 *   ...{ train: { rows: new Float32Array(1), document: Int32Array.of(0) } },
 *   ...{ validation: { rows: new Float32Array(1), document: Int32Array.of(0) } },
 *   ...{ test: { rows: new Float32Array(1), document: Int32Array.of(0) } },
 * })), RangeError, "64 tokens");
 * ```
 *
 * @param input What is read.
 * @param target What is predicted.
 * @throws {RangeError} If the splits differ in tokens, in the order in which these are trained on, in the
 * documents that they are from, or, where both know them, in their ids.
 */
export function pairReader(input: ActivationReader, target: ActivationReader): PairReader {
  for (const name of SPLITS) {
    const [a, b] = [input.split(name), target.split(name)];
    if (a.tokens !== b.tokens) {
      throw new RangeError(
        `Cannot pair two stores whose ${name} splits have ${a.tokens} tokens and ${b.tokens}: ` +
          `harvest both at once, with harvestHooks`,
      );
    }
    if (a.order !== b.order) {
      throw new RangeError(
        `Cannot pair two stores whose ${name} splits are trained on in different orders, ${
          a.order ?? "all together"
        } and ${
          b.order ?? "all together"
        }: open both with the same window, harvested with the same ` +
          `shardTokens`,
      );
    }
    requireEqual(a.document, b.document, `${name} splits have token`, "from document");
    if (a.tokenIds && b.tokenIds) {
      requireEqual(a.tokenIds, b.tokenIds, `${name} splits have token`, "with id");
    }
  }
  return {
    dModel: input.dModel,
    normalizer: input.normalizer,
    hook: input.hook,
    manifest: { input: input.manifest, target: target.manifest },
    split: (name) => input.split(name),
    target,
  };
}

function requireEqual(a: ArrayLike<number>, b: ArrayLike<number>, where: string, what: string) {
  for (let token = 0; token < a.length; token++) {
    if (a[token] === b[token]) continue;
    throw new RangeError(
      `Cannot pair two stores whose ${where} ${token} ${what} ${a[token]} and ${
        b[token]
      }: harvest ` +
        `both at once, with harvestHooks`,
    );
  }
}

/** The target of a pair; undefined for a store by itself. */
export function targetOf(store: ActivationReader): ActivationReader | undefined {
  return (store as Partial<PairReader>).target;
}
