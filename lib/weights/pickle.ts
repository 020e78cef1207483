/**
 * Reads the part of Python's pickle format that state dicts of PyTorch are written in.
 *
 * A pickle is a program for a small stack machine, and Python's own reader lets it call any
 * function. This one knows containers, text and numbers, and the names that its caller allows;
 * every other opcode and name is refused, so no file can run code. It never recurses and never
 * copies a value, so nested and repeated ones cost what their bytes cost.
 *
 * Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
 *
 * @module
 */

/** What a pickle may hold: `Map` is a dict; lists and tuples are both arrays. */
export type Pickled =
  | null
  | boolean
  | number
  | string
  | Pickled[]
  | Map<Pickled, Pickled>
  | PickleObject;

/** Something of which only the caller knows what it is. */
export class PickleObject {}

/** A name that a pickle may mention: a class, or a function that it may call. */
export class PickleGlobal extends PickleObject {
  /** Module and name, for example `torch.FloatStorage`. */
  readonly name: string;
  /** Makes what a call gives; undefined if calling is refused. */
  readonly call?: (args: readonly Pickled[]) => Pickled;

  constructor(name: string, call?: (args: readonly Pickled[]) => Pickled) {
    super();
    this.name = name;
    this.call = call;
  }
}

/** Thrown by callbacks: the reader adds the offset. */
export class Refused extends Error {}

/** What a caller lets a pickle do. */
export interface PickleRules {
  /** The names that it may mention, by name. */
  readonly globals: ReadonlyMap<string, PickleGlobal>;
  /**
   * What a persistent id stands for.
   *
   * @throws {Refused} If it is none.
   */
  readonly persistent: (id: Pickled) => Pickled;
}

/** Values on the stack at a time; Python writes containers in parts of 1000. */
const MAX_STACK = 100_000;

/** Opcodes that Python knows and this reader refuses, to call them by their names. */
const REFUSED: Readonly<Record<number, string>> = {
  0x30: "POP",
  0x31: "POP_MARK",
  0x32: "DUP",
  0x42: "BINBYTES",
  0x43: "SHORT_BINBYTES",
  0x46: "FLOAT",
  0x49: "INT",
  0x4c: "LONG",
  0x50: "PERSID",
  0x53: "STRING",
  0x54: "BINSTRING",
  0x55: "SHORT_BINSTRING",
  0x56: "UNICODE",
  0x64: "DICT",
  0x67: "GET",
  0x69: "INST",
  0x6c: "LIST",
  0x6f: "OBJ",
  0x70: "PUT",
  0x81: "NEWOBJ",
  0x82: "EXT1",
  0x83: "EXT2",
  0x84: "EXT4",
  0x8b: "LONG4",
  0x8c: "SHORT_BINUNICODE",
  0x8d: "BINUNICODE8",
  0x8e: "BINBYTES8",
  0x8f: "EMPTY_SET",
  0x90: "ADDITEMS",
  0x91: "FROZENSET",
  0x92: "NEWOBJ_EX",
  0x93: "STACK_GLOBAL",
  0x94: "MEMOIZE",
  0x95: "FRAME",
  0x96: "BYTEARRAY8",
  0x97: "NEXT_BUFFER",
  0x98: "READONLY_BUFFER",
};

/**
 * The value that a pickle describes.
 *
 * @param bytes The whole pickle, of protocol 2.
 * @param rules What it may mention.
 * @param refuse Makes the error for a reason and the position of the opcode in `bytes`.
 */
export function unpickle(
  bytes: Uint8Array,
  rules: PickleRules,
  refuse: (reason: string, position: number) => Error,
): Pickled {
  const reader = new Unpickler(bytes, rules);
  try {
    return reader.run();
  } catch (error) {
    if (error instanceof Refused) throw refuse(error.message, reader.opcodeAt);
    throw error;
  }
}

class Unpickler {
  /** Where the opcode that runs stands. */
  opcodeAt = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #rules: PickleRules;
  readonly #text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #memo = new Map<number, Pickled>();
  readonly #stack: Pickled[] = [];
  /** Heights of the stack at its marks. */
  readonly #marks: number[] = [];
  #at = 0;

  constructor(bytes: Uint8Array, rules: PickleRules) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#rules = rules;
  }

  run(): Pickled {
    const [start, protocol] = [this.#skip(1), this.#skip(1)].map((at) => this.#bytes[at]);
    if (start !== 0x80 || protocol !== 2) {
      throw new Refused(
        start === 0x80
          ? `its pickle is of protocol ${protocol}, expected 2; save it again with the default ` +
            `of torch.save`
          : "it does not begin as a pickle of protocol 2",
      );
    }
    for (;;) {
      this.opcodeAt = this.#at;
      const opcode = this.#bytes[this.#skip(1)];
      if (opcode === 0x2e) return this.#pop(); // STOP
      this.#step(opcode);
      if (this.#stack.length + this.#marks.length > MAX_STACK) {
        throw new Refused(
          `it has more than ${MAX_STACK} values on its stack, as no state dict has`,
        );
      }
    }
  }

  #step(opcode: number): void {
    const stack = this.#stack;
    const view = this.#view;
    switch (opcode) {
      case 0x28: // MARK
        return void this.#marks.push(stack.length);
      case 0x4e: // NONE
        return void stack.push(null);
      case 0x88: // NEWTRUE
        return void stack.push(true);
      case 0x89: // NEWFALSE
        return void stack.push(false);
      case 0x4a: // BININT
        return void stack.push(view.getInt32(this.#skip(4), true));
      case 0x4b: // BININT1
        return void stack.push(view.getUint8(this.#skip(1)));
      case 0x4d: // BININT2
        return void stack.push(view.getUint16(this.#skip(2), true));
      case 0x8a: // LONG1
        return void stack.push(this.#long(view.getUint8(this.#skip(1))));
      case 0x47: // BINFLOAT
        return void stack.push(view.getFloat64(this.#skip(8)));
      case 0x58: // BINUNICODE
        return void stack.push(this.#string(view.getUint32(this.#skip(4), true)));
      case 0x7d: // EMPTY_DICT
        return void stack.push(new Map());
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        return void stack.push([]);
      case 0x74: // TUPLE
        return void stack.push(this.#sinceMark());
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return void stack.push(this.#popMany(opcode - 0x84));
      case 0x61: // APPEND
        return this.#append(this.#popMany(1));
      case 0x65: // APPENDS
        return this.#append(this.#sinceMark());
      case 0x73: // SETITEM
        return this.#setItems(this.#popMany(2));
      case 0x75: // SETITEMS
        return this.#setItems(this.#sinceMark());
      case 0x71: // BINPUT
        return void this.#memo.set(view.getUint8(this.#skip(1)), this.#top());
      case 0x72: // LONG_BINPUT
        return void this.#memo.set(view.getUint32(this.#skip(4), true), this.#top());
      case 0x68: // BINGET
        return this.#get(view.getUint8(this.#skip(1)));
      case 0x6a: // LONG_BINGET
        return this.#get(view.getUint32(this.#skip(4), true));
      case 0x63: // GLOBAL
        return this.#global();
      case 0x51: // BINPERSID
        return void stack.push(this.#rules.persistent(this.#pop()));
      case 0x52: // REDUCE
        return this.#reduce();
      case 0x62: // BUILD
        return this.#build();
      default: {
        const hex = `0x${opcode.toString(16).padStart(2, "0")}`;
        throw new Refused(
          `its pickle has the opcode ${hex} (${REFUSED[opcode] ?? "unknown"}), which no state ` +
            `dict needs`,
        );
      }
    }
  }

  /** Position of the next `count` bytes, which are taken. */
  #skip(count: number): number {
    const at = this.#at;
    if (at + count > this.#bytes.length) {
      throw new Refused(
        `its pickle ends at byte ${this.#bytes.length} of it, inside an opcode that takes ` +
          `${count} bytes`,
      );
    }
    this.#at += count;
    return at;
  }

  #string(length: number): string {
    const at = this.#skip(length);
    try {
      return this.#text.decode(this.#bytes.subarray(at, at + length));
    } catch {
      throw new Refused(`its pickle holds a text of ${length} bytes that is not UTF-8`);
    }
  }

  #long(length: number): number {
    const at = this.#skip(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = value << 8n | BigInt(this.#bytes[at + i]);
    const integer = Number(BigInt.asIntN(8 * length, value));
    if (Number.isSafeInteger(integer)) return integer;
    throw new Refused(`its pickle holds an integer of ${length} bytes, expected one below 2^53`);
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw new Refused("its pickle ends inside a name");
    const line = this.#string(end - this.#at);
    this.#at++;
    return line;
  }

  #top(): Pickled {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) {
      throw new Refused("its pickle takes a value from an empty stack");
    }
    return this.#stack.at(-1)!;
  }

  #pop(): Pickled {
    this.#top();
    return this.#stack.pop()!;
  }

  #popMany(count: number): Pickled[] {
    return Array.from({ length: count }, () => this.#pop()).reverse();
  }

  #sinceMark(): Pickled[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw new Refused("its pickle ends a list that it did not begin");
    return this.#stack.splice(mark);
  }

  #append(items: Pickled[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw new Refused("its pickle appends to what is no list");
    for (const item of items) list.push(item);
  }

  #setItems(items: Pickled[]): void {
    const dict = this.#top();
    if (!(dict instanceof Map) || items.length % 2 !== 0) {
      throw new Refused("its pickle sets entries of what is no dict");
    }
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== "string" && typeof key !== "number") {
        throw new Refused("its pickle has a dict with a key that is neither text nor a number");
      }
      if (dict.has(key)) throw new Refused(`its pickle has a dict with the key "${key}" twice`);
      dict.set(key, items[i + 1]);
    }
  }

  #get(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) {
      throw new Refused(`its pickle takes value ${index} from its memo, which does not hold it`);
    }
    this.#stack.push(value);
  }

  #global(): void {
    const name = `${this.#line()}.${this.#line()}`;
    const global = this.#rules.globals.get(name);
    if (!global) {
      throw new Refused(
        `its pickle mentions "${name.slice(0, 100)}", which no state dict needs; no code ` +
          `was run`,
      );
    }
    this.#stack.push(global);
  }

  #reduce(): void {
    const [callee, args] = this.#popMany(2);
    if (!(callee instanceof PickleGlobal && callee.call && Array.isArray(args))) {
      const what = callee instanceof PickleGlobal ? `"${callee.name}"` : "what is no function";
      throw new Refused(`its pickle calls ${what}; no code was run`);
    }
    this.#stack.push(callee.call(args));
  }

  /** Attributes of a dict, such as the versions of modules, say nothing about its tensors. */
  #build(): void {
    this.#pop();
    if (!(this.#top() instanceof Map)) {
      throw new Refused("its pickle sets attributes of what is no dict; no code was run");
    }
  }
}
