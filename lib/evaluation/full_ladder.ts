/**
 * The whole ladder of models of an activation given its codes, on the same held-out tokens.
 *
 * | rung | model                                                        | what it removes               |
 * | ---- | ------------------------------------------------------------ | ----------------------------- |
 * | R0   | the dictionary                                               |                               |
 * | R1   | affine in the codes f                                        | shrinkage, unfinished training |
 * | R2   | affine in f_i, f_i² and 1[f_i ≠ 0]                           | bends and thresholds          |
 * | R3   | R2 and pairs, a factorization machine                        | pairs                         |
 * | R4   | R2 and a network on f, with as many parameters as R3's pairs | any order in f                |
 * | R5   | R2 and an affine map of x; R0 and a secondary dictionary on  | what is not in f              |
 * |      | x − x̂; a wider dictionary with as many parameters            |                               |
 *
 * The gain from interactions is FVU(R2) − FVU(R3). R3, R4 and R5 stand beside each other: what R4 gains
 * beyond R3 is of a higher order or badly trained, and what R5 gains no function of the codes can.
 *
 * @module
 */
import {
  type ActivationReader,
  type Sae,
  type SaeResult,
  type SaeTrainingConfig,
  type SplitName,
  type TrainOptions,
  trainResidualSae,
  trainSweep,
} from "../dictionary/mod.ts";
import { codesAndResidual, type NfmConfig, parameterCount } from "../interaction/mod.ts";
import { trainRungs } from "../interaction/train_ladder.ts";
import {
  bootstrapRatio,
  type Interval,
  pairedBootstrap,
  type PerDocument,
} from "../metrics/mod.ts";
import { type SparseCodes, tf } from "../tensor/mod.ts";
import { affineSkip } from "./affine_skip.ts";
import { equalMlpWidth, mlpParameterCount } from "./codes_mlp.ts";
import { evaluate, type Reconstruct } from "./evaluate.ts";
import { resolveMlpConfig, trainMlpOn } from "./train_codes_mlp.ts";
import { saeParameterCount, trainWiderSae, type WiderSaeConfig } from "./wider_sae.ts";

/** What is trained, and what it is measured on. */
export interface FullLadderConfig extends TrainOptions {
  /** R1 to R4: as for `trainNfm`; the network has the steps and the learning rate of the machine. */
  nfm: Omit<NfmConfig, "parts" | "input">;
  /** The secondary dictionary of R5; without it there is none. */
  secondary?: SaeTrainingConfig;
  /**
   * The wider dictionary of R5, which has the parameters of R3's machine more than R0; without it there
   * is none. One of the width of R0 is trained in the same way, on the same stream, to compare it with.
   */
  wider?: Omit<WiderSaeConfig, "parameters">;
  /** Which documents are measured. Default `"validation"`. */
  split?: SplitName;
}

/** A model of the ladder. */
export interface FullLadderRow {
  readonly rung: "R0" | "R1" | "R2" | "R3" | "R4" | "R5";
  /** What it is, in a few words. */
  readonly model: string;
  /** Numbers that are learnt beyond the dictionary of R0. */
  readonly parameters: number;
  /** Fraction of variance unexplained, with its 95 % interval over documents. */
  readonly fvu: Interval;
  /** The study's uncentred 100 · Σ‖x − x̂‖² / Σ‖x‖². */
  readonly errorPercent: number;
  /** Share of R0's squared error that is removed, paired by document. */
  readonly reduction: Interval;
  /** FVU(R2) − FVU of this model, paired by document; negative below R2. */
  readonly beyondR2: Interval;
  /** Sums by document, for other intervals. */
  readonly perDocument: PerDocument;
}

/** A ladder that was climbed. */
export interface FullLadder {
  /** In order of the rungs. */
  readonly rows: readonly FullLadderRow[];
  /** FVU(R2) − FVU(R3): the gain from interactions. */
  readonly gain: Interval;
  /** Tokens measured. */
  readonly tokens: number;
  /** True if a training was stopped before its end. */
  readonly stopped: boolean;
}

/** A model beside what the report says of it. */
interface Candidate {
  readonly rung: FullLadderRow["rung"];
  readonly parameters: number;
  readonly reconstruct: Reconstruct;
}

/**
 * Trains every rung, or loads what this configuration gave before, and measures them in one pass.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { fullLadder, memoryStore, openDevice, Rng, Sae, tf } from "interlens";
 *
 * await openDevice();
 * // x = (a, b, a·b), of which the dictionary knows a and b.
 * const rng = new Rng(0);
 * const rows = Array.from({ length: 600 }, () => {
 *   const [a, b] = [2 * rng.uniform(), 2 * rng.uniform()];
 *   return [a, b, a * b];
 * });
 * const document = Int32Array.from({ length: 600 }, (_, i) => i % 20);
 * const split = { rows: Float32Array.from(rows.flat()), document };
 * const store = memoryStore(3, { train: split, validation: split, test: split });
 * const W_dec = tf.tensor2d([[1, 0, 0], [0, 1, 0]]);
 * const sae = new Sae({ architecture: "topk", dIn: 3, dSae: 2, k: 2 }, {
 *   W_enc: tf.transpose(W_dec),
 *   b_enc: tf.zeros([2]),
 *   W_dec,
 *   b_dec: tf.zeros([3]),
 * });
 * const nfm = { K: 4, steps: 150, batchSize: 100, learningRate: 3e-2 };
 * const { gain, rows: models } = await fullLadder(store, sae, { nfm, cache: false });
 * assertEquals(models.map(({ rung }) => rung), ["R0", "R1", "R2", "R3", "R4", "R5"]);
 * assert(gain.low > 0); // what R2 leaves is mostly the product
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary, which stays as it is.
 * @param config What is trained.
 * @throws {RangeError} If a configuration is impossible; before any work of its rung.
 */
export async function fullLadder(
  store: ActivationReader,
  sae: Sae,
  config: FullLadderConfig,
): Promise<FullLadder> {
  const { nfm, secondary, wider, split = "validation", ...run } = config;
  const { dSae, dIn: dOut } = sae.config;
  const rungs = await trainRungs(store, sae, { ...nfm, ...run });
  const owned: { dispose(): void }[] = [rungs.R1, rungs.R2, rungs.R3];
  let stopped = rungs.stopped;
  try {
    const pairs = parameterCount(rungs.R3.shape).total;
    const [first, second] = [rungs.R1, rungs.R2].map(({ shape }) => parameterCount(shape).total);
    const add = (predict: (codes: SparseCodes) => tf.Tensor2D): Reconstruct => ({ x }) => {
      const { codes, residual } = codesAndResidual(sae, x, rungs.topN);
      return tf.add(tf.sub(x, residual), predict(codes)) as tf.Tensor2D;
    };
    const R2 = add((codes) => rungs.predict("R2", codes));
    const candidates: Record<string, Candidate> = {
      "dictionary": {
        rung: "R0",
        parameters: 0,
        reconstruct: ({ reconstruction }) => reconstruction!,
      },
      "affine in f": {
        rung: "R1",
        parameters: first,
        reconstruct: add((codes) => rungs.predict("R1", codes)),
      },
      "+ f², 1[f ≠ 0]": { rung: "R2", parameters: second, reconstruct: R2 },
      "+ pairs": {
        rung: "R3",
        parameters: second + pairs,
        reconstruct: add((codes) => rungs.predict("R3", codes)),
      },
    };

    const hidden = equalMlpWidth(pairs, { dSae, dOut, linear: true });
    const { steps, batchSize, learningRate, warmupSteps, decaySteps, seed } = nfm;
    const choices = { steps, batchSize, learningRate, warmupSteps, decaySteps, seed };
    const mlp = resolveMlpConfig({ hidden, topN: rungs.topN, ...choices }, store, sae);
    const network = await trainMlpOn(
      {
        store,
        view: (x) => {
          const { codes, residual } = codesAndResidual(sae, x, rungs.topN);
          return {
            codes,
            residual: tf.sub(residual, rungs.predict("R2", codes)) as tf.Tensor2D,
          };
        },
      },
      sae,
      mlp,
      { ...run, key: { ...mlp, rung: "R4", on: rungs.key } },
    );
    owned.push(network.mlp);
    stopped ||= network.stopped;
    candidates["+ network on f"] = {
      rung: "R4",
      parameters: second + mlpParameterCount(network.mlp.shape),
      reconstruct: add((codes) =>
        tf.add(rungs.predict("R2", codes), network.mlp.predict(codes)) as tf.Tensor2D
      ),
    };

    const skip = await affineSkip(store, (x) => R2({ x }));
    owned.push({ dispose: () => tf.dispose([skip.A, skip.c]) });
    candidates["+ affine in x"] = {
      rung: "R5",
      parameters: second + dOut * dOut + dOut,
      reconstruct: ({ x }) =>
        tf.addN([R2({ x }), tf.matMul(x, skip.A), tf.add(tf.zerosLike(x), skip.c)]) as tf.Tensor2D,
    };
    if (secondary) {
      const { sae: other, stopped: early } = await trainResidualSae(store, sae, {
        ...secondary,
        ...run,
      });
      owned.push(other);
      stopped ||= early;
      candidates["R0 + secondary dictionary"] = {
        rung: "R5",
        parameters: saeParameterCount(other.config),
        reconstruct: ({ x, reconstruction }) =>
          tf.add(reconstruction!, other.reconstruct(tf.sub(x, reconstruction!))) as tf.Tensor2D,
      };
    }
    if (wider) {
      const extra = [0, pairs];
      const widths = await trainSweep<SaeResult>(
        store,
        extra.map((parameters) => (view) =>
          trainWiderSae(view, sae, { ...wider, parameters, ...run })
        ),
      );
      for (const [i, { sae: other, stopped: early }] of widths.entries()) {
        owned.push(other);
        stopped ||= early;
        const { dSae: width } = other.config;
        const name = `${i === 0 ? "as wide as R0" : "wider"}, ${
          width.toLocaleString("en")
        } features`;
        candidates[name] = {
          rung: "R5",
          parameters: saeParameterCount(other.config) - saeParameterCount(sae.config),
          reconstruct: ({ x }) => other.reconstruct(x),
        };
      }
    }

    const names = Object.keys(candidates);
    const measured = await evaluate(
      store,
      { split, sae, maxActive: rungs.topN },
      Object.fromEntries(names.map((name) => [name, candidates[name].reconstruct])),
    );
    const [base, , bends] = names.map((name) => measured[name].perDocument);
    const rows = names.map((model): FullLadderRow => {
      const { perDocument, errorPercent } = measured[model];
      return {
        rung: candidates[model].rung,
        model,
        parameters: candidates[model].parameters,
        fvu: bootstrapRatio(perDocument.squaredError, perDocument.variation),
        errorPercent,
        reduction: pairedBootstrap(base, perDocument),
        beyondR2: pairedBootstrap(bends, perDocument, { statistic: "difference" }),
        perDocument,
      };
    });
    const gain = rows.find(({ rung }) => rung === "R3")!.beyondR2;
    return { rows, gain, tokens: measured[names[0]].tokens, stopped };
  } finally {
    for (const model of owned) model.dispose();
  }
}
