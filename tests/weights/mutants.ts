/** Files of weights with something changed in them: bytes, numbers, JSON, pickles, descriptions. */
import { bytesSource } from "../../lib/weights/byte_source.ts";
import { zipEntries } from "../../lib/weights/zip.ts";
import { f32, ggufBytes, type GgufTensor } from "./gguf_writer.ts";
import { recordedPath } from "./recorded.ts";
import { dict, op, storage, tensor, zip } from "./torch_writer.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A small generator (mulberry32): equal seeds give equal mutants. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer in 0…n - 1. */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ t >>> 15, t | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return Math.floor(((t ^ t >>> 14) >>> 0) / 2 ** 32 * n);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

/** Numbers at which formats break. */
const NUMBERS = [
  ...[0, 1, 2, 3, 7, 8, 16, 31, 32, 64, 127, 128, 255, 256, 1000, 65535, 65536, 0x7fffffff],
  ...[0x80000000, 0xffffffff, 2 ** 32, 2 ** 40, 2 ** 53 - 1, 2 ** 53, 2 ** 63],
];

/** Changes bytes without knowing what they mean. */
export function mutateBytes(bytes: Bytes, other: Bytes, random: Random): Bytes {
  const at = random.below(bytes.length + 1);
  const length = Math.min(bytes.length - at, 1 + random.below(random.pick([1, 8, 64, 1024])));
  const cut = (from: number, to: number, ...middle: Uint8Array[]) =>
    join(bytes.subarray(0, from), ...middle, bytes.subarray(to));
  switch (random.below(8)) {
    case 0: { // flip bits
      const flipped = bytes.slice();
      for (let i = 0; i <= random.below(4); i++) {
        flipped[random.below(bytes.length)] ^= 1 << random.below(8);
      }
      return flipped;
    }
    case 1: // truncate
      return bytes.slice(0, at);
    case 2: // remove
      return cut(at, at + length);
    case 3: // insert
      return cut(at, at, Uint8Array.from({ length }, () => random.below(256)));
    case 4: // repeat
      return cut(at, at, bytes.subarray(at, at + length));
    case 5: { // splice with another file
      const from = random.below(other.length + 1);
      return cut(at, at + length, other.subarray(from, from + length));
    }
    default: { // a number of 1, 2, 4 or 8 bytes
      const width = random.pick([1, 2, 4, 4, 8, 8]);
      if (bytes.length < width) return bytes.slice(0, at);
      const number = random.below(4) ? random.pick(NUMBERS) : bytes.length + random.below(65) - 32;
      const changed = bytes.slice();
      const view = new DataView(changed.buffer);
      const to = random.below(bytes.length - width + 1);
      if (width === 8) view.setBigUint64(to, BigInt(number), true);
      else if (width === 4) view.setUint32(to, number, true);
      else if (width === 2) view.setUint16(to, number, true);
      else view.setUint8(to, number);
      return changed;
    }
  }
}

function join(...parts: ArrayLike<number>[]): Bytes {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Bytes of mutations that know the format, or of the file; then up to two that do not know it. */
function mutate(
  files: readonly Bytes[],
  edit: (file: Bytes, random: Random) => Bytes,
  random: Random,
): Bytes {
  const file = random.pick(files);
  let bytes = file;
  let blind = 1 + random.below(2);
  if (random.below(2)) {
    bytes = edit(file, random);
    blind = random.below(4) ? 0 : 1;
  }
  for (let i = 0; i < blind; i++) bytes = mutateBytes(bytes, random.pick(files), random);
  return bytes;
}

function fixture(path: string): Bytes {
  return Deno.readFileSync(recordedPath(path));
}

// JSON

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const VALUES: readonly Json[] = [
  ...[null, true, "", "x", "F16", "I64", "F8_E4M3", "../x", "/etc/passwd", "a\0", "__proto__"],
  ...[...NUMBERS, -1, 0.5, 1e300, -0],
  ...[[], [0], [1, 2], [[1]], {}, { dtype: "F32" }, Array(100).fill(1)],
];

/** The text of a JSON value in which one part is changed, removed, repeated or nested. */
export function mutateJson(json: Json, random: Random): string {
  const places: { of: { [key: string]: Json }; key: string }[] = [];
  const visit = (value: Json) => {
    if (typeof value !== "object" || value === null) return;
    for (const key of Object.keys(value)) {
      places.push({ of: value as { [key: string]: Json }, key });
      visit((value as { [key: string]: Json })[key]);
    }
  };
  visit(json);
  if (places.length === 0) return JSON.stringify(random.pick(VALUES));
  const { of, key } = random.pick(places);
  switch (random.below(6)) {
    case 0:
      delete of[key];
      break;
    case 1: { // another part of it
      const from = random.pick(places);
      of[key] = structuredClone(from.of[from.key]);
      break;
    }
    case 2: // a new name
      of[random.pick(["", "x", "__proto__", "__metadata__", "weight_map"])] = of[key];
      break;
    case 3: { // the same name twice
      const name = JSON.stringify(key);
      const text = JSON.stringify(json);
      return text.replace(
        `${name}:`,
        () => `${name}:${JSON.stringify(random.pick(VALUES))},${name}:`,
      );
    }
    case 4: { // nested
      const depth = random.pick([1, 50, 3000]);
      const text = JSON.stringify(of[key]);
      return JSON.stringify(json).replace(text, () => "[".repeat(depth) + text + "]".repeat(depth));
    }
    default:
      of[key] = typeof of[key] === "number" && random.below(2)
        ? of[key] + random.below(9) - 4
        : random.pick(VALUES);
  }
  return JSON.stringify(json);
}

// safetensors

const SAFETENSORS = [
  fixture("safetensors/model.safetensors"),
  fixture("safetensors_shards/model-00001-of-00002.safetensors"),
];

function editSafetensors(file: Bytes, random: Random): Bytes {
  const length = new DataView(file.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  const json = new TextEncoder().encode(mutateJson(header, random));
  const start = new Uint8Array(BigUint64Array.of(BigInt(json.length)).buffer);
  return join(start, json, file.subarray(8 + length));
}

/** A safetensors file. */
export function safetensorsMutant(random: Random): Bytes {
  return mutate(SAFETENSORS, editSafetensors, random);
}

// Shards

const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const INDEX = fixture("safetensors_shards/model.safetensors.index.json");
const SHARD_BYTES = SHARDS.map((name) => fixture(`safetensors_shards/${name}`));

/** An index and the files beside it, by name. */
export function shardsMutant(random: Random): { index: Bytes; files: Map<string, Bytes> } {
  const files = new Map(SHARDS.map((name, i) => [name, SHARD_BYTES[i]]));
  const edit = (index: Bytes) =>
    new TextEncoder().encode(
      mutateJson(JSON.parse(new TextDecoder().decode(index)), random),
    );
  if (random.below(4)) return { index: mutate([INDEX], edit, random), files };
  const name = random.pick(SHARDS);
  files.set(name, mutate([files.get(name)!], editSafetensors, random));
  return { index: INDEX, files };
}

// PyTorch

const TORCH = [
  ...["torch", "torch_module", "torch_views"].map((name) => fixture(`${name}/pytorch_model.bin`)),
  zip([
    [
      "a/data.pkl",
      dict({
        x: tensor(storage("0", 4), { shape: [2, 2], strides: [1, 2] }),
        y: tensor(storage("1", 4, "HalfStorage"), { offset: 1, shape: [3], strides: [1] }),
      }),
    ],
    ["a/data/0", new Uint8Array(16)],
    ["a/data/1", new Uint8Array(8)],
  ]),
];

/** Contents of an archive by the names of its entries. */
function contents(file: Bytes): [string, Bytes][] {
  return [...zipEntries(bytesSource("seed", file))].map(
    ([name, { begin, size }]) => [name, file.slice(begin, begin + size)],
  );
}

/** A pickle, opcode by opcode. */
function opcodes(pickle: Bytes): Bytes[] {
  const view = new DataView(pickle.buffer);
  const fixed = new Map([[0x80, 1], [0x4a, 4], [0x4b, 1], [0x4d, 2], [0x47, 8], [0x71, 1]]);
  for (const [opcode, length] of [[0x72, 4], [0x68, 1], [0x6a, 4]]) fixed.set(opcode, length);
  const parts: Bytes[] = [];
  for (let at = 0; at < pickle.length;) {
    const opcode = pickle[at];
    let length = 1 + (fixed.get(opcode) ?? 0);
    if (opcode === 0x8a) length = 2 + pickle[at + 1];
    else if (opcode === 0x58) length = 5 + view.getUint32(at + 1, true);
    else if (opcode === 0x63) length = pickle.indexOf(10, pickle.indexOf(10, at) + 1) + 1 - at;
    parts.push(pickle.slice(at, at + length));
    at += length;
  }
  return parts;
}

const OPCODES: readonly (readonly number[])[] = [
  ...Object.values(op).filter((part) => Array.isArray(part)),
  ...[0, 1, -1, 2 ** 31 - 1].map((n) => op.int(n)),
  ...[2n ** 53n, 2n ** 62n, -1n].map((n) => op.long(n)),
  ...["storage", "x", "../data.pkl", "0", ""].map((text) => op.text(text)),
  ...["FloatStorage", "BFloat16Storage", "BoolStorage", "Size"].map((n) => op.global("torch", n)),
  op.global("collections", "OrderedDict"),
  op.global("torch._utils", "_rebuild_tensor_v2"),
  op.global("os", "system"),
  ...[0, 1, 5, 200].flatMap((n) => [op.get(n), op.put(n)]),
  [0x8b, 0xff, 0xff, 0xff, 0x7f],
  [0x8a, 255],
  [0x58, 0xff, 0xff, 0xff, 0xff],
  [0x93],
  [0x81],
  [0x32],
];

function mutatePickle(pickle: Bytes, random: Random): Bytes {
  const parts: ArrayLike<number>[] = opcodes(pickle);
  for (let i = 0; i <= random.below(3); i++) {
    const at = random.below(parts.length);
    switch (random.below(6)) {
      case 0:
        parts.splice(at, 1);
        break;
      case 1:
        parts.splice(at, 0, ...Array(random.pick([1, 2, 1000])).fill(random.pick(OPCODES)));
        break;
      case 2:
        parts[at] = random.pick(OPCODES);
        break;
      case 3:
        parts[at] = random.pick(parts);
        break;
      case 4:
        parts.splice(at, 0, ...parts.slice(random.below(parts.length)).slice(0, 40));
        break;
      default: { // the operand of a number
        const numbers = parts.filter((part) => part[0] === 0x4a || part[0] === 0x4b);
        if (numbers.length === 0) break;
        const index = parts.indexOf(random.pick(numbers));
        parts[index] = op.int(random.below(2) ? random.pick(NUMBERS) : random.below(20) - 2);
      }
    }
  }
  return join(...parts);
}

function editTorch(file: Bytes, random: Random): Bytes {
  const entries = contents(file);
  const pickle = entries.find(([name]) => name.endsWith("data.pkl"))!;
  switch (random.below(8)) {
    case 0:
      entries.splice(random.below(entries.length), 1);
      break;
    case 1:
      entries.push(random.pick(entries));
      break;
    case 2: {
      const entry = random.pick(entries);
      entry[1] = mutateBytes(entry[1], pickle[1], random);
      break;
    }
    default:
      pickle[1] = mutatePickle(pickle[1], random);
  }
  return zip(entries);
}

/** A file of PyTorch. */
export function torchMutant(random: Random): Bytes {
  return mutate(TORCH, editTorch, random);
}

// GGUF

const METADATA = {
  "general.architecture": "llama",
  "general.alignment": 32,
  "tokens": ["a", "Ġb", ""],
  "types": [1, 2, 3],
  "eps": { float: 1e-5 },
  "bos": true,
};
const TENSORS = { x: f32([2, 3], [1, 2, 3, 4, 5, 6]), y: f32([4], [1, 2, 3, 4]) };
const GGUF = [fixture("all.gguf"), ggufBytes(METADATA, TENSORS) as Bytes];

function editGguf(_: Bytes, random: Random): Bytes {
  const length = () => random.below(3) ? random.below(70) : random.pick(NUMBERS);
  const one = (): GgufTensor => ({
    shape: Array.from({ length: random.below(6) }, length),
    type: random.below(3) ? random.pick([0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 30]) : length(),
    bytes: new Uint8Array(random.below(600)),
  });
  const alignment = random.below(4) ? 32 : random.pick(NUMBERS.filter((n) => n < 2 ** 32));
  return ggufBytes(
    { ...METADATA, "general.alignment": alignment },
    { ...TENSORS, [random.pick(["x", "z"])]: one(), "__proto__z": one() },
  ) as Bytes;
}

/** A GGUF file. */
export function ggufMutant(random: Random): Bytes {
  return mutate(GGUF, editGguf, random);
}
