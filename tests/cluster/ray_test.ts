import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import {
  type Engine,
  EngineUnavailable,
  type Job,
  type JobState,
} from "../../lib/cluster/engine.ts";
import { rayEngine } from "../../lib/cluster/ray.ts";
import { readSources } from "../../lib/cluster/versions.ts";
import { ROOT } from "../../lib/files/mod.ts";
import { which } from "../../lib/cli/command.ts";
import { services } from "../services.ts";
import { type RayCluster, startRay } from "./ray_head.ts";

const ray = await services();
const openssl = await which("openssl");

let cluster: RayCluster;

/** A test on one cluster of two nodes, which the first of them starts. */
function rayTest(name: string, fn: () => Promise<void>, ignore = false): void {
  Deno.test({ name, fn, ignore: !ray || ignore });
}

if (ray) {
  Deno.test.beforeAll(async () => void (cluster = await startRay({ nodes: 2 })));
  Deno.test.afterAll(() => cluster.stop());
}

let count = 0;

function job(command: string[], more: Partial<Job> = {}): Job {
  return { id: `test-${++count}`, command, env: {}, resources: { cpus: 1 }, avoid: [], ...more };
}

function script(text: string, more: Partial<Job> = {}): Job {
  return job(["sh", "-c", text], more);
}

/** Waits until a job is in another state than those. */
async function after(
  engine: Engine,
  id: string,
  ...states: JobState["state"][]
): Promise<JobState> {
  for (const limit = performance.now() + 180_000;;) {
    const state = await engine.state(id);
    if (!states.includes(state.state)) return state;
    assert(performance.now() < limit, `"${id}" is ${state.state} for three minutes`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function end(engine: Engine, id: string): Promise<JobState> {
  return after(engine, id, "pending", "running");
}

/** A proxy before the head that counts what it passes on. */
function proxy(options: { token?: string; cert?: string; key?: string } = {}) {
  const requests: string[] = [];
  const { cert, key } = options;
  const server = Deno.serve(
    {
      ...{ port: 0, hostname: "127.0.0.1", onListen() {} },
      ...cert !== undefined && key !== undefined ? { cert, key } : {},
    },
    async (request) => {
      const { pathname, search } = new URL(request.url);
      requests.push(`${request.method} ${pathname}`);
      if (options.token && request.headers.get("authorization") !== options.token) {
        return new Response("Unauthorized", { status: 401 });
      }
      const body = request.body && await request.bytes();
      const { method } = request;
      const answer = await fetch(cluster.address + pathname + search, { method, body });
      return new Response(await answer.bytes(), { status: answer.status });
    },
  );
  return {
    address: `${cert ? "https://localhost" : "http://127.0.0.1"}:${server.addr.port}`,
    requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** Where jobs of a test leave something. */
async function folder(): Promise<AsyncDisposable & { path: string; read(name: string): string }> {
  const path = await Deno.makeTempDir();
  return {
    path,
    read: (name) => Deno.readTextFileSync(join(path, name)),
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

rayTest("four jobs run on both nodes, and what they print can be read", async () => {
  await using engine = rayEngine(cluster.address);
  const jobs = [0, 1, 2, 3].map((i) => script(`echo "this is ${i}"; sleep 1`));
  await Promise.all(jobs.map((job) => engine.submit(job)));
  const ends = await Promise.all(jobs.map(({ id }) => end(engine, id)));
  assertEquals(ends.map(({ state }) => state), Array(4).fill("succeeded"));
  assertEquals(new Set(ends.map(({ node }) => node)), new Set(cluster.nodes));
  for (const [i, { id }] of jobs.entries()) {
    const log = await engine.log(id, 4096);
    assertStringIncludes(log, `this is ${i}\n`);
    assertEquals(await engine.log(id, 5), log.slice(-5));
    await engine.forget(id);
    assertEquals(await engine.state(id), { state: "unknown" });
  }
});

rayTest(
  "arguments and variables arrive as they were given, those of a job before those of all",
  async () => {
    await using place = await folder();
    const hostile = `it's "$HOME" \${HOME} $(date) \\ \n\n ünïcode ☃ \n`;
    const env = { TEST_FOR_ALL: hostile, TEST_OUT: `${place.path}/out`, TEST_BOTH: "all" };
    await using engine = rayEngine(cluster.address, { env });
    const text = 'printf "%s|%s|%s|%s" "$1" "$TEST_FOR_ALL" "$TEST_BOTH" "$TEST_OWN" > "$TEST_OUT"';
    const one = job(["sh", "-c", text, "sh", hostile], {
      env: { TEST_BOTH: "own", TEST_OWN: hostile },
    });
    await engine.submit(one);
    assertEquals((await end(engine, one.id)).state, "succeeded");
    assertEquals(place.read("out"), [hostile, hostile, "own", hostile].join("|"));
    assert(!(await engine.log(one.id, 1e5)).includes(place.path), "a variable is in the log");
  },
);

rayTest("the same id twice is one job", async () => {
  await using place = await folder();
  await using engine = rayEngine(cluster.address);
  await using other = rayEngine(cluster.address);
  const one = script(`echo started >> '${place.path}/out'; sleep 1`);
  await Promise.all([engine.submit(one), other.submit(one)]);
  await engine.submit(one);
  assertEquals((await end(other, one.id)).state, "succeeded");
  await engine.submit(one);
  assertEquals((await engine.state(one.id)).state, "succeeded");
  assertEquals(place.read("out"), "started\n");
});

rayTest(
  "of a job that nobody knows there is no state and no log, and ending it does nothing",
  async () => {
    await using engine = rayEngine(cluster.address);
    assertEquals(await engine.state("nobody/knows it"), { state: "unknown" });
    assertEquals(await engine.log("nobody-knows-it", 100), "");
    await engine.stop("nobody-knows-it");
    await engine.forget("nobody-knows-it");
  },
);

rayTest("a job that fails says how, and on which node", async () => {
  await using engine = rayEngine(cluster.address);
  const one = script("seq 2000; echo 'no space' >&2; exit 3");
  await engine.submit(one);
  const { state, node, message } = await end(engine, one.id);
  assertEquals([state, message], ["failed", "It ended with exit code 3"]);
  assert(cluster.nodes.includes(node!));
  assertEquals(await engine.log(one.id, 19), "1999\n2000\nno space\n".slice(-19));
  const brief = script("echo brief; exit 1");
  await engine.submit(brief);
  await end(engine, brief.id);
  // Nothing of Ray's own, and nothing of the command.
  assertEquals(await engine.log(brief.id, 4096), "brief\n");
  const nothing = job(["no-such-program"]);
  await engine.submit(nothing);
  assertEquals((await end(engine, nothing.id)).message, "It ended with exit code 127");
});

rayTest(
  "a job that is stopped may finish what it does; one that waits need not begin",
  async () => {
    await using place = await folder();
    await using engine = rayEngine(cluster.address);
    // A signal reaches the shell and its `sleep`.
    const save =
      `trap 'sleep 4; echo saved > ${place.path}/out; exit 0' TERM; touch ${place.path}/on; ` +
      "while true; do sleep 0.1; done";
    const one = script(save, { resources: { cpus: 1 } });
    const filler = script("sleep 100");
    const waiting = script(`touch ${place.path}/began`);
    await engine.submit(one);
    await engine.submit(filler);
    await after(engine, one.id, "pending");
    await after(engine, filler.id, "pending");
    while (![...Deno.readDirSync(place.path)].length) await new Promise((r) => setTimeout(r, 50));
    await engine.submit(waiting);
    await engine.stop(waiting.id);
    assertEquals((await engine.state(waiting.id)).state, "stopped");
    await engine.stop(one.id);
    await engine.stop(filler.id);
    assertEquals((await end(engine, one.id)).state, "stopped");
    assertEquals(place.read("out"), "saved\n");
    assertEquals((await end(engine, filler.id)).state, "stopped");
    // Once forgotten, the same id is a new job.
    await engine.forget(one.id);
    await engine.submit({ ...one, command: ["true"] });
    assertEquals((await end(engine, one.id)).state, "succeeded");
  },
);

rayTest("a job avoids the nodes that it names, unless it would have none", async () => {
  await using engine = rayEngine(cluster.address);
  for (const avoided of cluster.nodes) {
    const one = job(["true"], { avoid: ["0123abcd".repeat(7), avoided] });
    await engine.submit(one);
    const { state, node } = await end(engine, one.id);
    assertEquals(state, "succeeded");
    assert(node !== avoided, "it ran where it should not");
  }
  const nowhere = job(["true"], { avoid: [...cluster.nodes] });
  await engine.submit(nowhere);
  assertEquals((await end(engine, nowhere.id)).state, "succeeded");
});

rayTest(
  "the project is uploaded once, and every node says from it that it has the driver's versions",
  async () => {
    await using before = proxy();
    await using engine = rayEngine(before.address);
    await engine.check();
    await engine.check();
    const uploads = before.requests.filter((request) => request.startsWith("PUT"));
    assertEquals(uploads.length, 1);
    assertMatch(uploads[0], /^PUT \/api\/packages\/gcs\/_ray_pkg_[0-9a-f]{32}\.zip$/);
    const asked = before.requests.filter((request) => request === "POST /api/jobs/");
    assertEquals(asked.length, 2 * cluster.nodes.length);
  },
);

rayTest(
  "nodes whose project differs are named before work starts, and no unit runs there",
  async () => {
    await using place = await folder();
    for (const [path, content] of await readSources()) {
      await Deno.mkdir(join(place.path, path, ".."), { recursive: true });
      await Deno.writeFile(join(place.path, path), content);
    }
    await using engine = rayEngine(cluster.address, { project: place.path });
    await engine.check();
    await Deno.writeTextFile(join(place.path, "lib", "mod.ts"), "// edited\n", { append: true });
    const error = await assertRejects(() => engine.check(), Error);
    assertStringIncludes(error.message, "2 of 2 nodes of the Ray cluster");
    for (const node of cluster.nodes) assertStringIncludes(error.message, node.slice(0, 8));
    assertMatch(error.message, /sources [0-9a-f]{12} in place of [0-9a-f]{12}/);
    const one = job(["deno", "eval", "1"]);
    await engine.submit(one);
    assertEquals((await end(engine, one.id)).state, "failed");
    assertStringIncludes(await engine.log(one.id, 4096), "bring it to the same state");
    await using nowhere = rayEngine(cluster.address, { project: `${place.path}/nowhere` });
    const missing = await assertRejects(() => nowhere.check(), Error);
    assertStringIncludes(missing.message, `${place.path}/nowhere`);
  },
);

rayTest("Deno runs in the folder of the project, set up, in the driver's version", async () => {
  await using engine = rayEngine(cluster.address, { project: ROOT });
  const one = job(["deno", "eval", "console.log(Deno.cwd(), Deno.version.deno)"]);
  await engine.submit(one);
  assertEquals((await end(engine, one.id)).state, "succeeded", await engine.log(one.id, 4096));
  const { deno } = Deno.version;
  assertEquals((await engine.log(one.id, 4096)).split("\n").at(-2), `${ROOT} ${deno}`);
});

rayTest("headers are sent with every request, and a head that wants others says so", async () => {
  await using before = proxy({ token: "Bearer 5ecret" });
  await using engine = rayEngine(before.address, { headers: { authorization: "Bearer 5ecret" } });
  const one = job(["true"]);
  await engine.submit(one);
  assertEquals((await end(engine, one.id)).state, "succeeded");
  await engine.log(one.id, 10);
  await engine.forget(one.id);
  await using without = rayEngine(before.address);
  for (const ask of [() => without.check(), () => without.submit(one), () => without.state("a")]) {
    const error = await assertRejects(ask, Error, "refuses with 401");
    assert(!(error instanceof EngineUnavailable));
  }
});

rayTest(
  "over TLS, the certificate must come from an authority that is trusted or given",
  async () => {
    await using place = await folder();
    const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(place.path, name));
    const { success } = await new Deno.Command(openssl!, {
      args: [
        ...[
          "req",
          "-x509",
          "-newkey",
          "rsa:2048",
          "-nodes",
          "-days",
          "2",
          "-subj",
          "/CN=localhost",
        ],
        ...["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        // rustls takes a certificate as its own authority only if it is marked as none.
        ...["-addext", "basicConstraints=critical,CA:FALSE"],
      ],
      stderr: "null",
    }).output();
    assert(success);
    await using before = proxy({ key: place.read("key.pem"), cert: place.read("cert.pem") });
    await using engine = rayEngine(before.address, { ca: cert });
    assertEquals(await engine.state("a"), { state: "unknown" });
    await using distrustful = rayEngine(before.address);
    const error = await assertRejects(() => distrustful.state("a"), Error, "is not trusted");
    assert(!(error instanceof EngineUnavailable));
    await using wrong = rayEngine(before.address.replace("localhost", "127.0.0.1"), { ca: cert });
    await assertRejects(() => wrong.state("a"), Error, "is not trusted");
  },
  !openssl,
);

rayTest("a job whose node leaves is lost, and the next one runs elsewhere", async () => {
  await using engine = rayEngine(cluster.address);
  const one = script("sleep 100", { avoid: [cluster.nodes[0]] });
  await engine.submit(one);
  const lost = cluster.nodes[1];
  assertEquals(await after(engine, one.id, "pending"), { state: "running", node: lost });
  await cluster.killNode(1);
  assertEquals(await end(engine, one.id), { state: "lost", node: lost });
  // Nobody can read that log any more; to ask for it is no failure.
  assertStringIncludes(await engine.log(one.id, 1000), "cannot");
  const next = job(["true"], { avoid: [lost] });
  await engine.submit(next);
  assertEquals(await end(engine, next.id), { state: "succeeded", node: cluster.nodes[0] });
});

rayTest(
  "a head that is away may come back; then it knows no job, and takes them again",
  async () => {
    await using engine = rayEngine(cluster.address);
    const one = script("sleep 100");
    await engine.submit(one);
    await after(engine, one.id, "pending");
    await cluster.killHead();
    for (
      const ask of [() => engine.state(one.id), () => engine.submit(one), () => engine.check()]
    ) {
      await assertRejects(ask, EngineUnavailable, "Cannot reach a Ray head");
    }
    await cluster.restartHead(1);
    assertEquals(await engine.state(one.id), { state: "unknown" });
    await engine.check();
    await engine.submit({ ...one, command: ["true"] });
    assertEquals((await end(engine, one.id)).state, "succeeded");
  },
);
