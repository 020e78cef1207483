/**
 * Reads the next batch in another thread while this one computes.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import type { RowFilesOptions, Scaling } from "./row_files.ts";

interface Ahead {
  readonly key: string;
  readonly values: Promise<Float32Array | undefined>;
}

/** One batch ahead of a training. */
export class ReadAhead {
  readonly #worker: Worker;
  #ahead: Ahead | undefined;
  #answer: ((values: Float32Array | undefined) => void) | undefined;
  #asked = 0;

  /** Starts the thread; it does not keep the process alive. */
  constructor(files: RowFilesOptions, scaling: Scaling) {
    this.#worker = new Worker(new URL("./read_ahead_thread.ts", import.meta.url), {
      workerData: { files, scaling },
    });
    const settle = (values?: Float32Array) => {
      this.#worker.unref();
      this.#answer?.(values);
      this.#answer = undefined;
    };
    this.#worker.on("message", ({ id, values }: { id: number; values?: Float32Array }) => {
      if (id === this.#asked) settle(values);
    });
    this.#worker.on("error", () => settle());
    this.#worker.unref();
  }

  /** Rows that were asked for under this name; undefined if they were not, or could not be read. */
  async take(key: string): Promise<Float32Array | undefined> {
    const ahead = this.#ahead;
    if (ahead?.key !== key) return undefined;
    this.#ahead = undefined;
    if (this.#answer) this.#worker.ref(); // something waits for it now
    return await ahead.values;
  }

  /** Begins to read rows, scaled, for a later `take`; what was asked for before is forgotten. */
  ask(key: string, numbers: Int32Array): void {
    if (this.#ahead?.key === key) return;
    this.#answer?.(undefined);
    const { promise, resolve } = Promise.withResolvers<Float32Array | undefined>();
    this.#answer = resolve;
    this.#ahead = { key, values: promise };
    this.#worker.postMessage({ id: ++this.#asked, numbers });
  }

  /** Ends the thread. */
  close(): void {
    this.#answer?.(undefined);
    this.#answer = undefined;
    void this.#worker.terminate();
  }
}
