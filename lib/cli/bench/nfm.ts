/**
 * Speed of training factorization machines, beside three ways to write one in PyTorch.
 *
 * @module
 */
import { formatNumber } from "../../display/mod.ts";
import { nfmLoss, nfmRowLoss, type NfmWeights, usedRows } from "../../interaction/mod.ts";
import { Adam, Rng, type SparseCodes, tf } from "../../tensor/mod.ts";
import { type BenchRow, inTurn, type Machine, milliseconds } from "./measure.ts";
import { Peer } from "./peer.ts";
import { random } from "./tensor.ts";

/** Sizes of a step. */
interface Sizes {
  readonly tokens: number;
  readonly features: number;
  /** Active features a token. */
  readonly active: number;
  readonly K: number;
  readonly width: number;
  /** Number of features that are ever active; they are spread over all. Default: all. */
  readonly inUse?: number;
}

const PAPER: Sizes = { tokens: 1000, features: 50_000, active: 100, K: 150, width: 576 };

/** A step of the interaction part, Adam included. */
export async function benchNfm({ full }: Machine): Promise<BenchRow[]> {
  const base = full ? PAPER : { ...PAPER, tokens: 50, features: 5000 };
  const small = { ...base, tokens: 10 };
  const rows: BenchRow[] = [];
  const shape = (s: Sizes) =>
    `${s.tokens} tokens, ${s.active} of ${s.features.toLocaleString("en")} features, K = ${s.K}`;
  for (
    const [sizes, form, repetitions] of [
      [base, "gather", 7],
      [base, "dense", 3],
      [small, "gather", 7],
      ...full ? [[small, "study", 3] as const] : [],
    ] as const
  ) {
    // Each form in a process of its own, so that its peak of memory is its own.
    await using peer = Peer.start("nfm", `PyTorch, ${form}`);
    // Some forms are there to be compared with.
    if (!peer && form !== "gather") continue;
    const { inUse: _, ...request } = { ...sizes, threads: navigator.hardwareConcurrency };
    // What a training chooses: these tokens use most features, or few.
    const updates = sizes.tokens * sizes.active < sizes.features / 2 ? "rows" : "all";
    const ours = step(sizes, updates);
    rows.push(
      await inTurn(`NFM step, ${shape(sizes)}, ${updates}`, ours.run, peer?.work(form, request), {
        repetitions,
        rate: (ms) => `${formatNumber(sizes.tokens / ms * 1000)} tokens/s`,
      }),
    );
    ours.dispose();
  }
  // As many rows in use among four times as many features; then with four times as many to draw from.
  const inUse = base.features;
  for (const wide of [{ inUse }, {}]) {
    const [one, four] = [step(base), step({ ...base, ...wide, features: 4 * base.features })];
    const work = `NFM step, ${shape(base)}, against four times the features` +
      ("inUse" in wide ? ", as many in use" : "");
    const row = await inTurn(work, one.run, { name: "itself", run: four.run }, {
      repetitions: 7,
      rate: () => "",
    });
    rows.push(row);
    one.dispose();
    four.dispose();
  }
  return rows;
}

/** A step of ours that can be repeated. */
function step(
  sizes: Sizes,
  updates: "all" | "rows" = "rows",
): { run(): Promise<number>; dispose(): void } {
  const { tokens, features, active, K, width, inUse = features } = sizes;
  const rng = new Rng(1);
  const apart = Math.floor(features / inUse);
  const codes: SparseCodes = {
    indices: tf.tensor2d(
      Int32Array.from({ length: tokens * active }, () => apart * rng.integer(inUse)),
      [tokens, active],
      "int32",
    ),
    values: tf.tensor2d(
      Float32Array.from({ length: tokens * active }, () => rng.uniform()),
      [tokens, active],
    ),
  };
  const target = random([tokens, width]) as tf.Tensor2D;
  const adam = new Adam({
    V: random([features, K], 0.05),
    C: random([K, width], K ** -0.5),
    b: tf.zeros([width]),
  });
  return {
    run: () =>
      milliseconds(async () => {
        const weights = adam.values as unknown as NfmWeights;
        if (updates === "all") {
          const { grads, scalars } = nfmLoss(weights, codes, target);
          adam.apply(grads, 1e-3);
          await scalars.loss.data();
          tf.dispose(scalars);
          return;
        }
        const used = await usedRows(codes, features);
        const { grads, scalars } = nfmRowLoss(weights, codes, target, { used });
        adam.apply(grads, 1e-3);
        await scalars.loss.data();
        tf.dispose([{ ...used }, scalars]);
      }),
    dispose: () => {
      adam.dispose();
      tf.dispose([codes.indices, codes.values, target]);
    },
  };
}
