import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { writeFileAtomic } from "../../lib/files/mod.ts";
import { writeError } from "../../lib/files/atomic.ts";
import { inScratch, namesBelow, withFullDisk } from "./scratch.ts";

async function* chunks(...parts: string[]) {
  for (const part of parts) yield await Promise.resolve(new TextEncoder().encode(part));
}

Deno.test("writeFileAtomic writes text, bytes and streams, and replaces what was there", () =>
  inScratch(async (folder) => {
    const path = `${folder}/deep/er/file`;
    for (const content of ["héllo", new TextEncoder().encode("héllo"), chunks("hé", "", "llo")]) {
      await writeFileAtomic(path, "something longer that was there before");
      await writeFileAtomic(path, content);
      assertEquals(await Deno.readTextFile(path), "héllo");
    }
    assertEquals(namesBelow(folder), ["deep", "deep/er", "deep/er/file"]);
  }));

Deno.test("writeFileAtomic shows the earlier content until the new one is complete", () =>
  inScratch(async (folder) => {
    const path = `${folder}/file`;
    await writeFileAtomic(path, "earlier");
    const seen: string[] = [];
    await writeFileAtomic(
      path,
      async function* () {
        yield new TextEncoder().encode("new ");
        seen.push(await Deno.readTextFile(path));
        yield new TextEncoder().encode("content");
        seen.push(await Deno.readTextFile(path));
      }(),
    );
    assertEquals(seen, ["earlier", "earlier"]);
    assertEquals(await Deno.readTextFile(path), "new content");
  }));

Deno.test("a stream that throws leaves the earlier content and no temporary file", () =>
  inScratch(async (folder) => {
    const path = `${folder}/file`;
    await writeFileAtomic(path, "earlier");
    const breaks = async function* () {
      yield* chunks("half of ");
      throw new RangeError("The source broke");
    };
    await assertRejects(() => writeFileAtomic(path, breaks()), RangeError, "The source broke");
    assertEquals(await Deno.readTextFile(path), "earlier");
    assertEquals(namesBelow(folder), ["file"]);
  }));

Deno.test("a full disk gives one error that says what to do, and leaves nothing behind", () =>
  inScratch(async (folder) => {
    const path = `${folder}/file`;
    await writeFileAtomic(path, "earlier");
    await withFullDisk(100, async () => {
      const error = await assertRejects(
        () => writeFileAtomic(path, new Uint8Array(250)),
        Error,
        "the disk is full after 100 bytes",
      );
      assertStringIncludes(error.message, path);
      assertStringIncludes(error.message, "INTERLENS_CACHE");
    });
    assertEquals(await Deno.readTextFile(path), "earlier");
    assertEquals(namesBelow(folder), ["file"]);
  }));

Deno.test("a folder that is not writable is said to be so", () => {
  // Given directly, because the superuser may write everywhere.
  const denied = new Deno.errors.PermissionDenied("Permission denied (os error 13)");
  assertStringIncludes(writeError("/a/b", denied).message, 'write "/a/b": its folder is not writ');
});

Deno.test("a path below a file is refused by name", () =>
  inScratch(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    await assertRejects(
      () => writeFileAtomic(`${folder}/file/below`, "x"),
      Error,
      `Cannot write "${folder}/file/below"`,
    );
    assertEquals(namesBelow(folder), ["file"]);
  }));

Deno.test({
  name: "a real limit on the size of files gives one error and leaves nothing behind",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inScratch(async (folder) => {
      const module = new URL("../../lib/files/atomic.ts", import.meta.url).href;
      const script = `import { writeFileAtomic } from ${JSON.stringify(module)};
        await writeFileAtomic(Deno.args[0], new Uint8Array(1 << 20))
          .catch((error) => console.log(error.message));`;
      await Deno.writeTextFile(`${folder}/write.ts`, script);
      // The signal would end the process before the write could fail.
      const limited = 'trap "" XFSZ; ulimit -f 256; exec "$0" run -A --no-check --no-lock "$@"';
      const { stdout } = await new Deno.Command("sh", {
        args: ["-c", limited, Deno.execPath(), `${folder}/write.ts`, `${folder}/file`],
      }).output();
      assertStringIncludes(new TextDecoder().decode(stdout), "files may not grow beyond");
      assertEquals(namesBelow(folder), ["write.ts"]);
    }),
});
