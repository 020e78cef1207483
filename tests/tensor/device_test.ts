import { assert, assertEquals, assertRejects } from "@std/assert";
import { availableBackends, type Backend, openDevice, tf } from "../../lib/tensor/mod.ts";

Deno.test("openDevice() opens what was asked for and says why", async () => {
  const device = await openDevice({ backend: "cpu" });
  assertEquals([device.backend, tf.getBackend()], ["cpu", "cpu"]);
  assertEquals(device.reason, "asked for in code");
});

Deno.test("openDevice() refuses an unknown backend by name", async () => {
  await assertRejects(
    () => openDevice({ backend: "cuda" as Backend }),
    RangeError,
    "expected one of tensorflow, webgpu, wasm, cpu",
  );
});

Deno.test("availableBackends() keeps the open device and explains what is missing", async () => {
  await openDevice({ backend: "cpu" });
  for (const status of await availableBackends()) {
    assert(status.detail.length > 0);
  }
  assertEquals(tf.getBackend(), "cpu");
});

Deno.test("openDevice() never prefers a software rasteriser to the CPU", async () => {
  const device = await openDevice();
  assert(device.backend !== "webgpu" || device.gpu);
});
