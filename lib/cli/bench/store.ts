/**
 * Speed of reading activations from a store, beside a training step on them.
 *
 * @module
 */
import { type ActivationSource, harvest } from "../../activations/mod.ts";
import { fromTexts } from "../../corpus/mod.ts";
import { formatNumber } from "../../display/mod.ts";
import { tf } from "../../tensor/mod.ts";
import { type BenchRow, inTurn, type Machine, milliseconds } from "./measure.ts";
import { random } from "./tensor.ts";
import { step } from "./training.ts";

const WIDTH = 576;
const HOOK = "blocks.0.hook_resid_post";

/** A batch in shuffled order, from files, in turn with the step that it feeds. */
export async function benchStore({ full }: Machine): Promise<BenchRow[]> {
  // A gigabyte, so that batches are read ahead as they are from a large store.
  const tokens = full ? 460_000 : 20_000;
  const batch = full ? 2048 : 128;
  const dir = await Deno.makeTempDir();
  try {
    const text = { train: fromTexts(["a".repeat(tokens)]), validation: [], test: [] };
    const store = await harvest(noise(), text, {
      hook: HOOK,
      tokens: { train: tokens, validation: 0, test: 0 },
      maxNormRatio: null,
      normalizer: { clipSigma: null, scale: false },
      batchSize: 64,
      dir,
    });
    const split = store.split("train");
    const training = step(batch, 4096);
    const shares: number[] = [];
    let at = 0;
    const row = await inTurn(
      `batch of ${batch} × ${WIDTH} from a store of ${formatNumber(tokens * WIDTH * 4 / 1e9)} GB`,
      async () => {
        const ms = await milliseconds(async () => {
          (await split.shuffledBatch(at++, batch, 0)).dispose();
        });
        // Where batches are read ahead, the next one is read during the step.
        shares.push(ms / await training.run());
        return ms;
      },
      undefined,
      {
        repetitions: 15,
        rate: (ms) => `${formatNumber(batch / ms * 1000)} tokens/s`,
      },
    );
    training.dispose();
    const share = shares.slice(1).toSorted((a, b) => a - b)[(shares.length - 1) >> 1];
    return [{ ...row, rate: `${row.rate}, ${formatNumber(100 * share)} % of a dense SAE step` }];
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** A model of random activations: the speed of reading them does not depend on what they are. */
function noise(): ActivationSource {
  const cfg = { name: "noise", hash: "noise", contextLength: 128 };
  return {
    cfg,
    tokenizer: { bosId: 0, encode: (text) => Array(text.length).fill(1) },
    hookNames: () => [HOOK],
    runWithCache(tokens) {
      const pos = Math.max(...tokens.map(({ length }) => length));
      const tensor = random([tokens.length, pos, WIDTH]);
      const cache = { get: () => tensor, dispose: () => tf.dispose(tensor) };
      return Promise.resolve({ logits: undefined, cache });
    },
  };
}
