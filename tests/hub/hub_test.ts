import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { hubFile, hubFiles, type HubOptions, hubSnapshot } from "../../lib/hub/mod.ts";
import { namesBelow } from "../files/scratch.ts";
import { type ServedRepo, type TestHub, withHub } from "./server.ts";

const WEIGHTS = Uint8Array.from({ length: 300_000 }, (_, i) => i * 7 + (i >> 8));
const MODEL: ServedRepo = {
  id: "owner/model",
  files: {
    "config.json": '{"d_model": 8}\n',
    "model.safetensors": WEIGHTS,
    "sub folder/ä+b.txt": "plain",
    "empty.txt": "",
  },
};
const DATA: ServedRepo = {
  id: "owner/data",
  kind: "dataset",
  files: { "raw/train.parquet": WEIGHTS, "README.md": "# Data" },
};
const repo = { id: "owner/model" };
const quick: HubOptions = { retryDelay: 1 };

/** Runs on a hub with a model and a data set. */
function onHub(name: string, use: (hub: TestHub, home: string) => Promise<void>): void {
  Deno.test(name, () => withHub({ repos: [MODEL, DATA] }, use));
}

/** Requests as `METHOD path`, without host names and signatures. */
function asked({ requests }: TestHub): string[] {
  return requests.map(({ method, path, server }) =>
    server === "storage" ? `${method} storage` : `${method} ${path}`
  );
}

onHub("a file comes with its bytes, into the layout of Hugging Face's tools", async (hub, home) => {
  const path = await hubFile(repo, "model.safetensors");
  assertEquals(await Deno.readFile(path), WEIGHTS);
  const commit = hub.commit("owner/model");
  const folder = join(home, "hub", "models--owner--model");
  assertEquals(path, join(folder, "snapshots", commit, "model.safetensors"));
  assertMatch(await Deno.readLink(path), /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
  assertEquals(await Deno.readTextFile(join(folder, "refs", "main")), commit);

  const nested = await hubFile(repo, "sub folder/ä+b.txt");
  assertEquals(await Deno.readTextFile(nested), "plain");
  assertMatch(await Deno.readLink(nested), /^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
  assertEquals(await Deno.readTextFile(await hubFile(repo, "empty.txt")), "");
  assertEquals(namesBelow(folder).filter((name) => name.includes("incomplete")), []);
});

onHub("a file that is there is asked for by HEAD, or not at all at a commit", async (hub) => {
  await hubFile(repo, "model.safetensors");
  hub.requests.length = 0;
  const path = await hubFile(repo, "model.safetensors");
  assertEquals(asked(hub), ["HEAD /owner/model/resolve/main/model.safetensors"]);
  hub.requests.length = 0;
  const revision = hub.commit("owner/model");
  assertEquals(await hubFile({ ...repo, revision }, "model.safetensors"), path);
  assertEquals(asked(hub), []);
});

onHub("a new version is fetched, and the old one stays", async (hub) => {
  const old = await hubFile(repo, "config.json");
  hub.push("owner/model", { ...MODEL.files, "config.json": "{}" });
  const now = await hubFile(repo, "config.json");
  assertEquals(await Deno.readTextFile(now), "{}");
  assertEquals(await Deno.readTextFile(old), MODEL.files["config.json"]);
  hub.requests.length = 0;
  await hubFile(repo, "model.safetensors");
  hub.push("owner/model", { "model.safetensors": WEIGHTS });
  hub.requests.length = 0;
  assertEquals(await Deno.readFile(await hubFile(repo, "model.safetensors")), WEIGHTS);
  assertEquals(asked(hub).length, 1, "content of another commit is linked, not fetched");
});

Deno.test("branches, tags and refs are revisions", () =>
  withHub({
    repos: [{
      ...MODEL,
      revisions: { "v1.0": { "config.json": "one" }, "refs/pr/1": { "config.json": "pr" } },
    }],
  }, async (hub, home) => {
    for (const [revision, text] of [["v1.0", "one"], ["refs/pr/1", "pr"]]) {
      const path = await hubFile({ ...repo, revision }, "config.json");
      assertEquals(await Deno.readTextFile(path), text);
      const ref = join(home, "hub", "models--owner--model", "refs", revision);
      assertEquals(await Deno.readTextFile(ref), hub.commit("owner/model", revision));
    }
    await assertRejects(
      () => hubFile({ ...repo, revision: "v2" }, "config.json"),
      Error,
      '"owner/model" has no revision "v2"',
    );
  }));

onHub("the files of a repository are listed with sizes and checksums", async (_, home) => {
  assertEquals(
    (await hubFiles(repo)).map(({ path, size, sha256 }) => [path, size, sha256?.length]),
    [["config.json", 15, undefined], ["empty.txt", 0, undefined], [
      "model.safetensors",
      WEIGHTS.length,
      64,
    ], ["sub folder/ä+b.txt", 5, undefined]],
  );
  const found = await hubFiles({ id: "owner/data", kind: "dataset" });
  assertEquals(found.map(({ path }) => path), ["README.md", "raw/train.parquet"]);
  assert(!await Deno.stat(home).catch(() => false), "a listing writes nothing");
});

Deno.test("a listing of several pages is read to its end", () => {
  const files = Object.fromEntries(Array.from({ length: 23 }, (_, i) => [`f/${i}.txt`, `${i}`]));
  return withHub({ repos: [{ id: "a/many", files }], pageSize: 5 }, async () => {
    const paths = (await hubFiles({ id: "a/many" })).map(({ path }) => path);
    assertEquals(paths.toSorted(), Object.keys(files).toSorted());
  });
});

onHub("a snapshot has the wanted files, each fetched once", async (hub, home) => {
  const data = { id: "owner/data", kind: "dataset" } as const;
  const folder = await hubSnapshot(data, (path) => path.endsWith(".parquet"));
  assertEquals(
    folder,
    join(home, "hub", "datasets--owner--data", "snapshots", hub.commit("owner/data")),
  );
  assertEquals(namesBelow(folder), ["raw", "raw/train.parquet"]);
  assertEquals(await Deno.readFile(join(folder, "raw/train.parquet")), WEIGHTS);
  hub.requests.length = 0;
  await hubSnapshot(data, () => true);
  const gets = asked(hub).filter((line) => line.includes("resolve/"));
  assertEquals(gets, [`GET /datasets/owner/data/resolve/${hub.commit("owner/data")}/README.md`]);
  await assertRejects(
    () => hubSnapshot(data, () => false),
    Error,
    'dataset "owner/data": it has "README.md", "raw/train.parquet"',
  );
});

Deno.test("the token goes to the hub and to nobody else", () =>
  withHub({ repos: [{ ...MODEL, token: "hf_secret" }] }, async (hub, home) => {
    const error = await assertRejects(() => hubFile(repo, "config.json"), Error);
    assertMatch(error.message, /refuses the model "owner\/model" \(status 401\).*set HF_TOKEN to/);
    Deno.env.set("HF_TOKEN", "hf_wrong");
    const wrong = await assertRejects(() => hubFile(repo, "config.json"), Error, "the token may");
    assert(!wrong.message.includes("hf_wrong"));
    Deno.env.delete("HF_TOKEN");
    await Deno.mkdir(home, { recursive: true });
    await Deno.writeTextFile(join(home, "token"), "hf_secret\n");
    hub.requests.length = 0;
    await hubFile(repo, "config.json");
    await hubFile(repo, "model.safetensors");
    const seen = Map.groupBy(hub.requests, ({ server }) => server);
    assert(seen.get("hub")!.every(({ authorization }) => authorization === "Bearer hf_secret"));
    assertEquals(seen.get("storage")!.map(({ authorization }) => authorization), [null]);
    Deno.env.set("HF_TOKEN", "two words");
    await assertRejects(() => hubFile(repo, "config.json"), RangeError, "token");
  }));

Deno.test("a licence that was not accepted, and names that do not exist, are told apart", () =>
  withHub({ repos: [MODEL, { ...MODEL, id: "owner/gated", gated: true }] }, async (hub) => {
    await assertRejects(
      () => hubFile({ id: "owner/gated" }, "config.json"),
      Error,
      `accept the licence at "${hub.endpoint}/owner/gated"`,
    );
    await assertRejects(
      () => hubFile(repo, "missing.json"),
      Error,
      'The model "owner/model" has no file "missing.json" at revision "main"',
    );
    await assertRejects(
      () => hubFile({ id: "owner/none" }, "a"),
      Error,
      "there is none of this name",
    );
    hub.fail("owner/model", [{ status: 404 }], "api");
    await assertRejects(() => hubFiles(repo), Error, 'has no model "owner/model"');
  }));

onHub("a dropped connection is resumed where it broke", async (hub) => {
  hub.fail("model.safetensors", [{ dropAfter: 100_000 }, { dropAfter: 65_000 }]);
  const path = await hubFile(repo, "model.safetensors", quick);
  assertEquals(await Deno.readFile(path), WEIGHTS);
  const stored = hub.requests.filter(({ server }) => server === "storage");
  assertEquals(stored.map(({ range }) => range), [null, "bytes=100000-", "bytes=165000-"]);
  assertEquals(stored.map(({ sent }) => sent), [100_000, 65_000, 135_000]);
});

onHub("what a stopped download left is used by the next one", async (hub, home) => {
  const stop = new AbortController();
  hub.fail("model.safetensors", [{ stallAfter: 100_000 }]);
  const blobs = join(home, "hub", "models--owner--model", "blobs");
  const partial = () => {
    try {
      return [...Deno.readDirSync(blobs)].map(({ name }) =>
        Deno.statSync(join(blobs, name)).size
      )[0] ?? 0;
    } catch {
      return 0;
    }
  };
  const running = hubFile(repo, "model.safetensors", { signal: stop.signal });
  while (partial() < 100_000) await new Promise((resolve) => setTimeout(resolve, 5));
  stop.abort(new DOMException("The run was stopped", "AbortError"));
  await assertRejects(() => running, DOMException, "The run was stopped");
  hub.requests.length = 0;
  assertEquals(await Deno.readFile(await hubFile(repo, "model.safetensors")), WEIGHTS);
  assertEquals(hub.requests.at(-1)!.range, "bytes=100000-");
});

onHub("silence counts as a dropped connection", async (hub) => {
  Deno.env.set("HF_HUB_DOWNLOAD_TIMEOUT", "0.2");
  hub.fail("model.safetensors", [{ stallAfter: 50_000 }]);
  assertEquals(await Deno.readFile(await hubFile(repo, "model.safetensors", quick)), WEIGHTS);
  assertEquals(hub.requests.at(-1)!.range, "bytes=50000-");
});

onHub("a server that ignores or shifts the range does not spoil the file", async (hub) => {
  hub.fail("model.safetensors", [{ dropAfter: 100_000 }, { ignoreRange: true }]);
  assertEquals(await Deno.readFile(await hubFile(repo, "model.safetensors", quick)), WEIGHTS);
  const other = { id: "owner/data", kind: "dataset" } as const;
  hub.fail("raw/train.parquet", [{ dropAfter: 100_000 }, { shiftRange: 5 }]);
  assertEquals(await Deno.readFile(await hubFile(other, "raw/train.parquet", quick)), WEIGHTS);
});

onHub("a connection that always breaks is given up, and what came is kept", async (hub) => {
  hub.fail("model.safetensors", Array.from({ length: 5 }, () => ({ dropAfter: 20_000 })));
  await assertRejects(
    () => hubFile(repo, "model.safetensors", quick),
    Error,
    "cannot be reached for",
  );
  assertEquals(hub.requests.filter(({ server }) => server === "storage").length, 5);
  assertEquals(await Deno.readFile(await hubFile(repo, "model.safetensors")), WEIGHTS);
  assertEquals(hub.requests.at(-1)!.range, "bytes=100000-");
});

onHub("a wrong checksum is an error, and nothing of the file is kept", async (hub, home) => {
  for (const path of ["model.safetensors", "config.json"]) {
    hub.fail(path, [{ corrupt: true }]);
    await assertRejects(
      () => hubFile(repo, path),
      Error,
      `"${path}" of "owner/model" has the checksum`,
    );
    assertEquals(namesBelow(join(home, "hub", "models--owner--model", "blobs")), []);
  }
  assertEquals(await Deno.readFile(await hubFile(repo, "model.safetensors")), WEIGHTS);
});

onHub("a busy or broken hub is asked again, and named when it stays so", async (hub) => {
  const busy = { status: 429, headers: { "retry-after": "0.01" } };
  hub.fail("config.json", [busy, { status: 503 }], "head");
  hub.fail("config.json", [{ status: 500 }, busy]);
  await hubFile(repo, "config.json", quick);
  hub.fail("empty.txt", Array.from({ length: 5 }, () => ({ status: 502 })), "head");
  await assertRejects(() => hubFile(repo, "empty.txt", quick), Error, "answered 502");
  hub.fail("owner/model", [{ status: 500 }], "api");
  assertEquals((await hubFiles(repo, quick)).length, 4);
});

onHub("redirects that lead nowhere are errors", async (hub) => {
  hub.fail("config.json", [{ location: "file:///etc/passwd" }]);
  await assertRejects(() => hubFile(repo, "config.json"), Error, "which is no address");
  hub.fail("empty.txt", Array.from({ length: 20 }, () => ({ location: "empty.txt" })), "head");
  await assertRejects(() => hubFile(repo, "empty.txt"), Error, "more than 10 times");
});

onHub("offline, the cache answers and nothing is asked", async (hub) => {
  const path = await hubFile(repo, "model.safetensors");
  Deno.env.set("HF_HUB_OFFLINE", "1");
  hub.requests.length = 0;
  assertEquals(await hubFile(repo, "model.safetensors"), path);
  const [entry, ...more] = await hubFiles(repo);
  assertEquals([entry.path, entry.size, more], ["model.safetensors", WEIGHTS.length, []]);
  assertEquals(await hubSnapshot(repo, () => true), join(path, ".."));
  await assertRejects(() => hubFile(repo, "config.json"), Error, "HF_HUB_OFFLINE is set");
  await assertRejects(() => hubSnapshot(repo, (p) => p === "x"), Error, "the cached copy of");
  await assertRejects(() => hubFiles({ id: "owner/other" }), Error, "HF_HUB_OFFLINE is set");
  assertEquals(asked(hub), []);
});

onHub("a hub out of reach is named, unless the cache has the file", async () => {
  const path = await hubFile(repo, "config.json");
  const unused = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const endpoint = `http://127.0.0.1:${(unused.addr as Deno.NetAddr).port}`;
  unused.close();
  Deno.env.set("HF_ENDPOINT", endpoint);
  const { warn } = console;
  const notes: string[] = [];
  console.warn = (note) => notes.push(note);
  try {
    assertEquals(await hubFile(repo, "config.json", quick), path);
    assertEquals(await hubSnapshot(repo, () => true, quick), join(path, ".."));
  } finally {
    console.warn = warn;
  }
  assertEquals(
    notes.map((note) => note.includes('The copy of "owner/model" in the cache is used')),
    [
      true,
      true,
    ],
  );
  await assertRejects(() => hubFile(repo, "empty.txt", quick), Error, `"${endpoint}" cannot be`);
  Deno.env.set("HF_ENDPOINT", "huggingface.co");
  await assertRejects(
    () => hubFile(repo, "config.json"),
    RangeError,
    'HF_ENDPOINT is "huggingface.co"',
  );
});

onHub(
  "names that could leave the cache are refused before anything is asked",
  async (hub, home) => {
    const paths = [
      "../a",
      "a/../../b",
      "/etc/passwd",
      "a//b",
      "C:/a",
      "a\\b",
      "",
      ".",
      "a/",
      "a\0b",
    ];
    for (const path of paths) {
      await assertRejects(() => hubFile(repo, path), RangeError, "is no file");
      await assertRejects(
        () => hubFile({ ...repo, revision: path }, "a"),
        RangeError,
        "is no revision",
      );
    }
    for (
      const id of ["", "..", "../a", "a/b/c", "a--b", "a b", "/a", "a/", ".a/b", "a/b.git", "a\n"]
    ) {
      await assertRejects(() => hubFile({ id }, "config.json"), RangeError, "is no repository");
    }
    assertEquals(asked(hub), []);
    assert(!await Deno.stat(home).catch(() => false));
  },
);

Deno.test("a listing that names a path outside the repository is refused", () =>
  withHub(
    { repos: [{ id: "a/hostile", files: { "../../../outside.txt": "x" } }] },
    async (_, home) => {
      await assertRejects(
        () => hubSnapshot({ id: "a/hostile" }, () => true),
        RangeError,
        '"../../../o',
      );
      assert(!await Deno.stat(home).catch(() => false), "nothing is written");
    },
  ));

onHub("an answer that is not a hub's is refused", async (hub, home) => {
  hub.fail("config.json", [{ status: 200, headers: { "x-repo-commit": "../../.." } }], "head");
  await assertRejects(() => hubFile(repo, "config.json"), Error, "names no commit");
  const headers = { "x-repo-commit": "0".repeat(40), "x-linked-size": "4" };
  for (const etag of ["../../../evil", "", '"abc"']) {
    hub.fail("config.json", [{ status: 200, headers: { ...headers, etag } }], "head");
    await assertRejects(() => hubFile(repo, "config.json"), Error, "gives no SHA-1 or SHA-256");
  }
  assert(!await Deno.stat(home).catch(() => false), "nothing is written");
});

onHub("several calls at once for one file fetch it once", async (hub) => {
  const paths = await Promise.all(
    Array.from({ length: 4 }, () => hubFile(repo, "model.safetensors")),
  );
  assertEquals(new Set(paths).size, 1);
  assertEquals(await Deno.readFile(paths[0]), WEIGHTS);
  assertEquals(hub.requests.filter(({ server }) => server === "storage").length, 1);
});

onHub("two processes that want one file fetch it once", async (hub) => {
  // While the first one waits to go on, the second one arrives.
  hub.fail("model.safetensors", [{ dropAfter: 100_000 }]);
  const module = new URL("../../lib/hub/mod.ts", import.meta.url);
  const code = `import { hubFile } from "${module}";
    console.log(await hubFile({ id: "owner/model" }, "model.safetensors"));`;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const outputs = await Promise.all(
    [1, 2].map(() =>
      new Deno.Command(Deno.execPath(), { args: ["eval", "-q", "--config", config, code] }).output()
    ),
  );
  const [a, b] = outputs.map(({ stdout }) => new TextDecoder().decode(stdout).trim());
  assertEquals(a, b);
  assertEquals(await Deno.readFile(a), WEIGHTS);
  const ranges = hub.requests.filter(({ server }) => server === "storage").map(({ range }) =>
    range
  );
  assertEquals(ranges, [null, "bytes=100000-"]);
});

onHub("a file that is not as long as the hub says is refused", async (hub, home) => {
  const commit = hub.commit("owner/model");
  const [{ sha256 }] = (await hubFiles(repo)).filter(({ path }) => path === "model.safetensors");
  const says = (bytes: number) => [{
    status: 200,
    headers: {
      "x-repo-commit": commit,
      "x-linked-etag": `"${sha256}"`,
      "x-linked-size": `${bytes}`,
    },
  }];
  hub.fail("model.safetensors", says(1000), "head");
  await assertRejects(() => hubFile(repo, "model.safetensors"), Error, "more than the 1000 bytes");
  hub.fail("model.safetensors", says(WEIGHTS.length + 1), "head");
  await assertRejects(() => hubFile(repo, "model.safetensors", quick), Error, "answered 416");
  hub.fail("model.safetensors", says(1e15), "head");
  await assertRejects(() => hubFile(repo, "model.safetensors"), Error, "needs 1.00e+6 GB");
  assertEquals(namesBelow(home).filter((name) => name.endsWith(".safetensors")), []);
});

onHub("the cache lies where the environment says", async (_, home) => {
  const at = async () => (await hubFile(repo, "config.json")).split("models--")[0];
  Deno.env.set("HF_HUB_CACHE", join(home, "elsewhere"));
  assertEquals(await at(), join(home, "elsewhere/"));
  Deno.env.delete("HF_HUB_CACHE");
  assertEquals(await at(), join(home, "hub/"));
  Deno.env.delete("HF_HOME");
  Deno.env.set("XDG_CACHE_HOME", home);
  assertEquals(await at(), join(home, "huggingface/hub/"));
  Deno.env.set("HF_HOME", "~/nowhere");
  Deno.env.set("TRANSFORMERS_OFFLINE", "1");
  const error = await assertRejects(() => hubFile(repo, "config.json"), Error);
  assertMatch(error.message, /\("[^~"]+nowhere.hub" was looked in\)/);
});

Deno.test("a long download shows one line that counts the bytes of all files", () => {
  const part = new Uint8Array(6_000_000);
  const files = { "a.bin": part, "b.bin": part.with(0, 1), "c.txt": "small" };
  return withHub({ repos: [{ id: "owner/big", files }] }, async () => {
    const { writeSync } = Deno.stderr;
    let shown = "";
    Deno.stderr.writeSync = (bytes) => {
      shown += new TextDecoder().decode(bytes);
      return bytes.length;
    };
    try {
      await hubSnapshot({ id: "owner/big" }, () => true);
    } finally {
      Deno.stderr.writeSync = writeSync;
    }
    assertMatch(shown, /Downloading owner\/big: 12 MB in .*\n$/);
  });
});

onHub("without symbolic links the snapshot holds the files themselves", async (hub) => {
  const { symlink } = Deno;
  Deno.symlink = () => Promise.reject(new Deno.errors.NotSupported("no links here"));
  try {
    const path = await hubFile(repo, "model.safetensors");
    assert((await Deno.lstat(path)).isFile);
    assertEquals(await Deno.readFile(path), WEIGHTS);
    hub.requests.length = 0;
    assertEquals(await hubFile(repo, "model.safetensors"), path);
    assertEquals(asked(hub).length, 1);
  } finally {
    Deno.symlink = symlink;
  }
});
