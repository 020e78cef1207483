/**
 * Speed of training dictionaries.
 *
 * @module
 */
import { standardLoss, topkLoss } from "../../dictionary/mod.ts";
import { formatNumber } from "../../display/mod.ts";
import { Adam, tf } from "../../tensor/mod.ts";
import { type BenchRow, type Machine, time } from "./measure.ts";
import { random } from "./tensor.ts";

/** A step of training of dictionaries. */
export async function benchTraining({ gflops }: Machine): Promise<BenchRow[]> {
  const [batch, dIn, dSae, k] = [1024, 576, 4096, 32];
  const x = random([batch, dIn]) as tf.Tensor2D;
  const weights = () => ({
    W_enc: random([dIn, dSae], 0.04),
    b_enc: tf.zeros([dSae]),
    W_dec: random([dSae, dIn], 0.04),
    b_dec: tf.zeros([dIn]),
  });
  // Encoder and decoder, forward and twice backward, less the gradient of x.
  const useful = 2 * batch * dIn * dSae * 5;
  const rate = (ms: number) =>
    `${formatNumber(batch / ms * 1000)} tokens/s, ${
      formatNumber(100 * useful / ms / 1e6 / gflops)
    } % of the product's rate if dense`;
  const rows: BenchRow[] = [];
  for (const architecture of ["standard", "topk"] as const) {
    const adam = new Adam(weights());
    rows.push(
      await time(`${architecture} SAE step, ${batch} × ${dIn} × ${dSae}, Adam included`, () => {
        const { W_enc, b_enc, W_dec, b_dec } = adam.values;
        const params = { W_enc, b_enc, W_dec, b_dec } as Parameters<typeof standardLoss>[0];
        const { grads, scalars, ...rest } = architecture === "topk"
          ? topkLoss(params, x, { k })
          : standardLoss(params, x, { l1Coefficient: 1 });
        adam.apply({ ...grads }, 1e-4);
        tf.dispose([{ ...scalars }, { ...rest } as tf.TensorContainer]);
        return tf.clone(adam.values.W_dec);
      }, { repetitions: 5, rate }),
    );
    adam.dispose();
  }
  x.dispose();
  return rows;
}
