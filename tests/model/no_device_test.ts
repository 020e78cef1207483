import { assertRejects, assertThrows } from "@std/assert";
import { loadModel, randomModel } from "../../lib/model/mod.ts";

Deno.test("a model that is made before a device is open says what to call", async () => {
  assertThrows(() => randomModel(), Error, "await openDevice()");
  await assertRejects(() => loadModel(), Error, "await openDevice()");
});
