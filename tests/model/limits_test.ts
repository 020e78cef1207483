import { assert, assertThrows } from "@std/assert";
import { checkFits, maxTensorBytes } from "../../lib/model/limits.ts";
import { eachBackend } from "../backends.ts";

eachBackend(
  "a tensor over the device's binding limit is refused before it is made",
  ({ backend }) => {
    const limit = maxTensorBytes();
    if (backend !== "webgpu") {
      assert(limit === Infinity);
      return;
    }
    assert(limit >= 128 * 2 ** 20, "WebGPU guarantees 128 MiB");
    checkFits("the embedding", [limit / 4 / 8, 8], "");
    assertThrows(
      () => checkFits("logits", [limit / 4 / 8 + 1, 8], "use fewer sequences at once"),
      RangeError,
      "this webgpu device",
    );
  },
);
