/**
 * The native backend: TensorFlow's C++ libraries out of its Python wheel, and the tfjs binding
 * compiled against them.
 *
 * The binding's own installer would fetch a TensorFlow of 2022. The wheel is current, comes from a
 * package registry, and there is one for the CPU and one for NVIDIA GPUs.
 *
 * @module
 */
import { join } from "node:path";
import { run as runOnce, which } from "./command.ts";
import { computeEnvironment, TENSORFLOW_HOME, VENV } from "./environment.ts";
import { NAPI_VERSION, TENSORFLOW_PYTHON, TENSORFLOW_VERSION } from "./pins.ts";
import { pip, type Run } from "./python.ts";
import { type Step, Unavailable } from "./step.ts";
import { ROOT } from "../files/mod.ts";

const LIBRARIES = join(TENSORFLOW_HOME, "tensorflow");
const LOST = "The native backend is not built: WebGPU or WebAssembly computes instead, several " +
  "times slower on a CPU";

/** What of TensorFlow to unpack here. */
export interface Wheel {
  /** pip requirement. */
  readonly requirement: string;
  /** True for the build that runs on NVIDIA GPUs, whose CUDA libraries are wheels of their own. */
  readonly cuda: boolean;
}

/**
 * The wheel that carries the libraries for a machine.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { wheelFor } from "./tensorflow.ts";
 *
 * assertEquals(wheelFor("x86_64", false).requirement.split("==")[0], "tensorflow-cpu");
 * assertEquals(wheelFor("aarch64", false).requirement.split("==")[0], "tensorflow");
 * ```
 *
 * @param arch Processor, as `Deno.build.arch` says it.
 * @param nvidia Whether an NVIDIA GPU answers.
 */
export function wheelFor(arch: string, nvidia: boolean): Wheel {
  if (nvidia) return { requirement: `tensorflow[and-cuda]==${TENSORFLOW_VERSION}`, cuda: true };
  const name = arch === "x86_64" ? "tensorflow-cpu" : "tensorflow";
  return { requirement: `${name}==${TENSORFLOW_VERSION}`, cuda: false };
}

/** True if the driver of an NVIDIA GPU answers and lists one. */
export async function hasNvidiaGpu(): Promise<boolean> {
  const program = await which("nvidia-smi");
  if (!program) return false;
  const listed = await runOnce(program, ["-L"]).catch(() => "");
  return /^GPU \d+/m.test(listed);
}

/** Unpacks TensorFlow's libraries and headers into the Python environment's folder. */
export function tensorflowStep(run: Run, wheel: Wheel): Step {
  return {
    name: `TensorFlow ${TENSORFLOW_VERSION} libraries for ${wheel.cuda ? "GPU" : "CPU"}`,
    inputs: { requirement: wheel.requirement, python: TENSORFLOW_PYTHON, arch: Deno.build.arch },
    stamp: join(TENSORFLOW_HOME, "interlens.json"),
    files: ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"]
      .map((name) => join(LIBRARIES, name)),
    async make() {
      await findCompiler();
      await Deno.remove(TENSORFLOW_HOME, { recursive: true }).catch(() => {});
      // On the same disk, so that pip moves a gigabyte instead of copying it.
      const temporary = join(VENV, "tmp");
      await Deno.remove(temporary, { recursive: true }).catch(() => {});
      await Deno.mkdir(temporary, { recursive: true });
      const dependencies = wheel.cuda ? [] : ["--no-deps"];
      const where = ["--target", TENSORFLOW_HOME, "--python-version", TENSORFLOW_PYTHON];
      try {
        await pip(run, [...dependencies, ...where, wheel.requirement], temporary);
      } catch (error) {
        if (!/No matching distribution|not a supported wheel/.test(String(error))) throw error;
        throw new Unavailable(
          `There is no ${wheel.requirement} for this system (${Deno.build.os} ${Deno.build.arch})`,
          LOST,
          "Linux with glibc 2.27 or later on x86_64 or aarch64 has one",
        );
      }
      await Deno.remove(temporary, { recursive: true });
      await prune();
      return wheel.requirement;
    },
  };
}

/** Keeps libraries, headers and licences: the Python part of TensorFlow is never run. */
async function prune(): Promise<void> {
  for await (const { name } of Deno.readDir(TENSORFLOW_HOME)) {
    const kept = name === "tensorflow" || name === "nvidia" || name.endsWith(".dist-info");
    if (!kept) await Deno.remove(join(TENSORFLOW_HOME, name), { recursive: true });
  }
  for await (const { name } of Deno.readDir(LIBRARIES)) {
    const kept = name === "include" || name.includes(".so") || name.endsWith(".txt");
    if (!kept) await Deno.remove(join(LIBRARIES, name), { recursive: true });
  }
}

/**
 * Path of a C++ compiler.
 *
 * @throws {Unavailable} If there is none, or if this system has no use for one.
 */
export async function findCompiler(): Promise<string> {
  if (Deno.build.os !== "linux") {
    throw new Unavailable(
      `TensorFlow's C++ libraries are only used on Linux, this is ${Deno.build.os}`,
      LOST,
      "A GPU is used through WebGPU, which needs nothing to be installed",
    );
  }
  const compiler = await which("g++") ?? await which("c++") ?? await which("clang++");
  if (compiler) return compiler;
  throw new Unavailable(
    "No C++ compiler (g++)",
    LOST,
    "Install it (Debian and Ubuntu: apt install g++; Fedora: dnf install gcc-c++) and run " +
      "`deno task setup` again",
  );
}

/** Folder of the tfjs package behind its link. */
export async function tfjsPackage(): Promise<string> {
  return await Deno.realPath(join(ROOT, "node_modules", "@tensorflow", "tfjs-node-gpu"));
}

/** Compiles the tfjs binding, loads it once to see that it works, and only then puts it in place. */
export function bindingStep(run: Run, wheel: Wheel, tfjs: string): Step {
  const folder = join(tfjs, "lib", `napi-v${NAPI_VERSION}`);
  const binding = join(folder, "tfjs_binding.node");
  return {
    name: "TensorFlow binding",
    // The place of the libraries is written into the binding.
    inputs: { requirement: wheel.requirement, napi: NAPI_VERSION, libraries: LIBRARIES },
    stamp: join(folder, "interlens.json"),
    files: [binding, join(LIBRARIES, "libtensorflow_cc.so.2")],
    async make() {
      const compiler = await findCompiler();
      await Deno.mkdir(folder, { recursive: true });
      for await (const { name } of Deno.readDir(folder)) {
        if (name.startsWith("partial-")) await Deno.remove(join(folder, name));
      }
      const partial = join(folder, `partial-${Deno.pid}.node`);
      try {
        await run(compiler, await compilerArguments(tfjs, partial));
      } catch (error) {
        throw new Unavailable(
          `The compiler refused the binding: ${lastLine(error)}`,
          LOST,
          "It needs a compiler that knows C++17: g++ 9 or later",
        );
      }
      const version = await load(run, partial);
      await Deno.rename(partial, binding);
      return `runs TensorFlow ${version}`;
    },
  };
}

async function compilerArguments(tfjs: string, output: string): Promise<string[]> {
  const sources: string[] = [];
  for await (const { name } of Deno.readDir(join(tfjs, "binding"))) {
    if (name.endsWith(".cc")) sources.push(join(tfjs, "binding", name));
  }
  const headers = await Deno.realPath(join(ROOT, "node_modules", "node-api-headers", "include"));
  return [
    ...["-O2", "-shared", "-fPIC", "-std=c++17", `-DNAPI_VERSION=${NAPI_VERSION}`],
    ...[`-I${headers}`, `-I${join(LIBRARIES, "include")}`, `-I${tfjs}`],
    ...sources.sort(),
    ...["-o", output, `-L${LIBRARIES}`, `-Wl,-rpath,${LIBRARIES}`],
    ...["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"],
  ];
}

/** Loads a binding in a process of its own, where a crash would be seen, and asks its version. */
async function load(run: Run, path: string): Promise<string> {
  const script = `import { createRequire } from "node:module";
    console.log(createRequire(import.meta.url)(${JSON.stringify(path)}).TF_Version);`;
  try {
    const printed = await run(Deno.execPath(), ["eval", "--quiet", script], {
      env: computeEnvironment(),
    });
    return printed.trim().split("\n").at(-1) ?? "";
  } catch (error) {
    throw new Unavailable(
      `The binding was compiled but does not load: ${lastLine(error)}`,
      LOST,
      "Linux with glibc 2.27 or later on x86_64 or aarch64 is needed",
    );
  }
}

function lastLine(error: unknown): string {
  const lines = String(error instanceof Error ? error.message : error).trim().split("\n");
  return lines.findLast((line) => /error/i.test(line))?.trim() ?? lines.at(-1)!;
}
