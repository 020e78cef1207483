/**
 * Replacements of characters that sentencepiece prepares from a table such as `nmt_nfkc`.
 *
 * Format: the bytes of a trie, little-endian; the trie; replacements, each ended by a zero byte. The
 * trie is a double array (https://github.com/s-yata/darts-clone): a unit has the label of the byte
 * that leads to it, and the distance to the unit of its children; the value of a leaf is where its
 * replacement begins.
 *
 * @module
 */

/** The longest key at a place of a text. */
export interface Replacement {
  /** Where in the text the key ends. */
  readonly end: number;
  readonly by: string;
}

/** A table of replacements; every path in it is checked before it is used. */
export class Charsmap {
  readonly #units: Uint32Array;
  readonly #strings: Uint8Array;
  readonly #decoded = new Map<number, string>();
  readonly #bad: (reason: string) => Error;

  /**
   * @param bytes The table.
   * @param bad Makes an error of what is wrong with it.
   * @throws {Error} If it is cut short or points outside itself.
   */
  constructor(bytes: Uint8Array, bad: (reason: string) => Error) {
    this.#bad = bad;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = bytes.length < 4 ? 0 : view.getUint32(0, true);
    if (size < 4 || size % 4 !== 0 || size > bytes.length - 4) {
      throw bad(`the trie of its "precompiled_charsmap" of ${bytes.length} bytes has ${size}`);
    }
    this.#units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
    this.#strings = bytes.subarray(4 + size);
    this.#check();
  }

  /** The longest key that begins at a place; undefined if none does. */
  longest(text: string, start: number): Replacement | undefined {
    const units = this.#units;
    let node = offset(units[0]);
    let value = -1;
    let end = start;
    for (let at = start; at < text.length;) {
      const code = text.codePointAt(at)!;
      if (code === 0) break; // no key has it
      at += code > 0xffff ? 2 : 1;
      const count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      for (let i = count - 1; i >= 0; i--) {
        const byte = count === 1
          ? code
          : i === count - 1
          ? (0xf00 >> count) & 0xff | code >> 6 * i
          : 0x80 | code >> 6 * i & 0x3f;
        node ^= byte;
        const unit = units[node];
        if (label(unit) !== byte) {
          return value < 0 ? undefined : { end, by: this.#replacement(value) };
        }
        node ^= offset(unit);
        if (i === 0 && hasLeaf(unit)) {
          value = units[node] & 0x7fffffff;
          end = at;
        }
      }
    }
    return value < 0 ? undefined : { end, by: this.#replacement(value) };
  }

  #replacement(value: number): string {
    let text = this.#decoded.get(value);
    if (text === undefined) {
      const end = this.#strings.indexOf(0, value);
      text = UTF8.decode(this.#strings.subarray(value, end));
      this.#decoded.set(value, text);
    }
    return text;
  }

  /** Follows all paths, each unit once. */
  #check(): void {
    const units = this.#units;
    const seen = new Uint8Array(units.length);
    const open = [0];
    seen[0] = 1;
    while (open.length > 0) {
      const at = open.pop()!;
      const children = at ^ offset(units[at]);
      if ((children | 0xff) >>> 0 >= units.length) {
        throw this.#bad(`unit ${at} of its "precompiled_charsmap" points outside it`);
      }
      if (hasLeaf(units[at])) {
        const value = units[children] & 0x7fffffff;
        if (value >= this.#strings.length || this.#strings.indexOf(0, value) < 0) {
          throw this.#bad(`a replacement of its "precompiled_charsmap" lies outside it`);
        }
        try {
          this.#replacement(value);
        } catch {
          throw this.#bad(`a replacement of its "precompiled_charsmap" is not UTF-8`);
        }
      }
      for (let byte = 1; byte < 256; byte++) {
        const child = children ^ byte;
        if (!seen[child] && label(units[child]) === byte) {
          seen[child] = 1;
          open.push(child);
        }
      }
    }
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The highest bit is set where a unit is a value, so it equals no byte. */
function label(unit: number): number {
  return (unit & 0x800000ff) >>> 0;
}

function hasLeaf(unit: number): boolean {
  return (unit >>> 8 & 1) === 1;
}

function offset(unit: number): number {
  return unit >>> 10 << ((unit & 1 << 9) >>> 6);
}
