/** Writes small PyTorch files for the tests, opcode by opcode, so that they can lie. */

const u16 = (n: number) => [...new Uint8Array(Uint16Array.of(n).buffer)];
const u32 = (n: number) => [...new Uint8Array(Uint32Array.of(n).buffer)];
const u64 = (n: number) => [...new Uint8Array(BigUint64Array.of(BigInt(n)).buffer)];
const ascii = (text: string) => [...new TextEncoder().encode(text)];

/** Parts of a pickle of protocol 2. */
export const op = {
  proto: [0x80, 2],
  stop: [0x2e],
  mark: [0x28],
  none: [0x4e],
  emptyDict: [0x7d],
  emptyList: [0x5d],
  emptyTuple: [0x29],
  tuple: [0x74],
  tuple1: [0x85],
  tuple2: [0x86],
  append: [0x61],
  setItem: [0x73],
  setItems: [0x75],
  persistent: [0x51],
  reduce: [0x52],
  build: [0x62],
  int: (n: number) => [0x4a, ...u32(n)],
  long: (n: bigint) => [0x8a, 8, ...new Uint8Array(BigInt64Array.of(n).buffer)],
  text: (text: string) => [0x58, ...u32(ascii(text).length), ...ascii(text)],
  global: (module: string, name: string) => [0x63, ...ascii(`${module}\n${name}\n`)],
  put: (index: number) => [0x71, index],
  get: (index: number) => [0x68, index],
};

type Integer = number | bigint;
const integer = (n: Integer) => typeof n === "bigint" ? op.long(n) : op.int(n);
const integers = (ns: Integer[]) => [...op.mark, ...ns.flatMap(integer), ...op.tuple];

/** A float32 storage. */
export function storage(key: string, count: Integer, type = "FloatStorage"): number[] {
  return [
    ...op.mark,
    ...op.text("storage"),
    ...op.global("torch", type),
    ...op.text(key),
    ...op.text("cpu"),
    ...integer(count),
    ...op.tuple,
    ...op.persistent,
  ];
}

/** A tensor that looks at a storage. */
export function tensor(
  of: number[],
  { offset = 0, shape, strides }: { offset?: Integer; shape: Integer[]; strides: Integer[] },
): number[] {
  return [
    ...op.global("torch._utils", "_rebuild_tensor_v2"),
    ...op.mark,
    ...of,
    ...integer(offset),
    ...integers(shape),
    ...integers(strides),
    0x89,
    ...op.global("collections", "OrderedDict"),
    ...op.emptyTuple,
    ...op.reduce,
    ...op.tuple,
    ...op.reduce,
  ];
}

/** A pickle of a dict. */
export function dict(items: Record<string, number[]>): number[] {
  const entries = Object.entries(items).flatMap(([key, value]) => [...op.text(key), ...value]);
  return [...op.proto, ...op.emptyDict, ...op.mark, ...entries, ...op.setItems, ...op.stop];
}

/**
 * An archive of stored entries, in this order; a name may come twice.
 *
 * @param zip64 Writes all sizes and positions in fields of 64 bits, as for more than 4 GiB.
 */
export function zip(
  entries: [name: string, bytes: ArrayLike<number>][],
  { zip64 = false } = {},
): Uint8Array<ArrayBuffer> {
  const out: number[] = [];
  const table: number[] = [];
  const elsewhere = u32(0xffffffff);
  for (const [name, bytes] of entries) {
    const lengths = [...u32(bytes.length), ...u32(bytes.length)];
    const start = [20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const letters = ascii(name);
    const at = out.length;
    out.push(...u32(0x04034b50), ...start, ...lengths, ...u16(letters.length), 0, 0, ...letters);
    for (let i = 0; i < bytes.length; i++) out.push(bytes[i]);
    // Another field stands before the one of ZIP64.
    const fields = [...u64(bytes.length), ...u64(bytes.length), ...u64(at)];
    const extra = zip64 ? [7, 0, 2, 0, 9, 9, 1, 0, fields.length, 0, ...fields] : [];
    table.push(...u32(0x02014b50), 20, 0, ...start);
    table.push(...zip64 ? [...elsewhere, ...elsewhere] : lengths, ...u16(letters.length));
    table.push(...u16(extra.length), ...Array(10).fill(0), ...zip64 ? elsewhere : u32(at));
    table.push(...letters, ...extra);
  }
  const begin = out.length;
  const limit = begin + table.length;
  const count = u16(entries.length);
  const where = [...u32(table.length), ...u32(begin)];
  if (zip64) {
    const counts = [...u64(entries.length), ...u64(entries.length)];
    table.push(...u32(0x06064b50), ...u64(44), 45, 0, 45, 0, ...u64(0), ...counts);
    table.push(...u64(limit - begin), ...u64(begin));
    table.push(...u32(0x07064b50), ...u32(0), ...u64(limit), ...u32(1));
    count.fill(0xff);
    where.fill(0xff);
  }
  const end = [...u32(0x06054b50), 0, 0, 0, 0, ...count, ...count, ...where, 0, 0];
  return Uint8Array.from(out.concat(table, end));
}

/** A file as `torch.save` would write it. */
export function torchFile(
  pickle: ArrayLike<number>,
  storages: Record<string, ArrayLike<number>> = {},
): Uint8Array<ArrayBuffer> {
  return zip([
    ["archive/data.pkl", pickle],
    ...Object.entries(storages).map(
      ([key, bytes]): [string, ArrayLike<number>] => [`archive/data/${key}`, bytes],
    ),
  ]);
}

/** A tensor whose bytes are too many to hold. */
export interface TorchTensor {
  shape: number[];
  /** Kind of its storage, such as `"HalfStorage"`. */
  storage: string;
  /** Its bytes, row-major. */
  chunks(): Iterable<Uint8Array<ArrayBuffer>>;
}

const ELEMENT_BYTES: Record<string, number> = { HalfStorage: 2, FloatStorage: 4 };

/** A state dict as `torch.save` would write it, streamed to a file of any size. */
export async function writeTorch(
  path: string,
  tensors: Record<string, TorchTensor>,
): Promise<void> {
  const sizes = Object.values(tensors).map(({ shape }) => shape.reduce((a, b) => a * b, 1));
  const pickle = dict(Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, storage: kind }], i) => {
      const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
      return [name, tensor(storage(`${i}`, sizes[i], kind), { shape, strides })];
    }),
  ));
  using file = await Deno.create(path);
  let at = 0;
  const write = async (bytes: ArrayLike<number>) => {
    const all = bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes);
    for (let done = 0; done < all.length;) done += await file.write(all.subarray(done));
    at += all.length;
  };
  const table: number[] = [];
  const entry = async (
    name: string,
    length: number,
    chunks: Iterable<ArrayLike<number>>,
  ) => {
    const letters = ascii(name);
    // Checksums are left at 0: no reader of weights compares them.
    const fields = [...u64(length), ...u64(length)];
    const begin = at;
    await write([...u32(0x04034b50), 45, 0, ...Array(12).fill(0), ...u32(0xffffffff)]);
    await write([
      ...u32(0xffffffff),
      ...u16(letters.length),
      ...u16(fields.length + 4),
      ...letters,
    ]);
    await write([1, 0, ...u16(fields.length), ...fields]);
    for (const chunk of chunks) await write(chunk);
    const extra = [...fields, ...u64(begin)];
    table.push(...u32(0x02014b50), 45, 0, 45, 0, ...Array(12).fill(0), ...u32(0xffffffff));
    table.push(...u32(0xffffffff), ...u16(letters.length), ...u16(extra.length + 4));
    table.push(...Array(10).fill(0), ...u32(0xffffffff), ...letters);
    table.push(1, 0, ...u16(extra.length), ...extra);
  };
  await entry("archive/data.pkl", pickle.length, [pickle]);
  for (const [i, { storage: kind, chunks }] of Object.values(tensors).entries()) {
    await entry(`archive/data/${i}`, sizes[i] * ELEMENT_BYTES[kind], chunks());
  }
  const count = Object.keys(tensors).length + 1;
  const begin = at;
  await write(table);
  const limit = at;
  await write([...u32(0x06064b50), ...u64(44), 45, 0, 45, 0, ...u64(0), ...u64(count)]);
  await write([...u64(count), ...u64(limit - begin), ...u64(begin)]);
  await write([...u32(0x07064b50), ...u32(0), ...u64(limit), ...u32(1)]);
  await write([...u32(0x06054b50), 0, 0, 0, 0, ...Array(12).fill(0xff), 0, 0]);
}
