/**
 * The thread behind `ReadAhead`: reads the rows that it is asked for.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { RowFiles, type RowFilesOptions, scaleInPlace, type Scaling } from "./row_files.ts";

const { files, scaling } = workerData as { files: RowFilesOptions; scaling: Scaling };
const reader = new RowFiles(files);

parentPort!.on("message", ({ id, numbers }: { id: number; numbers: Int32Array }) => {
  try {
    const values = reader.gather(numbers);
    scaleInPlace(values, scaling);
    parentPort!.postMessage({ id, values }, [values.buffer]);
  } catch {
    // Whoever asks reads it himself then, and gets the error where it can be dealt with.
    parentPort!.postMessage({ id });
  }
});
