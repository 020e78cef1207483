import { assertEquals, assertRejects } from "@std/assert";
import { openStorage } from "../../lib/storage/mod.ts";
import { inScratch, namesBelow, withFullDisk } from "../files/scratch.ts";
import { someBytes } from "./places.ts";

const probe = new URL("./kill_probe.ts", import.meta.url).pathname;

/** Runs `use` where no file can have two names, as between two disks. */
async function withoutLinks(use: () => Promise<void>): Promise<void> {
  const { link } = Deno;
  Deno.link = () => Promise.reject(new Deno.errors.NotSupported("planned"));
  try {
    await use();
  } finally {
    Deno.link = link;
  }
}

Deno.test("a file on the same disk gets a second name, one of another disk is copied", () =>
  inScratch(async (folder) => {
    const storage = openStorage(`${folder}/storage`);
    await Deno.writeFile(`${folder}/up`, someBytes(3_000_000));
    await storage.upload(`${folder}/up`, "a/linked");
    await withoutLinks(() => storage.upload(`${folder}/up`, "a/copied"));
    const inode = (path: string) => Deno.statSync(path).ino;
    assertEquals(inode(`${folder}/storage/a/linked`), inode(`${folder}/up`));
    assertEquals(await storage.read("a/copied"), await storage.read("a/linked"));
    assertEquals(inode(`${folder}/storage/a/copied`) === inode(`${folder}/up`), false);
    assertEquals(namesBelow(`${folder}/storage/a`), ["copied", "linked"]);
  }));

Deno.test("a download is a file of its own: changing it changes nothing in the storage", () =>
  inScratch(async (folder) => {
    const storage = openStorage(`${folder}/storage`);
    await storage.write("a", "right");
    await storage.download("a", `${folder}/down`);
    await Deno.writeTextFile(`${folder}/down`, "wrong");
    assertEquals(new TextDecoder().decode(await storage.read("a")), "right");
  }));

Deno.test("a full disk gives one sentence and leaves what was there", () =>
  inScratch(async (folder) => {
    const storage = openStorage(`${folder}/storage`);
    await Deno.writeFile(`${folder}/up`, someBytes(3_000_000));
    await storage.write("a", "earlier");
    await withoutLinks(() =>
      withFullDisk(1_500_000, async () => {
        await assertRejects(() => storage.upload(`${folder}/up`, "a"), Error, "the disk is full");
      })
    );
    assertEquals(new TextDecoder().decode(await storage.read("a")), "earlier");
    await storage.upload(`${folder}/up`, "b");
    await withFullDisk(1_500_000, async () => {
      await assertRejects(() => storage.download("b", `${folder}/b`), Error, "the disk is full");
    });
    assertEquals(namesBelow(folder), ["storage", "storage/a", "storage/b", "up"]);
  }));

Deno.test("a writer that is killed in mid-file leaves nothing visible, and what it left goes in time", () =>
  inScratch(async (folder) => {
    const bytes = someBytes(5_000_000);
    await Deno.writeFile(`${folder}/up`, bytes);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", probe, `${folder}/storage`, `${folder}/up`, "a/b", "copy"],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      if (text.includes("in the middle")) child.kill("SIGKILL");
    }
    await child.status;
    const storage = openStorage(`${folder}/storage`);
    const left = namesBelow(`${folder}/storage/a`);
    assertEquals(left.length, 1);
    assertEquals(await storage.stat("a/b"), undefined);
    assertEquals(await Array.fromAsync(storage.list("")), []);

    // It could be at work yet, on another machine.
    await storage.write("a/other", "x");
    await storage.upload(`${folder}/up`, "a/b");
    assertEquals(namesBelow(`${folder}/storage/a`).sort(), [...left, "b", "other"]);
    assertEquals(await storage.read("a/b"), bytes);

    const twoHoursAgo = new Date(Date.now() - 7_200_000);
    await Deno.utime(`${folder}/storage/a/${left[0]}`, twoHoursAgo, twoHoursAgo);
    await openStorage(`${folder}/storage`).write("a/other", "x");
    assertEquals(namesBelow(`${folder}/storage/a`), ["b", "other"]);
  }));

Deno.test("writing many files looks through their folder once", () =>
  inScratch(async (folder) => {
    const { readDir } = Deno;
    let looks = 0;
    Deno.readDir = (path) => (looks++, readDir(path));
    try {
      const storage = openStorage(folder);
      for (let i = 0; i < 20; i++) await storage.write(`a/${i}`, "x");
      await storage.write("b/0", "x");
    } finally {
      Deno.readDir = readDir;
    }
    assertEquals(looks, 2);
  }));

Deno.test("what others put into the folder under names that are no keys is passed over", () =>
  inScratch(async (folder) => {
    await Deno.mkdir(`${folder}/a\\b`);
    await Deno.writeTextFile(`${folder}/a\\b/c`, "x");
    await Deno.writeTextFile(`${folder}/new\nline`, "x");
    await Deno.writeTextFile(`${folder}/ok`, "x");
    await Deno.symlink(folder, `${folder}/circle`);
    const storage = openStorage(folder);
    assertEquals(await Array.fromAsync(storage.list("")), [{ key: "ok", size: 1 }]);
  }));

Deno.test({
  name: "a folder that may not be written to gives one sentence",
  // Whoever may do everything may write there, too.
  ignore: Deno.build.os === "windows" || Deno.uid() === 0,
  fn: () =>
    inScratch(async (folder) => {
      await Deno.mkdir(`${folder}/storage`, { mode: 0o500 });
      const storage = openStorage(`${folder}/storage`);
      await assertRejects(() => storage.write("a/b", "x"), Error, "is not writable");
      await assertRejects(() => storage.upload(probe, "a/b"), Error, "is not writable");
    }),
});
