/**
 * One dictionary on the activations of a split: every number by document, in one pass after one that
 * finds the mean.
 *
 * @module
 */
import {
  type ActivationReader,
  type InputNormalizer,
  type Sae,
  sequentialBatches,
  type SplitName,
  type SplitReader,
  toModelUnits,
} from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import {
  type Codes,
  DeadMeter,
  FeatureActivityMeter,
  ReconstructionMeter,
  ShrinkageMeter,
  SparsityMeter,
  TokenwiseVarianceMeter,
} from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";

/** The meters after a pass. */
export interface CodeMeters {
  readonly reconstruction: ReconstructionMeter;
  readonly shrinkage: ShrinkageMeter;
  readonly sparsity: SparsityMeter;
  readonly tokenwise: TokenwiseVarianceMeter;
  readonly activity: FeatureActivityMeter;
  readonly dead?: DeadMeter;
  /** What the activity's sequences are. */
  readonly sequencesAre: "sequences" | "documents";
  /** Batches that were read. */
  readonly batches: number;
}

/** What is measured on. */
export interface MeasureCodesOptions {
  readonly split: SplitName;
  readonly batchSize: number;
  readonly maxTokens?: number;
  /** Window of the dead features in tokens; without it they are not looked for. */
  readonly deadWindow?: number;
}

/** Runs the pass. Activations and reconstructions are measured in the units of the model. */
export async function measureCodes(
  store: ActivationReader,
  sae: Sae,
  { split, batchSize, maxTokens, deadWindow }: MeasureCodesOptions,
): Promise<CodeMeters> {
  const { dSae, dIn, dOut = dIn } = sae.config;
  // Of a transcoder: what it predicts.
  const target = (store as { target?: ActivationReader }).target;
  if (sae.config.dOut !== undefined && !target) {
    throw new RangeError("Cannot evaluate a transcoder on one store: give a pairReader");
  }
  const reader = store.split(split);
  const measured = target ?? store;
  const normalizer = measured.normalizer ?? null;
  const mean = await meanRow(measured, { split, batchSize, maxTokens }, normalizer);
  const meters = {
    reconstruction: new ReconstructionMeter(dOut),
    shrinkage: new ShrinkageMeter(dOut),
    sparsity: new SparsityMeter(),
    tokenwise: new TokenwiseVarianceMeter(mean),
    activity: new FeatureActivityMeter(dSae),
    ...deadWindow !== undefined && { dead: new DeadMeter(dSae, { window: deadWindow }) },
  };
  const { sequence, are } = sequencesOf(reader);
  const total = Math.min(reader.tokens, maxTokens ?? Infinity);
  const line = progress(`Measuring on ${split} documents`, { total, unit: "tokens" });
  let start = 0;
  let batches = 0;
  try {
    for await (const { x, document } of sequentialBatches(reader, batchSize, maxTokens)) {
      const tokens = document.length;
      const y = await target?.split(split).rows(start, tokens);
      const codes: Codes = sae.config.architecture === "topk" ? sae.encodeSparse(x) : sae.encode(x);
      const [raw, estimate] = tf.tidy(() => [
        toModelUnits(y ?? x, normalizer),
        toModelUnits(fromCodes(sae, codes, x), normalizer),
      ]);
      try {
        for (const meter of [meters.reconstruction, meters.shrinkage, meters.tokenwise]) {
          await meter.update(raw, estimate, { document });
        }
        await meters.sparsity.update(codes, { document });
        await meters.activity.update(codes, { sequence: sequence.subarray(start, start + tokens) });
        await meters.dead?.update(codes);
      } finally {
        tf.dispose(codes instanceof tf.Tensor ? codes : [codes.indices, codes.values]);
        tf.dispose(y ? [raw, estimate, y] : [raw, estimate]);
      }
      batches++;
      line.update(start += tokens);
    }
  } catch (error) {
    line.stop("failed");
    throw error;
  }
  line.finish();
  return { ...meters, sequencesAre: are, batches };
}

function fromCodes(sae: Sae, codes: Codes, x: tf.Tensor2D): tf.Tensor2D {
  const decoded = codes instanceof tf.Tensor ? sae.decode(codes) : sae.decodeSparse(codes);
  const { W_skip } = sae;
  return W_skip ? tf.add(decoded, tf.matMul(x, W_skip, false, true)) as tf.Tensor2D : decoded;
}

/** The mean of what is measured, in the units of the model. */
async function meanRow(
  store: ActivationReader,
  { split, batchSize, maxTokens }: MeasureCodesOptions,
  normalizer: InputNormalizer | null,
): Promise<Float64Array> {
  const sum = new Float64Array(store.dModel);
  let tokens = 0;
  for await (const { x } of sequentialBatches(store.split(split), batchSize, maxTokens)) {
    const mean = tf.tidy(() => tf.mean(toModelUnits(x, normalizer), 0));
    (await mean.data()).forEach((value, d) => sum[d] += value * x.shape[0]);
    mean.dispose();
    tokens += x.shape[0];
  }
  return sum.map((value) => value / tokens);
}

/** A number for each token's sequence; of its document, where a store does not know positions. */
function sequencesOf(
  reader: SplitReader,
): { sequence: Int32Array; are: CodeMeters["sequencesAre"] } {
  const { positions } = reader as { positions?: ArrayLike<number> };
  const { document, tokens } = reader;
  const sequence = new Int32Array(tokens);
  for (let t = 1; t < tokens; t++) {
    const starts = document[t] !== document[t - 1] ||
      (positions && positions[t] <= positions[t - 1]);
    sequence[t] = sequence[t - 1] + (starts ? 1 : 0);
  }
  return { sequence, are: positions ? "sequences" : "documents" };
}
