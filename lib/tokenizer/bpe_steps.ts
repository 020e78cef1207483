/**
 * The steps of a `tokenizer.json` around the merges: what is replaced in a text, where it is cut, and
 * how tokens become text again.
 *
 * `@huggingface/transformers` differs from the library in Rust that defines the format in what digits
 * and spaces are, in how parts are cut off, and in ends of words: every step is written here in the
 * parts of the format that both understand alike, and what cannot be is refused by name.
 *
 * @module
 */
import { type Json, type JsonFields, type JsonObject, shown } from "./json_fields.ts";

/** Splits words as GPT-2 does. */
export const GPT2_SPLIT = String
  .raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

const PUNCTUATION = String.raw`[\p{P}!-/:-@\[-\x60{-~]`;

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

/** The normalizer; null if there is none. */
export function normalizer(fields: JsonFields, value: Json | undefined, field: string): Json {
  if (value === null || value === undefined) return null;
  const part = fields.object(value, field);
  const known = ["Sequence", "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace"];
  const type = fields.oneOf(part.type, known, `${field}.type`);
  switch (type) {
    case "Sequence":
      return {
        type,
        normalizers: fields.list(part.normalizers, `${field}.normalizers`)
          .map((each, i) => normalizer(fields, each, `${field}.normalizers[${i}]`)),
      };
    case "Prepend":
      return { type, prepend: fields.text(part.prepend, `${field}.prepend`) };
    case "Replace":
      return replace(fields, part, field);
    default:
      return { type };
  }
}

/** The pre-tokenizers, one after the other. */
export function preTokenizers(
  fields: JsonFields,
  value: Json | undefined,
  field: string,
): JsonObject[] {
  if (value === null || value === undefined) return [];
  const part = fields.object(value, field);
  const flag = (name: string, otherwise: boolean) =>
    fields.flag(part[name], otherwise, `${field}.${name}`);
  const behavior = (otherwise?: string) =>
    fields.text(part.behavior ?? otherwise, `${field}.behavior`);
  const known = ["Sequence", "ByteLevel", "Split", "Digits", "Metaspace", "Punctuation"];
  switch (fields.oneOf(part.type, known, `${field}.type`)) {
    case "Sequence":
      return fields.list(part.pretokenizers, `${field}.pretokenizers`)
        .flatMap((each, i) => preTokenizers(fields, each, `${field}.pretokenizers[${i}]`));
    case "ByteLevel": {
      const [regex, prefix] = [flag("use_regex", true), flag("add_prefix_space", true)];
      if (regex && prefix) {
        fields.fail(field, 'has both "add_prefix_space" and "use_regex", which is not supported');
      }
      return [...regex ? [splitJson(GPT2_SPLIT)] : [], byteLevel(prefix)];
    }
    case "Split": {
      const regex = pattern(fields, part.pattern, `${field}.pattern`);
      return [split(fields, regex, behavior(), flag("invert", false), field)];
    }
    case "Digits":
      return [splitJson(flag("individual_digits", false) ? String.raw`\p{N}` : String.raw`\p{N}+`)];
    case "Punctuation":
      return [split(fields, PUNCTUATION, behavior("Isolated"), false, field)];
    default: {
      const replacement = fields.oneOf(part.replacement ?? "▁", ["▁"], `${field}.replacement`);
      // Older files have a flag where newer ones have a scheme.
      const scheme = fields.oneOf(
        part.prepend_scheme ?? (flag("add_prefix_space", true) ? "always" : "never"),
        ["always", "first", "never"],
        `${field}.prepend_scheme`,
      );
      return [
        { type: "Metaspace", replacement, prepend_scheme: scheme },
        ...flag("split", true) ? [splitJson("▁[^▁]*|[^▁]+", true)] : [],
      ];
    }
  }
}

/** The decoders, one after the other. */
export function decoders(fields: JsonFields, value: Json | undefined, field: string): JsonObject[] {
  const part = fields.object(value, field);
  const known = ["Sequence", "ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Replace", "Strip"];
  const type = fields.oneOf(part.type, known, `${field}.type`);
  switch (type) {
    case "Sequence":
      return fields.list(part.decoders, `${field}.decoders`)
        .flatMap((each, i) => decoders(fields, each, `${field}.decoders[${i}]`));
    case "Replace":
      return [replace(fields, part, field)];
    case "Strip":
      return [{
        type,
        content: fields.text(part.content, `${field}.content`),
        start: fields.id(part.start ?? 0, `${field}.start`),
        stop: fields.id(part.stop ?? 0, `${field}.stop`),
      }];
    case "Metaspace": {
      const spaces = { type: "Replace", pattern: { Regex: "▁" }, content: " " };
      if (part.prepend_scheme === "never" || part.add_prefix_space === false) return [spaces];
      return [spaces, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }];
    }
    default:
      return [{ type }];
  }
}

function pattern(fields: JsonFields, value: Json | undefined, field: string): string {
  const { Regex, String: text } = fields.object(value, field);
  if (typeof Regex === "string") return Regex;
  return fields.text(text, `${field}.String`).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function replace(fields: JsonFields, part: JsonObject, field: string): JsonObject {
  return {
    type: "Replace",
    pattern: { Regex: pattern(fields, part.pattern, `${field}.pattern`) },
    // The library gives a dollar sign a meaning.
    content: fields.text(part.content, `${field}.content`).replaceAll("$", "$$$$"),
  };
}

/** A Split in the two forms in which the libraries agree: keep all parts, or only the matches. */
function split(
  fields: JsonFields,
  regex: string,
  behavior: string,
  invert: boolean,
  field: string,
): JsonObject {
  switch (`${behavior.toLowerCase()}${invert ? " inverted" : ""}`) {
    case "isolated":
    case "isolated inverted":
      return splitJson(regex);
    case "removed inverted":
      return splitJson(regex, true);
    case "removed":
      return splitJson(String.raw`(?:(?!${regex})[\s\S])+`, true);
    case "contiguous":
      return splitJson(`(?:${regex})+`);
    case "mergedwithprevious":
      return splitJson(String.raw`[\s\S]*?(?:${regex})|[\s\S]+`, true);
    case "mergedwithnext":
      return splitJson(String.raw`(?:${regex}|[\s\S])(?:(?!${regex})[\s\S])*`, true);
  }
  return fields.fail(
    field,
    `splits with the behavior ${shown(behavior)}${invert ? ", inverted" : ""}, which is not ` +
      `supported`,
  );
}
