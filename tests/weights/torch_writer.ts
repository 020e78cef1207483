/**
 * Writes state dicts as `torch.save` does (zip of a pickle and of raw storages), a tensor at a
 * time, so that a checkpoint may be larger than memory.
 */
import { crc32 } from "node:zlib";

/** A tensor to write; its bytes come in pieces. */
export interface TorchTensor {
  shape: number[];
  storage: "FloatStorage" | "HalfStorage" | "BFloat16Storage";
  chunks: () => Iterable<Uint8Array>;
}

const encoder = new TextEncoder();

/** The pickle of an OrderedDict of tensors, protocol 2. */
export function stateDictPickle(tensors: Record<string, TorchTensor>): Uint8Array {
  const out: number[] = [];
  const int = (n: number) => out.push(0x4a, n & 255, n >> 8 & 255, n >> 16 & 255, n >> 24 & 255);
  const text = (s: string) => {
    const bytes = encoder.encode(s);
    const n = bytes.length;
    out.push(0x58, n & 255, n >> 8 & 255, n >> 16 & 255, n >> 24 & 255, ...bytes);
  };
  const global = (module: string, name: string) =>
    out.push(0x63, ...encoder.encode(`${module}\n${name}\n`));
  const tuple = (items: number[]) => {
    out.push(0x28);
    for (const item of items) int(item);
    out.push(0x74);
  };
  const orderedDict = () => {
    global("collections", "OrderedDict");
    out.push(0x29, 0x52); // EMPTY_TUPLE REDUCE
  };
  out.push(0x80, 2);
  orderedDict();
  out.push(0x28); // MARK
  Object.entries(tensors).forEach(([name, { shape, storage }], i) => {
    text(name);
    global("torch._utils", "_rebuild_tensor_v2");
    out.push(0x28, 0x28);
    text("storage");
    global("torch", storage);
    text(`${i}`);
    text("cpu");
    int(shape.reduce((a, b) => a * b, 1));
    out.push(0x74, 0x51); // TUPLE BINPERSID
    int(0);
    tuple(shape);
    tuple(shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1)));
    out.push(0x89); // NEWFALSE
    orderedDict();
    out.push(0x74, 0x52); // TUPLE REDUCE
  });
  out.push(0x75, 0x2e); // SETITEMS STOP
  return Uint8Array.from(out);
}

/** Writes a `.bin` file. */
export async function writeTorch(path: string, tensors: Record<string, TorchTensor>) {
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  let at = 0;
  const write = async (bytes: Uint8Array) => {
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
    at += bytes.length;
  };
  const central: { name: string; crc: number; size: number; offset: number }[] = [];
  const entry = async (name: string, size: number, chunks: () => Iterable<Uint8Array>) => {
    const offset = at;
    let crc = 0;
    for (const chunk of chunks()) crc = crc32(chunk, crc);
    await write(localHeader(name, crc, size));
    for (const chunk of chunks()) await write(chunk);
    central.push({ name, crc, size, offset });
  };
  const pickle = stateDictPickle(tensors);
  await entry("archive/data.pkl", pickle.length, () => [pickle]);
  for (const [i, tensor] of Object.values(tensors).entries()) {
    const values = tensor.shape.reduce((a, b) => a * b, 1);
    const bytes = values * (tensor.storage === "FloatStorage" ? 4 : 2);
    await entry(`archive/data/${i}`, bytes, tensor.chunks);
  }
  await entry("archive/version", 2, () => [encoder.encode("3\n")]);
  const start = at;
  for (const one of central) await write(centralHeader(one));
  await write(endOfCentral(central.length, start, at - start, at));
}

function localHeader(name: string, crc: number, size: number): Uint8Array {
  const bytes = encoder.encode(name);
  const header = new Uint8Array(30 + bytes.length);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x04034b50, true);
  view.setUint32(14, crc, true);
  view.setUint32(18, size, true);
  view.setUint32(22, size, true);
  view.setUint16(26, bytes.length, true);
  header.set(bytes, 30);
  return header;
}

/** The offset always stands in a ZIP64 field, as it must beyond 4 GiB. */
function centralHeader(
  { name, crc, size, offset }: { name: string; crc: number; size: number; offset: number },
): Uint8Array {
  const bytes = encoder.encode(name);
  const header = new Uint8Array(46 + bytes.length + 12);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x02014b50, true);
  view.setUint32(16, crc, true);
  view.setUint32(20, size, true);
  view.setUint32(24, size, true);
  view.setUint16(28, bytes.length, true);
  view.setUint16(30, 12, true);
  view.setUint32(42, 0xffffffff, true);
  header.set(bytes, 46);
  view.setUint16(46 + bytes.length, 1, true);
  view.setUint16(48 + bytes.length, 8, true);
  view.setBigUint64(50 + bytes.length, BigInt(offset), true);
  return header;
}

function endOfCentral(count: number, start: number, size: number, at: number): Uint8Array {
  const end = new Uint8Array(56 + 20 + 22);
  const view = new DataView(end.buffer);
  view.setUint32(0, 0x06064b50, true);
  view.setBigUint64(4, 44n, true);
  view.setBigUint64(24, BigInt(count), true);
  view.setBigUint64(32, BigInt(count), true);
  view.setBigUint64(40, BigInt(size), true);
  view.setBigUint64(48, BigInt(start), true);
  view.setUint32(56, 0x07064b50, true);
  view.setBigUint64(64, BigInt(at), true);
  view.setUint32(72, 1, true);
  view.setUint32(76, 0x06054b50, true);
  view.setUint16(84, count, true);
  view.setUint16(86, count, true);
  view.setUint32(88, size, true);
  view.setUint32(92, 0xffffffff, true);
  return end;
}
