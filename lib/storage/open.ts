/**
 * The storage that an address names.
 *
 * @module
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { FolderStorage } from "./folder.ts";
import { S3Storage } from "./s3.ts";
import type { Storage, StorageOptions } from "./storage.ts";

/**
 * Opens a place for files: a folder, which several machines may mount, or a bucket of an
 * S3-compatible object store.
 *
 * A file is whole or not there, whoever is killed when, and readers see the earlier content until
 * it is replaced. Keys are relative paths with "/" between their parts; none is the folder of
 * another.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { openStorage } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * const storage = openStorage(dir);
 * await storage.write("runs/a/result.json", "{}");
 * assertEquals(await storage.stat("runs/a/result.json"), { size: 2 });
 *
 * await Deno.writeTextFile(`${dir}/weights.bin`, "0123456789");
 * await storage.upload(`${dir}/weights.bin`, "runs/a/weights.bin");
 * const middle = await storage.read("runs/a/weights.bin", { start: 3, end: 5 });
 * assertEquals(new TextDecoder().decode(middle), "34");
 *
 * const keys = await Array.fromAsync(storage.list("runs/a/"), ({ key }) => key);
 * assertEquals(keys, ["runs/a/result.json", "runs/a/weights.bin"]);
 * await assertRejects(() => storage.read("../elsewhere"), RangeError, "without");
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * Of an object store, the environment says the rest, as it does for Amazon's own tools:
 * `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (or a profile, a role of the machine), `AWS_REGION`,
 * and for other makes `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, with which the bucket stands in
 * the path. Nothing is asked of it before the first call.
 *
 * @param place A path, `"file:///shared/interlens"` or `"s3://bucket/prefix"`.
 * @throws {RangeError} If it is none of these.
 */
export function openStorage(place: string, options: StorageOptions = {}): Storage {
  // One letter is a drive.
  const [, scheme, rest] = /^([a-z][a-z\d+.-]+):(.*)$/is.exec(place) ?? [];
  if (scheme === undefined && place !== "" && !place.includes("\0")) {
    return new FolderStorage(resolve(place));
  }
  const kind = scheme?.toLowerCase();
  if (kind === "file" && URL.canParse(place) && rest.startsWith("///")) {
    return new FolderStorage(resolve(fileURLToPath(place)));
  }
  if (kind === "s3" && rest.startsWith("//")) return new S3Storage(rest.slice(2), options);
  throw new RangeError(
    `"${place}" is no place for files: expected a path, "file:///path" or "s3://bucket/prefix"`,
  );
}
