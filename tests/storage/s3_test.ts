import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { run } from "../../lib/cli/command.ts";
import { sha256 } from "../../lib/files/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { namesBelow } from "../files/scratch.ts";
import { s3Test, someBytes, withEnvironment } from "./places.ts";
import type { Fault } from "./s3_proxy.ts";

const probe = new URL("./kill_probe.ts", import.meta.url).pathname;

s3Test("every call survives two answers of 500", async ({ proxy, open, folder }) => {
  const storage = open();
  const twice = () => [{ status: 500 }, { status: 503, code: "SlowDown" }];
  for (const method of ["PUT", "HEAD", "GET", "DELETE"]) proxy.fail(method, "", twice());
  await storage.write("a", "content");
  assertEquals(await storage.stat("a"), { size: 7 });
  assertEquals(new TextDecoder().decode(await storage.read("a")), "content");
  proxy.fail("GET", "list-type", twice());
  assertEquals(await Array.fromAsync(storage.list("")), [{ key: "a", size: 7 }]);
  proxy.fail("GET", "/a", twice());
  await storage.download("a", join(folder, "a"));
  await storage.remove("a");
  assertEquals(await storage.stat("a"), undefined);
});

s3Test(
  "every request of an upload in parts survives two answers of 500",
  async ({ proxy, open, folder }) => {
    const storage = open();
    const bytes = someBytes(17 << 20);
    await Deno.writeFile(join(folder, "up"), bytes);
    const twice = () => [{ status: 500 }, { status: 500 }];
    proxy.fail("POST", "uploads", twice());
    for (const part of [1, 2, 3]) proxy.fail("PUT", `partNumber=${part}`, twice());
    proxy.fail("POST", "uploadId", twice());
    await storage.upload(join(folder, "up"), "a");
    assertEquals(await sha256(await storage.read("a")), await sha256(bytes));
  },
);

s3Test("an upload whose last answer was lost is done", async ({ proxy, open, folder }) => {
  const storage = open();
  const bytes = someBytes(9 << 20);
  await Deno.writeFile(join(folder, "up"), bytes);
  proxy.fail("POST", "uploadId", [{ loseAnswer: true }]);
  await storage.upload(join(folder, "up"), "a");
  assertEquals(await sha256(await storage.read("a")), await sha256(bytes));
});

s3Test(
  "a server that keeps failing gives one sentence, after the attempts that were asked for",
  async ({ proxy, open }) => {
    const always = Array.from({ length: 9 }, (): Fault => ({ status: 503, code: "SlowDown" }));
    proxy.fail("GET", "", always);
    const error = await assertRejects(() => open().read("a"), Error);
    assertEquals(
      error.message,
      `"${proxy.endpoint}" answered 503 (SlowDown) 3 times: it has a problem or is asked too often; ` +
        `run this again later (reading "a")`,
    );
    assertEquals(proxy.requests.length, 3);
  },
);

s3Test(
  "a server that never answers is given up, and one that does so once is asked again",
  async ({ proxy, open, folder }) => {
    const storage = open({ attempts: 3, patience: 1000 });
    proxy.fail("PUT", "", [{ silent: true }]);
    await storage.write("a", "content");
    proxy.fail("GET", "", [{ silent: true }]);
    assertEquals(new TextDecoder().decode(await storage.read("a")), "content");
    const always: Fault[] = [{ silent: true }, { silent: true }, { silent: true }];
    proxy.fail("HEAD", "", always);
    await assertRejects(() => storage.stat("a"), Error, "cannot be reached 3 times");
    proxy.fail("GET", "", always);
    await assertRejects(() => storage.download("a", join(folder, "a")), Error, "cannot be reached");
    assertEquals(namesBelow(folder), []);
  },
);

s3Test(
  "an upload that is never answered leaves nothing visible",
  async ({ proxy, open, folder }) => {
    await Deno.writeFile(join(folder, "up"), someBytes(9 << 20));
    const storage = open({ attempts: 1, patience: 3000 });
    proxy.fail("PUT", "partNumber=2", [{ silent: true }]);
    await assertRejects(() => storage.upload(join(folder, "up"), "a"), Error, "cannot be reached");
    assertEquals(await open().stat("a"), undefined);
    assertEquals(await Array.fromAsync(open().list("")), []);
    assert(proxy.requests.some(({ method }) => method === "DELETE"), "its parts are removed");
  },
);

for (const [name, fault] of [["dropped", "dropAfter"], ["silent", "stallAfter"]] as const) {
  s3Test(
    `reading goes on where a connection was ${name} in mid-object`,
    async ({ proxy, open, folder }) => {
      const bytes = someBytes(3_000_000);
      await open().write("a", bytes);
      const storage = open({ patience: 2000 });
      proxy.fail("GET", "", [{ [fault]: 1_000_000 } as Fault, { [fault]: 500_000 } as Fault]);
      proxy.requests.length = 0;
      await storage.download("a", join(folder, "a"));
      assertEquals(await sha256(await Deno.readFile(join(folder, "a"))), await sha256(bytes));
      const starts = proxy.requests.map(({ range }) =>
        Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1])
      );
      assertEquals(starts.length, 3);
      assert(Number.isNaN(starts[0]), "the first request asks for all");
      // What had arrived when the connection broke may be less than what was sent.
      assert(0 < starts[1] && starts[1] <= 1_000_000, `${starts}`);
      assert(starts[1] < starts[2] && starts[2] <= 1_500_000, `${starts}`);

      proxy.fail("GET", "", [{ [fault]: 100_000 } as Fault]);
      const range = { start: 1000, end: 900_000 };
      assertEquals(
        await sha256(await storage.read("a", range)),
        await sha256(bytes.slice(1000, 900_000)),
      );
    },
  );
}

s3Test(
  "an object is read whole where the server does not say how long it is",
  async ({ proxy, open, folder }) => {
    const bytes = someBytes(300_000);
    const storage = open();
    await storage.write("a", bytes);
    const sum = await sha256(bytes);
    proxy.fail("GET", "", [{ noLength: true }]);
    proxy.requests.length = 0;
    assertEquals(await sha256(await storage.read("a")), sum);
    assertEquals(proxy.requests.length, 1);
    proxy.fail("GET", "", [{ dropAfter: 100_000, noLength: true }, { noLength: true }]);
    await storage.download("a", join(folder, "a"));
    assertEquals(await sha256(await Deno.readFile(join(folder, "a"))), sum);
    assertEquals(proxy.requests.length, 3);
    proxy.fail("GET", "", [{ noLength: true }]);
    const end = await storage.read("a", { start: 299_990, end: 400_000 });
    assertEquals(end, bytes.slice(299_990));
  },
);

s3Test(
  "connections that drop without bringing anything are given up",
  async ({ proxy, open, folder }) => {
    await open().write("a", someBytes(100_000));
    proxy.fail("GET", "", Array.from({ length: 5 }, (): Fault => ({ dropAfter: 1 })));
    proxy.requests.length = 0;
    await assertRejects(
      () => open().download("a", join(folder, "a")),
      Error,
      "cannot be reached 3 times",
    );
    assertEquals(proxy.requests.length, 3);
    assertEquals(namesBelow(folder), []);
  },
);

s3Test(
  "connections may drop as often as they like while each brings a megabyte",
  async ({ proxy, open, folder }) => {
    const bytes = someBytes(12 << 20);
    await open().write("a", bytes);
    proxy.fail("GET", "", Array.from({ length: 5 }, (): Fault => ({ dropAfter: 2_200_000 })));
    await open().download("a", join(folder, "a"));
    assertEquals(await sha256(await Deno.readFile(join(folder, "a"))), await sha256(bytes));
  },
);

s3Test(
  "wrong bytes are noticed and read again, and refused if they stay wrong",
  async ({ proxy, open, folder }) => {
    const storage = open();
    const bytes = someBytes(100_000);
    await storage.write("a", bytes);
    for (
      const read of [
        () => storage.read("a"),
        async () => {
          await storage.download("a", join(folder, "a"));
          return await Deno.readFile(join(folder, "a"));
        },
      ]
    ) {
      proxy.fail("GET", "", [{ wrong: true }]);
      assertEquals(await sha256(await read()), await sha256(bytes));
      proxy.fail("GET", "", [{ wrong: true }, { wrong: true }]);
      await assertRejects(read, Error, `/a" `);
    }
    assertEquals(namesBelow(folder), ["a"]);
    assertEquals(await sha256(await Deno.readFile(join(folder, "a"))), await sha256(bytes));
  },
);

s3Test(
  "wrong bytes behind a dropped connection are noticed, though no checksum covers a part",
  async ({ proxy, open, folder }) => {
    const storage = open();
    const bytes = someBytes(300_000);
    await storage.write("a", bytes);
    const drop: Fault[] = [{ dropAfter: 100_000 }, { wrong: true }];
    proxy.fail("GET", "", [...drop, ...drop]);
    await assertRejects(() => storage.download("a", join(folder, "a")), Error, "was expected");
    proxy.fail("GET", "", drop);
    await storage.download("a", join(folder, "a"));
    assertEquals(await sha256(await Deno.readFile(join(folder, "a"))), await sha256(bytes));
  },
);

s3Test(
  "an object that is replaced while it is read comes whole, as the one or the other",
  async ({ proxy, open, folder }) => {
    const storage = open();
    const [first, second] = [someBytes(300_000), someBytes(300_000, 2)];
    await storage.write("a", first);
    proxy.fail("GET", "", [
      { dropAfter: 100_000 },
      { before: () => open().write("a", second) },
    ]);
    await storage.download("a", join(folder, "a"));
    assertEquals(await sha256(await Deno.readFile(join(folder, "a"))), await sha256(second));
  },
);

s3Test(
  "a download that is stopped in mid-object ends at once and leaves nothing",
  async ({ proxy, open, folder }) => {
    await open().write("a", someBytes(1_000_000));
    proxy.fail("GET", "", [{ stallAfter: 300_000 }]);
    const stop = new AbortController();
    const download = open()
      .download("a", join(folder, "a"), { signal: stop.signal });
    const timer = setInterval(() => {
      const temporary = namesBelow(folder).find((name) => name.endsWith(".tmp"));
      if (temporary && Deno.statSync(join(folder, temporary)).size > 0) {
        stop.abort(new Error("Stopped"));
      }
    }, 10);
    await assertRejects(() => download, Error, "Stopped");
    clearInterval(timer);
    assertEquals(namesBelow(folder), []);
  },
);

s3Test(
  "an upload that is stopped between two parts leaves no part",
  async ({ proxy, open, folder }) => {
    await Deno.writeFile(join(folder, "up"), someBytes(50 << 20));
    const stop = new AbortController();
    proxy.fail("PUT", "partNumber=1", [{
      before: () => Promise.resolve(stop.abort(new Error("Stopped"))),
    }]);
    const storage = open();
    await assertRejects(
      () => storage.upload(join(folder, "up"), "a", { signal: stop.signal }),
      Error,
      "Stopped",
    );
    assertEquals(await storage.stat("a"), undefined);
    assert(proxy.requests.some(({ method }) => method === "DELETE"), "its parts are removed");
  },
);

s3Test(
  "a writer that is killed in mid-object leaves nothing visible, and the next one is not in its way",
  async ({ proxy, open, place, folder, env }) => {
    const bytes = someBytes(17 << 20);
    await Deno.writeFile(join(folder, "up"), bytes);
    const inTheMiddle = Promise.withResolvers<void>();
    proxy.fail("PUT", "partNumber=3", [
      { before: () => (inTheMiddle.resolve(), new Promise((resolve) => setTimeout(resolve, 500))) },
    ]);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", probe, place, join(folder, "up"), "a"],
      env,
      stdout: "null",
      stderr: "null",
    }).spawn();
    await Promise.race([inTheMiddle.promise, child.status]);
    child.kill("SIGKILL");
    await child.status;
    const storage = open();
    assertEquals(await storage.stat("a"), undefined);
    assertEquals(await Array.fromAsync(storage.list("")), []);
    await storage.upload(join(folder, "up"), "a");
    assertEquals(await sha256(await storage.read("a")), await sha256(bytes));
  },
);

s3Test("a file that is there already is not sent again", async ({ proxy, open, folder }) => {
  const storage = open();
  await Deno.writeFile(join(folder, "up"), someBytes(1000));
  await storage.upload(join(folder, "up"), "a");
  proxy.requests.length = 0;
  await storage.upload(join(folder, "up"), "a");
  assertEquals(proxy.requests.map(({ method }) => method), ["HEAD"]);
  await Deno.writeFile(join(folder, "up"), someBytes(1000, 2));
  await storage.upload(join(folder, "up"), "a");
  assertEquals(await sha256(await storage.read("a")), await sha256(someBytes(1000, 2)));
});

s3Test(
  "a file that changes while it goes up is not there then",
  async ({ proxy, open, folder }) => {
    await Deno.writeFile(join(folder, "up"), someBytes(50 << 20));
    proxy.fail("POST", "uploads", [{
      before: async () => {
        using file = await Deno.open(join(folder, "up"), { write: true });
        await file.seek(49 << 20, Deno.SeekMode.Start);
        await file.write(new Uint8Array(100));
      },
    }]);
    const storage = open();
    await assertRejects(() => storage.upload(join(folder, "up"), "a"), Error, "was changed while");
    assertEquals(await storage.stat("a"), undefined);
  },
);

s3Test(
  "objects of others are read, and passed over where their names are no keys",
  async ({ server, open, place }) => {
    const at = `${server}/${place.slice("s3://".length)}`;
    for (const name of ["folder/", "folder//x", "folder/ok", "a\\b"]) {
      const answer = await fetch(`${at}/${encodeURIComponent(name)}`, { method: "PUT", body: "x" });
      await answer.body?.cancel();
      assert(answer.ok, name);
    }
    assertEquals(await Array.fromAsync(open().list(""), ({ key }) => key), ["folder/ok"]);
    assertEquals(new TextDecoder().decode(await open().read("folder/ok")), "x");
  },
);

s3Test("more objects than one answer lists are listed", async ({ server, open, place }) => {
  const at = `${server}/${place.slice("s3://".length)}`;
  const names = Array.from({ length: 1003 }, (_, i) => `n/${String(i).padStart(4, "0")}`);
  for (let i = 0; i < names.length; i += 50) {
    await Promise.all(
      names.slice(i, i + 50).map(async (name) => {
        const answer = await fetch(`${at}/${name}`, { method: "PUT", body: "x" });
        await answer.body?.cancel();
      }),
    );
  }
  assertEquals(await Array.fromAsync(open().list("n/"), ({ key }) => key), names);
});

s3Test(
  "what is wrong with a place is one sentence that says what to do",
  async ({ proxy, open, place, env, folder }) => {
    const said = async (attempt: () => Promise<unknown>): Promise<string> => {
      const { message } = await assertRejects(attempt, Error);
      assert(!message.includes("\n"), message);
      return message;
    };
    const server = `"${proxy.endpoint}"`;
    const none = openStorage("s3://no-such-bucket/a");
    for (
      const attempt of [
        () => none.read("x"),
        () => none.stat("x"),
        () => none.write("x", "x"),
        () => Array.fromAsync(none.list("")),
      ]
    ) assertStringIncludes(await said(attempt), `${server} has no bucket "no-such-bucket"`);

    proxy.fail("GET", "", [{ status: 403, code: "AccessDenied" }]);
    assertStringIncludes(
      await said(() => open().read("x")),
      `${server} denies access to "${place}"`,
    );
    proxy.fail("HEAD", "", [{ status: 403 }]);
    assertStringIncludes(
      await said(() => open().stat("x")),
      `${server} denies access to "${place}"`,
    );

    await withEnvironment({ ...env, AWS_ENDPOINT_URL_S3: "http://127.0.0.1:1" }, async () => {
      assertStringIncludes(
        await said(() => open({ attempts: 2 }).read("x")),
        `"http://127.0.0.1:1" cannot be reached 2 times (connect ECONNREFUSED 127.0.0.1:1): check`,
      );
    });
    const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...without } = env;
    await withEnvironment(without, async () => {
      assertStringIncludes(await said(() => open().read("x")), `no credentials for "${place}"`);
    });
    await withEnvironment({ AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" }, async () => {
      assertStringIncludes(await said(() => open().read("x")), "set AWS_REGION");
    });
    await withEnvironment({ AWS_ENDPOINT_URL: "objects.example.org" }, async () => {
      assertStringIncludes(
        await said(() => Promise.resolve().then(() => open())),
        `AWS_ENDPOINT_URL is "objects.example.org": expected an address`,
      );
    });
    // From here on the real server asks who it is.
    const strict = async (count: string) => {
      const answer = await fetch(`${proxy.endpoint}/moto-api/reset-auth`, {
        method: "POST",
        body: count,
      });
      await answer.body?.cancel();
    };
    await strict("0");
    try {
      const message = await said(() => open().read("x"));
      assertStringIncludes(
        message,
        `${server} does not accept the credentials (InvalidAccessKeyId)`,
      );
    } finally {
      await strict("1000000000");
    }
    assertEquals(namesBelow(folder), []);
  },
);

Deno.test("opening a folder, or naming a bucket, loads no client of object stores", async () => {
  const storage = new URL("../../lib/storage/mod.ts", import.meta.url).href;
  const code = `
    import { createRequire } from "node:module";
    import { openStorage } from "${storage}";
    const loaded = () => Object.keys(createRequire("${import.meta.url}").cache)
      .filter((name) => name.includes("aws-sdk")).length;
    await openStorage(".").stat("deno.json");
    const storage = openStorage("s3://bucket/prefix", { attempts: 1 });
    console.log(loaded() > 0);
    await storage.stat("a").catch(() => {});
    console.log(loaded() > 0);
  `;
  const env = { AWS_ENDPOINT_URL: "http://127.0.0.1:1", AWS_EC2_METADATA_DISABLED: "true" };
  assertEquals(await run(Deno.execPath(), ["eval", "--no-check", code], { env }), "false\ntrue\n");
});

s3Test(
  "credentials come from a profile of the standard files, too",
  async ({ open, env, folder }) => {
    const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...without } = env;
    const file = join(folder, "credentials");
    await Deno.writeTextFile(file, "[lab]\naws_access_key_id = a\naws_secret_access_key = b\n");
    const profile = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: "lab" };
    await withEnvironment({ ...without, ...profile }, async () => {
      await open().write("a", "x");
      assertEquals(await open().stat("a"), { size: 1 });
    });
  },
);
