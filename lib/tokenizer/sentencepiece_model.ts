/**
 * Vocabularies of sentencepiece, as its `tokenizer.model` files hold them: a protocol buffer
 * `ModelProto` (https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto).
 *
 * @module
 */
import { Charsmap } from "./charsmap.ts";
import { type ProtoField, protoFields } from "./protobuf.ts";

/** What a piece is; GGUF has the same numbers. */
export const PieceType = {
  NORMAL: 1,
  UNKNOWN: 2,
  CONTROL: 3,
  USER_DEFINED: 4,
  UNUSED: 5,
  BYTE: 6,
} as const;

/** A vocabulary, and how a text is prepared for it. */
export interface SentencepieceModel {
  /** Where it is from, for errors. */
  readonly path: string;
  /** How pieces are chosen. */
  readonly kind: "bpe" | "unigram";
  /** Texts of the pieces, by id; a space is written `▁`. */
  readonly pieces: readonly string[];
  /** Score of a piece: the higher, the earlier it is merged, or the more probable (natural log). */
  readonly scores: ArrayLike<number>;
  /** One of {@linkcode PieceType} for a piece. */
  readonly types: ArrayLike<number>;
  /** What a piece of unknown characters looks like when it is decoded. */
  readonly unkSurface: string;
  /** Replaces characters before anything else; left out: none. */
  readonly charsmap?: Charsmap;
  /** Puts a space in front of a text. */
  readonly addDummyPrefix: boolean;
  /** Removes spaces at both ends, and all but one in a row. */
  readonly removeExtraWhitespaces: boolean;
  /** Writes a space as `▁`. */
  readonly escapeWhitespaces: boolean;
  /** Token that begins a text, if there is one. */
  readonly bosId?: number;
  /** Token that ends one. */
  readonly eosId?: number;
}

const UNIGRAM = 1;
const BPE = 2;
const KINDS: Readonly<Record<number, string>> = { 3: "word", 4: "char" };

/**
 * Reads the contents of a `tokenizer.model`.
 *
 * @throws {Error} If they are no such file, or are of a kind that is not supported; the message
 * names the file, and the byte or the field.
 */
export function parseSentencepiece(bytes: Uint8Array, path: string): SentencepieceModel {
  const bad = (reason: string, at: number) =>
    new Error(
      `"${path}" is not a whole sentencepiece model: ${reason} (at byte ${at}). It is truncated or ` +
        `was changed: fetch it again`,
    );
  const refuse = (reason: string) => new Error(`Cannot use "${path}": ${reason}`);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const text = ({ bytes, at, number }: ProtoField, what: string) => {
    if (!bytes) throw bad(`${what} is a number`, at);
    try {
      return decoder.decode(bytes);
    } catch {
      throw bad(`${what} (field ${number}) is not UTF-8`, at);
    }
  };
  const message = ({ bytes, at, begin }: ProtoField, what: string) => {
    if (!bytes) throw bad(`${what} is a number`, at);
    return protoFields(bytes, begin, bad);
  };
  const flag = ({ bytes, at, value }: ProtoField, what: string) => {
    if (bytes || value > 1) throw bad(`"${what}" is neither true nor false`, at);
    return value === 1;
  };

  const pieces: string[] = [];
  const scores: number[] = [];
  const types: number[] = [];
  const bits = new DataView(new ArrayBuffer(4));
  const readPiece = (field: ProtoField) => {
    const id = pieces.length;
    let piece = "";
    let score = 0;
    let type: number = PieceType.NORMAL;
    for (const part of message(field, `piece ${id}`)) {
      if (part.number === 1) piece = text(part, `piece ${id}`);
      else if (part.number === 2) {
        if (part.bytes) throw bad(`the score of piece ${id} is no number`, part.at);
        bits.setUint32(0, part.value);
        score = bits.getFloat32(0);
        if (!Number.isFinite(score)) throw bad(`the score of piece ${id} is ${score}`, part.at);
      } else if (part.number === 3) {
        type = part.value;
        if (part.bytes || type < PieceType.NORMAL || type > PieceType.BYTE) {
          throw bad(`piece ${id} is of type ${type}, expected 1…6`, part.at);
        }
      }
    }
    if (piece === "") throw bad(`piece ${id} is empty`, field.at);
    pieces.push(piece), scores.push(score), types.push(type);
  };

  // Defaults of the format.
  let modelType = UNIGRAM;
  let byteFallback = false;
  let asSuffix = false;
  let [unkSurface, bosPiece, eosPiece] = [" \u2047 ", "<s>", "</s>"];
  const readTrainer = (field: ProtoField) => {
    for (const part of message(field, '"trainer_spec"')) {
      if (part.number === 3) modelType = part.bytes ? -1 : part.value;
      else if (part.number === 24) asSuffix = flag(part, "treat_whitespace_as_suffix");
      else if (part.number === 35) byteFallback = flag(part, "byte_fallback");
      else if (part.number === 44) unkSurface = text(part, '"unk_surface"');
      else if (part.number === 46) bosPiece = text(part, '"bos_piece"');
      else if (part.number === 47) eosPiece = text(part, '"eos_piece"');
    }
  };
  let [charsmap, charsmapAt]: [Uint8Array, number] = [new Uint8Array(), 0];
  let [addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces] = [true, true, true];
  const readNormalizer = (field: ProtoField) => {
    for (const part of message(field, '"normalizer_spec"')) {
      if (part.number === 2) {
        if (!part.bytes) throw bad('"precompiled_charsmap" is a number', part.at);
        [charsmap, charsmapAt] = [part.bytes, part.begin];
      } else if (part.number === 3) addDummyPrefix = flag(part, "add_dummy_prefix");
      else if (part.number === 4) removeExtraWhitespaces = flag(part, "remove_extra_whitespaces");
      else if (part.number === 5) escapeWhitespaces = flag(part, "escape_whitespaces");
    }
  };
  for (const field of protoFields(bytes, 0, bad)) {
    if (field.number === 1) readPiece(field);
    else if (field.number === 2) readTrainer(field);
    else if (field.number === 3) readNormalizer(field);
    else if (field.number === 5) {
      for (const part of message(field, '"denormalizer_spec"')) {
        if (part.number === 2 && part.bytes?.length) {
          throw refuse('it maps characters after decoding ("denormalizer_spec")');
        }
      }
    }
  }
  if (pieces.length === 0) throw bad("it has no pieces", bytes.length);
  if (modelType !== UNIGRAM && modelType !== BPE) {
    throw refuse(
      `its "model_type" is ${KINDS[modelType] ?? modelType}; expected 1 (unigram) or 2 (BPE)`,
    );
  }
  if (asSuffix) throw refuse('"treat_whitespace_as_suffix" is not supported');
  const hasBytes = types.includes(PieceType.BYTE);
  if (hasBytes !== byteFallback) {
    throw refuse(
      `it has ${hasBytes ? "" : "no "}pieces of bytes although "byte_fallback" is ${byteFallback}`,
    );
  }
  const control = (piece: string) => {
    const id = pieces.indexOf(piece);
    return id >= 0 && types[id] === PieceType.CONTROL ? id : undefined;
  };
  return {
    path,
    kind: modelType === BPE ? "bpe" : "unigram",
    pieces,
    scores,
    types,
    unkSurface,
    ...charsmap.length > 0
      ? { charsmap: new Charsmap(charsmap, (reason) => bad(reason, charsmapAt)) }
      : {},
    addDummyPrefix,
    removeExtraWhitespaces,
    escapeWhitespaces,
    bosId: control(bosPiece),
    eosId: control(eosPiece),
  };
}
