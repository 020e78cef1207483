import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { Cluster, localEngine, sweep, type Unit } from "../../lib/cluster/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { contentsOf, TINY_NFM, TINY_SAE, writeTinyStudy } from "./tiny_study.ts";

/** The process that trains something of this folder, once it has begun to. */
function trainingProcess(jobs: string): number | undefined {
  let log = "";
  try {
    for (const { name } of Deno.readDirSync(jobs)) {
      log += Deno.readTextFileSync(`${jobs}/${name}/log`);
    }
  } catch { /* not there yet, or not any more */ }
  if (!/"label":"TopK SAE.*"done":[1-9]\d?,/.test(log)) return undefined;
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      const place = join(jobs, "..", "storage");
      if (command.includes("lib/cli/train.ts") && command.includes(place)) return Number(name);
    } catch { /* it has ended */ }
  }
  return undefined;
}

/** Runs units in processes that share nothing with those of another run. */
async function runIn(
  folder: string,
  units: Unit[],
  workers: number,
  disturb: (jobs: string) => void = () => {},
): Promise<Record<string, string>> {
  const jobs = `${folder}/jobs`;
  await using machine = new Cluster(
    localEngine({ workers, dir: jobs, env: { INTERLENS_CACHE: `${folder}/cache` } }),
    openStorage(`${folder}/storage`),
    2 * workers,
    {},
  );
  disturb(jobs);
  const report = await machine.run(units);
  assertEquals([report.done, report.complete], [units.length, true], `${report}`);
  return await contentsOf(machine.storage);
}

Deno.test({
  name: "A sweep gives the same bytes with one worker, and with two of which one is killed",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inScratch(async (folder) => {
      const data = await writeTinyStudy(folder, 2);
      const units = sweep({
        ...{ data, sae: { ...TINY_SAE, steps: 60 }, nfm: TINY_NFM },
        ...{ tokens: [2400], K: [8], seeds: [0] },
      });
      const one = await runIn(`${folder}/one`, units, 1);
      let killed = 0;
      const two = await runIn(`${folder}/two`, units, 2, (jobs) => {
        const timer = setInterval(() => {
          // Whoever trains, in the middle of it.
          const pid = trainingProcess(jobs);
          if (pid === undefined) return;
          clearInterval(timer);
          Deno.kill(pid, "SIGKILL");
          killed = pid;
        }, 20);
      });
      assert(killed > 0);
      assert(Object.keys(one).length > units.length);
      assertEquals(two, one);
    }),
});
