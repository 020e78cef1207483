/**
 * One file's content from the hub into the cache: resumed where it stopped, checked before it gets
 * its name, by one process at a time.
 *
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { notice } from "../display/mod.ts";
import type { RemoteFile } from "./listing.ts";
import { fileUrl, type Place } from "./repo.ts";
import { Answer, HubError, type HubOptions, persist, Transient } from "./request.ts";

/** Milliseconds between two looks at a lock that another process holds. */
const LOCK_PAUSE_MS = 100;
const LOOKS_BEFORE_NOTICE = 20;

/** How to download; see {@linkcode download}. */
export interface DownloadOptions extends HubOptions {
  /** Commit that the file is of. */
  commit: string;
  /** Hears how many bytes of the file are there, from the first on. */
  onBytes: (bytes: number) => void;
}

/**
 * Downloads a file's content unless it is there.
 *
 * @returns Path of the content, and whether this call put it there.
 * @throws {HubError} If the hub does not give it, or gives something else: then nothing of it is
 * kept. What arrived before another error stays, and the next call goes on from there.
 */
export async function download(
  place: Place,
  file: RemoteFile,
  options: DownloadOptions,
): Promise<{ blob: string; fresh: boolean }> {
  const blob = join(place.folder, "blobs", file.checksum);
  await Deno.mkdir(join(place.folder, "blobs"), { recursive: true });
  await Deno.mkdir(place.locks, { recursive: true });
  using lock = await Deno.open(join(place.locks, `${file.checksum}.lock`), {
    create: true,
    append: true,
  });
  // Where the system has no locks, the checksum still keeps what two processes mixed out.
  for (let looks = 1; !await lock.tryLock(true).catch(() => true); looks++) {
    options.signal?.throwIfAborted();
    if (looks === LOOKS_BEFORE_NOTICE) {
      notice(`Waiting for another process that downloads "${file.path}" of "${place.id}"`);
    }
    await wait(LOCK_PAUSE_MS);
  }
  if (await Deno.stat(blob).then(({ isFile }) => isFile, () => false)) {
    return { blob, fresh: false };
  }
  const partial = `${blob}.incomplete`;
  const digest = await fill(partial, place, file, options);
  if (digest !== file.checksum) {
    await Deno.remove(partial);
    throw new HubError(
      `The content of "${file.path}" of "${place.id}" has the checksum ${digest}, but the hub says ` +
        `${file.checksum}: it was changed on the way and has been removed. Run this again`,
    );
  }
  await Deno.rename(partial, blob);
  return { blob, fresh: true };
}

/** Brings the partial file to its full length; returns the checksum of what it then holds. */
async function fill(
  partial: string,
  place: Place,
  { path, size, checksum }: RemoteFile,
  { commit, onBytes, ...options }: DownloadOptions,
): Promise<string> {
  using output = await Deno.open(partial, { read: true, write: true, create: true });
  let have = 0;
  let hash = newHash(checksum, size);
  const restart = async () => {
    await output.truncate(0);
    await output.seek(0, Deno.SeekMode.Start);
    have = 0;
    hash = newHash(checksum, size);
  };
  if ((await output.stat()).size > size) await restart();
  const buffer = new Uint8Array(1 << 20);
  for (let n = await output.read(buffer); n !== null; n = await output.read(buffer)) {
    hash.update(buffer.subarray(0, n));
    have += n;
    options.signal?.throwIfAborted();
  }
  onBytes(have);

  // By commit: what the revision names may change while this runs.
  const url = fileUrl(place, commit, path);
  const what = `file "${path}"`;
  await persist(async () => {
    if (have === size) return;
    await using answer = await Answer.to(url, {
      place,
      what,
      start: have,
      signal: options.signal,
    });
    if (have > 0) {
      const range = answer.headers.get("content-range") ?? "";
      if (answer.status === 200) await restart();
      else if (!range.startsWith(`bytes ${have}-`)) {
        await restart();
        throw new Transient(
          `The hub sent "${range}" of ${what} of "${place.id}": not what was asked`,
        );
      }
    }
    for await (const chunk of answer.body()) {
      if (have + chunk.length > size) {
        await restart();
        throw new HubError(
          `The hub sends more than the ${size} bytes that it says ${what} of "${place.id}" has`,
        );
      }
      await write(output, chunk, partial);
      hash.update(chunk);
      onBytes(have += chunk.length);
    }
    if (have < size) {
      throw new Transient(
        `The connection ended after ${have} of the ${size} bytes of ${what} of "${place.id}": run ` +
          `this again to go on from there`,
      );
    }
  }, { ...options, progress: () => have });
  await output.sync();
  return hash.digest("hex");
}

/** A hash that ends in a file's checksum: plain SHA-256, or SHA-1 as git makes it. */
function newHash(checksum: string, size: number): Hash {
  return checksum.length === 64
    ? createHash("sha256")
    : createHash("sha1").update(`blob ${size}\0`);
}

async function write(file: Deno.FsFile, chunk: Uint8Array, path: string): Promise<void> {
  try {
    for (let done = 0; done < chunk.length;) done += await file.write(chunk.subarray(done));
  } catch (error) {
    throw new Error(
      `Cannot write "${path}" (${
        error instanceof Error ? error.message : error
      }): free some space ` +
        `or set HF_HOME to a folder on another disk, then run this again; what is there is kept`,
      { cause: error },
    );
  }
}
