/**
 * Which errors of a storage another request does not mend.
 *
 * @module
 */

/** What a client of an object store throws where it cannot even sign a request: names, and a message. */
const UNSIGNED =
  /^Credentials?ProviderError|^CredentialsError|^TokenProviderError|: Region is missing/i;

/**
 * True if an error of a storage stays however often it is asked: no credentials, or ones that are not
 * accepted, no such bucket, no permission, an impossible setting. An outage passes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { asksInVain } from "./storage_refusal.ts";
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
    if (inner instanceof RangeError || UNSIGNED.test(`${inner.name}: ${inner.message}`)) {
      return true;
    }
    const { $metadata } = inner as { $metadata?: { httpStatusCode?: number } };
    const status = $metadata?.httpStatusCode ?? 0;
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) return true;
  }
  return false;
}
