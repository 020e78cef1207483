/**
 * Whether there is a device, and how large one tensor may be on it.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/**
 * Refuses to go on without a device: the error of tfjs does not say what to do.
 *
 * @throws {Error} If none was opened.
 */
export function requireDevice(): void {
  if (!tf.getBackend()) {
    throw new Error("Cannot make a model before a device is open: call `await openDevice()` first");
  }
}

/** Bytes that one tensor may have: a WebGPU device binds no larger buffer. */
export function maxTensorBytes(): number {
  const { device } = tf.backend() as { device?: { limits?: GPUSupportedLimits } };
  return device?.limits?.maxStorageBufferBindingSize ?? Infinity;
}

/**
 * Refuses a float32 tensor that the device cannot hold, before it is made.
 *
 * @param what What the tensor is, for the error.
 * @param advice What to do.
 * @throws {RangeError} If it is too large.
 */
export function checkFits(what: string, shape: readonly number[], advice: string): void {
  const bytes = 4 * shape.reduce((product, size) => product * size, 1);
  const limit = maxTensorBytes();
  if (bytes > limit) {
    const mib = (n: number) => `${Math.ceil(n / 2 ** 20)} MiB`;
    throw new RangeError(
      `Cannot hold ${what} of shape [${shape}] (${mib(bytes)}) on this ${tf.getBackend()} ` +
        `device, whose limit is ${mib(limit)} a tensor: ${advice}`,
    );
  }
}
