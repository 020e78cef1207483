/**
 * Tensors of a state dict that `torch.save` wrote.
 *
 * Such a file is a zip archive: `…/data.pkl` describes the dict, `…/data/N` are storages, plain
 * arrays of numbers of which tensors are views (an offset, a shape and strides). Tensors may share
 * a storage, as tied weights do. Entries of the dict that are no tensors are left out.
 *
 * @module
 */
import type { ByteSource } from "./byte_source.ts";
import { BF16, F16, F32, type NumberFormat } from "./floats.ts";
import { type Pickled, PickleGlobal, PickleObject, Refused, unpickle } from "./pickle.ts";
import { elements, type TensorPlace } from "./stored_weights.ts";
import { zipEntries, type ZipEntry } from "./zip.ts";

/** Longest description that is read; that of a large model has less than a tenth. */
const MAX_PICKLE_BYTES = 8 << 20;
/** Most axes of a tensor: those of PyTorch. */
const MAX_AXES = 64;

/** Types of storage: number format, bytes of a number, and how to read it if anybody needs that. */
const STORAGES: Readonly<Record<string, readonly [string, number, NumberFormat?]>> = {
  FloatStorage: ["F32", 4, F32],
  HalfStorage: ["F16", 2, F16],
  BFloat16Storage: ["BF16", 2, BF16],
  DoubleStorage: ["F64", 8],
  LongStorage: ["I64", 8],
  IntStorage: ["I32", 4],
  ShortStorage: ["I16", 2],
  CharStorage: ["I8", 1],
  ByteStorage: ["U8", 1],
  BoolStorage: ["BOOL", 1],
};

class StorageType extends PickleGlobal {
  readonly dtype: string;
  readonly bytes: number;
  readonly format: NumberFormat | undefined;

  constructor(name: string) {
    super(`torch.${name}`);
    [this.dtype, this.bytes, this.format] = STORAGES[name];
  }
}

class Storage extends PickleObject {
  constructor(
    readonly type: StorageType,
    /** Number of values. */
    readonly count: number,
    readonly entry: ZipEntry,
  ) {
    super();
  }
}

class Tensor extends PickleObject {
  constructor(readonly place: Omit<TensorPlace, "source">) {
    super();
  }
}

/**
 * Where the tensors of a state dict lie.
 *
 * @throws {Error} If the file is damaged, in the format before PyTorch 1.6, or describes anything
 * but tensors and plain values; the message names the file, and the byte or the tensor.
 */
export function torchPlaces(source: ByteSource): Map<string, TensorPlace> {
  const cannot = (reason: string) => new Error(`Cannot read "${source.path}": ${reason}`);
  const start = source.readNow(0, Math.min(4, source.size));
  if (start[0] === 0x80) {
    throw cannot(
      "byte 0 begins a file of PyTorch before 1.6; load it there and save it again with a newer one",
    );
  }
  if (`${start}` !== "80,75,3,4") {
    throw cannot("byte 0 does not begin a zip archive, which torch.save writes");
  }
  const entries = zipEntries(source);
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    throw cannot(`it has ${pickles.length} entries "…/data.pkl", expected the one of torch.save`);
  }
  const root = pickles[0].slice(0, -"data.pkl".length);
  const pickle = entries.get(pickles[0])!;
  if (pickle.size > MAX_PICKLE_BYTES) {
    throw cannot(
      `its entry "${pickles[0]}" has ${pickle.size} bytes, expected at most ${MAX_PICKLE_BYTES}`,
    );
  }
  const order = entries.get(`${root}byteorder`);
  if (order && text(source, order) !== "little") {
    throw cannot(`its entry "${root}byteorder" is not "little"`);
  }

  const result = unpickle(source.readNow(pickle.begin, pickle.size), {
    globals: GLOBALS,
    persistent: (id) => storage(id, root, entries),
  }, (reason, position) => cannot(`${reason} (byte ${pickle.begin + position})`));
  if (!(result instanceof Map)) {
    throw cannot(`its entry "${pickles[0]}" describes no dict, expected a state dict`);
  }
  const places = new Map<string, TensorPlace>();
  for (const [name, value] of result) {
    if (typeof name === "string" && value instanceof Tensor) {
      places.set(name, { ...value.place, source });
    }
  }
  if (places.size === 0) {
    throw cannot(
      `the dict in its entry "${pickles[0]}" holds no tensor; expected a state dict, not one ` +
        `inside another dict`,
    );
  }
  return places;
}

const GLOBALS: ReadonlyMap<string, PickleGlobal> = new Map([
  new PickleGlobal("collections.OrderedDict", orderedDict),
  new PickleGlobal("torch.Size", ([size]) => integers(size) ?? refuse("torch.Size")),
  new PickleGlobal(
    "torch._utils._rebuild_parameter",
    ([tensor]) => tensor instanceof Tensor ? tensor : refuse("torch._utils._rebuild_parameter"),
  ),
  new PickleGlobal("torch._utils._rebuild_tensor_v2", rebuildTensor),
  ...Object.keys(STORAGES).map((name) => new StorageType(name)),
].map((global) => [global.name, global]));

function orderedDict(args: readonly Pickled[]): Pickled {
  return args.length === 0 ? new Map() : refuse("collections.OrderedDict");
}

/** The storage of a persistent id: `("storage", type, key, device, count)`. */
function storage(id: Pickled, root: string, entries: ReadonlyMap<string, ZipEntry>): Storage {
  const [kind, type, key, , count] = Array.isArray(id) ? id : [];
  if (
    kind !== "storage" || !(type instanceof StorageType) || typeof key !== "string" ||
    !isCount(count)
  ) {
    throw new Refused("its pickle names a storage in a way that torch.save does not");
  }
  const entry = entries.get(`${root}data/${key}`);
  if (!entry) throw new Refused(`its storage "${key}" has no entry "${root}data/${key}"`);
  if (entry.size !== count * type.bytes) {
    throw new Refused(
      `its storage "${key}" of ${count} ${type.dtype} values has ${entry.size} bytes, expected ` +
        `${count * type.bytes}`,
    );
  }
  return new Storage(type, count, entry);
}

function rebuildTensor(args: readonly Pickled[]): Tensor {
  const [storage, offset] = args;
  const [shape, strides] = [integers(args[2]), integers(args[3])];
  if (
    !(storage instanceof Storage && isCount(offset) && shape && strides) ||
    shape.length !== strides.length
  ) {
    return refuse("torch._utils._rebuild_tensor_v2");
  }
  const { type: { dtype, bytes, format }, count, entry } = storage;
  if (shape.includes(0)) return new Tensor({ dtype, format, shape, begin: entry.begin });

  const axes = [...shape.keys()].filter((axis) => shape[axis] > 1)
    .sort((a, b) => strides[a] - strides[b]);
  /** Values that the axes so far reach over. */
  let reach = 1;
  for (const axis of axes) {
    if (strides[axis] < reach) {
      throw new Refused(
        `a tensor of shape [${shape}] and strides [${strides}] uses values of its storage more ` +
          `than once; save it again as tensor.contiguous()`,
      );
    }
    reach += (shape[axis] - 1) * strides[axis];
  }
  if (!(offset + reach <= count)) {
    throw new Refused(
      `a tensor of shape [${shape}] and strides [${strides}] from value ${offset} leaves its ` +
        `storage of ${count} values`,
    );
  }
  // Axes of length 1 are never stepped along.
  const rowMajor = axes.every((axis) => strides[axis] === elements(shape.slice(axis + 1)));
  return new Tensor({
    dtype,
    format,
    shape,
    begin: entry.begin + offset * bytes,
    ...rowMajor ? {} : { strides },
  });
}

function refuse(name: string): never {
  throw new Refused(`its pickle calls "${name}" in a way that torch.save does not`);
}

function isCount(value: Pickled | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function integers(value: Pickled | undefined): number[] | undefined {
  // The length first: a long list that many tensors name would be walked as many times.
  return Array.isArray(value) && value.length <= MAX_AXES && value.every(isCount)
    ? value as number[]
    : undefined;
}

function text(source: ByteSource, { begin, size }: ZipEntry): string {
  return new TextDecoder().decode(source.readNow(begin, Math.min(size, 16)));
}
