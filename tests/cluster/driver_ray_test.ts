import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Cluster, cluster, type RunReport, unitHash } from "../../lib/cluster/mod.ts";
import { jobId } from "../../lib/cluster/job.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { services } from "../services.ts";
import { type RayCluster, startRay } from "./ray_head.ts";
import {
  dataOf,
  journalOf,
  parts,
  quietly,
  shellCommand,
  type ShellInstructions,
  until,
} from "./small_units.ts";

const available = await services() !== undefined;
const probe = new URL("./driver_probe.ts", import.meta.url).pathname;

let ray: RayCluster;

/** A test on one cluster of two nodes. */
function rayTest(name: string, use: (folder: string) => Promise<void>): void {
  Deno.test({ name, ignore: !available, fn: () => inScratch(use) });
}

if (available) {
  Deno.test.beforeAll(async () => void (ray = await startRay({ nodes: 2 })));
  Deno.test.afterAll(() => ray.stop());
}

function machinesFor(
  folder: string,
  instructions: (hash: string) => ShellInstructions = () => ({}),
): Promise<Cluster> {
  return cluster({
    ...{ address: ray.address, storage: `${folder}/storage` },
    command: shellCommand(folder, (unit) => instructions(unitHash(unit))),
  });
}

function counts({ done, loaded, failed, skipped, stopped }: RunReport): unknown[] {
  return [done, loaded, failed.length, skipped.length, stopped];
}

/** How far the jobs of a run are that the head still knows. */
async function jobsLeft(folder: string): Promise<string[]> {
  const answer = await fetch(`${ray.address}/api/jobs/`);
  const jobs: { submission_id: string; status: string }[] = await answer.json();
  const [, , place] = jobId("", openStorage(`${folder}/storage`).url, {}, 0).split("-");
  return jobs.filter(({ submission_id }) => submission_id?.split("-")[2] === place)
    .map(({ status }) => status);
}

rayTest(
  "Units run on Ray, and one that always fails is tried on both nodes",
  (folder) =>
    quietly(async (said) => {
      const units = parts(4);
      const bad = unitHash(units[2]);
      await using machines = await machinesFor(folder, (hash) => ({ fails: hash === bad }));
      const report = await machines.run([...units, { kind: "merge", data: dataOf(4) }], {
        retries: 1,
      });
      assertEquals(counts(report), [3, 0, 1, 1, false]);
      const [{ nodes, attempts, message }] = report.failed;
      assertEquals(attempts, 2);
      assertEquals(new Set(nodes), new Set(ray.nodes));
      assertStringIncludes(message, 'exit code 3 (its last line: "Cannot open the model');
      assertEquals(said.length, 1);
      assertEquals((await machines.result(units[0])) as unknown, { artefact: unitHash(units[0]) });
      // Ray drops them a little later.
      await machines.close();
      assertEquals(await jobsLeft(folder), []);
    }),
);

rayTest("A stop ends the jobs on Ray, and the same call goes on", async (folder) => {
  let seconds = 60;
  await using machines = await machinesFor(folder, () => ({ seconds }));
  const stop = new AbortController();
  const running = machines.run(parts(3), { signal: stop.signal });
  await until(async () => (await journalOf(folder)).begun.length === 2);
  stop.abort();
  assertEquals(counts(await running), [0, 0, 0, 0, true]);
  assert(!(await jobsLeft(folder)).includes("RUNNING"));
  seconds = 0;
  assertEquals(counts(await machines.run(parts(3))), [3, 0, 0, 0, false]);
});

/** A driver in a process of its own. */
function startDriver(folder: string, units: number, instructions: ShellInstructions) {
  return new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "-q", "--no-check", probe],
      ...[folder, String(units), JSON.stringify(instructions), ray.address],
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

rayTest(
  "A driver after one that was killed takes up the jobs that have gone on",
  async (folder) => {
    const instructions = { seconds: 2 };
    const driver = startDriver(folder, 3, instructions);
    await until(async () => (await journalOf(folder)).begun.length >= 2);
    driver.kill("SIGKILL");
    await driver.output();
    const { done, loaded, failed } = await reportOf(startDriver(folder, 3, instructions));
    assertEquals([done + loaded, failed], [3, 0]);
    // Each unit has begun once: the jobs are the same.
    const journal = await journalOf(folder);
    assertEquals([journal.begun.length, journal.done.length], [3, 3]);
    assertEquals(await jobsLeft(folder), []);
  },
);

rayTest("Two drivers on one run on Ray do no work twice", async (folder) => {
  const instructions = { seconds: 1 };
  const reports = await Promise.all(
    [0, 1].map(() => reportOf(startDriver(folder, 3, instructions))),
  );
  for (const { done, loaded, failed } of reports) assertEquals([done + loaded, failed], [3, 0]);
  const journal = await journalOf(folder);
  assertEquals([journal.begun.length, journal.done.length], [3, 3]);
  assertEquals(await jobsLeft(folder), []);
});

rayTest("What runs on a node that leaves is run again", async (folder) => {
  await using machines = await machinesFor(folder, () => ({ seconds: 3 }));
  const running = machines.run(parts(3));
  await until(async () => (await journalOf(folder)).begun.length >= 2);
  await ray.killNode(1);
  assertEquals(counts(await running), [3, 0, 0, 0, false]);
  const { begun, done } = await journalOf(folder);
  assertEquals([begun.length, done.length], [4, 3]);
});

rayTest(
  "A head that starts again, with a node that had left, is waited for, and has forgotten everything",
  (folder) =>
    quietly(async (said) => {
      await using machines = await machinesFor(folder, () => ({ seconds: 1 }));
      const running = machines.run(parts(3));
      await until(async () => (await journalOf(folder)).done.length >= 1);
      await ray.restartHead();
      assertEquals(counts(await running), [3, 0, 0, 0, false]);
      const { done } = await journalOf(folder);
      assertEquals([done.length, new Set(done).size], [3, 3]);
      assertEquals(said.length, 1);
      assertStringIncludes(said[0], "does not answer, waiting up to 300 s for it");
    }),
);
