/**
 * What the small files beside a tokenizer say: special tokens, and whether BOS stands in front.
 *
 * @module
 */
import { join } from "node:path";
import { repeatedKey } from "../files/json_keys.ts";
import type { Json, JsonObject } from "./json_fields.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Largest file of JSON; vocabularies of 250,000 tokens have about 35 MB. */
const MAX_BYTES = 2 ** 28;

/** What was found; anything may be missing. */
export interface FolderSettings {
  readonly bosToken?: string;
  readonly eosToken?: string;
  readonly addBos?: boolean;
  readonly addPrefixSpace?: boolean;
  /** Name of the class that transformers makes of the folder. */
  readonly tokenizerClass?: string;
  /** Ids that the model's own files name, the first of them what ends a text by default. */
  readonly bosId?: number;
  readonly eosIds: readonly number[];
}

/**
 * Contents of a file of JSON; undefined if there is none.
 *
 * @throws {Error} If it is not JSON or names a key twice, naming the file and the place.
 */
export async function readJsonFile(path: string): Promise<Json | undefined> {
  let text: string;
  try {
    const { size, isFile } = await Deno.stat(path);
    if (!isFile) throw new Error(`Cannot read "${path}": it is not a file`);
    if (size > MAX_BYTES) {
      throw new Error(`Cannot read "${path}": it has ${size} bytes, expected at most ${MAX_BYTES}`);
    }
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return parseJson(text, path);
}

/** What {@linkcode readJsonFile} does with a text. */
export function parseJson(text: string, path: string): Json {
  let value: Json;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/ in JSON/, "") : `${error}`;
    throw new Error(
      `"${path}" is not JSON: ${
        reason.slice(0, 120)
      }. It is truncated or was changed: fetch it again`,
      { cause: error },
    );
  }
  const key = repeatedKey(text);
  if (key !== undefined) {
    throw new Error(`Cannot use "${path}": it has the key ${JSON.stringify(key)} twice`);
  }
  return value;
}

/**
 * Reads the settings of a folder.
 *
 * @throws {Error} If a file is not JSON or a field is not what it should be, naming both.
 */
export async function readSettings(folder: string): Promise<FolderSettings> {
  const read = async (name: string) => {
    const path = join(folder, name);
    const value = await readJsonFile(path) ?? {};
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new Error(`Cannot use "${path}": it holds no JSON object`);
    }
    return { path, value };
  };
  const config = await read("tokenizer_config.json");
  const map = await read("special_tokens_map.json");
  const generation = await read("generation_config.json");
  const model = await read("config.json");
  const ids = (name: string) =>
    [generation, model].flatMap((file) => idsOf(file, name)).filter((id, i, all) =>
      all.indexOf(id) === i
    );
  return {
    bosToken: tokenOf(config, "bos_token") ?? tokenOf(map, "bos_token"),
    eosToken: tokenOf(config, "eos_token") ?? tokenOf(map, "eos_token"),
    addBos: flagOf(config, "add_bos_token"),
    addPrefixSpace: flagOf(config, "add_prefix_space"),
    tokenizerClass: typeof config.value.tokenizer_class === "string"
      ? config.value.tokenizer_class
      : undefined,
    bosId: ids("bos_token_id").at(0),
    eosIds: ids("eos_token_id"),
  };
}

interface ReadFile {
  readonly path: string;
  readonly value: JsonObject;
}

/** A token stands as its text, or as an object with it. */
function tokenOf({ path, value }: ReadFile, name: string): string | undefined {
  const token = value[name] ?? undefined;
  if (token === undefined || typeof token === "string") return token;
  const content = typeof token === "object" && !Array.isArray(token) ? token.content : undefined;
  if (typeof content === "string") return content;
  throw new Error(`Cannot use "${path}": its "${name}" is neither a text nor has one as "content"`);
}

function flagOf({ path, value }: ReadFile, name: string): boolean | undefined {
  const flag = value[name] ?? undefined;
  if (flag === undefined || typeof flag === "boolean") return flag;
  throw new Error(`Cannot use "${path}": its "${name}" is neither true nor false`);
}

function idsOf({ path, value }: ReadFile, name: string): number[] {
  const ids = value[name] ?? [];
  const list = Array.isArray(ids) ? ids : [ids];
  if (list.every((id): id is number => Number.isInteger(id) && id as number >= 0)) return list;
  throw new Error(
    `Cannot use "${path}": its "${name}" is ${
      JSON.stringify(ids)?.slice(0, 80)
    }, expected an id or ` +
      `a list of ids`,
  );
}

/** What a vocabulary says of its special tokens. */
export interface VocabularyEnds {
  /** Id of a token by its text. */
  readonly idOf: (token: string) => number | undefined;
  readonly bosId?: number;
  readonly eosId?: number;
  /** True if BOS stands in front unless a setting says otherwise. */
  readonly addBos: boolean;
  readonly vocabSize: number;
}

/**
 * Special tokens of a folder: as `tokenizer_config.json` names them, else as the vocabulary does, else
 * as the model's configuration does.
 *
 * @throws {Error} If a token is not in the vocabulary, or nothing names one that ends a text.
 */
export function specialTokens(
  { bosToken, eosToken, addBos, bosId, eosIds }: FolderSettings,
  vocabulary: VocabularyEnds,
  folder: string,
): Omit<Tokenizer, "encode" | "decode"> {
  const named = (token: string | undefined, what: string) => {
    if (token === undefined) return undefined;
    const id = vocabulary.idOf(token);
    if (id !== undefined) return id;
    throw new Error(
      `Cannot use the tokenizer in "${folder}": its "${what}" is ${
        JSON.stringify(token)
      }, which is ` +
        `not in the vocabulary`,
    );
  };
  const eos = named(eosToken, "eos_token") ?? vocabulary.eosId ?? eosIds.at(0);
  if (eos === undefined) {
    throw new Error(
      `Cannot use the tokenizer in "${folder}": no token ends a text; name it as "eos_token" in ` +
        `"tokenizer_config.json"`,
    );
  }
  const bos = named(bosToken, "bos_token") ?? vocabulary.bosId ?? bosId;
  const ends = [...new Set([eos, ...eosIds])];
  return {
    bosId: bos ?? eos,
    eosId: eos,
    eosIds: ends,
    addBos: bos !== undefined && (addBos ?? vocabulary.addBos),
    vocabSize: vocabulary.vocabSize,
  };
}
