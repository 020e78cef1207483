/**
 * Speed of training dictionaries, beside the same steps in PyTorch.
 *
 * @module
 */
import { standardLoss, topkLoss } from "../../dictionary/mod.ts";
import { formatNumber } from "../../display/mod.ts";
import { Adam, tf } from "../../tensor/mod.ts";
import { type BenchRow, inTurn, type Machine, milliseconds } from "./measure.ts";
import { Peer } from "./peer.ts";
import { random } from "./tensor.ts";

const WIDTH = 576;

/** A step of training of a dense and of a TopK dictionary. */
export async function benchTraining({ gflops, full }: Machine): Promise<BenchRow[]> {
  await using peer = Peer.start("sae");
  const rows: BenchRow[] = [];
  const all = [
    { architecture: "standard", tokens: 2048, dSae: 4096 },
    { architecture: "topk", tokens: 1024, dSae: 16_384, k: 32 },
  ] as const;
  for (const { architecture, tokens, dSae, ...rest } of all) {
    const batch = full ? tokens : 128;
    const ours = step(batch, dSae, "k" in rest ? rest.k : undefined);
    // Encoder and decoder, forward and twice backward, less the gradient of x.
    const useful = 2 * batch * WIDTH * dSae * 5;
    const share = (ms: number) => formatNumber(100 * useful / ms / 1e6 / gflops);
    const request = {
      threads: navigator.hardwareConcurrency,
      tokens: batch,
      d_in: WIDTH,
      d_sae: dSae,
      ...rest,
    };
    rows.push(
      await inTurn(
        `${architecture} SAE step, ${batch} × ${WIDTH} × ${dSae}, Adam included`,
        ours.run,
        peer?.work(architecture === "standard" ? "dense" : "topk", request),
        {
          repetitions: full ? 7 : 2,
          rate: (ms) =>
            `${formatNumber(batch / ms * 1000)} tokens/s, ${share(ms)} % of the product's rate` +
            (architecture === "standard" ? "" : " if it were dense"),
        },
      ),
    );
    ours.dispose();
  }
  return rows;
}

/** A step that can be repeated; with `k` of a TopK dictionary. */
export function step(tokens: number, dSae: number, k?: number) {
  const x = random([tokens, WIDTH]) as tf.Tensor2D;
  const adam = new Adam({
    W_enc: random([WIDTH, dSae], 0.04),
    b_enc: tf.zeros([dSae]),
    W_dec: random([dSae, WIDTH], 0.04),
    b_dec: tf.zeros([WIDTH]),
  });
  return {
    run: () =>
      milliseconds(async () => {
        const { W_enc, b_enc, W_dec, b_dec } = adam.values;
        const params = { W_enc, b_enc, W_dec, b_dec } as Parameters<typeof standardLoss>[0];
        const { grads, scalars, ...rest } = k === undefined
          ? standardLoss(params, x, { l1Coefficient: 1 })
          : topkLoss(params, x, { k });
        adam.apply({ ...grads }, 1e-4);
        await scalars.loss.data();
        tf.dispose([{ ...scalars }, { ...rest } as tf.TensorContainer]);
      }),
    dispose: () => {
      adam.dispose();
      x.dispose();
    },
  };
}
