/**
 * What `jsr:@std/assert` 1.x offers and this repository uses, with its names and
 * signatures, on `node:assert`: so that notebooks and tests run where JSR cannot
 * be reached. `deno.json` links it; delete that line to use the original.
 *
 * @module
 */
// deno-lint-ignore-file no-explicit-any -- signatures of the original
import { AssertionError, deepStrictEqual, notDeepStrictEqual } from "node:assert";
import { inspect } from "node:util";

export { AssertionError };

type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

function raise(message: string, detail?: string): never {
  throw new AssertionError({
    message: detail ? `${message}: ${detail}` : message,
  });
}

/** Fails unless `condition` is truthy. */
export function assert(condition: unknown, message = ""): asserts condition {
  if (!condition) {
    raise("Expected a truthy value", message || inspect(condition));
  }
}

/** Fails unless `condition` is falsy. */
export function assertFalse(
  condition: unknown,
  message = "",
): asserts condition is false {
  if (condition) raise("Expected a falsy value", message || inspect(condition));
}

/** Fails unconditionally. */
export function fail(message?: string): never {
  raise("Failed", message);
}

/** Fails unless both are deeply equal. */
export function assertEquals<T>(
  actual: T,
  expected: T,
  message?: string,
): void {
  try {
    deepStrictEqual(actual, expected);
  } catch (error) {
    raise((error as Error).message, message);
  }
}

/** Fails if both are deeply equal. */
export function assertNotEquals<T>(
  actual: T,
  expected: T,
  message?: string,
): void {
  try {
    notDeepStrictEqual(actual, expected);
  } catch (error) {
    raise((error as Error).message, message);
  }
}

/** Fails unless both are the same value (`Object.is`). */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  message?: string,
): asserts actual is T {
  if (!Object.is(actual, expected)) {
    raise(`Expected ${inspect(actual)} to be ${inspect(expected)}`, message);
  }
}

/** Fails unless the numbers differ by at most `tolerance` (default: relative 1e-7). */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  message?: string,
): void {
  if (Object.is(actual, expected)) return;
  const limit = tolerance ??
    (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (!(delta <= limit)) {
    raise(
      `Expected ${actual} to be within ${limit} of ${expected}, it is ${delta} off`,
      message,
    );
  }
}

/** Fails if the value is null or undefined. */
export function assertExists<T>(
  actual: T,
  message?: string,
): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    raise(`Expected a value, got ${actual}`, message);
  }
}

function compare(name: string, holds: (a: any, b: any) => boolean) {
  return <T>(actual: T, expected: T, message?: string): void => {
    if (!holds(actual, expected)) {
      raise(
        `Expected ${inspect(actual)} ${name} ${inspect(expected)}`,
        message,
      );
    }
  };
}

/** Fails unless `actual > expected`. */
export const assertGreater = compare(">", (a, b) => a > b);
/** Fails unless `actual >= expected`. */
export const assertGreaterOrEqual = compare(">=", (a, b) => a >= b);
/** Fails unless `actual < expected`. */
export const assertLess = compare("<", (a, b) => a < b);
/** Fails unless `actual <= expected`. */
export const assertLessOrEqual = compare("<=", (a, b) => a <= b);

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(
  actual: string,
  expected: string,
  message?: string,
): void {
  if (!actual.includes(expected)) {
    raise(
      `Expected ${inspect(actual)} to contain ${inspect(expected)}`,
      message,
    );
  }
}

/** Fails unless `actual` matches the expression. */
export function assertMatch(
  actual: string,
  expected: RegExp,
  message?: string,
): void {
  if (!expected.test(actual)) {
    raise(`Expected ${inspect(actual)} to match ${expected}`, message);
  }
}

/** Fails if `actual` matches the expression. */
export function assertNotMatch(
  actual: string,
  expected: RegExp,
  message?: string,
): void {
  if (expected.test(actual)) {
    raise(`Expected ${inspect(actual)} not to match ${expected}`, message);
  }
}

/** Fails unless `actual` is an instance of `expected`. */
export function assertInstanceOf<
  T extends abstract new (...args: any[]) => any,
>(
  actual: unknown,
  expected: T,
  message?: string,
): asserts actual is InstanceType<T> {
  if (!(actual instanceof expected)) {
    raise(
      `Expected ${inspect(actual)} to be an instance of ${expected.name}`,
      message,
    );
  }
}

/** Fails unless `error` is an error of that class whose message contains `includes`. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  errorClass?: ErrorClass<E>,
  includes?: string | RegExp,
  message?: string,
): asserts error is E {
  if (!(error instanceof (errorClass ?? Error))) {
    raise(
      `Expected an error of class ${errorClass?.name ?? "Error"}, got ${inspect(error)}`,
      message,
    );
  }
  const text = (error as Error).message;
  const matches = typeof includes === "string"
    ? text.includes(includes)
    : includes?.test(text) ?? true;
  if (!matches) {
    raise(
      `Expected an error message with ${inspect(includes)}, got ${inspect(text)}`,
      message,
    );
  }
}

/** Fails unless `fn` throws; with a class and a text, unless it throws such an error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass?: ErrorClass<E>,
  includes?: string,
  message?: string,
): E {
  try {
    fn();
  } catch (error) {
    assertIsError(error, errorClass, includes, message);
    return error;
  }
  raise("Expected the function to throw", message);
}

/** Fails unless `fn` returns a promise that rejects; class and text as for `assertThrows`. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass?: ErrorClass<E>,
  includes?: string,
  message?: string,
): Promise<E> {
  let promise;
  try {
    promise = fn();
  } catch (error) {
    raise(
      `Expected a rejected promise, but the function threw ${inspect(error)}`,
      message,
    );
  }
  try {
    await promise;
  } catch (error) {
    assertIsError(error, errorClass, includes, message);
    return error;
  }
  raise("Expected the promise to be rejected", message);
}
