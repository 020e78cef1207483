import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { sha256 } from "../../lib/files/mod.ts";
import { openStorage, type Storage } from "../../lib/storage/mod.ts";
import { namesBelow } from "../files/scratch.ts";
import { eachStorage, someBytes } from "./places.ts";

async function keysOf(storage: Storage, prefix = ""): Promise<string[]> {
  return await Array.fromAsync(storage.list(prefix), ({ key }) => key);
}

eachStorage("what was written is read, in whole and in part, and is there", async (storage) => {
  const bytes = someBytes(1000);
  await storage.write("a/bytes", bytes);
  await storage.write("a/text", "héllo");
  await storage.write("empty", "");
  assertEquals(await storage.read("a/bytes"), bytes);
  assertEquals(new TextDecoder().decode(await storage.read("a/text")), "héllo");
  assertEquals(await storage.read("empty"), new Uint8Array());
  assertEquals(await storage.stat("a/text"), { size: 6 });
  assertEquals(await storage.stat("empty"), { size: 0 });
  for (const [start, end] of [[0, 10], [990, 1000], [3, 4], [5, 5], [990, 2000], [1000, 2000]]) {
    assertEquals(await storage.read("a/bytes", { start, end }), bytes.slice(start, end));
  }
  await storage.write("a/text", "other");
  assertEquals(new TextDecoder().decode(await storage.read("a/text")), "other");
});

eachStorage("what is not there is said to be so, and removing it is no error", async (storage) => {
  assertEquals(await storage.stat("a/none"), undefined);
  assertEquals(await keysOf(storage), []);
  await storage.remove("a/none");
  await storage.write("a/b", "1");
  assertEquals(await storage.stat("a"), undefined);
  assertEquals(await storage.stat("a/b/c"), undefined);
  const path = await Deno.makeTempFile();
  for (
    const attempt of [
      () => storage.read("a/none"),
      () => storage.read("a"),
      () => storage.read("a/none", { start: 0, end: 1 }),
      () => storage.read("a/none", { start: 1, end: 1 }),
      () => storage.download("a/none", path),
    ]
  ) {
    const error = await assertRejects(attempt, Deno.errors.NotFound);
    assertStringIncludes(error.message, storage.url);
  }
  await storage.remove("a/b");
  assertEquals(await storage.stat("a/b"), undefined);
  await Deno.remove(path);
});

eachStorage(
  "a local file of any size goes up and comes back as it was",
  async (storage, folder) => {
    for (const size of [0, 1, 100_000, (8 << 20) + 1, 20_000_000]) {
      const bytes = someBytes(size, size + 1);
      await Deno.writeFile(`${folder}/up`, bytes);
      await storage.upload(`${folder}/up`, "a/file");
      assertEquals(await storage.stat("a/file"), { size });
      const sum = await sha256(bytes);
      await storage.download("a/file", `${folder}/down/file`, { sha256: sum });
      // Comparing millions of bytes one by one takes longer than all the rest.
      assertEquals(await sha256(await Deno.readFile(`${folder}/down/file`)), sum);
      assertEquals(await sha256(await storage.read("a/file")), sum);
      await Deno.remove(`${folder}/up`);
    }
    assertEquals(namesBelow(`${folder}/down`), ["file"]);
  },
);

eachStorage("the same file can be put twice, and another over it", async (storage, folder) => {
  await Deno.writeTextFile(`${folder}/one`, "one");
  await storage.upload(`${folder}/one`, "a");
  await storage.upload(`${folder}/one`, "a");
  await Deno.writeTextFile(`${folder}/two`, "two");
  await storage.upload(`${folder}/two`, "a");
  assertEquals(new TextDecoder().decode(await storage.read("a")), "two");
  assertEquals(await Deno.readTextFile(`${folder}/one`), "one");
  await Deno.symlink(`${folder}/one`, `${folder}/link`);
  await storage.upload(`${folder}/link`, "b");
  await Deno.remove(`${folder}/one`);
  assertEquals(new TextDecoder().decode(await storage.read("b")), "one");
  assertEquals(await keysOf(storage), ["a", "b"]);
});

eachStorage(
  "a listing holds the keys that begin so, in the order of their bytes",
  async (storage) => {
    const keys = [
      "a-b",
      "a/x",
      "a/xy/y",
      "a.c",
      "ab",
      "b/1/2/3",
      "é/ü",
      "z z/ä&b=c",
    ];
    // In UTF-16 these two would stand the other way round.
    keys.push("u/\u{1F600}", "u/\uFF61");
    for (const key of keys) await storage.write(key, key);
    const ordered = [...keys].sort((a, b) => {
      const [x, y] = [a, b].map((key) => new TextEncoder().encode(key).toHex());
      return x < y ? -1 : 1;
    });
    assertEquals(await keysOf(storage), ordered);
    for (
      const prefix of ["a", "a/", "a/x", "a/xy", "b/1/", "b/1", "no", "no/such", "é/", "z z/ä&"]
    ) {
      const expected = ordered.filter((key) => key.startsWith(prefix));
      assertEquals(await keysOf(storage, prefix), expected, `prefix "${prefix}"`);
    }
    for await (const { key, size } of storage.list("")) {
      assertEquals(size, new TextEncoder().encode(key).length);
    }
  },
);

eachStorage(
  "keys that could leave the storage, or that not every one can hold, are refused",
  async (storage, folder) => {
    await Deno.writeTextFile(`${folder}/secret`, "secret");
    const keys = [
      "../secret",
      "/etc/passwd",
      "a/../../secret",
      "..",
      ".",
      "",
      "a//b",
      "a/",
      "/",
      "a/./b",
    ];
    keys.push(
      "a\\..\\b",
      "c:/x",
      "a\0b",
      "a\nb",
      "\ud800",
      "x".repeat(211),
      "x/".repeat(500) + "x",
    );
    keys.push(`a/.b.${crypto.randomUUID()}.tmp`);
    for (const key of keys) {
      for (
        const attempt of [
          () => storage.stat(key),
          () => storage.read(key),
          () => storage.write(key, "bad"),
          () => storage.upload(`${folder}/secret`, key),
          () => storage.download(key, `${folder}/down`),
          () => storage.remove(key),
        ]
      ) await assertRejects(attempt, RangeError, "is no key", JSON.stringify(key));
    }
    for (const prefix of ["../", "/", "a/../", "../sec", "a//"]) {
      await assertRejects(() => keysOf(storage, prefix), RangeError, "beginning of a key");
    }
    for (const [start, end] of [[-1, 2], [2, 1], [0.5, 1], [NaN, 1], [0, Infinity]]) {
      await assertRejects(
        () => storage.read("a", { start, end }),
        RangeError,
        "expected whole numbers",
      );
    }
    assertEquals(await Deno.readTextFile(`${folder}/secret`), "secret");
    assertEquals(await keysOf(storage), []);
  },
);

eachStorage("a download with another checksum leaves what was there", async (storage, folder) => {
  await storage.write("a", "right");
  await Deno.writeTextFile(`${folder}/down`, "earlier");
  const sum = await sha256("other");
  const error = await assertRejects(
    () => storage.download("a", `${folder}/down`, { sha256: sum }),
    Error,
    `but ${sum} was expected`,
  );
  assertStringIncludes(error.message, `"${storage.url}/a" came with`);
  assertEquals(await Deno.readTextFile(`${folder}/down`), "earlier");
  assertEquals(namesBelow(folder).filter((name) => name.includes(".tmp")), []);
});

eachStorage(
  "a stop signal ends uploads and downloads and leaves nothing",
  async (storage, folder) => {
    await Deno.writeFile(`${folder}/up`, someBytes(100_000));
    await storage.upload(`${folder}/up`, "a");
    const signal = AbortSignal.abort(new Error("Stopped"));
    await assertRejects(() => storage.upload(`${folder}/up`, "b", { signal }), Error, "Stopped");
    await assertRejects(
      () => storage.download("a", `${folder}/down`, { signal }),
      Error,
      "Stopped",
    );
    assertEquals(await keysOf(storage), ["a"]);
    assertEquals(namesBelow(folder).filter((name) => /down|tmp/.test(name)), []);
  },
);

eachStorage("a file that is not there cannot be put", async (storage, folder) => {
  await assertRejects(() => storage.upload(`${folder}/none`, "a"), Deno.errors.NotFound);
  assertEquals(await keysOf(storage), []);
});

Deno.test("an address says which kind of storage it is", () => {
  assertEquals(openStorage("/shared/a b").url, "file:///shared/a%20b");
  assertEquals(openStorage("file:///shared/a%20b").url, "file:///shared/a%20b");
  assertEquals(openStorage("/shared/a/").url, "file:///shared/a");
  assertEquals(openStorage("shared").url, `file://${Deno.cwd()}/shared`);
  assertEquals(openStorage("s3://bucket/some/prefix/").url, "s3://bucket/some/prefix");
  assertEquals(openStorage("s3://bucket").url, "s3://bucket");
  assertEquals(openStorage("S3://bucket/a").url, "s3://bucket/a");
  assertEquals(openStorage("FILE:///shared/a").url, "file:///shared/a");
  assertEquals(openStorage("./s3:a").url, `file://${Deno.cwd()}/s3:a`);
});

Deno.test("an address that is none is refused at once", () => {
  for (const place of ["", "a\0b", "gs://bucket", "https://x/y", "file://host/x", "file://"]) {
    assertThrows(() => openStorage(place), RangeError, "is no place for files");
  }
  for (const place of ["s3:/bucket/x", "s3:bucket", "S3:/bucket", "file:/x", "gs:bucket"]) {
    assertThrows(() => openStorage(place), RangeError, "is no place for files");
  }
  for (const place of ["s3://", "s3://b", "s3://-bucket/a", "s3://bu cket", "s3:///a"]) {
    assertThrows(() => openStorage(place), RangeError, "names no bucket");
  }
  assertThrows(() => openStorage("s3://bucket/../a"), RangeError, "is no prefix of keys");
  for (const options of [{ attempts: 0 }, { attempts: 1.5 }, { patience: 0 }]) {
    assertThrows(() => openStorage("s3://bucket", options), RangeError, "a whole number");
  }
});
