/**
 * Speed of training factorization machines, beside three ways to write one in PyTorch.
 *
 * @module
 */
import { join } from "node:path";
import { formatNumber } from "../../display/mod.ts";
import { nfmRowLoss, type NfmWeights, usedRows } from "../../interaction/mod.ts";
import { Adam, Rng, type SparseCodes, tf } from "../../tensor/mod.ts";
import { lines } from "../lines.ts";
import { type BenchRow, inTurn, type Machine, milliseconds } from "./measure.ts";
import { PEERS_PYTHON } from "./peer.ts";
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
    const ours = step(sizes);
    const theirs = PeerStep.start(form, sizes);
    const row = await inTurn(`NFM step, ${shape(sizes)}`, ours.run, theirs, {
      repetitions,
      rate: (ms) => `${formatNumber(sizes.tokens / ms * 1000)} tokens/s`,
    });
    rows.push(theirs ? { ...row, peer: { ...row.peer!, name: `PyTorch, ${form}` } } : row);
    await theirs?.close();
    ours.dispose();
    if (!theirs && form !== "gather") rows.pop(); // nothing to compare it with
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
function step(sizes: Sizes): { run(): Promise<number>; dispose(): void } {
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
        const used = await usedRows(codes, features);
        const weights = adam.values as unknown as NfmWeights;
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

/** Steps of the Python program beside this one. */
class PeerStep {
  /** The most memory that it has held, in bytes. */
  bytes = 0;
  readonly name = "PyTorch";
  readonly run: () => Promise<number>;
  readonly #child: Deno.ChildProcess;
  readonly #requests: WritableStreamDefaultWriter<Uint8Array>;

  private constructor(python: string, form: string, sizes: Sizes) {
    const { tokens, features, active, K, width } = sizes;
    const counts = [tokens, features, active, K, width, navigator.hardwareConcurrency];
    this.#child = new Deno.Command(python, {
      args: [
        join(import.meta.dirname!, "..", "bench_peers", "nfm.py"),
        form,
        ...counts.map(String),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#requests = this.#child.stdin.getWriter();
    const answers = lines(this.#child.stdout);
    this.run = async () => {
      await this.#requests.write(new TextEncoder().encode("\n")).catch(() => {});
      const { value, done } = await answers.next();
      if (done) throw new Error(`The interpreter of ${PEERS_PYTHON} ended during a step "${form}"`);
      const { ms, bytes } = JSON.parse(value);
      this.bytes = bytes;
      return ms;
    };
  }

  static start(form: string, sizes: Sizes): PeerStep | undefined {
    const python = Deno.env.get(PEERS_PYTHON);
    return python ? new PeerStep(python, form, sizes) : undefined;
  }

  async close(): Promise<void> {
    await this.#requests.close().catch(() => {});
    await this.#child.status;
  }
}
