/**
 * An upload that another process kills: `kill_probe.ts PLACE FILE KEY [copy]`. With `copy` files have
 * one name only, so that a folder copies, and the copying stops in the middle and says so.
 *
 * @module
 */
import { openStorage } from "../../lib/storage/mod.ts";

const [place, file, key, copy] = Deno.args;
if (copy) {
  Deno.link = () => Promise.reject(new Deno.errors.NotSupported("planned"));
  const { write } = Deno.FsFile.prototype;
  let written = 0;
  Deno.FsFile.prototype.write = function (chunk: Uint8Array): Promise<number> {
    written += chunk.length;
    if (written <= 3_000_000) return write.call(this, chunk);
    console.log("in the middle");
    return new Promise<number>((resolve) => setTimeout(() => resolve(0), 60_000));
  };
}
await openStorage(place).upload(file, key);
console.log("done");
