/**
 * The `tokenizer.json` of Hugging Face: what of it is read, and what is made of it before the library
 * sees it.
 *
 * `@huggingface/tokenizers` differs from the library in Rust that defines the format in what digits
 * and spaces are, in how parts are cut off, and in ends of words: everything is written here in the
 * parts of the format that both understand alike, and what cannot be is refused by name.
 *
 * @module
 */

/** JSON, before anything is known of it. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/** A token that is found in a text before it is split. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
}

/** A `tokenizer.json` that was checked. */
export interface BpeJson {
  /** What the library is given. */
  readonly json: JsonObject;
  /** Ids by their texts, added tokens included. */
  readonly ids: ReadonlyMap<string, number>;
  readonly added: readonly AddedToken[];
  /** One more than the highest id. */
  readonly vocabSize: number;
  /** Token that is put in front of a text, if one is. */
  readonly first?: string;
}

/** Splits words as GPT-2 does. */
export const GPT2_SPLIT = String
  .raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** Characters in which byte-level BPE writes bytes: printable ones stand for themselves. */
const BYTES: readonly string[] = (() => {
  let others = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = byte > 32 && byte < 127 || byte > 160 && byte !== 173;
    return String.fromCharCode(printable ? byte : others++);
  });
})();

/** More than any vocabulary has. */
const MAX_ID = 2 ** 24;
const PUNCTUATION = String.raw`[\p{P}!-/:-@\[-\x60{-~]`;
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
  const fail = (field: string, reason: string): never => {
    throw new Error(`Cannot use the tokenizer in "${path}": its "${rename(field)}" ${reason}`);
  };
  const object = (value: Json | undefined, field: string): JsonObject =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? value
      : fail(field, `is ${shown(value)}, expected an object`);
  const list = (value: Json | undefined, field: string): Json[] =>
    Array.isArray(value) ? value : fail(field, `is ${shown(value)}, expected a list`);
  const text = (value: Json | undefined, field: string): string =>
    typeof value === "string" ? value : fail(field, `is ${shown(value)}, expected a text`);
  const flag = (value: Json | undefined, otherwise: boolean, field: string): boolean =>
    typeof (value ?? otherwise) === "boolean"
      ? (value ?? otherwise) as boolean
      : fail(field, `is ${shown(value)}, expected true or false`);
  const id = (value: Json | undefined, field: string): number =>
    Number.isInteger(value) && value as number >= 0 && value as number < MAX_ID
      ? value as number
      : fail(field, `is ${shown(value)}, expected an id in 0…${MAX_ID - 1}`);
  const oneOf = (value: Json | undefined, known: readonly string[], field: string): string =>
    typeof value === "string" && known.includes(value)
      ? value
      : fail(`${field}.type`, `is ${shown(value)}, expected ${known.map(shown).join(", ")}`);

  const pattern = (value: Json | undefined, field: string): string => {
    const { Regex, String: string } = object(value, field);
    if (typeof Regex === "string") return Regex;
    return text(string, `${field}.String`).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  };
  /** A Split in the two forms in which the library agrees: keep all parts, or keep the matches. */
  const split = (regex: string, behavior: string, invert: boolean, field: string): JsonObject => {
    const keepAll = (regex: string) => splitJson(regex, false);
    const matches = (regex: string) => splitJson(regex, true);
    switch (behavior.toLowerCase()) {
      case "isolated":
        return keepAll(regex);
      case "removed":
        if (invert) return matches(regex);
        return matches(String.raw`(?:(?!${regex})[\s\S])+`);
      case "contiguous":
        if (!invert) return keepAll(`(?:${regex})+`);
        break;
      case "mergedwithprevious":
        if (!invert) return matches(String.raw`[\s\S]*?(?:${regex})|[\s\S]+`);
        break;
      case "mergedwithnext":
        if (!invert) return matches(String.raw`(?:${regex}|[\s\S])(?:(?!${regex})[\s\S])*`);
    }
    return fail(
      field,
      `splits with the behavior ${shown(behavior)}${invert ? ", inverted" : ""}, which is not ` +
        `supported`,
    );
  };

  const normalizer = (value: Json | undefined, field: string): Json => {
    if (value === null || value === undefined) return null;
    const part = object(value, field);
    const known = ["Sequence", "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace"];
    switch (oneOf(part.type, known, field)) {
      case "Sequence":
        return {
          type: "Sequence",
          normalizers: list(part.normalizers, `${field}.normalizers`)
            .map((each, i) => normalizer(each, `${field}.normalizers[${i}]`)),
        };
      case "Prepend":
        return { type: "Prepend", prepend: text(part.prepend, `${field}.prepend`) };
      case "Replace":
        return replace(part, field);
      default:
        return { type: part.type };
    }
  };
  const replace = (part: JsonObject, field: string): JsonObject => ({
    type: "Replace",
    pattern: { Regex: pattern(part.pattern, `${field}.pattern`) },
    // The library gives a dollar sign a meaning.
    content: text(part.content, `${field}.content`).replaceAll("$", "$$$$"),
  });

  const preTokenizer = (value: Json | undefined, field: string): JsonObject[] => {
    if (value === null || value === undefined) return [];
    const part = object(value, field);
    const behavior = (otherwise?: string) => text(part.behavior ?? otherwise, `${field}.behavior`);
    const known = ["Sequence", "ByteLevel", "Split", "Digits", "Metaspace", "Punctuation"];
    switch (oneOf(part.type, known, field)) {
      case "Sequence":
        return list(part.pretokenizers, `${field}.pretokenizers`)
          .flatMap((each, i) => preTokenizer(each, `${field}.pretokenizers[${i}]`));
      case "ByteLevel": {
        const regex = flag(part.use_regex, true, `${field}.use_regex`);
        const prefix = flag(part.add_prefix_space, true, `${field}.add_prefix_space`);
        if (regex && prefix) {
          fail(field, 'has both "add_prefix_space" and "use_regex", which is not supported');
        }
        return [...regex ? [splitJson(GPT2_SPLIT)] : [], byteLevel(prefix)];
      }
      case "Split": {
        const invert = flag(part.invert, false, `${field}.invert`);
        return [split(pattern(part.pattern, `${field}.pattern`), behavior(), invert, field)];
      }
      case "Digits": {
        const each = flag(part.individual_digits, false, `${field}.individual_digits`);
        return [splitJson(each ? String.raw`\p{N}` : String.raw`\p{N}+`)];
      }
      case "Punctuation":
        return [split(PUNCTUATION, behavior("Isolated"), false, field)];
      default: {
        const replacement = text(part.replacement ?? "▁", `${field}.replacement`);
        if (replacement !== "▁") fail(field, `marks spaces as ${shown(replacement)}, expected "▁"`);
        // Older files have a flag where newer ones have a scheme.
        const old = flag(part.add_prefix_space, true, `${field}.add_prefix_space`);
        const scheme = text(
          part.prepend_scheme ?? (old ? "always" : "never"),
          `${field}.prepend_scheme`,
        );
        if (!["always", "first", "never"].includes(scheme)) {
          fail(
            `${field}.prepend_scheme`,
            `is ${shown(scheme)}, expected "always", "first" or "never"`,
          );
        }
        const words = flag(part.split, true, `${field}.split`);
        return [
          { type: "Metaspace", replacement, prepend_scheme: scheme },
          ...words ? [splitJson("▁[^▁]*|[^▁]+", true)] : [],
        ];
      }
    }
  };

  const decoder = (value: Json | undefined, field: string): JsonObject[] => {
    const part = object(value, field);
    const known = [
      "Sequence",
      "ByteLevel",
      "ByteFallback",
      "Fuse",
      "Metaspace",
      "Replace",
      "Strip",
    ];
    switch (oneOf(part.type, known, field)) {
      case "Sequence":
        return list(part.decoders, `${field}.decoders`)
          .flatMap((each, i) => decoder(each, `${field}.decoders[${i}]`));
      case "Replace":
        return [replace(part, field)];
      case "Strip":
        return [{
          type: "Strip",
          content: text(part.content, `${field}.content`),
          start: id(part.start ?? 0, `${field}.start`),
          stop: id(part.stop ?? 0, `${field}.stop`),
        }];
      case "Metaspace": {
        const replaced = { type: "Replace", pattern: { Regex: "▁" }, content: " " };
        const never = part.prepend_scheme === "never" || part.add_prefix_space === false;
        if (never) return [replaced];
        return [replaced, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }];
      }
      default:
        return [{ type: part.type }];
    }
  };

  const root = object(value, "tokenizer.json");
  const model = object(root.model, "model");
  oneOf(model.type ?? ("merges" in model ? "BPE" : null), ["BPE"], "model");
  for (const name of ["dropout", "continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[name]) fail(`model.${name}`, `is ${shown(model[name])}, which is not supported`);
  }
  const byteFallback = flag(model.byte_fallback, false, "model.byte_fallback");
  const ids = new Map<string, number>();
  const owners = new Map<number, string>();
  const own = (token: string, id: number, field: string) => {
    const other = owners.get(id);
    if (other !== undefined && other !== token) {
      fail(field, `gives both ${shown(other)} and ${shown(token)} the id ${id}`);
    }
    if (ids.has(token) && ids.get(token) !== id) {
      fail(field, `gives ${shown(token)} both the id ${ids.get(token)} and the id ${id}`);
    }
    ids.set(token, id);
    owners.set(id, token);
  };
  for (const [token, value] of Object.entries(object(model.vocab, "model.vocab"))) {
    own(token, id(value, `model.vocab[${JSON.stringify(token)}]`), "model.vocab");
  }
  if (ids.size === 0) fail("model.vocab", "is empty");
  const vocabulary = new Set(ids.keys());
  const merges = list(model.merges, "model.merges").map((value, i) => {
    const field = `model.merges[${i}]`;
    const pair = typeof value === "string" ? value.split(" ") : list(value, field);
    const [left, right] = pair.map((part) => text(part, field));
    if (pair.length !== 2) fail(field, `is ${shown(value)}, expected two tokens`);
    for (const token of [left, right, left + right]) {
      if (!vocabulary.has(token)) {
        fail(field, `has ${shown(token)}, which is not in the vocabulary`);
      }
    }
    return [left, right];
  });
  const unknown = model.unk_token ?? null;
  if (unknown !== null && !vocabulary.has(text(unknown, "model.unk_token"))) {
    fail("model.unk_token", `is ${shown(unknown)}, which is not in the vocabulary`);
  }
  if (byteFallback) {
    for (let byte = 0; byte < 256; byte++) {
      const token = `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
      if (!vocabulary.has(token)) {
        fail("model.vocab", `has no ${shown(token)} although "byte_fallback" is true`);
      }
    }
  }
  const added = list(root.added_tokens ?? [], "added_tokens").map((value, i) => {
    const field = `added_tokens[${i}]`;
    const token = object(value, field);
    const content = text(token.content, `${field}.content`);
    if (content === "") fail(`${field}.content`, "is empty");
    if (flag(token.single_word, false, `${field}.single_word`)) {
      fail(`${field}.single_word`, "is true, which is not supported");
    }
    own(content, id(token.id, `${field}.id`), "added_tokens");
    const special = flag(token.special, false, `${field}.special`);
    return {
      id: token.id as number,
      content,
      lstrip: flag(token.lstrip, false, `${field}.lstrip`),
      rstrip: flag(token.rstrip, false, `${field}.rstrip`),
      normalized: flag(token.normalized, !special, `${field}.normalized`),
      single_word: false,
      special,
    };
  });

  const decoders = decoder(root.decoder, "decoder");
  const steps = preTokenizer(root.pre_tokenizer, "pre_tokenizer");
  if (unknown === null && steps.some(({ type }) => type === "ByteLevel")) {
    // A byte without a token disappears before its neighbours are joined, not after.
    const missing = BYTES.filter((byte) => !vocabulary.has(byte));
    if (missing.length > 0) {
      const codes = missing.map((byte) => `\\u{${byte.charCodeAt(0).toString(16)}}`);
      const regex = `[${codes.join("")}]`;
      steps.push({ type: "Replace", pattern: { Regex: regex }, content: "" });
    }
  }
  const spaced = !steps.some(({ type }) => type === "ByteLevel") &&
    merges.every(([left, right]) => !/[^▁]▁/u.test(left + right));
  // Nothing is joined across words here: one by one they are faster, and remembered.
  if (spaced) steps.push(splitJson(WORDS, true));
  return {
    ids,
    added,
    vocabSize: highest(owners.keys()) + 1,
    first: firstToken(root.post_processor ?? null),
    json: {
      version: "1.0",
      added_tokens: added,
      normalizer: normalizer(root.normalizer, "normalizer"),
      pre_tokenizer: steps.length === 0 ? null : { type: "Sequence", pretokenizers: steps },
      post_processor: null,
      // One that stands alone is told of the added tokens.
      decoder: decoders.length === 1 ? decoders[0] : { type: "Sequence", decoders },
      model: {
        type: "BPE",
        vocab: Object.fromEntries([...ids].filter(([token]) => vocabulary.has(token))),
        merges,
        unk_token: unknown,
        fuse_unk: flag(model.fuse_unk, false, "model.fuse_unk"),
        byte_fallback: byteFallback,
        ignore_merges: flag(model.ignore_merges, false, "model.ignore_merges"),
      },
    },
  };
}

/** A pre-tokenizer that cuts a text at matches, keeping everything or only them. */
export function splitJson(regex: string, onlyMatches = false): JsonObject {
  return {
    type: "Split",
    pattern: { Regex: regex },
    behavior: onlyMatches ? "Removed" : "Isolated",
    invert: onlyMatches,
  };
}

/** A pre-tokenizer that writes bytes as characters. */
export function byteLevel(prefix = false): JsonObject {
  return { type: "ByteLevel", add_prefix_space: prefix, trim_offsets: true, use_regex: false };
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

/** A spread of a whole vocabulary would overflow the stack. */
function highest(ids: Iterable<number>): number {
  let highest = -1;
  for (const id of ids) highest = Math.max(highest, id);
  return highest;
}

function shown(value: Json | undefined): string {
  return value === undefined ? "missing" : JSON.stringify(value).slice(0, 80);
}
