import { assertEquals, assertThrows } from "@std/assert";
import { randomModel } from "../../lib/model/mod.ts";
import { tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "./close.ts";

eachBackend(
  "the effect of a normalised residual stream is its logits, less their mean",
  async () => {
    using model = randomModel({ dModel: 8, nHeads: 2 }, 3);
    const name = "ln_final.hook_normalized";
    const { logits, cache } = await model.runWithCache([[1, 5, 9]], { names: name });
    const before = tf.memory().numTensors;
    const effects = model.logitEffects(tf.reshape(cache.get(name), [3, 8]));
    assertEquals(tf.memory().numTensors - before, 2, "the reshaped input and the effects");
    const expected = tf.tidy(() => {
      const rows = tf.reshape(logits!, [3, -1]);
      return tf.sub(rows, tf.mean(rows, 1, true));
    });
    assertClose(await effects.data(), await expected.data());
  },
);

eachBackend("directions of another width are refused", () => {
  using model = randomModel({}, 0);
  assertThrows(() => model.logitEffects(tf.ones([2, 5])), RangeError, "expected [n, 16]");
});
