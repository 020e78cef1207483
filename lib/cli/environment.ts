/**
 * Where the Python environment lies, and the environment variables of every process that is
 * started here: kernels, tests, notebooks, JupyterLab.
 *
 * @module
 */
import { delimiter, join } from "node:path";
import { ROOT } from "../files/mod.ts";

const WINDOWS = Deno.build.os === "windows";

/** The Python environment of this repository. */
export const VENV: string = join(ROOT, ".venv");

/** Folder of its programs. */
export const VENV_BIN: string = join(VENV, WINDOWS ? "Scripts" : "bin");

/** Its interpreter. */
export const VENV_PYTHON: string = program("python");

/** Unpacked TensorFlow: `tensorflow/` with libraries and headers, `nvidia/` beside it on a GPU. */
export const TENSORFLOW_HOME: string = join(VENV, "libtensorflow");

/** Folder of the kernelspec. A plain `deno` kernel has the same name, so notebooks run with both. */
export const KERNELSPEC: string = join(VENV, "share", "jupyter", "kernels", "deno");

/** Jupyter's own settings, data and runtime files. */
export const JUPYTER_HOME: string = join(VENV, "jupyter");

/** Executed notebooks and the site of the quickstart; git ignores it. */
export const OUT: string = join(ROOT, "out");

/** The notebook series. */
export const NOTEBOOKS: string = join(ROOT, "notebooks");

/**
 * Path of a program of the Python environment, whether it is installed or not.
 *
 * ```ts
 * import { assertMatch } from "@std/assert";
 * import { program } from "./environment.ts";
 *
 * assertMatch(program("jupyter"), /\.venv.+jupyter/);
 * ```
 */
export function program(name: string): string {
  return join(VENV_BIN, WINDOWS ? `${name}.exe` : name);
}

/**
 * Variables that a process which computes needs from its start.
 *
 * glibc returns every large buffer to the system and asks for it again at the next op; the
 * thresholds make it keep them, which is worth 10 % of a training step. They do nothing elsewhere.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { computeEnvironment } from "./environment.ts";
 *
 * assertEquals(computeEnvironment().TF_CPP_MIN_LOG_LEVEL, "3");
 * ```
 */
export function computeEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {
    MALLOC_MMAP_THRESHOLD_: "4294967296",
    MALLOC_TRIM_THRESHOLD_: "17179869184",
    MALLOC_TOP_PAD_: "268435456",
    TF_CPP_MIN_LOG_LEVEL: "3",
  };
  // TensorFlow opens the CUDA libraries by name, and its own search path does not lead to them.
  const cuda = cudaLibraries();
  if (cuda.length > 0) {
    const before = Deno.env.get("LD_LIBRARY_PATH");
    environment.LD_LIBRARY_PATH = [...cuda, ...before ? [before] : []].join(delimiter);
  }
  return environment;
}

function cudaLibraries(): string[] {
  const nvidia = join(TENSORFLOW_HOME, "nvidia");
  try {
    return [...Deno.readDirSync(nvidia)]
      .filter((entry) => entry.isDirectory)
      .map((entry) => join(nvidia, entry.name, "lib"))
      .sort();
  } catch {
    return [];
  }
}

/** Variables of a kernel: those of computing, and plain text without terminal colours. */
export function kernelEnvironment(): Record<string, string> {
  return { ...computeEnvironment(), NO_COLOR: "1" };
}

/**
 * Variables of a Jupyter process: its settings, data and runtime files stay inside `.venv`, so
 * that neither a user's own Jupyter nor this one changes the other.
 */
export function jupyterEnvironment(): Record<string, string> {
  return {
    ...computeEnvironment(),
    VIRTUAL_ENV: VENV,
    PATH: [VENV_BIN, Deno.env.get("PATH") ?? ""].join(delimiter),
    JUPYTER_CONFIG_DIR: join(JUPYTER_HOME, "config"),
    JUPYTER_DATA_DIR: join(JUPYTER_HOME, "data"),
    JUPYTER_RUNTIME_DIR: join(JUPYTER_HOME, "runtime"),
    JUPYTERLAB_SETTINGS_DIR: join(JUPYTER_HOME, "lab", "settings"),
    JUPYTERLAB_WORKSPACES_DIR: join(JUPYTER_HOME, "lab", "workspaces"),
    IPYTHONDIR: join(JUPYTER_HOME, "ipython"),
    // Frozen modules only bring a warning of the debugger into the log.
    PYDEVD_DISABLE_FILE_VALIDATION: "1",
  };
}
