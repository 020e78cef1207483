import {
  availableBackends,
  type BackendStatus,
  type Device,
  openDevice,
} from "../lib/tensor/mod.ts";

const statuses: BackendStatus[] = await availableBackends();
const only = Deno.env.get("INTERLENS_BACKEND");
const unavailable = statuses.filter(({ available }) => !available);
if (unavailable.length > 0) {
  console.log(
    `Not tested here: ${
      unavailable.map(({ backend, detail }) => `${backend} (${detail})`).join("; ")
    }`,
  );
}

/** Registers one test a backend; a backend that cannot run here is listed as ignored. */
export function eachBackend(name: string, fn: (device: Device) => Promise<void> | void): void {
  for (const { backend, available } of statuses) {
    Deno.test({
      name: `${name} (${backend})`,
      ignore: !available || (!!only && only !== backend),
      // Backends keep timers and device handles for the life of the process.
      sanitizeOps: false,
      sanitizeResources: false,
      fn: async () => await fn(await openDevice({ backend })),
    });
  }
}
