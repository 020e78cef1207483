/**
 * The `tokenizer.json` of Hugging Face, checked, and written so that the library cuts texts where the
 * one in Rust does.
 *
 * @module
 */
import { decoders as decodersOf, normalizer, preTokenizers, splitJson } from "./bpe_steps.ts";
import { type Json, JsonFields, type JsonObject, shown } from "./json_fields.ts";

/** A `tokenizer.json` that was checked. */
export interface BpeJson {
  /** What the library is given. */
  readonly json: JsonObject;
  /** Ids by their texts, added tokens included. */
  readonly ids: ReadonlyMap<string, number>;
  /** One more than the highest id. */
  readonly vocabSize: number;
  /** Token that is put in front of a text, if one is. */
  readonly first?: string;
}

/** Characters in which byte-level BPE writes bytes: printable ones stand for themselves. */
const BYTES: readonly string[] = (() => {
  let others = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = byte > 32 && byte < 127 || byte > 160 && byte !== 173;
    return String.fromCharCode(printable ? byte : others++);
  });
})();

/** Whole words, where a marked space begins one. */
const WORDS = "▁*[^▁]+|▁+";

/**
 * Checks the contents of a `tokenizer.json`.
 *
 * @param path Where they are from, for errors.
 * @param rename What a field is called there. Default: as in `tokenizer.json`.
 * @throws {Error} If they are not byte-pair encoding as LLaMA's relatives have it, or contradict
 * themselves; the message names the file and the field.
 */
export function readBpeJson(
  value: Json,
  path: string,
  rename: (field: string) => string = (field) => field,
): BpeJson {
  const fields = new JsonFields(path, rename);
  const root = fields.object(value, "tokenizer.json");
  const model = fields.object(root.model, "model");
  const type = model.type ?? ("merges" in model ? "BPE" : undefined);
  fields.oneOf(type, ["BPE"], "model.type");
  for (const name of ["dropout", "continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[name]) {
      fields.fail(`model.${name}`, `is ${shown(model[name])}, which is not supported`);
    }
  }
  const byteFallback = fields.flag(model.byte_fallback, false, "model.byte_fallback");
  const tokens = new TokenIds(fields);
  for (const [token, id] of Object.entries(fields.object(model.vocab, "model.vocab"))) {
    tokens.add(token, fields.id(id, `model.vocab[${JSON.stringify(token)}]`), "model.vocab");
  }
  if (tokens.ids.size === 0) fields.fail("model.vocab", "is empty");
  const vocab = Object.fromEntries(tokens.ids);
  const has = (token: string) => Object.hasOwn(vocab, token);
  const merges = readMerges(fields, model.merges, has);
  const unknown = model.unk_token ?? null;
  if (unknown !== null && !has(fields.text(unknown, "model.unk_token"))) {
    fields.fail("model.unk_token", `is ${shown(unknown)}, which is not in the vocabulary`);
  }
  if (byteFallback) {
    for (let byte = 0; byte < 256; byte++) {
      const token = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
      if (!has(token)) {
        fields.fail("model.vocab", `has no ${shown(token)} although "byte_fallback" is true`);
      }
    }
  }
  const added = readAdded(fields, root.added_tokens ?? [], tokens);

  const steps = preTokenizers(fields, root.pre_tokenizer, "pre_tokenizer");
  const asBytes = steps.some(({ type }) => type === "ByteLevel");
  const missing = BYTES.filter((byte) => !has(byte));
  if (asBytes && unknown === null && missing.length > 0) {
    // A byte without a token disappears before its neighbours are joined, not after.
    const codes = missing.map((byte) => `\\u{${byte.charCodeAt(0).toString(16)}}`);
    steps.push({ type: "Replace", pattern: { Regex: `[${codes.join("")}]` }, content: "" });
  }
  if (!asBytes && merges.every(([left, right]) => !/[^▁]▁/u.test(left + right))) {
    // Nothing is joined across words: one by one they are faster, and remembered.
    steps.push(splitJson(WORDS, true));
  }
  const decoders = decodersOf(fields, root.decoder, "decoder");
  return {
    ids: tokens.ids,
    vocabSize: tokens.highest + 1,
    first: firstToken(root.post_processor ?? null),
    json: {
      version: "1.0",
      added_tokens: added,
      normalizer: normalizer(fields, root.normalizer, "normalizer"),
      pre_tokenizer: steps.length === 0 ? null : { type: "Sequence", pretokenizers: steps },
      post_processor: null,
      // One that stands alone is told of the added tokens.
      decoder: decoders.length === 1 ? decoders[0] : { type: "Sequence", decoders },
      model: {
        type: "BPE",
        vocab,
        merges,
        unk_token: unknown,
        fuse_unk: fields.flag(model.fuse_unk, false, "model.fuse_unk"),
        byte_fallback: byteFallback,
        ignore_merges: fields.flag(model.ignore_merges, false, "model.ignore_merges"),
      },
    },
  };
}

/** Ids of tokens, each of which has one of its own. */
class TokenIds {
  readonly ids = new Map<string, number>();
  highest = -1;
  readonly #owners = new Map<number, string>();
  readonly #fields: JsonFields;

  constructor(fields: JsonFields) {
    this.#fields = fields;
  }

  add(token: string, id: number, field: string): void {
    const [owner, earlier] = [this.#owners.get(id), this.ids.get(token)];
    if (owner !== undefined && owner !== token) {
      this.#fields.fail(field, `gives both ${shown(owner)} and ${shown(token)} the id ${id}`);
    }
    if (earlier !== undefined && earlier !== id) {
      this.#fields.fail(field, `gives ${shown(token)} both the id ${earlier} and the id ${id}`);
    }
    this.ids.set(token, id);
    this.#owners.set(id, token);
    this.highest = Math.max(this.highest, id);
  }
}

/** Merges stand as pairs, in older files as a text with a space between them. */
function readMerges(
  fields: JsonFields,
  value: Json | undefined,
  has: (token: string) => boolean,
): string[][] {
  return fields.list(value, "model.merges").map((value, i) => {
    const field = `model.merges[${i}]`;
    const pair = typeof value === "string" ? value.split(" ") : fields.list(value, field);
    const [left, right] = pair.map((part) => fields.text(part, field));
    if (pair.length !== 2) fields.fail(field, `is ${shown(value)}, expected two tokens`);
    for (const token of [left, right, left + right]) {
      if (!has(token)) fields.fail(field, `has ${shown(token)}, which is not in the vocabulary`);
    }
    return [left, right];
  });
}

/** Tokens that are found in a text before it is split. */
function readAdded(fields: JsonFields, value: Json, tokens: TokenIds): JsonObject[] {
  return fields.list(value, "added_tokens").map((value, i) => {
    const field = `added_tokens[${i}]`;
    const token = fields.object(value, field);
    const flag = (name: string, otherwise = false) =>
      fields.flag(token[name], otherwise, `${field}.${name}`);
    const content = fields.text(token.content, `${field}.content`);
    if (content === "") fields.fail(`${field}.content`, "is empty");
    if (flag("single_word")) {
      fields.fail(`${field}.single_word`, "is true, which is not supported");
    }
    const id = fields.id(token.id, `${field}.id`);
    tokens.add(content, id, "added_tokens");
    const special = flag("special");
    return {
      id,
      content,
      special,
      single_word: false,
      lstrip: flag("lstrip"),
      rstrip: flag("rstrip"),
      normalized: flag("normalized", !special),
    };
  });
}

/** The token that a post-processor puts in front. */
function firstToken(value: Json): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const { processors, single, cls } = value;
  if (Array.isArray(processors)) {
    return processors.map(firstToken).find((token) => token !== undefined);
  }
  if (Array.isArray(single)) {
    const token = (single[0] as JsonObject | null)?.SpecialToken as JsonObject | undefined;
    return typeof token?.id === "string" ? token.id : undefined;
  }
  return Array.isArray(cls) && typeof cls[0] === "string" ? cls[0] : undefined;
}
