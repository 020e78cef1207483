/**
 * JSON of which nothing is known yet, field by field.
 *
 * @module
 */

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
/** A JSON object. */
export type JsonObject = { [key: string]: Json };

/** More than any vocabulary has. */
const MAX_ID = 2 ** 24;

/** Passes values that are what they should be; an error names the file and the field. */
export class JsonFields {
  readonly #path: string;
  readonly #rename: (field: string) => string;

  /**
   * @param path Where the JSON is from.
   * @param rename What a field is called there.
   */
  constructor(path: string, rename: (field: string) => string) {
    this.#path = path;
    this.#rename = rename;
  }

  fail(field: string, reason: string): never {
    const name = this.#rename(field);
    throw new Error(`Cannot use the tokenizer in "${this.#path}": its "${name}" ${reason}`);
  }

  object(value: Json | undefined, field: string): JsonObject {
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? value
      : this.fail(field, `is ${shown(value)}, expected an object`);
  }

  list(value: Json | undefined, field: string): Json[] {
    return Array.isArray(value) ? value : this.fail(field, `is ${shown(value)}, expected a list`);
  }

  text(value: Json | undefined, field: string): string {
    return typeof value === "string"
      ? value
      : this.fail(field, `is ${shown(value)}, expected a text`);
  }

  /** @param otherwise What it is where it is missing or null. */
  flag(value: Json | undefined, otherwise: boolean, field: string): boolean {
    const flag = value ?? otherwise;
    return typeof flag === "boolean"
      ? flag
      : this.fail(field, `is ${shown(value)}, expected true or false`);
  }

  id(value: Json | undefined, field: string): number {
    return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < MAX_ID
      ? value
      : this.fail(field, `is ${shown(value)}, expected an id in 0…${MAX_ID - 1}`);
  }

  oneOf(value: Json | undefined, known: readonly string[], field: string): string {
    return typeof value === "string" && known.includes(value)
      ? value
      : this.fail(field, `is ${shown(value)}, expected ${known.map(shown).join(", ")}`);
  }
}

/** A value as an error shows it. */
export function shown(value: Json | undefined): string {
  return value === undefined ? "missing" : JSON.stringify(value).slice(0, 80);
}
