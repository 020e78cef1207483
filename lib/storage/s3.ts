/**
 * A storage in a bucket of an S3-compatible object store.
 *
 * The client is loaded with the first call. It tries requests again by itself; what it leaves is a
 * connection that drops within the body of an object: reading goes on there, of the same object.
 * Every object carries the SHA-256 of its content in its metadata, and whoever reads it whole
 * compares, however many connections it took. A file that is large goes up in parts; until the last
 * request none of it is visible. Parts of a writer that was killed stay in the bucket unseen: let a
 * lifecycle rule of the bucket remove incomplete multipart uploads.
 *
 * @module
 */
import type { GetObjectCommandOutput, S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { writeFileAtomic } from "../files/atomic.ts";
import { sha256, sha256File } from "../files/hash.ts";
import { checkKey, checkPrefix, checkRange, isKey } from "./keys.ts";
import { isChecksumMismatch, s3Error, type S3Place, statusOf } from "./s3_errors.ts";
import type { Storage, StorageOptions } from "./storage.ts";
import { fileChunks, verified, WrongContent } from "./verified.ts";

type Sdk = typeof import("@aws-sdk/client-s3");

/** Size of a part; four are in memory. Larger only where 10,000 of them, the most, would not do. */
const PART_BYTES = 8 << 20;
const MOST_PARTS = 9_000;
/** Bytes that make an attempt count as one that brought something. */
const PROGRESS_BYTES = 1 << 20;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 20_000;
/** Times that an object is read from its start because the bytes were wrong. */
const WHOLE_ATTEMPTS = 2;

/** Objects of a bucket whose names begin with a prefix. */
export class S3Storage implements Storage {
  readonly url: string;
  readonly options: StorageOptions;
  readonly #place: S3Place;
  /** Empty, or with "/" at its end. */
  readonly #prefix: string;
  readonly #config: S3ClientConfig;
  readonly #attempts: number;
  #opened: Promise<{ client: S3Client; sdk: Sdk }> | undefined;
  #bucketSeen = false;

  /**
   * @param address Bucket and prefix, as they stand behind `"s3://"`.
   * @throws {RangeError} If they cannot be one, or the environment names no address of a server.
   */
  constructor(address: string, { attempts = 8, patience = 60_000 }: StorageOptions = {}) {
    const [, bucket, prefix] = /^([^/]*)\/?(.*?)\/?$/s.exec(address)!;
    if (!/^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/i.test(bucket)) {
      throw new RangeError(
        `"s3://${address}" names no bucket: expected "s3://bucket/prefix", the bucket of 3 to 63 ` +
          `letters, digits, "-", "." and "_"`,
      );
    }
    if (prefix !== "") checkKey(prefix, `prefix of keys in "${bucket}"`);
    for (const [name, value] of Object.entries({ attempts, patience })) {
      if (!(Number.isInteger(value) && value >= 1)) {
        throw new RangeError(`${name} is ${value}: expected a whole number of at least 1`);
      }
    }
    this.url = `s3://${[bucket, prefix].filter(Boolean).join("/")}`;
    this.#prefix = prefix === "" ? "" : `${prefix}/`;
    this.options = { attempts, patience };
    this.#attempts = attempts;
    const endpoint = endpointOf();
    const region = variable("AWS_REGION") ?? variable("AWS_DEFAULT_REGION") ??
      (endpoint ? "us-east-1" : undefined);
    this.#place = { url: this.url, bucket, server: endpoint ? `"${endpoint}"` : "Amazon S3" };
    this.#config = {
      ...(endpoint && { endpoint, forcePathStyle: true }),
      ...(region && { region }),
      maxAttempts: attempts,
      followRegionRedirects: true,
      // Not every server answers what it asks, and then each request waits for seconds.
      expectContinueHeader: false,
      requestHandler: { connectionTimeout: Math.min(patience, 10_000), socketTimeout: patience },
    };
  }

  async stat(key: string): Promise<{ size: number } | undefined> {
    const head = await this.#head(key);
    return head && { size: head.size };
  }

  async #head(key: string): Promise<{ size: number; sha256: string | undefined } | undefined> {
    const Key = this.#key(key);
    const { client, sdk } = await this.#open();
    const Bucket = this.#place.bucket;
    try {
      const head = await client.send(new sdk.HeadObjectCommand({ Bucket, Key }));
      return { size: head.ContentLength ?? 0, sha256: head.Metadata?.sha256 };
    } catch (error) {
      if (statusOf(error) !== 404) throw this.#error(error, `looking for "${key}"`);
    }
    // The answer to this request cannot say whether it is the object or the bucket that is missing.
    if (!this.#bucketSeen) {
      try {
        await client.send(new sdk.HeadBucketCommand({ Bucket }));
      } catch (error) {
        if (statusOf(error) === 404) {
          const missing = Object.assign(new Error("", { cause: error }), { name: "NoSuchBucket" });
          throw this.#error(missing, `looking for "${key}"`);
        }
      }
      this.#bucketSeen = true;
    }
  }

  async read(key: string, range?: { start: number; end: number }): Promise<Uint8Array> {
    if (range) checkRange(range);
    if (range?.start === range?.end && range) {
      if (!await this.stat(key)) throw this.#absent(key);
      return new Uint8Array();
    }
    return await wholeAgain(async () => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of this.#bytes(key, { range })) chunks.push(chunk);
      return new Uint8Array(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer());
    });
  }

  async *list(prefix: string): AsyncGenerator<{ key: string; size: number }> {
    checkPrefix(prefix);
    const { client, sdk } = await this.#open();
    const input = { Bucket: this.#place.bucket, Prefix: this.#prefix + prefix };
    const pages = sdk.paginateListObjectsV2({ client }, input);
    for (;;) {
      const page = await pages.next().catch((error) => {
        throw this.#error(error, `listing "${prefix}"`);
      });
      if (page.done) return;
      for (const { Key = "", Size = 0 } of page.value.Contents ?? []) {
        const key = Key.slice(this.#prefix.length);
        // Others may have put objects there whose names are no keys, such as the "a/" of a console.
        if (isKey(key)) yield { key, size: Size };
      }
    }
  }

  async write(key: string, content: Uint8Array | string): Promise<void> {
    const Key = this.#key(key);
    const { client, sdk } = await this.#open();
    const Body = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const Metadata = { sha256: await sha256(Body) };
    try {
      const input = { Bucket: this.#place.bucket, Key, Body, Metadata };
      await client.send(new sdk.PutObjectCommand(input));
    } catch (error) {
      throw this.#error(error, `writing "${key}"`);
    }
  }

  async upload(
    path: string,
    key: string,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<void> {
    const Key = this.#key(key);
    signal?.throwIfAborted();
    using file = await Deno.open(path);
    const { size } = await file.stat();
    const sum = await sha256File(path);
    const isThere = async () => {
      const head = await this.#head(key);
      return head?.size === size && head.sha256 === sum;
    };
    // A folder whose upload was killed goes on with the file at which it was.
    if (await isThere()) return;
    const { client } = await this.#open();
    const { Upload } = await import("@aws-sdk/lib-storage");
    // An error in its source ends an upload cleanly: the parts that are there are removed.
    const Body = Readable.from(copies(verified(fileChunks(file, signal), path, () => sum)));
    const upload = new Upload({
      client,
      params: { Bucket: this.#place.bucket, Key, Body, Metadata: { sha256: sum } },
      partSize: Math.max(PART_BYTES, Math.ceil(size / MOST_PARTS)),
    });
    try {
      await upload.done();
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof WrongContent) {
        throw new Error(`"${path}" was changed while it was put into "${this.url}"`);
      }
      // The last request may have been heard and its answer lost: the next attempt finds no parts.
      if (statusOf(error) === 404 && await isThere()) return;
      throw this.#error(error, `writing "${key}"`);
    } finally {
      Body.destroy();
    }
  }

  async download(
    key: string,
    path: string,
    options: { sha256?: string; signal?: AbortSignal } = {},
  ): Promise<void> {
    await wholeAgain(() => writeFileAtomic(path, this.#bytes(key, options)));
  }

  async remove(key: string): Promise<void> {
    const Key = this.#key(key);
    const { client, sdk } = await this.#open();
    try {
      await client.send(new sdk.DeleteObjectCommand({ Bucket: this.#place.bucket, Key }));
    } catch (error) {
      throw this.#error(error, `removing "${key}"`);
    }
  }

  /** Bytes of an object, compared at the end if all of them were asked for. */
  #bytes(key: string, { range, sha256, signal }: {
    range?: { start: number; end: number };
    sha256?: string;
    signal?: AbortSignal;
  }): AsyncIterable<Uint8Array> {
    if (range) return this.#connections(key, { range, signal });
    let stored: string | undefined;
    const onMetadata = (metadata?: Record<string, string>) => stored = metadata?.sha256;
    const source = this.#connections(key, { onMetadata, signal });
    return verified(source, `${this.url}/${key}`, () => sha256 ?? stored);
  }

  /** Bytes of an object, over as many connections as it takes. */
  async *#connections(key: string, { range, onMetadata, signal }: {
    range?: { start: number; end: number };
    onMetadata?: (metadata: Record<string, string> | undefined) => void;
    signal?: AbortSignal;
  }): AsyncGenerator<Uint8Array> {
    let have = range?.start ?? 0;
    let end = range?.end ?? Infinity;
    // Without its size, an object ends where its body does.
    let sized = false;
    let etag: string | undefined;
    let [failures, before] = [0, have];
    for (;;) {
      const hangUp = new AbortController();
      const stop = AbortSignal.any([hangUp.signal, ...signal ? [signal] : []]);
      const answer = await this.#get(key, { start: have, end, etag, signal: stop });
      if (!answer) return;
      const [, first, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.ContentRange ?? "") ?? [];
      if (etag === undefined) {
        etag = answer.ETag;
        const size = total ?? answer.ContentLength;
        sized = size !== undefined;
        end = Math.min(end, Number(size ?? Infinity));
        onMetadata?.(answer.Metadata);
      }
      const body = answer.Body as unknown as Readable;
      stop.addEventListener("abort", () => void body.destroy());
      try {
        // A server that knows no ranges begins at the beginning.
        let at = Number(first ?? 0);
        for await (const chunk of body as AsyncIterable<Uint8Array>) {
          const part = chunk.subarray(Math.max(0, have - at), Math.max(0, end - at));
          at += chunk.length;
          have += part.length;
          if (part.length > 0) yield part;
        }
        if (sized && have < end) {
          throw Object.assign(new Error("it ended early"), { code: "ECONNRESET" });
        }
        return;
      } catch (error) {
        signal?.throwIfAborted();
        if (isChecksumMismatch(error)) {
          const { message } = error as Error;
          throw new WrongContent(`"${this.url}/${key}" was changed on the way: ${message}`);
        }
        if (have === end) return;
        if (have - before >= PROGRESS_BYTES) [failures, before] = [0, have];
        if (++failures >= this.#attempts) {
          const $metadata = { attempts: failures };
          throw this.#error(Object.assign(error as Error, { $metadata }), `reading "${key}"`);
        }
        const pause = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
        await wait(pause, undefined, { signal }).catch(() => {});
      } finally {
        // Whoever stops in the middle would leave the connection open, waiting to be read.
        if (!body.readableEnded) hangUp.abort();
      }
    }
  }

  /** Asks for an object from a byte on; undefined if it ends before. */
  async #get(key: string, { start, end, etag, signal }: {
    start: number;
    end: number;
    etag: string | undefined;
    signal: AbortSignal;
  }): Promise<GetObjectCommandOutput | undefined> {
    const Key = this.#key(key);
    const { client, sdk } = await this.#open();
    const Range = start > 0 || end < Infinity
      ? `bytes=${start}-${end < Infinity ? end - 1 : ""}`
      : undefined;
    try {
      return await client.send(
        new sdk.GetObjectCommand({ Bucket: this.#place.bucket, Key, Range, IfMatch: etag }),
        { abortSignal: signal },
      );
    } catch (error) {
      signal.throwIfAborted();
      if ((error as Error).name === "NoSuchKey") throw this.#absent(key);
      if (statusOf(error) === 416) return undefined;
      if (statusOf(error) === 412) {
        throw new WrongContent(`"${this.url}/${key}" was replaced while it was read`);
      }
      throw this.#error(error, `reading "${key}"`);
    }
  }

  #open(): Promise<{ client: S3Client; sdk: Sdk }> {
    return this.#opened ??= (async () => {
      const sdk = await import("@aws-sdk/client-s3");
      return { sdk, client: new sdk.S3Client(this.#config) };
    })();
  }

  #key(key: string): string {
    checkKey(key);
    return this.#prefix + key;
  }

  #absent(key: string): Error {
    return new Deno.errors.NotFound(`There is no "${key}" in "${this.url}"`);
  }

  #error(error: unknown, what: string): Error {
    return s3Error(error, this.#place, what);
  }
}

/** Does it again from the start if wrong bytes came. */
async function wholeAgain<T>(attempt: () => Promise<T>): Promise<T> {
  for (let i = 1;; i++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof WrongContent) || i >= WHOLE_ATTEMPTS) throw error;
    }
  }
}

async function* copies(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) yield chunk.slice();
}

function variable(name: string): string | undefined {
  return Deno.env.get(name)?.trim() || undefined;
}

function endpointOf(): string | undefined {
  const name = variable("AWS_ENDPOINT_URL_S3") ? "AWS_ENDPOINT_URL_S3" : "AWS_ENDPOINT_URL";
  const endpoint = variable(name);
  if (
    endpoint === undefined ||
    (/^https?:\/\/[^/@]+(?:\/|$)/.test(endpoint) && URL.canParse(endpoint))
  ) {
    return endpoint?.replace(/\/+$/, "");
  }
  throw new RangeError(
    `${name} is "${endpoint}": expected an address such as "https://objects.example.org"`,
  );
}
