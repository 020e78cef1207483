import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { openStorage, pullFolder, pushFolder, type Storage } from "../../lib/storage/mod.ts";
import { inScratch, namesBelow } from "../files/scratch.ts";
import { eachStorage, s3Test } from "./places.ts";

const last = "artefact.json";

async function makeArtefact(dir: string): Promise<void> {
  await Deno.mkdir(`${dir}/sub/deep`, { recursive: true });
  for (const name of ["artefact.json", "a.bin", "zz.bin", "sub/deep/é ü.txt"]) {
    await Deno.writeTextFile(`${dir}/${name}`, `content of ${name}`);
  }
}

/** A storage that notes what is put into it, and refuses from the nth file on. */
function watched(storage: Storage, from = Infinity): { storage: Storage; put: string[] } {
  const put: string[] = [];
  const upload: Storage["upload"] = (path, key, options) => {
    if (put.length >= from) return Promise.reject(new Error("planned"));
    put.push(key);
    return storage.upload(path, key, options);
  };
  const methods = {
    url: storage.url,
    stat: storage.stat.bind(storage),
    read: storage.read.bind(storage),
    list: storage.list.bind(storage),
    write: storage.write.bind(storage),
    download: storage.download.bind(storage),
    remove: storage.remove.bind(storage),
  };
  return { storage: { ...methods, upload }, put };
}

eachStorage("a folder comes back as it went, its last file at the end", async (storage, folder) => {
  await makeArtefact(`${folder}/made`);
  const { storage: through, put } = watched(storage);
  await pushFolder(through, `${folder}/made`, "sae/1f", { last });
  assertEquals(put.length, 4);
  assertEquals(put.at(-1), "sae/1f/artefact.json");
  // A folder whose name begins alike is another one.
  await storage.write("sae/1f0/b.bin", "other");
  assertEquals(await pullFolder(storage, "sae/1f", `${folder}/deep/er/1f`, { last }), true);
  assertEquals(
    namesBelow(`${folder}/deep/er`),
    namesBelow(`${folder}/made`).map((n) => `1f/${n}`).concat("1f").sort(),
  );
  for (const name of ["artefact.json", "sub/deep/é ü.txt"]) {
    assertEquals(await Deno.readTextFile(`${folder}/deep/er/1f/${name}`), `content of ${name}`);
  }
});

eachStorage("a folder whose pushing ended in the middle is not there", async (storage, folder) => {
  await makeArtefact(`${folder}/made`);
  const { storage: breaks } = watched(storage, 3);
  await assertRejects(
    () => pushFolder(breaks, `${folder}/made`, "sae/1f", { last }),
    Error,
    "planned",
  );
  assertEquals(await pullFolder(storage, "sae/1f", `${folder}/pulled`, { last }), false);
  assertEquals(namesBelow(folder).filter((name) => name.startsWith("pulled")), []);
  await pushFolder(storage, `${folder}/made`, "sae/1f", { last });
  assertEquals(await pullFolder(storage, "sae/1f", `${folder}/pulled`, { last }), true);
});

eachStorage("a folder that is complete stays as it is, there and here", async (storage, folder) => {
  await makeArtefact(`${folder}/made`);
  await pushFolder(storage, `${folder}/made`, "sae/1f", { last });
  await Deno.remove(`${folder}/made/a.bin`);
  await Deno.writeTextFile(`${folder}/made/a.bin`, "other");
  const { storage: through, put } = watched(storage);
  await pushFolder(through, `${folder}/made`, "sae/1f", { last });
  assertEquals(put, []);
  await pullFolder(storage, "sae/1f", `${folder}/pulled`, { last });
  assertEquals(await Deno.readTextFile(`${folder}/pulled/a.bin`), "content of a.bin");
  await Deno.writeTextFile(`${folder}/pulled/a.bin`, "mine");
  assertEquals(await pullFolder(storage, "sae/1f", `${folder}/pulled`, { last }), true);
  assertEquals(await Deno.readTextFile(`${folder}/pulled/a.bin`), "mine");
});

eachStorage(
  "an incomplete local folder is replaced, and two may pull at once",
  async (storage, folder) => {
    await makeArtefact(`${folder}/made`);
    await pushFolder(storage, `${folder}/made`, "sae/1f", { last });
    await Deno.mkdir(`${folder}/pulled`);
    await Deno.writeTextFile(`${folder}/pulled/a.bin`, "left over");
    const temporary = `.a.bin.${crypto.randomUUID()}.tmp`;
    await Deno.writeTextFile(`${folder}/pulled/${temporary}`, "left");
    const pull = () => pullFolder(storage, "sae/1f", `${folder}/pulled`, { last });
    assertEquals(await Promise.all([pull(), pull(), pull()]), [true, true, true]);
    assertEquals(namesBelow(`${folder}/pulled`), namesBelow(`${folder}/made`));
    assertEquals(namesBelow(folder).filter((name) => name.includes("partial")), []);
  },
);

eachStorage("a local folder or file that is something else stays", async (storage, folder) => {
  await makeArtefact(`${folder}/made`);
  await pushFolder(storage, `${folder}/made`, "sae/1f", { last });
  await Deno.mkdir(`${folder}/thesis/sub`, { recursive: true });
  await Deno.writeTextFile(`${folder}/thesis/a.bin`, "mine");
  await Deno.writeTextFile(`${folder}/thesis/sub/notes.txt`, "mine");
  const pull = (dir: string) => pullFolder(storage, "sae/1f", `${folder}/${dir}`, { last });
  const error = await assertRejects(() => pull("thesis"), Error, "it holds other files");
  assertStringIncludes(error.message, "sub/notes.txt");
  assertEquals(namesBelow(`${folder}/thesis`), ["a.bin", "sub", "sub/notes.txt"]);
  assertEquals(await Deno.readTextFile(`${folder}/thesis/a.bin`), "mine");
  await assertRejects(() => pull("thesis/a.bin"), Error, "Cannot write");
  assertEquals(await Deno.readTextFile(`${folder}/thesis/a.bin`), "mine");
});

eachStorage("a pull that fails or is stopped leaves nothing", async (storage, folder) => {
  await makeArtefact(`${folder}/made`);
  await pushFolder(storage, `${folder}/made`, "sae/1f", { last });
  const stop = new AbortController();
  let files = 0;
  const stops: Storage = {
    ...watched(storage).storage,
    download: (key, path, options) => {
      if (++files === 2) stop.abort(new Error("Stopped"));
      return storage.download(key, path, options);
    },
  };
  await assertRejects(
    () => pullFolder(stops, "sae/1f", `${folder}/pulled`, { last, signal: stop.signal }),
    Error,
    "Stopped",
  );
  assertEquals(namesBelow(folder).filter((name) => name.startsWith("pulled")), []);
});

Deno.test("a folder without its last file, or with names that are no keys, is not put", () =>
  inScratch(async (folder) => {
    await makeArtefact(`${folder}/made`);
    const storage = openStorage(`${folder}/storage`);
    const error = await assertRejects(
      () => pushFolder(storage, `${folder}/made`, "a", { last: "none.json" }),
      Deno.errors.NotFound,
    );
    assertStringIncludes(error.message, `it has no "none.json", so it is not complete`);
    await assertRejects(() => pushFolder(storage, `${folder}/made`, "../a", { last }), RangeError);
    await assertRejects(() => pullFolder(storage, "../a", `${folder}/x`, { last }), RangeError);
    await Deno.writeTextFile(`${folder}/made/new\nline`, "x");
    await assertRejects(() => pushFolder(storage, `${folder}/made`, "a", { last }), RangeError);
    assertEquals(await Array.fromAsync(storage.list("")), []);
  }));

s3Test(
  "names in a bucket cannot lead out of the local folder",
  async ({ server, open, place, folder }) => {
    const at = `${server}/${place.slice("s3://".length)}`;
    for (const name of ["a/artefact.json", "a/../../escaped", "a//etc", "a/ok"]) {
      const answer = await fetch(`${at}/${encodeURIComponent(name)}`, { method: "PUT", body: "x" });
      await answer.body?.cancel();
    }
    assertEquals(await pullFolder(open(), "a", `${folder}/deep/a`, { last }), true);
    assertEquals(namesBelow(folder), ["deep", "deep/a", "deep/a/artefact.json", "deep/a/ok"]);
  },
);
