/**
 * Checks of plain data of which nothing is known yet. Each passes a value or names its place, what it
 * is, and what was expected.
 *
 * @module
 */

/**
 * Passes a value, or throws.
 *
 * @param path Where it stands, such as `"data.shards"`.
 * @param more Ends the sentence that says what was expected.
 */
export type Check = (value: unknown, path: string, more?: string) => unknown;

/** Checks by field: an optional field of the type is optional here, a required one is required. */
type Required<T> = { [K in keyof T as undefined extends T[K] ? never : K]-?: Check };
type Optional<T> = { [K in keyof T as undefined extends T[K] ? K : never]-?: Check };

function fail(value: unknown, path: string, expected: string): never {
  const place = path === "" ? "it" : `its "${path}"`;
  throw new RangeError(`Cannot use the unit: ${place} is ${shown(value)}, expected ${expected}`);
}

function shown(value: unknown): string {
  if (value === undefined) return "missing";
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 60 ? `${json.slice(0, 60)}…` : json;
}

/** A whole number from `least` to `most`. */
export function integer(least: number, most = Number.MAX_SAFE_INTEGER): Check {
  const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `in ${least}…${most}`;
  return (value, path, more = "") =>
    Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most ||
    fail(value, path, `an integer ${range}${more}`);
}

/** A finite number that is not negative. */
export function number(): Check {
  return (value, path, more = "") =>
    typeof value === "number" && Number.isFinite(value) && value >= 0 ||
    fail(value, path, `a number from 0 on${more}`);
}

/** True or false. */
export const flag: Check = (value, path) =>
  typeof value === "boolean" || fail(value, path, "true or false");

/** A text of this form. */
export function text(form: RegExp, name: string): Check {
  return (value, path, more = "") =>
    typeof value === "string" && form.test(value) || fail(value, path, name + more);
}

/** One of these texts. */
export function oneOf(...known: string[]): Check {
  return (value, path) =>
    known.includes(value as string) || fail(value, path, known.map((k) => `"${k}"`).join(" or "));
}

/** Null, or what the check passes. */
export function nullOr(check: Check): Check {
  return (value, path) => value === null || check(value, path, ", or null");
}

/** A list of what the check passes. */
export function listOf(check: Check): Check {
  return (value, path) => {
    if (!Array.isArray(value)) fail(value, path, "a list");
    value.forEach((item, i) => check(item, `${path}.${i}`));
  };
}

/** An object with names of this form, of what the check passes. */
export function mapOf(form: RegExp, check: Check): Check {
  return (value, path) => {
    for (const [name, item] of entriesOf(value, path)) {
      if (!form.test(name)) {
        throw new RangeError(
          `Cannot use the unit: its "${path}" has the name ${shown(name)}, expected letters, ` +
            `digits, spaces and .,:=+_-, at most 64 and a letter or digit first`,
        );
      }
      check(item, `${path}.${name}`);
    }
  };
}

/** A check of an object, with the names of the fields that it may have. */
export type ObjectCheck = Check & { readonly fields: readonly string[] };

/** An object with these fields and no others. */
export function object<T = Record<string, unknown>>(
  required: Required<T>,
  optional: Optional<T>,
): ObjectCheck {
  const checks = new Map(Object.entries<Check>({ ...required, ...optional }));
  const check: Check = (value, path) => {
    const within = (name: string) => path === "" ? name : `${path}.${name}`;
    const given = new Map(entriesOf(value, path));
    for (const name of Object.keys(required)) {
      if (given.get(name) === undefined) fail(undefined, within(name), "a value");
    }
    for (const [name, item] of given) {
      const check = checks.get(name);
      if (!check) {
        throw new RangeError(
          `Cannot use the unit: it has an unknown "${within(name)}", expected ` +
            [...checks.keys()].join(", "),
        );
      }
      if (item !== undefined) check(item, within(name));
    }
  };
  return Object.assign(check, { fields: [...checks.keys()] });
}

function entriesOf(value: unknown, path: string): [string, unknown][] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    fail(value, path, "an object");
  }
  return Object.entries(value);
}
