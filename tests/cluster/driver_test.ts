import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { drive, type DriveSettings } from "../../lib/cluster/drive.ts";
import { JUPYTER_DISPLAY } from "../../lib/display/mod.ts";
import { RunReport, type Unit, unitHash } from "../../lib/cluster/mod.ts";
import {
  type Behaviour,
  FakeClock,
  FakeEngine,
  FakeStorage,
  hashOf,
  Listener,
} from "./fake_engine.ts";
import { dataOf, parts } from "./small_units.ts";

/** A machine room in virtual time, and a way to run units in it. */
function room(nodes: string[], behave?: (id: string, node: string) => Behaviour) {
  const clock = new FakeClock();
  const storage = new FakeStorage();
  const engine = new FakeEngine(clock, storage, nodes, behave);
  const voice = new Listener();
  const run = (
    units: Iterable<Unit> | AsyncIterable<Unit>,
    settings: Partial<DriveSettings> = {},
  ): Promise<RunReport> =>
    drive(units, {
      ...{ engine, storage, clock, voice, inFlight: 8, retries: 2, patience: 300 },
      ...{ command: () => ["true"], resources: () => ({}) },
      project: () => Promise.resolve("one version"),
      ...settings,
    });
  return { clock, storage, engine, voice, run };
}

/** What a report counts. */
function counts({ done, loaded, failed, skipped, stopped }: RunReport): unknown[] {
  return [done, loaded, failed.length, skipped.length, stopped];
}

Deno.test("Units run after those that they need, which come by themselves", async () => {
  const { engine, run } = room(["a", "b"]);
  const merge: Unit = { kind: "merge", data: dataOf(3) };
  const train: Unit = {
    ...{ kind: "train", trainer: "sae", data: dataOf(3) },
    config: { architecture: "topk", dSae: 8, k: 2, steps: 1 },
  };
  const report = await run([train, merge]);
  assertEquals(counts(report), [5, 0, 0, 0, false]);
  const order = engine.began.map(({ id }) => hashOf(id));
  assertEquals(new Set(order.slice(0, 3)), new Set(parts(3).map(unitHash)));
  assertEquals(order.slice(3), [merge, train].map(unitHash));
});

Deno.test("No more units are in flight than allowed, and their source is read as they go", async () => {
  const { engine, run } = room(["a", "b", "c"]);
  let read = 0;
  const source = function* () {
    for (const unit of parts(40)) {
      assert(read - engine.began.length <= 5);
      read++;
      yield unit;
    }
  };
  const report = await run(source(), { inFlight: 5 });
  assertEquals(counts(report), [40, 0, 0, 0, false]);
  assertEquals(engine.most, 5);
  assertEquals(engine.jobs.size, 0);
});

Deno.test("Units that are done are loaded, many of them by one list", async () => {
  const { engine, storage, run, voice } = room(["a"]);
  const units = parts(1000);
  for (const unit of units.slice(0, 998)) storage.record(unitHash(unit));
  const report = await run(units, { total: 1000 });
  assertEquals(counts(report), [2, 998, 0, 0, false]);
  assertEquals(storage.requests.list, 1);
  assert(storage.requests.stat < 50);
  assertEquals(engine.began.length, 2);
  assertEquals(voice.shown.at(-1), { done: 1000, total: 1000, values: {} });
});

Deno.test("Without work to do the engine is not asked for anything", async () => {
  const { engine, storage, run } = room([]);
  engine.down = true;
  const units = parts(3);
  for (const unit of units) storage.record(unitHash(unit));
  assertEquals(counts(await run(units)), [0, 3, 0, 0, false]);
});

Deno.test("A unit that is given twice runs once and counts once", async () => {
  const { engine, run } = room(["a"]);
  const units = parts(3);
  const report = await run([...units, ...units, { kind: "merge", data: dataOf(3) }]);
  assertEquals(counts(report), [4, 0, 0, 0, false]);
  assertEquals(engine.began.length, 4);
});

Deno.test("A unit that failed is tried again on another node", async () => {
  const bad = unitHash(parts(4)[1]);
  const { engine, run } = room(["a", "b"], (id, node) => ({
    ends: hashOf(id) === bad && node === "a" ? "badly" : "well",
  }));
  // The first node is free for it.
  const report = await run([1, 0, 2, 3].map((i) => parts(4)[i]), { inFlight: 1 });
  assertEquals(counts(report), [4, 0, 0, 0, false]);
  assertEquals(
    engine.began.filter(({ id }) => hashOf(id) === bad).map(({ id, node }) => [id.at(-1), node]),
    [["0", "a"], ["1", "b"]],
  );
  assertEquals(engine.jobs.size, 0);
});

Deno.test("A unit that always fails ends in the report with its log, and the others have results", async () => {
  const units = parts(6);
  const bad = unitHash(units[2]);
  const log = 'reading\n{"interlens":"progress","done":1,"total":2}\nCannot read "x"\n';
  let broken = true;
  const { engine, run, voice } = room(["a", "b"], (id) => (
    hashOf(id) === bad && broken
      ? { ends: "badly", message: "It ended with exit code 1\nmore", log }
      : {}
  ));
  const merge: Unit = { kind: "merge", data: dataOf(6) };
  const sae = { architecture: "topk", dSae: 8, k: 2, steps: 1 } as const;
  const train: Unit = { kind: "train", trainer: "sae", data: dataOf(6), config: sae };
  const all = [...units, merge, train];
  const report = await run(all);
  assertEquals(counts(report), [5, 0, 1, 2, false]);
  const [failed] = report.failed;
  assertEquals([failed.name, failed.attempts, failed.nodes.length], ["harvest 3/6", 3, 3]);
  assertEquals(failed.message, 'It ended with exit code 1 (its last line: "Cannot read "x"")');
  assertEquals(failed.log, 'reading\nCannot read "x"');
  assertEquals(report.skipped.map(({ name, because }) => [name, because]), [
    ["merge 6", "harvest 3/6"],
    ["train SAE topk, 8 features, k 2, seed 0", "harvest 3/6"],
  ]);
  assertEquals(voice.said.map(({ detail }) => detail), ['reading\nCannot read "x"']);
  assertStringIncludes(report.toString(), "5 units done, 1 failed and 2 skipped in ");
  await assertRejects(() => Promise.resolve().then(() => report.orThrow()), Error, "harvest 3/6");
  assertEquals(engine.jobs.size, 0);

  // Mended, the same call tries it afresh.
  broken = false;
  assertEquals(counts(await run(all)), [3, 5, 0, 0, false]);
});

Deno.test("Units that all fail end the run with a report that stays short", async () => {
  const { run, voice } = room(["a", "b", "c"], () => ({ ends: "badly", log: "no model" }));
  const report = await run(parts(150), { retries: 0 });
  assertEquals(counts(report), [0, 0, 150, 0, false]);
  assertEquals(voice.said.length, 4);
  assertEquals(report.failed.filter(({ log }) => log !== "").length, 100);
  assertStringIncludes(report.toString(), "and 140 more");
  assert(report.toString().split("\n").length < 20);
});

Deno.test("A stop ends the jobs, and the same call goes on", async () => {
  const { engine, clock, run } = room(["a", "b"]);
  const stop = new AbortController();
  clock.at(35, () => stop.abort());
  const stopped = await run(parts(10), { signal: stop.signal });
  assertEquals(counts(stopped), [6, 0, 0, 0, true]);
  assertStringIncludes(`${stopped}`, "Stopped: 6 units done in ");
  assertEquals(engine.jobs.size, 0);
  assertEquals(counts(await run(parts(10))), [4, 6, 0, 0, false]);

  const before = await run(parts(10, 1), { signal: AbortSignal.abort() });
  assertEquals(counts(before), [0, 0, 0, 0, true]);
});

Deno.test("A stop counts units that end well meanwhile, and says what could not be stopped", async () => {
  const { engine, clock, run, voice } = room(["a", "b"]);
  const stop = new AbortController();
  clock.at(5, () => {
    // Too late for the first, and the second does not listen.
    engine.stop = (id) => {
      if (hashOf(id) === unitHash(parts(2)[0])) return Promise.resolve();
      return Promise.reject(new Error("no"));
    };
    stop.abort();
  });
  const report = await run(parts(2), { signal: stop.signal });
  assertEquals(counts(report), [1, 0, 0, 0, true]);
  assertEquals(voice.said.map(({ text }) => text), [
    "1 jobs could not be stopped on The fake engine: they may go on",
  ]);
});

Deno.test("After the death of a driver the next one takes up the same jobs", async () => {
  const { engine, storage, clock, run } = room(["a", "b", "c"]);
  let dead = false;
  const dying: FakeClock = Object.assign(Object.create(clock), {
    now: () => clock.now(),
    sleep: async (seconds: number) => {
      await clock.sleep(seconds);
      if (dead) await new Promise(() => {});
    },
  });
  clock.at(24, () => dead = true);
  void run(parts(12), { clock: dying });
  await clock.sleep(26);
  const running = [...engine.jobs.values()].filter(({ state }) => state === "running").length;
  assertEquals(running, 3);

  const report = await run(parts(12));
  assertEquals(report.done + report.loaded, 12);
  assertEquals(report.failed, []);
  // Each unit ran once, although two drivers have asked for it.
  assertEquals(engine.began.length, 12);
  assertEquals(storage.size, 12);
});

Deno.test("What failed under a driver that died is tried afresh by the next one", async () => {
  let broken = true;
  const { engine, run } = room(["a", "b", "c", "d"], () => ({ ends: broken ? "badly" : "well" }));
  const [unit] = parts(1);
  const id = (await firstId(unit)).slice(0, -1);
  // Left by a driver that died after two attempts had failed.
  for (const attempt of [0, 1]) {
    await engine.submit({ id: id + attempt, command: [], env: {}, resources: {}, avoid: [] });
    await engine.clock.sleep(20);
  }
  broken = false;
  assertEquals(counts(await run([unit], { retries: 1 })), [1, 0, 0, 0, false]);
  assertEquals(engine.began.map(({ id }) => id.at(-1)), ["0", "1", "0"]);
  assertEquals(engine.jobs.size, 0);
});

Deno.test("A later attempt that another driver makes is taken up", async () => {
  const { engine, clock, run } = room(["a", "b", "c"], (id) => ({
    ends: id.endsWith("0") ? "badly" : "well",
  }));
  const [first, second] = await Promise.all([
    run(parts(1)),
    clock.sleep(15).then(() => run(parts(1))),
  ]);
  assertEquals([counts(first), counts(second)], Array(2).fill([1, 0, 0, 0, false]));
  assertEquals(engine.began.map(({ id }) => id.at(-1)), ["0", "1"]);
});

Deno.test("A driver takes up jobs of its own version, command and resources only", async () => {
  const { engine, clock, run } = room(["a", "b", "c", "d", "e"]);
  const never = new Promise<never>(() => {});
  const dying = { now: () => clock.now(), sleep: () => never };
  void run(parts(1), { clock: dying });
  await clock.sleep(1);
  const others: Partial<DriveSettings>[] = [
    { project: () => Promise.resolve("another version") },
    { command: () => ["false"] },
    { resources: () => ({ cpus: 2 }) },
    {},
  ];
  await Promise.all(others.map((settings) => run(parts(1), settings)));
  assertEquals(engine.began.length, 4);
});

async function firstId(unit: Unit): Promise<string> {
  const { engine, run } = room(["a"]);
  await run([unit]);
  return engine.began[0].id;
}

Deno.test("Two drivers on one run do no work twice", async () => {
  const { engine, storage, clock, run } = room(["a", "b", "c"]);
  const units = [...parts(20), { kind: "merge", data: dataOf(20) } as const];
  const [first, second] = await Promise.all([
    run(units),
    clock.sleep(13).then(() => run(units, { inFlight: 4 })),
  ]);
  assertEquals(first.done + first.loaded, 21);
  assertEquals(second.done + second.loaded, 21);
  assertEquals([first.complete, second.complete], [true, true]);
  assertEquals(engine.began.length, 21);
  assertEquals(storage.size, 21);
  assertEquals(engine.jobs.size, 0);
});

Deno.test("A driver goes on where another one that shares its jobs is stopped", async () => {
  const { engine, clock, run } = room(["a", "b"]);
  const stop = new AbortController();
  clock.at(15, () => stop.abort());
  const [first, second] = await Promise.all([
    run(parts(8), { signal: stop.signal }),
    run(parts(8)),
  ]);
  assertEquals(first.stopped, true);
  assertEquals(counts(second), [8, 0, 0, 0, false]);
  assertEquals(engine.jobs.size, 0);
});

Deno.test("A head that starts again and has forgotten everything is waited for", async () => {
  const { engine, clock, run, voice, storage } = room(["a", "b"]);
  clock.at(12, () => {
    engine.down = true;
    engine.restart();
  });
  clock.at(70, () => engine.down = false);
  const report = await run(parts(6));
  assertEquals(counts(report), [6, 0, 0, 0, false]);
  assertEquals(storage.size, 6);
  assertEquals(voice.said.length, 1);
  assertStringIncludes(voice.said[0].text, "The fake engine does not answer, waiting up to 300 s");
});

Deno.test("A head that stays away ends the run, and its jobs are taken up later", async () => {
  const { engine, clock, run } = room(["a", "b"]);
  clock.at(5, () => engine.down = true);
  await assertRejects(
    () => run(parts(4), { patience: 30 }),
    Error,
    "The fake engine does not answer since 3",
  );
  assert(clock.time < 45);
  engine.down = false;
  const report = await run(parts(4));
  assertEquals(report.done + report.loaded, 4);
  assertEquals(engine.began.length, 4);
});

Deno.test("An error that waiting does not mend ends the run at once", async () => {
  const { engine, clock, run } = room(["a"]);
  engine.check = () => Promise.reject(new Error("Node b has Deno 2.1.0, the driver 2.9.6"));
  await assertRejects(() => run(parts(2)), Error, "Node b has Deno 2.1.0");
  assertEquals([clock.time, engine.began.length], [0, 0]);
});

Deno.test("A storage that fails for a while is waited for, and nothing runs twice", async () => {
  const { engine, clock, storage, run } = room(["a", "b"]);
  clock.at(3, () => storage.broken = true);
  clock.at(60, () => storage.broken = false);
  assertEquals(counts(await run(parts(9))), [9, 0, 0, 0, false]);
  assertEquals(engine.began.length, 9);

  storage.broken = true;
  await assertRejects(
    () => run(parts(9), { patience: 20 }),
    Error,
    'The storage "memory://fake" does not answer',
  );
});

Deno.test("A storage that lets nobody in ends the run at once", async () => {
  const { clock, storage, run } = room(["a"]);
  storage.broken = true;
  storage.error = new Deno.errors.PermissionDenied("Permission denied (os error 13)");
  await assertRejects(
    () => run(parts(1)),
    Error,
    'Cannot use the storage "memory://fake": Permission denied',
  );
  assertEquals(clock.time, 0);
});

Deno.test("Of what waits for long it is said once if nothing can run it", async () => {
  const { engine, clock, voice, run } = room([]);
  const [asked, stop] = [[] as unknown[], new AbortController()];
  const obstacle = "No node has 2 GPUs";
  engine.obstacle = (resources) => {
    asked.push(resources);
    return Promise.resolve(resources.gpus === 2 ? obstacle : undefined);
  };
  const resources = (unit: Unit) => ({ gpus: unit.kind === "harvest" && unit.shard > 1 ? 2 : 1 });
  clock.at(60, () => stop.abort());
  const report = await run(parts(4), { signal: stop.signal, resources });
  assertEquals(counts(report), [0, 0, 0, 0, true]);
  assertEquals([asked, engine.jobs.size], [[{ gpus: 1 }, { gpus: 2 }], 0]);
  assertEquals(voice.said.map(({ text }) => text), [obstacle]);
});

Deno.test("A stop while versions are compared is a stop", async () => {
  const { engine, clock, run } = room(["a"]);
  const stop = new AbortController();
  let seen: AbortSignal | undefined;
  engine.check = (signal?: AbortSignal) => {
    seen = signal;
    return new Promise(() => {});
  };
  clock.at(5, () => stop.abort());
  assertEquals(counts(await run(parts(2), { signal: stop.signal })), [0, 0, 0, 0, true]);
  assertEquals([seen, engine.began.length, clock.time], [stop.signal, 0, 5]);
});

Deno.test("What is no unit is refused before any work", async () => {
  const { engine, run } = room(["a"]);
  const shard = { ...parts(2)[0], shard: 2 } as Unit;
  await assertRejects(() => run([shard]), RangeError, '"shard" is 2');
  const data = dataOf(1);
  const sae = { architecture: "topk", dSae: 8, k: 2, steps: 1 } as const;
  const many: Unit = { kind: "train", trainer: "sae", data, config: sae, tokens: 9 };
  await assertRejects(() => run([many]), RangeError, '"tokens" is 9, expected an integer in 1…8');
  const measure: Unit = { kind: "measure", data, sae, nfm: { steps: 1 }, design: "nowhere" };
  await assertRejects(() => run([measure]), Error, "nowhere");
  assertEquals(engine.jobs.size, 0);
});

Deno.test("What ran on a node that left runs elsewhere, and has not failed", async () => {
  const { engine, clock, run } = room(["a", "b"]);
  clock.at(14, () => engine.leave("a"));
  assertEquals(counts(await run(parts(8), { retries: 0 })), [8, 0, 0, 0, false]);
  assertEquals(engine.began.length, 9);
  assertEquals(engine.began.at(-1)!.node, "b");
});

Deno.test("A job that ends well without a record has failed, after a while", async () => {
  const { clock, run } = room(["a"], () => ({ seconds: 1, ends: "without a record" }));
  const report = await run(parts(1), { retries: 0 });
  assertEquals(report.failed.length, 1);
  assertStringIncludes(report.failed[0].message, 'in "memory://fake": does this address lead');
  assert(clock.time > 15);
});

Deno.test("A record that another job has left counts, whatever became of the own one", async () => {
  const { engine, storage, run } = room(["a"], (id) => {
    storage.record(hashOf(id));
    return { ends: "badly" };
  });
  assertEquals(counts(await run(parts(3))), [3, 0, 0, 0, false]);
  assertEquals(engine.began.length, 3);
});

Deno.test("Progress counts parts of running units, and logs are asked for seldom", async () => {
  const log = '{"interlens":"progress","label":"Harvest","done":3,"total":4}\n';
  const { engine, run, voice } = room(["a", "b"], () => ({ seconds: 3600, log }));
  let asked = 0;
  const { log: read } = engine;
  engine.log = (id) => {
    asked++;
    return read.call(engine, id);
  };
  await run(parts(2));
  assert(voice.shown.some(({ done }) => done === 1.5));
  assert(voice.shown.every(({ total }) => total === 1 || total === 2));
  assert(asked > 10 && asked < 250);
});

Deno.test("An error of the source of units is the run's", async () => {
  const { run } = room(["a"]);
  const source = function* () {
    yield parts(1)[0];
    throw new RangeError("No such sweep");
  };
  await assertRejects(() => run(source()), RangeError, "No such sweep");
});

Deno.test("A source may wait for the results of units that it gave before", async () => {
  const { storage, clock, run } = room(["a", "b"]);
  const [first, ...others] = parts(3);
  const source = async function* () {
    yield first;
    while (!storage.has(unitHash(first))) await clock.sleep(1);
    yield* others;
  };
  assertEquals(counts(await run(source())), [3, 0, 0, 0, false]);
  assert(clock.time >= 20);

  const stop = new AbortController();
  clock.at(clock.time + 5, () => stop.abort());
  const never = async function* () {
    yield parts(1, 1)[0];
    await new Promise(() => {});
  };
  assertEquals(counts(await run(never(), { signal: stop.signal })), [0, 0, 0, 0, true]);
});

Deno.test("Units compute with as many threads as they have processors", async () => {
  const { engine, run } = room(["a"]);
  const submitted: Record<string, string>[] = [];
  const { submit } = engine;
  engine.submit = (job) => {
    submitted.push({ ...job.env });
    return submit.call(engine, job);
  };
  await run(parts(1));
  await run(parts(1, 1), { resources: () => ({ cpus: 4 }) });
  assertEquals(submitted.map(({ TF_NUM_INTRAOP_THREADS }) => TF_NUM_INTRAOP_THREADS), ["1", "4"]);
  assertEquals(submitted[0].INTERLENS_PROGRESS, "json");
});

Deno.test("The driver's memory does not grow from 10 to 10,000 units", async () => {
  const probe = new URL("./memory_probe.ts", import.meta.url).pathname;
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "-q", "--no-check", "--v8-flags=--expose-gc", probe, "10000"],
    stderr: "inherit",
  }).output();
  assert(success);
  const { done, heap } = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals(done, 10_000);
  // A hundred bytes kept of each unit would be a megabyte.
  assert(heap[9999] - heap[10] < 1e6, `The heap grew by ${heap[9999] - heap[10]} bytes`);
});

Deno.test("A report renders as text and as HTML in which messages are only text", () => {
  const hostile = "<img src=x onerror=alert(1)>";
  const [unit] = parts(1);
  const report = new RunReport({
    ...{ done: 12_345, loaded: 1, stopped: false, seconds: 3 },
    failed: [{ unit, name: "harvest 1/1", attempts: 3, message: hostile, nodes: ["a"], log: "" }],
    skipped: [{ unit, name: "merge 1", because: hostile }],
  });
  assertEquals(`${report}`.split("\n"), [
    "12,345 units done, 1 loaded, 1 failed and 1 skipped in 3.0 s",
    "",
    "Failed; the results of the others are kept, and the same call tries these again:",
    `harvest 1/1, 3 attempts on a: ${hostile}`,
    "",
    "Skipped, because a unit that they need failed:",
    `merge 1, needs ${hostile}`,
  ]);
  const html = String(report[JUPYTER_DISPLAY]()["text/html"]);
  assert(!html.includes("<img") && html.includes("<li>harvest 1/1"));
  assertEquals(Deno.inspect(report), `${report}`);
});
