import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { kill } from "node:process";
import { cluster, localEngine, type RunReport, unitHash } from "../../lib/cluster/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { inScratch, namesBelow } from "../files/scratch.ts";
import { dataOf, journalOf, parts, quietly, until, workerCommand } from "./small_units.ts";
import type { Instructions } from "./worker.ts";

const WINDOWS = Deno.build.os === "windows";
const probe = new URL("./driver_probe.ts", import.meta.url).pathname;

/** Workers on this machine whose files lie in a folder of the test. */
function machineIn(
  folder: string,
  workers: number,
  instructions: (hash: string) => Instructions = () => ({}),
) {
  const place = `${folder}/storage`;
  return cluster({
    storage: openStorage(place),
    engine: localEngine({ workers, dir: `${folder}/jobs` }),
    command: workerCommand(place, (unit) => instructions(unitHash(unit))),
  });
}

function counts({ done, loaded, failed, skipped, stopped }: RunReport): unknown[] {
  return [done, loaded, failed.length, skipped.length, stopped];
}

Deno.test("Units run in local processes, a unit that always fails is told with its log", () =>
  inScratch((folder) =>
    quietly(async (said) => {
      const units = parts(4);
      const bad = unitHash(units[1]);
      await using machine = await machineIn(folder, 2, (hash) => ({ fails: hash === bad }));
      const merge = { kind: "merge", data: dataOf(4) } as const;
      const report = await machine.run([...units, merge], { retries: 1 });
      assertEquals(counts(report), [3, 0, 1, 1, false]);
      const reason =
        'It ended with exit code 3 (its last line: "Cannot open the model: there is none")';
      assertEquals(report.failed[0].message, reason);
      assertEquals(said.length, 1);
      assertStringIncludes(said[0], "  Cannot open the model: there is none");
      const result = await machine.result(units[0]);
      assertEquals(result as unknown, { artefact: unitHash(units[0]) });
      assertEquals(await machine.result(merge), undefined);
      // Neither logs nor locks of jobs whose end is known.
      assertEquals(namesBelow(`${folder}/jobs`), []);
    })
  ));

Deno.test(
  "A worker that is killed in the middle of a unit is replaced",
  { ignore: WINDOWS },
  () =>
    inScratch(async (folder) => {
      const [first, second] = parts(2).map(unitHash);
      await using machine = await machineIn(folder, 1, (hash) => ({
        journal: `${folder}/journal`,
        ...hash === first && { diesUnless: `${folder}/died` },
      }));
      assertEquals(counts(await machine.run(parts(2))), [2, 0, 0, 0, false]);
      const { begun, done } = await journalOf(folder);
      assertEquals(begun.filter((hash) => hash === first).length, 2);
      assertEquals(done.toSorted(), [first, second].toSorted());
    }),
);

Deno.test(
  "A node without space fails its units, and what is done is kept",
  { ignore: WINDOWS },
  () =>
    inScratch((folder) =>
      quietly(async (said) => {
        const [large] = parts(3).map(unitHash);
        const place = `${folder}/storage`;
        const command = workerCommand(
          place,
          (unit) => ({ writes: unitHash(unit) === large ? 1 << 20 : 1000 }),
        );
        const limited = 'trap "" XFSZ; ulimit -f 256; exec "$0" "$@"';
        await using machine = await cluster({
          storage: place,
          engine: localEngine({ workers: 2, dir: `${folder}/jobs` }),
          command: (unit) => ["sh", "-c", limited, Deno.execPath(), ...command(unit).slice(1)],
        });
        const report = await machine.run(parts(3), { retries: 0 });
        assertEquals(counts(report), [2, 0, 1, 0, false]);
        assertStringIncludes(report.failed[0].message, "Cannot write the part: File too large");
        assertStringIncludes(said[0], "File too large");
        assert(!namesBelow(place).includes(`part-${large}`));
      })
    ),
);

Deno.test(
  "A stop ends the processes, and the same call goes on",
  { ignore: WINDOWS },
  () =>
    inScratch(async (folder) => {
      await using machine = await machineIn(folder, 2, () => ({
        ...{ work: 400, journal: `${folder}/journal` },
      }));
      const stop = new AbortController();
      const running = machine.run(parts(8), { signal: stop.signal });
      await until(async () => (await journalOf(folder)).done.length >= 2);
      stop.abort();
      const stopped = await running;
      assertEquals(stopped.stopped, true);
      assertEquals(namesBelow(`${folder}/jobs`), []);
      const { done } = await journalOf(folder);
      assertEquals(stopped.done, done.length);
      const report = await machine.run(parts(8));
      assertEquals(counts(report), [8 - done.length, done.length, 0, 0, false]);
      assertEquals(new Set((await journalOf(folder)).done).size, 8);
    }),
);

Deno.test(
  "What a unit has started ends with it",
  { ignore: WINDOWS },
  () =>
    inScratch(async (folder) => {
      const engine = localEngine({ workers: 1, dir: `${folder}/jobs` });
      const script = `sleep 1000 & echo $! > ${folder}/pid; wait`;
      const job = { env: {}, resources: {}, avoid: [] };
      await engine.submit({ id: "a", command: ["sh", "-c", script], ...job });
      await engine.submit({ id: "b", command: ["sh", "-c", script], ...job });
      await until(() =>
        Deno.readTextFile(`${folder}/pid`).then((text) => text !== "", () => false)
      );
      assertEquals((await engine.state("b")).state, "pending");
      const pid = Number(await Deno.readTextFile(`${folder}/pid`));
      await engine[Symbol.asyncDispose]();
      assertEquals((await engine.state("a")).state, "unknown");
      await until(() => Promise.resolve(!isRunning(pid)));
    }),
);

function isRunning(pid: number): boolean {
  try {
    // A zombie is as good as gone.
    if (/^State:\s*Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`))) return false;
  } catch { /* not on Linux, or gone */ }
  try {
    return kill(pid, 0);
  } catch {
    return false;
  }
}

Deno.test("A cluster that was closed says so", () =>
  inScratch(async (folder) => {
    const machine = await machineIn(folder, 1);
    await machine.close();
    await assertRejects(() => machine.run(parts(1)), Error, "This cluster was closed");
  }));

Deno.test("A program that does not exist is a failed unit, not a failed run", () =>
  inScratch((folder) =>
    quietly(async () => {
      await using machine = await cluster({
        storage: `${folder}/storage`,
        engine: localEngine({ workers: 1, dir: `${folder}/jobs` }),
        command: () => [`${folder}/no-such-program`],
      });
      const report = await machine.run(parts(1), { retries: 0 });
      assertEquals(report.failed.length, 1);
      assertStringIncludes(report.failed[0].message, "no-such-program");
    })
  ));

/** Starts a driver in a process of its own. */
function startDriver(folder: string, units: number, instructions: Instructions) {
  return new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "-q", "--no-check", probe],
      ...[folder, String(units), JSON.stringify(instructions)],
    ],
    stdout: "piped",
    stderr: "null",
  }).spawn();
}

async function reportOf(driver: Deno.ChildProcess): Promise<Record<string, number>> {
  const { stdout, success } = await driver.output();
  assert(success);
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("Workers end with a driver that is killed, and the next driver goes on", {
  ignore: WINDOWS,
}, () =>
  inScratch(async (folder) => {
    const instructions = { work: 1000, journal: `${folder}/journal` };
    const driver = startDriver(folder, 6, instructions);
    await until(async () => (await journalOf(folder)).done.length >= 2);
    await until(async () => (await journalOf(folder)).begun.length >= 4);
    driver.kill("SIGKILL");
    await driver.output();
    const { done } = await journalOf(folder);
    assert(done.length >= 2 && done.length < 6);

    const report = await reportOf(startDriver(folder, 6, instructions));
    assertEquals(report.failed, 0);
    assertEquals(report.done + report.loaded, 6);
    const after = await journalOf(folder);
    // Nothing is lost, nothing is done twice: what was in the middle was not at its end.
    assertEquals(after.done.length, 6);
    assertEquals(new Set(after.done).size, 6);
    assertEquals(namesBelow(`${folder}/jobs`), []);
  }));

Deno.test(
  "Two drivers on one run share the work",
  { ignore: WINDOWS },
  () =>
    inScratch(async (folder) => {
      const instructions = { work: 200, journal: `${folder}/journal` };
      const reports = await Promise.all(
        [0, 1].map(() => reportOf(startDriver(folder, 10, instructions))),
      );
      for (const { done, loaded, failed } of reports) {
        assertEquals([done + loaded, failed], [10, 0]);
      }
      assertEquals(new Set((await journalOf(folder)).done).size, 10);
      assertEquals(namesBelow(`${folder}/storage/units`).length, 10);
    }),
);
