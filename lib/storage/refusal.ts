/**
 * Which errors of a storage another request does not mend.
 *
 * @module
 */

import { NO_CREDENTIALS, statusOf } from "./s3_errors.ts";

/**
 * True if an error of a storage stays however often it is asked: no credentials, or ones that are not
 * accepted, no such bucket, no permission, an impossible setting. An outage passes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { asksInVain } from "./refusal.ts";
 *
 * const s3 = (httpStatusCode: number) => Object.assign(new Error("no"), { $metadata: { httpStatusCode } });
 * const errors = [new Deno.errors.PermissionDenied("no"), s3(403), s3(503), new Error("reset")];
 * assertEquals(errors.map(asksInVain), [true, true, false, false]);
 * ```
 */
export function asksInVain(error: unknown): boolean {
  for (let inner = error; inner instanceof Error; inner = inner.cause) {
    const { PermissionDenied, NotCapable } = Deno.errors;
    if (inner instanceof PermissionDenied || inner instanceof NotCapable) return true;
    if (inner instanceof RangeError || NO_CREDENTIALS.test(inner.name)) return true;
    if (/^Region is missing/i.test(inner.message)) return true;
    const status = statusOf(inner) ?? 0;
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) return true;
  }
  return false;
}
