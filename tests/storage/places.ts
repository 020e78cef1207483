/**
 * Storages to test: a folder, and a bucket of a real S3 server where one can be installed.
 *
 * @module
 */
import { openStorage, type Storage, type StorageOptions } from "../../lib/storage/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { services, startS3 } from "../services.ts";
import { type S3Proxy, serveProxy } from "./s3_proxy.ts";

const available = await services() !== undefined;
const server = available ? await startS3() : undefined;
globalThis.addEventListener("unload", () => void server?.stop());

/** Runs `use` with these variables and none of the person's own for object stores. */
export async function withEnvironment(
  env: Record<string, string>,
  use: () => Promise<void>,
): Promise<void> {
  const nothing = { AWS_EC2_METADATA_DISABLED: "true", AWS_CONFIG_FILE: "/dev/null" };
  const wanted = { ...nothing, AWS_SHARED_CREDENTIALS_FILE: "/dev/null", ...env };
  const before = Object.entries(Deno.env.toObject()).filter(([name]) => name.startsWith("AWS_"));
  const clear = () => {
    for (const name of Object.keys(Deno.env.toObject())) {
      if (name.startsWith("AWS_")) Deno.env.delete(name);
    }
  };
  clear();
  for (const [name, value] of Object.entries(wanted)) Deno.env.set(name, value);
  try {
    await use();
  } finally {
    clear();
    for (const [name, value] of before) Deno.env.set(name, value);
  }
}

/** What a test with the S3 server gets. */
export interface S3Bench {
  readonly proxy: S3Proxy;
  /** Address of the server itself. */
  readonly server: string;
  /** Variables that lead to the server through the proxy. */
  readonly env: Record<string, string>;
  /** Address of a place in the bucket that no other test uses. */
  readonly place: string;
  /** Opens it. Default: three attempts, twenty seconds of patience. */
  open(options?: StorageOptions): Storage;
  /** A folder that is removed afterwards. */
  readonly folder: string;
}

/** A test of the S3 storage through a proxy; ignored where there is no server. */
export function s3Test(name: string, fn: (bench: S3Bench) => Promise<void>): void {
  Deno.test({
    name: `${name} (S3)`,
    ignore: !server,
    fn: () =>
      inScratch(async (folder) => {
        await using proxy = serveProxy(server!.endpoint);
        const env = { ...server!.env, AWS_ENDPOINT_URL_S3: proxy.endpoint };
        const place = `s3://${server!.bucket}/${crypto.randomUUID()}`;
        const open = (options?: StorageOptions) =>
          openStorage(place, { attempts: 3, patience: 20_000, ...options });
        await withEnvironment(env, () =>
          fn({ proxy, server: server!.endpoint, env, place, open, folder }));
      }),
  });
}

/** A test that every kind of storage must pass. */
export function eachStorage(
  name: string,
  fn: (storage: Storage, folder: string) => Promise<void>,
): void {
  Deno.test(
    `${name} (folder)`,
    () => inScratch((folder) => fn(openStorage(`${folder}/storage`), folder)),
  );
  s3Test(name, ({ open, folder }) => fn(open(), folder));
}

/** Bytes in which no part is like another. */
export function someBytes(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0, state = seed; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}
