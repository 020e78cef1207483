/**
 * Weights in several files, with an index that says which tensor lies in which: `{"weight_map":
 * {tensor: file}}`, as Hugging Face's libraries write it.
 *
 * @module
 */
import { basename } from "node:path";
import { repeatedKey } from "../files/json_keys.ts";
import { type ByteSource, openFile } from "./byte_source.ts";
import { StoredWeights, type TensorPlace } from "./stored_weights.ts";

/** Longest index that is read; a real one is far shorter. */
const MAX_INDEX_BYTES = 100_000_000;

/** How the files of a format are opened. */
export interface ShardOpener {
  /**
   * Opens a file that lies beside the index.
   *
   * @param file Its name, without a folder.
   * @throws {Error} If there is none.
   */
  open(file: string): ByteSource;
  /** Where the tensors of an open file lie. */
  places(source: ByteSource): Map<string, TensorPlace>;
  /** Leaves out files without a tensor of which this is true. Default: all tensors. */
  needed?: (tensor: string) => boolean;
}

/**
 * Files that an index names, sorted.
 *
 * @param path The index.
 * @param needed Leaves out files without a tensor of which this is true. Default: all tensors.
 * @throws {Error} If it is no index, or names a file outside its folder.
 */
export function indexedFiles(
  path: string,
  needed: (tensor: string) => boolean = () => true,
): string[] {
  using index = openFile(path);
  return filesOf(readIndex(index), needed);
}

function filesOf(weightMap: Map<string, string>, needed: (tensor: string) => boolean): string[] {
  const wanted = [...weightMap].filter(([tensor]) => needed(tensor));
  return [...new Set(wanted.map(([, file]) => file))].sort();
}

/**
 * Opens the files that an index names, and checks that they hold what it says.
 *
 * @throws {Error} If the index is no index, names a file outside its folder, or does not agree with
 * the files; the message names the index and the tensor.
 */
export function openShards(
  index: ByteSource,
  { open, places, needed = () => true }: ShardOpener,
): StoredWeights {
  const weightMap = readIndex(index);
  const sources: ByteSource[] = [];
  try {
    const tensors = new Map<string, TensorPlace>();
    const files = filesOf(weightMap, needed);
    // All of them, so that one that is missing is found before others are taken for wrong.
    for (const file of files) sources.push(opened(index, file, open));
    for (const [i, file] of files.entries()) {
      for (const [name, place] of places(sources[i])) {
        const said = weightMap.get(name);
        if (said !== file) {
          throw new Error(
            `Cannot read "${index.path}": "${file}" holds the tensor "${name}", which by the ` +
              `index lies ${said === undefined ? "in no file" : `in "${said}"`}`,
          );
        }
        tensors.set(name, place);
      }
    }
    for (const [name, file] of weightMap) {
      if (files.includes(file) && !tensors.has(name)) {
        throw new Error(
          `Cannot read "${index.path}": by the index the tensor "${name}" lies in "${file}", ` +
            `which does not hold it`,
        );
      }
    }
    return new StoredWeights(index.path, tensors, sources);
  } catch (error) {
    for (const source of sources) source[Symbol.dispose]();
    throw error;
  }
}

function opened(index: ByteSource, file: string, open: ShardOpener["open"]): ByteSource {
  try {
    return open(file);
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new Error(`Cannot read the file "${file}" that "${index.path}" names: ${why}`, {
      cause: error,
    });
  }
}

/** Files by the names of the tensors that they should hold. */
function readIndex(index: ByteSource): Map<string, string> {
  const bad = (reason: string) =>
    new Error(`"${index.path}" is not an index of weights: ${reason}; fetch it again`);
  if (index.size > MAX_INDEX_BYTES) {
    throw bad(`it has ${index.size} bytes, expected at most ${MAX_INDEX_BYTES}`);
  }
  let text: string;
  let json: { weight_map?: unknown } | null;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(index.readNow(0, index.size));
    json = JSON.parse(text);
  } catch (error) {
    throw bad(`it is not JSON (${(error as Error).message})`);
  }
  const weightMap = json?.weight_map;
  if (typeof weightMap !== "object" || weightMap === null || Array.isArray(weightMap)) {
    throw bad('its field "weight_map" must be an object');
  }
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw bad(`it has the field "${repeated}" twice`);
  return new Map(
    Object.entries(weightMap).map(([name, file]) => {
      // A name with a separator, or of a drive, could lead anywhere on this machine.
      if (
        typeof file !== "string" || basename(file) !== file || /[\\:\0]/.test(file) ||
        ["", ".", ".."].includes(file)
      ) {
        throw bad(
          `the tensor "${name}" lies in ${typeof file === "string" ? `"${file}"` : "no file"}, ` +
            `expected the name of a file beside the index`,
        );
      }
      return [name, file];
    }),
  );
}
