/**
 * Tokenizers of sentencepiece vocabularies. The reference is the library of that name.
 *
 * @module
 */
import { Merger, UNKNOWN_SYMBOLS } from "./merges.ts";
import { PieceType, type SentencepieceModel } from "./sentencepiece_model.ts";
import { PrefixMatcher, prepareText, SPACE } from "./sentencepiece_text.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { UnigramSegmenter } from "./unigram.ts";

const { UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE } = PieceType;

/** Words whose ids are remembered. */
const MAX_WORDS = 1 << 16;
/** Longest word that is worth it, in UTF-16 units. */
const LONGEST_WORD = 32;

/** Encoding and decoding with a vocabulary of sentencepiece. */
export type SentencepieceCodec = Pick<Tokenizer, "encode" | "decode"> & {
  readonly vocabSize: number;
};

/**
 * Makes the codec of a vocabulary.
 *
 * Control symbols such as `<s>` are text like any other when they stand in a text, as for
 * sentencepiece; symbols that a user defined are tokens wherever they stand.
 *
 * @throws {Error} If pieces repeat, are no bytes although their type says so, or if bytes or the
 * unknown piece are missing.
 */
export function sentencepieceCodec(model: SentencepieceModel): SentencepieceCodec {
  const { pieces, types } = model;
  const { merged, reserved, byteIds, byteOf, unkId } = checkPieces(model);
  const kept = new PrefixMatcher(pieces.filter((_, id) => types[id] === USER_DEFINED));
  const encoder = new TextEncoder();

  /** Adds what a symbol that is no piece becomes. */
  const addUnknown = (text: string, ids: number[]) => {
    const id = reserved.get(text);
    if (id !== undefined && id !== unkId) ids.push(id);
    else if (!byteIds) ids.push(unkId);
    else for (const byte of encoder.encode(text)) ids.push(byteIds[byte]);
  };
  const segment = model.kind === "bpe"
    ? bpeSegmenter(model, merged, kept, addUnknown)
    : unigramSegmenter(model, addUnknown);

  return {
    vocabSize: pieces.length,
    encode(text) {
      const ids = segment(prepareText(text.toWellFormed(), model, kept));
      // Unknown characters in a row are one token.
      return byteIds ? ids : ids.filter((id, i) => id !== unkId || ids[i - 1] !== unkId);
    },
    decode(ids) {
      let text = "";
      let bytes: number[] = [];
      const flush = () => {
        if (bytes.length === 0) return;
        text += decodeBytes(bytes);
        bytes = [];
      };
      // Drops the space that was put in front; of extra spaces all.
      let atStart = model.addDummyPrefix || model.removeExtraWhitespaces;
      for (let i = 0; i < ids.length; i++) {
        const id = ids[i];
        if (pieces[id] === undefined) continue;
        if (types[id] === BYTE) {
          bytes.push(byteOf.get(id)!);
          continue;
        }
        flush();
        if (text !== "") atStart = false;
        let piece = types[id] === UNKNOWN ? model.unkSurface : pieces[id];
        if (types[id] !== UNKNOWN && types[id] !== CONTROL) {
          if (atStart && piece.startsWith(SPACE)) {
            piece = piece.slice(SPACE.length);
            if (!model.removeExtraWhitespaces) atStart = false;
          }
          piece = piece.replaceAll(SPACE, " ");
        }
        text += piece;
      }
      flush();
      return text;
    },
  };
}

type Segmenter = (prepared: string) => number[];
type AddUnknown = (text: string, ids: number[]) => void;

function bpeSegmenter(
  { pieces, scores, types }: SentencepieceModel,
  merged: ReadonlyMap<string, number>,
  kept: PrefixMatcher,
  addUnknown: AddUnknown,
): Segmenter {
  const merger = new Merger({ idOf: (piece) => merged.get(piece), scores });
  const hasUnused = pieces.some((_, id) => types[id] === UNUSED);
  /** Adds the ids of a text without symbols of the user. */
  const add = (text: string, ids: number[]) => {
    // A piece that is not in use is taken apart again, into what it was last seen to be made of.
    const parts = new Map<number, [number, number]>();
    const put = (symbol: number) => {
      if (symbol >= UNKNOWN_SYMBOLS) {
        addUnknown(String.fromCodePoint(symbol - UNKNOWN_SYMBOLS), ids);
      } else if (types[symbol] === UNUSED && parts.has(symbol)) {
        parts.get(symbol)!.forEach(put);
      } else ids.push(symbol);
    };
    const symbols = merger.merge(
      text,
      hasUnused
        ? (id, left, right) => void (types[id] === UNUSED && parts.set(id, [left, right]))
        : undefined,
    );
    symbols.forEach(put);
  };

  // Where no piece goes on after a word into the next space, nothing is joined across words.
  const wordwise = !hasUnused &&
    !pieces.some((piece, id) =>
      isMerged(types[id]) && types[id] !== USER_DEFINED && /[^▁]▁/u.test(piece)
    );
  const words = new Map<string, number[]>();
  const addText = (text: string, ids: number[]) => {
    if (!wordwise) return add(text, ids);
    for (const word of text.match(/▁*[^▁]+|▁+/gu) ?? []) {
      let known = words.get(word);
      if (!known) {
        add(word, known = []);
        if (words.size === MAX_WORDS) words.clear();
        if (word.length <= LONGEST_WORD) words.set(word, known);
      }
      for (const id of known) ids.push(id);
    }
  };

  return (prepared) => {
    const ids: number[] = [];
    if (kept.empty) {
      addText(prepared, ids);
      return ids;
    }
    let start = 0;
    for (let at = 0; at < prepared.length;) {
      const symbol = kept.at(prepared, at);
      if (symbol === undefined) at += prepared.codePointAt(at)! > 0xffff ? 2 : 1;
      else {
        addText(prepared.slice(start, at), ids);
        ids.push(merged.get(symbol)!);
        at += symbol.length;
        start = at;
      }
    }
    addText(prepared.slice(start), ids);
    return ids;
  };
}

function unigramSegmenter(model: SentencepieceModel, addUnknown: AddUnknown): Segmenter {
  const segmenter = new UnigramSegmenter(model);
  return (prepared) => {
    const ids: number[] = [];
    segmenter.segment(prepared, (id, start, end) => {
      if (id >= 0) ids.push(id);
      else addUnknown(prepared.slice(start, end), ids);
    });
    return ids;
  };
}

/** True of a piece that characters are joined to. */
function isMerged(type: number): boolean {
  return type === PieceType.NORMAL || type === USER_DEFINED || type === UNUSED;
}

interface CheckedPieces {
  /** Ids of pieces that characters are joined to. */
  readonly merged: ReadonlyMap<string, number>;
  /** Ids of all others. */
  readonly reserved: ReadonlyMap<string, number>;
  /** Id of a byte; undefined if unknown characters are not written as bytes. */
  readonly byteIds?: Int32Array;
  readonly byteOf: ReadonlyMap<number, number>;
  readonly unkId: number;
}

function checkPieces({ path, pieces, types }: SentencepieceModel): CheckedPieces {
  const refuse = (reason: string) => new Error(`Cannot use the vocabulary of "${path}": ${reason}`);
  const merged = new Map<string, number>();
  const reserved = new Map<string, number>();
  const byteOf = new Map<number, number>();
  const byteIds = new Int32Array(256).fill(-1);
  let unkId = -1;
  pieces.forEach((piece, id) => {
    const earlier = merged.get(piece) ?? reserved.get(piece);
    if (earlier !== undefined) {
      throw refuse(`its pieces ${earlier} and ${id} are both ${JSON.stringify(piece)}`);
    }
    (isMerged(types[id]) ? merged : reserved).set(piece, id);
    if (types[id] === UNKNOWN) {
      if (unkId >= 0) throw refuse(`its pieces ${unkId} and ${id} both stand for the unknown`);
      unkId = id;
    } else if (types[id] === BYTE) {
      const byte = /^<0x[0-9A-F]{2}>$/.test(piece) ? parseInt(piece.slice(3, 5), 16) : -1;
      if (byte < 0) throw refuse(`its piece ${id} is the byte ${JSON.stringify(piece)}`);
      byteOf.set(id, byte);
      byteIds[byte] = id;
    }
  });
  if (byteOf.size > 0 && byteOf.size < 256) {
    const missing = byteIds.indexOf(-1).toString(16).toUpperCase().padStart(2, "0");
    throw refuse(`it has ${byteOf.size} of the 256 bytes: "<0x${missing}>" is missing`);
  }
  if (unkId < 0 && byteOf.size === 0) throw refuse("no piece stands for unknown characters");
  return { merged, reserved, byteOf, unkId, ...byteOf.size > 0 ? { byteIds } : {} };
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text of bytes, U+FFFD for each that is no UTF-8. */
function decodeBytes(bytes: readonly number[]): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = Math.max(1, Math.clz32(~bytes[at] << 24));
    try {
      text += UTF8.decode(Uint8Array.from(bytes.slice(at, at + length)));
      at += length;
    } catch {
      text += "\uFFFD";
      at++;
    }
  }
  return text;
}
