/**
 * Which tfjs backend runs, and why.
 *
 * One order for everybody: TensorFlow on a GPU, WebGPU on a real GPU, TensorFlow
 * on the CPU, wasm. `INTERLENS_BACKEND` overrides it. Nothing outside this
 * folder knows the names of backends.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";
import util from "node:util";
import { createRequire } from "node:module";
import { dirname } from "node:path";

/** A backend that Interlens can compute on, fastest first within its hardware. */
export type Backend = "tensorflow" | "webgpu" | "wasm" | "cpu";

/** What computes: the answer to "which device really ran this?". */
export interface Device {
  /** The tfjs backend. */
  readonly backend: Backend;
  /** The hardware in words, for example `"TensorFlow 2.21 on CPU (2 threads)"`. */
  readonly name: string;
  /** True where a graphics processor does the work. */
  readonly gpu: boolean;
  /** Why this one was chosen. */
  readonly reason: string;
}

/** One backend, and whether it can run here. */
export interface BackendStatus {
  readonly backend: Backend;
  readonly available: boolean;
  /** The device's name, or what is missing and how to get it. */
  readonly detail: string;
  readonly gpu: boolean;
}

const ORDER: readonly Backend[] = ["tensorflow", "webgpu", "wasm", "cpu"];
const probes: Record<Backend, () => Promise<{ name: string; gpu: boolean }>> = {
  tensorflow: probeTensorFlow,
  webgpu: probeWebGpu,
  wasm: probeWasm,
  cpu: probeCpu,
};
const probed = new Map<Backend, Promise<BackendStatus>>();

function probe(backend: Backend): Promise<BackendStatus> {
  let status = probed.get(backend);
  if (!status) {
    status = probes[backend]().then(
      ({ name, gpu }) => ({ backend, available: true, detail: name, gpu }),
      (error) => ({
        backend,
        available: false,
        detail: firstLine(error),
        gpu: false,
      }),
    );
    probed.set(backend, status);
  }
  return status;
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]
    .trim();
}

const nodeRequire = createRequire(import.meta.url);

async function probeTensorFlow() {
  // Node 23 removed these; tfjs-node 4.22 still calls them.
  const legacy = util as unknown as Record<string, unknown>;
  legacy.isNullOrUndefined ??= (x: unknown) => x === null || x === undefined;
  legacy.isArray ??= Array.isArray;
  legacy.isString ??= (x: unknown) => typeof x === "string";
  legacy.isNumber ??= (x: unknown) => typeof x === "number";
  legacy.isBoolean ??= (x: unknown) => typeof x === "boolean";
  // Read by TensorFlow when its library is loaded: its start-up log says nothing a user can act on.
  if (!Deno.env.get("TF_CPP_MIN_LOG_LEVEL")) {
    Deno.env.set("TF_CPP_MIN_LOG_LEVEL", "3");
  }
  try {
    await import("@tensorflow/tfjs-node-gpu");
  } catch (error) {
    if (/tfjs_binding\.node|cannot open shared object/.test(String(error))) {
      throw new Error(
        "TensorFlow's binding is not built: run `deno task setup`",
        { cause: error },
      );
    }
    throw error;
  }
  await activate("tensorflow");
  const native = tf.backend() as unknown as {
    isUsingGpuDevice: boolean;
    binding: { TF_Version: string };
  };
  const gpu = native.isUsingGpuDevice;
  const where = gpu ? "GPU" : `CPU (${navigator.hardwareConcurrency} threads)`;
  return { name: `TensorFlow ${native.binding.TF_Version} on ${where}`, gpu };
}

async function probeWebGpu() {
  if (!navigator.gpu) {
    throw new Error("This Deno has no WebGPU: use Deno 2.9.4 or later");
  }
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) {
    throw new Error(
      "No WebGPU adapter: install a Vulkan, Metal or DirectX 12 driver",
    );
  }
  // tfjs 4.22 asks for ["bgra8unorm-storage"] inside the list of features; browsers
  // turn that inner list into its name, Deno refuses it.
  const requestDevice = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    return requestDevice.call(this, {
      ...descriptor,
      requiredFeatures: [...descriptor?.requiredFeatures ?? []]
        .flat() as GPUFeatureName[],
    });
  };
  await import("@tensorflow/tfjs-backend-webgpu");
  await activate("webgpu");
  const { vendor, architecture, description } = adapter.info;
  const name = description ||
    [vendor, architecture].filter(Boolean).join(" ") || "unknown adapter";
  // A software rasteriser is a WebGPU device, but slower than wasm.
  const software = /llvmpipe|lavapipe|swiftshader|software/i.test(
    `${vendor} ${name}`,
  );
  return { name: `WebGPU on ${name}`, gpu: !software };
}

async function probeWasm() {
  const wasm = await import("@tensorflow/tfjs-backend-wasm");
  const folder = dirname(nodeRequire.resolve("@tensorflow/tfjs-backend-wasm"));
  wasm.setWasmPaths(`${folder}/`);
  await activate("wasm");
  const simd = await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT");
  return { name: `WebAssembly${simd ? " with SIMD" : ""} on CPU`, gpu: false };
}

async function probeCpu() {
  // Its first use prints an advertisement for the Node backend, unless tfjs takes this for a build
  // in production.
  tf.env().set("PROD", true);
  await import("@tensorflow/tfjs-backend-cpu");
  await activate("cpu");
  return { name: "plain JavaScript on CPU (a reference, slow)", gpu: false };
}

async function activate(backend: Backend): Promise<void> {
  if (!await tf.setBackend(backend)) {
    throw new Error(`The ${backend} backend did not start`);
  }
  await tf.ready();
}

/**
 * Every backend with what it would run on, or what it lacks.
 *
 * Probing starts each backend once and leaves the one that was active before.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { availableBackends } from "interlens";
 *
 * const backends = await availableBackends();
 * assert(backends.some(({ backend, available }) => backend === "cpu" && available));
 * ```
 */
export async function availableBackends(): Promise<BackendStatus[]> {
  const statuses: BackendStatus[] = [];
  // One after the other: starting a backend makes it the global one.
  for (const backend of ORDER) statuses.push(await probe(backend));
  if (opened) await activate(opened.backend);
  return statuses;
}

let opened: Device | undefined;

/** How to choose a device. */
export interface OpenDeviceOptions {
  /** Use this backend or fail. Default: `INTERLENS_BACKEND`, else the fastest that runs here. */
  backend?: Backend;
}

/**
 * Starts the fastest backend and makes it the one that all tensors live on.
 *
 * Call it once before the first tensor. Calling it again with another backend
 * switches; tensors of the old one move when they are next used.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf } from "interlens";
 *
 * const device = await openDevice({ backend: "cpu" });
 * assertEquals(device.backend, "cpu");
 * assertEquals([...await tf.add(1, 2).data()], [3]);
 * ```
 *
 * @throws {Error} If the backend that was asked for cannot run, naming what it lacks.
 * @throws {RangeError} If there is no backend of that name.
 */
export async function openDevice(
  options: OpenDeviceOptions = {},
): Promise<Device> {
  const fromEnvironment = Deno.env.get("INTERLENS_BACKEND");
  const wanted = options.backend ?? (fromEnvironment || undefined);
  if (wanted !== undefined) {
    if (!ORDER.includes(wanted as Backend)) {
      throw new RangeError(
        `Cannot open a device of backend "${wanted}": expected one of ${ORDER.join(", ")}`,
      );
    }
    const status = await probe(wanted as Backend);
    if (!status.available) {
      throw new Error(`Cannot use the ${wanted} backend: ${status.detail}`);
    }
    const reason = options.backend ? "asked for in code" : "asked for by INTERLENS_BACKEND";
    return await open(status, reason);
  }
  const native = await probe("tensorflow");
  if (native.gpu) return await open(native, "a GPU that TensorFlow can use");
  const webgpu = await probe("webgpu");
  if (webgpu.gpu) {
    return await open(webgpu, "a GPU, and no CUDA build of TensorFlow");
  }
  if (native.available) return await open(native, "no GPU was found");
  const wasm = await probe("wasm");
  if (wasm.available) return await open(wasm, native.detail);
  return await open(await probe("cpu"), `${native.detail}; ${wasm.detail}`);
}

async function open(status: BackendStatus, reason: string): Promise<Device> {
  await activate(status.backend);
  opened = {
    backend: status.backend,
    name: status.detail,
    gpu: status.gpu,
    reason,
  };
  return opened;
}
