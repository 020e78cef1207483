/**
 * 100,000 files with something changed in them. Whatever it is, all tensors are read, or an error
 * names the file and what is wrong in it. A failure prints the format and the seed;
 * `deno test -A tests/weights/fuzz_test.ts -- FORMAT SEED` runs that file alone.
 */
import { assert } from "@std/assert";
import { type ByteSource, bytesSource } from "../../lib/weights/byte_source.ts";
import { GgufFile, type WeightFile } from "../../lib/weights/mod.ts";
import { safetensorsPlaces } from "../../lib/weights/safetensors.ts";
import { openShards } from "../../lib/weights/shards.ts";
import { StoredWeights, type TensorPlace } from "../../lib/weights/stored_weights.ts";
import { torchPlaces } from "../../lib/weights/torch.ts";
import { ggufMutant, Random, safetensorsMutant, shardsMutant, torchMutant } from "./mutants.ts";

const FILES_PER_FORMAT = 25_000;
/** Name of every file: no error has it unless it names the file. */
const NAME = "mutant/weights";
/** Q2_K has the most float32 bytes for its own: 1024 for 84. */
const BLOW_UP = 1024 / 84;

interface Subject {
  /** All bytes that there are. */
  readonly bytes: number;
  readonly open: () => WeightFile;
}

/** A source that fails the test where a parser reads outside it. */
function guarded(path: string, bytes: Uint8Array): ByteSource {
  const source = bytesSource(path, bytes);
  const check = (position: number, length: number) =>
    assert(
      position >= 0 && length >= 0 && position + length <= bytes.length,
      `read of ${length} bytes at ${position} of ${bytes.length}`,
    );
  return {
    ...source,
    readNow(position, length) {
      check(position, length);
      return source.readNow(position, length);
    },
    read(position, into) {
      check(position, into.length);
      return source.read(position, into);
    },
  };
}

function one(bytes: Uint8Array, places: (source: ByteSource) => Map<string, TensorPlace>): Subject {
  const source = guarded(NAME, bytes);
  return {
    bytes: bytes.length,
    open: () => new StoredWeights(NAME, places(source), [source]),
  };
}

const FORMATS: Readonly<Record<string, (random: Random) => Subject>> = {
  safetensors: (random) => one(safetensorsMutant(random), safetensorsPlaces),
  shards(random) {
    const { index, files } = shardsMutant(random);
    return {
      bytes: [index, ...files.values()].reduce((sum, { length }) => sum + length, 0),
      open: () =>
        openShards(guarded(`${NAME}.index`, index), {
          open(file) {
            const bytes = files.get(file);
            if (!bytes) throw new Error(`Cannot read "${NAME}/${file}": there is no such file`);
            return guarded(`${NAME}/${file}`, bytes);
          },
          places: safetensorsPlaces,
        }),
    };
  },
  torch: (random) => one(torchMutant(random), torchPlaces),
  gguf(random) {
    const bytes = ggufMutant(random);
    return { bytes: bytes.length, open: () => GgufFile.from(guarded(NAME, bytes)) };
  },
};

/** The largest buffer that was asked for while `use` ran, in bytes. */
async function largestBuffer(use: () => Promise<void>): Promise<number> {
  const global = globalThis as unknown as Record<string, new (...args: unknown[]) => ArrayBuffer>;
  const names = ["ArrayBuffer", "Uint8Array", "Uint16Array", "Uint32Array", "Float32Array"];
  const before = names.map((name) => global[name]);
  let largest = 0;
  names.forEach((name, i) => {
    global[name] = new Proxy(before[i], {
      construct(target, args, newTarget) {
        const [length] = args;
        const width = (target as unknown as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
        if (typeof length === "number") largest = Math.max(largest, length * width);
        return Reflect.construct(target, args, newTarget === global[name] ? target : newTarget);
      },
    });
  });
  try {
    await use();
  } finally {
    names.forEach((name, i) => global[name] = before[i]);
  }
  return largest;
}

/** Opens a file and reads every tensor; true if that works. */
async function readAll({ bytes, open }: Subject): Promise<boolean> {
  let refused = false;
  const attempt = async (use: () => unknown) => {
    try {
      await use();
    } catch (error) {
      refused = true;
      assertNames(error);
    }
  };
  let weights: WeightFile | undefined;
  await attempt(() => weights = open());
  for (const name of weights?.names() ?? []) {
    const shape = weights!.shape(name);
    await attempt(async () => {
      const { length, byteLength } = await weights!.read(name, shape);
      assert(length === shape.reduce((product, n) => product * n, 1), `values of "${name}"`);
      assert(byteLength <= BLOW_UP * bytes, `${byteLength} bytes for "${name}" of ${bytes}`);
    });
    if (shape.length === 2 && shape[0] > 0) {
      await attempt(async () => {
        const row = await weights!.readRows(name, shape[0] - 1, 1);
        assert(row.length === shape[1], `a row of "${name}"`);
      });
    }
  }
  return !refused;
}

/** Passes an error that names the file, and a byte, a tensor, a field or an entry of it. */
function assertNames(error: unknown): void {
  const message = error instanceof Error ? error.message : "";
  const rest = message.replaceAll(new RegExp(`"${NAME}[^"]*"`, "g"), "");
  const named = rest !== message && message.length < 1e5 &&
    /"[^"]*"|\bbytes? \d|\d bytes|is not JSON/.test(rest);
  if (!named) throw error;
}

async function assertHarmless(format: string, seed: number): Promise<boolean> {
  const started = performance.now();
  try {
    const subject = FORMATS[format](new Random(seed));
    let read = false;
    const largest = await largestBuffer(async () => {
      read = await readAll(subject);
    });
    assert(largest <= BLOW_UP * subject.bytes, `a buffer of ${largest} for ${subject.bytes} bytes`);
    const ms = performance.now() - started;
    assert(ms < 2000, `it took ${ms} ms`);
    return read;
  } catch (error) {
    throw new Error(`The ${format} file of seed ${seed} is not refused as it should be: ${error}`, {
      cause: error,
    });
  }
}

const [only, seed] = Deno.args;
for (const format of Object.keys(FORMATS)) {
  Deno.test({
    name: `${FILES_PER_FORMAT} changed ${format} files are read or refused by name`,
    ignore: only !== undefined && only !== format,
    fn: async () => {
      if (only) return void await assertHarmless(format, Number(seed));
      const before = Deno.memoryUsage().rss;
      let read = 0;
      for (let seed = 0; seed < FILES_PER_FORMAT; seed++) {
        if (await assertHarmless(format, seed)) read++;
      }
      // Neither all nor none: the changes matter, and do not all break the same thing.
      assert(read > FILES_PER_FORMAT / 100 && read < FILES_PER_FORMAT * 0.8, `${read} were read`);
      const grown = Deno.memoryUsage().rss - before;
      assert(grown < 2 ** 30, `the process grew by ${grown} bytes`);
    },
  });
}
