import { assert, assertEquals } from "@std/assert";
import { Cluster, cluster, localEngine, sweep } from "../../lib/cluster/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { services } from "../services.ts";
import { startRay } from "./ray_head.ts";
import { onRay } from "./ray_units.ts";
import { until } from "./small_units.ts";
import { contentsOf, TINY_NFM, TINY_SAE, writeTinyStudy } from "./tiny_study.ts";

/** Processes that run a command of a unit on a storage. */
function workersOf(task: string, storage: string): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => {
    try {
      const command = Deno.readTextFileSync(`/proc/${pid}/cmdline`);
      return command.includes(`lib/cli/${task}.ts`) && command.includes(storage);
    } catch {
      return false;
    }
  });
}

async function recordsIn(storage: string): Promise<number> {
  return (await Array.fromAsync(openStorage(storage).list("units/"))).length;
}

Deno.test({
  name:
    "A sweep on Ray gives the same bytes as one local worker, although workers, a node, the head " +
    "and the driver are lost on the way and two drivers go on",
  ignore: Deno.build.os !== "linux" || !await services(),
  fn: () =>
    inScratch(async (folder) => {
      const data = await writeTinyStudy(folder, 4);
      const units = sweep({
        ...{ data, sae: { ...TINY_SAE, steps: 60 }, nfm: TINY_NFM },
        ...{ tokens: [2400], K: [8], seeds: [0, 1] },
      });
      const [calm, rough] = [`${folder}/calm`, `${folder}/rough`];
      await using local = new Cluster(
        localEngine({ workers: 1, dir: `${calm}/jobs`, env: { INTERLENS_CACHE: `${calm}/cache` } }),
        openStorage(`${calm}/storage`),
        2,
        {},
      );
      const [expected, started] = await Promise.all([local.run(units), startRay({ nodes: 2 })]);
      await using ray = started;
      assertEquals([expected.done, expected.complete], [units.length, true], `${expected}`);

      const storage = `${rough}/storage`;
      const options = onRay(ray.address, rough);
      const probe = new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", "-q", "--no-check"],
          ...[new URL("./ray_units_probe.ts", import.meta.url).pathname, ray.address, rough],
        ],
        stdin: "piped",
        stdout: "null",
        stderr: "null",
      }).spawn();
      await new Blob([JSON.stringify(units)]).stream().pipeTo(probe.stdin);

      // A node leaves in the middle of a harvest, and the driver dies.
      await until(() => Promise.resolve(workersOf("harvest", storage).length >= 2));
      await ray.killNode(1);
      await until(async () => await recordsIn(storage) >= 2);
      probe.kill("SIGKILL");
      await probe.status;
      await ray.replaceNode(1);

      // Two drivers go on where it was. A training is killed, and the head starts again.
      await using one = await cluster(options);
      await using two = await cluster(options);
      const running = Promise.all([one.run(units), two.run(units)]);
      await until(() => Promise.resolve(workersOf("train", storage).length > 0));
      for (const pid of workersOf("train", storage)) Deno.kill(pid, "SIGKILL");
      const before = await recordsIn(storage);
      await until(async () => await recordsIn(storage) > before);
      await ray.restartHead();
      for (const report of await running) {
        assert(report.complete, `${report}`);
        assertEquals(report.done + report.loaded, units.length);
      }
      const stored = (place: string) => contentsOf(openStorage(place));
      assertEquals(await stored(storage), await stored(`${calm}/storage`));
    }),
});
