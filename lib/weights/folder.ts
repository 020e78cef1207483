/**
 * Weights in a folder, whichever format they have.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";
import { type ByteSource, openFile } from "./byte_source.ts";
import { safetensorsPlaces } from "./safetensors.ts";
import { openShards } from "./shards.ts";
import { StoredWeights, type TensorPlace } from "./stored_weights.ts";
import { torchPlaces } from "./torch.ts";
import type { WeightFile } from "./weight_file.ts";

/** File names under which weights are published, the one to prefer first. */
const PUBLISHED: ReadonlyMap<string, (source: ByteSource) => Map<string, TensorPlace>> = new Map([
  ["model.safetensors", safetensorsPlaces],
  ["model.safetensors.index.json", safetensorsPlaces],
  ["pytorch_model.bin", torchPlaces],
  ["pytorch_model.bin.index.json", torchPlaces],
]);

/**
 * Opens the weights in a folder: a safetensors file, or else a state dict of PyTorch (`.bin`), each
 * whole or in several files with an index. Reading a state dict runs no code: a file that asks for
 * any is refused.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openWeights, writeSafetensors } from "interlens";
 *
 * const folder = await Deno.makeTempDir();
 * const data = new Float32Array([1, 2, 3, 4, 5, 6]);
 * await writeSafetensors(`${folder}/model.safetensors`, {
 *   "lm_head.weight": { dtype: "F32", shape: [3, 2], data },
 * });
 * using weights = await openWeights(folder);
 * assertEquals(weights.names(), ["lm_head.weight"]);
 * assertEquals(weights.shape("lm_head.weight"), [3, 2]);
 * assertEquals(await weights.read("lm_head.weight", [3, 2]), data);
 * assertEquals(await weights.readRows("lm_head.weight", 1, 1), new Float32Array([3, 4]));
 * await Deno.remove(folder, { recursive: true });
 * ```
 *
 * @param folder Folder that holds them.
 * @param options `needed`: of weights in several files, those are left out that hold no tensor of
 * which this is true; they need not be there. Default: all tensors.
 * @throws {Error} If the folder holds no weights of a known format, or they are damaged; the
 * message names the file, and the tensor, the field or the offset.
 */
export async function openWeights(
  folder: string,
  { needed }: { needed?: (tensor: string) => boolean } = {},
): Promise<WeightFile> {
  const present = await namesIn(folder);
  const name = [...PUBLISHED.keys()].find((known) => present.includes(known));
  if (name === undefined) {
    const quoted = (names: Iterable<string>) => [...names].map((n) => `"${n}"`).join(", ");
    const more = present.length > 20 ? `, and ${present.length - 20} more` : "";
    throw new Error(
      `There are no weights in "${folder}": expected one of ${
        quoted(PUBLISHED.keys())
      }; it holds ` +
        `${quoted(present.slice(0, 20)) || "nothing"}${more}`,
    );
  }
  const places = PUBLISHED.get(name)!;
  const source = openFile(resolve(folder, name));
  if (name.endsWith(".index.json")) {
    using index = source;
    return openShards(index, {
      open: (file) => openFile(join(dirname(index.path), file)),
      places,
      needed,
    });
  }
  try {
    return new StoredWeights(source.path, places(source), [source]);
  } catch (error) {
    source[Symbol.dispose]();
    throw error;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
    return names.sort();
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    if (!missing && !(error instanceof Deno.errors.NotADirectory)) throw error;
    throw new Error(
      `Cannot open the weights in "${folder}": there is no such folder`,
      { cause: error },
    );
  }
}
