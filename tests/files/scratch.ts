/** A folder that exists while `use` runs. */
export async function inScratch(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "interlens_" });
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Names of everything below a folder, sorted. */
export function namesBelow(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? [name, ...namesBelow(`${folder}/${name}`).map((n) => `${name}/${n}`)] : [name]
  ).sort();
}

/** Lets files of this process grow to `bytes` in all while `use` runs, then fails as a full disk does. */
export async function withFullDisk(bytes: number, use: () => Promise<void>): Promise<void> {
  const { write } = Deno.FsFile.prototype;
  let left = bytes;
  Deno.FsFile.prototype.write = function (chunk: Uint8Array): Promise<number> {
    if (left <= 0) {
      const full = Object.assign(new Error("No space left on device (os error 28)"), {
        code: "ENOSPC",
      });
      return Promise.reject(full);
    }
    const part = chunk.subarray(0, Math.min(left, chunk.length));
    left -= part.length;
    return write.call(this, part);
  };
  try {
    await use();
  } finally {
    Deno.FsFile.prototype.write = write;
  }
}
