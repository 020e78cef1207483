import {
  availableBackends,
  type Backend,
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

/**
 * Registers one test a backend; a backend that cannot run here is listed as ignored.
 *
 * @param options.except Backends that cannot have the property.
 */
export function eachBackend(
  name: string,
  fn: (device: Device) => Promise<void> | void,
  { except = [] }: { except?: Backend[] } = {},
): void {
  for (const { backend, available } of statuses) {
    Deno.test({
      name: `${name} (${backend})`,
      ignore: !available || except.includes(backend) || (!!only && only !== backend),
      // Backends keep timers and device handles for the life of the process.
      sanitizeOps: false,
      sanitizeResources: false,
      fn: async () => await fn(await openDevice({ backend })),
    });
  }
}
