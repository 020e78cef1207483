/**
 * The Python environment: what runs JupyterLab, executes notebooks and unpacks wheels.
 *
 * @module
 */
import { join } from "node:path";
import { run, which } from "./command.ts";
import type { CommandOptions } from "./command.ts";
import {
  JUPYTER_HOME,
  kernelEnvironment,
  KERNELSPEC,
  program,
  VENV,
  VENV_PYTHON,
} from "./environment.ts";
import { PYTHON_MINIMUM, PYTHON_PACKAGES } from "./pins.ts";
import { type Step, Unavailable } from "./step.ts";
import { ROOT, writeFileAtomic } from "../files/mod.ts";

/** Runs a tracked program of set-up. */
export type Run = (program: string, args: string[], options?: CommandOptions) => Promise<string>;

const MINIMUM = PYTHON_MINIMUM.join(".");

/** Makes `.venv` with the pinned packages. */
export function pythonStep(run: Run): Step {
  return {
    name: "Python environment",
    // A virtual environment knows its own place: a repository that was moved needs a new one.
    inputs: { packages: PYTHON_PACKAGES, root: ROOT },
    stamp: join(VENV, "interlens.json"),
    // The interpreter behind the link is looked at: an upgrade of the system's Python shows.
    files: [VENV_PYTHON, program("jupyter-lab")],
    async make() {
      const python = await findPython();
      await Deno.remove(VENV, { recursive: true }).catch(() => {});
      await run(python.path, ["-m", "venv", VENV]);
      await pip(run, [...PYTHON_PACKAGES]);
      await Deno.mkdir(JUPYTER_HOME, { recursive: true });
      return `Python ${python.version}, ${PYTHON_PACKAGES.join(", ")}`;
    },
  };
}

/**
 * Installs packages with the environment's pip, prebuilt ones only.
 *
 * Byte code is left to the first import, which compiles only what is used.
 */
export async function pip(run: Run, args: string[], temporary?: string): Promise<void> {
  const quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"];
  await run(
    VENV_PYTHON,
    ["-m", "pip", "install", ...quiet, "--only-binary=:all:", ...args],
    temporary ? { env: { TMPDIR: temporary } } : {},
  );
}

/** An interpreter that can hold the environment. */
export interface Python {
  readonly path: string;
  readonly version: string;
}

/**
 * The first Python on the search path that is new enough and can make virtual environments.
 *
 * @throws {Unavailable} If there is none, with what was found instead.
 */
export async function findPython(): Promise<Python> {
  const names = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
  const refused: string[] = [];
  for (const name of names) {
    const path = await which(name);
    if (!path) continue;
    try {
      const question =
        "import sys; print('%d.%d.%d' % sys.version_info[:3]); import venv, ensurepip";
      const version = (await run(path, ["-c", question])).trim();
      const [major, minor] = version.split(".").map(Number);
      if (major === PYTHON_MINIMUM[0] && minor >= PYTHON_MINIMUM[1]) return { path, version };
      refused.push(`${path} is ${version}`);
    } catch {
      refused.push(`${path} cannot make virtual environments`);
    }
  }
  throw new Unavailable(
    `No Python ${MINIMUM} or later with its venv module${
      refused.length > 0 ? ` (${refused.join("; ")})` : ""
    }`,
    "Without it there is no JupyterLab, no execution of notebooks, no TensorFlow backend (WebGPU " +
      "or WebAssembly computes instead), and the embedded model cannot be unpacked",
    "Install it (Debian and Ubuntu: apt install python3-venv; macOS: brew install python) and " +
      "run `deno task setup` again",
  );
}

/** Writes the kernelspec: which Deno runs cells, with which variables. */
export function kernelStep(): Step {
  // No `interrupt_mode`: the kernel gets SIGINT, which the library turns into a stop signal.
  const kernel = {
    argv: [Deno.execPath(), "jupyter", "--kernel", "--conn", "{connection_file}"],
    display_name: "Deno (Interlens)",
    language: "typescript",
    env: kernelEnvironment(),
  };
  const path = join(KERNELSPEC, "kernel.json");
  return {
    name: "Jupyter kernel",
    inputs: kernel,
    stamp: join(KERNELSPEC, "interlens.json"),
    files: [path, VENV_PYTHON],
    async make() {
      await writeFileAtomic(path, JSON.stringify(kernel, null, 2) + "\n");
      return `Deno ${Deno.version.deno}`;
    },
  };
}
