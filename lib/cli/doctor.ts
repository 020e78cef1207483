/**
 * `deno task doctor`: what is installed, which device computes and why, and what is missing.
 *
 * @module
 */
import { join } from "node:path";
import { run } from "./command.ts";
import { computeEnvironment, KERNELSPEC, TENSORFLOW_HOME, VENV } from "./environment.ts";
import { VENV_PYTHON } from "./environment.ts";
import { corpusStep, modelStep, packagesStep } from "./material.ts";
import { findPython, kernelStep, pythonStep } from "./python.ts";
import { isReady, type Step } from "./step.ts";
import { bindingStep, findCompiler, hasNvidiaGpu, tensorflowStep } from "./tensorflow.ts";
import { tfjsPackage, wheelFor } from "./tensorflow.ts";
import { cacheDir, ROOT, VERSION } from "../files/mod.ts";

/** One line of the report. */
export interface Finding {
  /** What was looked at. */
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what is missing and how to get it. */
  readonly detail: string;
}

const SETUP = "missing or incomplete: run `deno task setup`";

/**
 * Looks at everything that set-up makes. Installs nothing.
 *
 * The backends are not among it: see {@link describeBackends}.
 */
export async function examine(): Promise<Finding[]> {
  const wheel = wheelFor(Deno.build.arch, await hasNvidiaGpu());
  const tfjs = await tfjsPackage().catch(() => join(ROOT, "node_modules"));
  const stepped = async (step: Step, detail: () => Promise<string>): Promise<Finding> => {
    const ok = await isReady(step);
    return { name: step.name, ok, detail: ok ? await detail() : SETUP };
  };
  const tool = async (name: string, find: () => Promise<string>): Promise<Finding> => {
    try {
      return { name, ok: true, detail: await find() };
    } catch (error) {
      return { name, ok: false, detail: (error as Error).message };
    }
  };
  return [
    { name: "Interlens", ok: true, detail: `${VERSION} in ${ROOT}` },
    { name: "Deno", ok: true, detail: `${Deno.version.deno} (V8 ${Deno.version.v8})` },
    await tool("Python", async () => {
      const { path, version } = await findPython();
      return `${version} (${path})`;
    }),
    await tool("C++ compiler", findCompiler),
    await stepped(await packagesStep(run), () => size(join(ROOT, "node_modules"))),
    await stepped(pythonStep(run), pythonDetail),
    await stepped(kernelStep(), () => Promise.resolve(KERNELSPEC)),
    await stepped(tensorflowStep(run, wheel), () => size(TENSORFLOW_HOME)),
    await stepped(bindingStep(run, wheel, tfjs), () => Promise.resolve("compiled")),
    await stepped(modelStep(run), () => size(cacheDir("models"))),
    await stepped(corpusStep(), () => Promise.resolve("SHA-256 right")),
    { name: "Cache", ok: true, detail: `${await size(cacheDir())} in ${cacheDir()}` },
  ];
}

async function pythonDetail(): Promise<string> {
  const script = "import importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in " +
    "('jupyterlab', 'nbconvert', 'nbclient', 'plotly')))";
  const versions = (await run(VENV_PYTHON, ["-c", script])).trim();
  return `${versions} (${await size(VENV)})`;
}

async function size(folder: string): Promise<string> {
  // Hard-linked files are counted once, as they are on the disk.
  const listed = await run("du", ["-sk", folder]).catch(() => "");
  const kilobytes = parseInt(listed);
  return Number.isNaN(kilobytes) ? "size unknown" : `${(kilobytes / 1024).toFixed(0)} MB`;
}

/**
 * Every backend with its device or what it lacks, and the one that computes, with the reason.
 *
 * Runs in a process of its own with the variables of computing, as notebooks do.
 *
 * @returns Lines to print.
 */
export async function describeBackends(): Promise<string> {
  const script = `
    import { availableBackends, openDevice } from ${
    JSON.stringify(import.meta.resolve("../tensor/mod.ts"))
  };
    for (const { backend, available, detail } of await availableBackends()) {
      console.log((available ? "  ✓  " : "  –  ") + backend + ": " + detail);
    }
    const device = await openDevice();
    console.log("\\nComputes on " + device.name + ", because: " + device.reason);
    // A backend may hold threads that would keep the process.
    Deno.exit(0);`;
  try {
    const env = computeEnvironment();
    return (await run(Deno.execPath(), ["eval", "--quiet", script], { env })).trimEnd();
  } catch (error) {
    return `  ✗  ${error instanceof Error ? error.message : error}`;
  }
}

if (import.meta.main) {
  const findings = await examine();
  for (const { name, ok, detail } of findings) {
    console.log(`  ${ok ? "✓" : "–"}  ${name}: ${detail.replaceAll("\n", "\n       ")}`);
  }
  console.log(`\nBackends, in the order of choice\n${await describeBackends()}`);
}
