import { assert, assertEquals } from "@std/assert";
import { fromTexts } from "../../lib/corpus/mod.ts";
import { harvest } from "../../lib/activations/mod.ts";
import { openDevice, Rng } from "../../lib/tensor/mod.ts";
import { fakeSource, HOOK, quietly } from "../activations/fake_source.ts";
import { inScratch, namesBelow } from "../files/scratch.ts";

const probe = new URL("./kill_probe.ts", import.meta.url).pathname;

/** Activations of width 8 in which letters and positions are mixed. */
async function storedActivations(dir: string): Promise<string> {
  await openDevice();
  const rng = new Rng(5);
  const noise = rng.normals(27 * 64 * 8, 1);
  const text = () => Array.from({ length: 60 }, () => "abcdefghijklmnop"[rng.integer(16)]).join("");
  const texts = (name: string, count: number) =>
    fromTexts(Array.from({ length: count }, text), { name });
  const model = fakeSource(8, {
    at: (token, position, j) => noise[(token * 64 + position) * 8 + j],
  });
  const store = await quietly(() =>
    harvest(model, {
      train: texts("train", 20),
      validation: texts("validation", 2),
      test: texts("test", 1),
    }, {
      hook: HOOK,
      contextLength: 61,
      tokens: { train: "all", validation: "all", test: "all" },
      shardTokens: 100,
      dir,
    })
  );
  return store.dir;
}

/** Runs the probe, and kills it some milliseconds after a step if one is given. */
async function run(
  kind: string,
  [store, cache]: [string, string],
  kill?: { step: number; after: number },
): Promise<{ signal: string | null; first: number; last: number }> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", probe, kind, store, cache],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let [first, last, killed] = [0, 0, false];
  let rest = "";
  for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines.filter((line) => /^\d+$/.test(line))) {
      first ||= Number(line);
      last = Number(line);
    }
    if (kill && !killed && last >= kill.step) {
      killed = true;
      await new Promise((resolve) => setTimeout(resolve, kill.after));
      process.kill("SIGKILL");
    }
  }
  const { code, signal } = await process.status;
  assert(signal === "SIGKILL" || code === 0, `The probe ended with code ${code}`);
  return { signal, first, last };
}

/** Every file below a folder but those that say when they were made. */
async function contents(dir: string): Promise<Record<string, Uint8Array>> {
  const found: Record<string, Uint8Array> = {};
  for (const name of namesBelow(dir)) {
    if (!/\.(safetensors|json)$/.test(name) || name.endsWith("artefact.json")) continue;
    found[name] = await Deno.readFile(`${dir}/${name}`);
  }
  return found;
}

for (
  const [kind, steps, kills] of [["loop", 150, 5], ["sae", 1600, 2], ["nfm", 1600, 2]] as const
) {
  Deno.test({
    name:
      `A training that is killed again and again ends with the bytes of one that was not (${kind})`,
    ignore: Deno.build.os === "windows",
    fn: () =>
      inScratch(async (dir) => {
        const store = await storedActivations(`${dir}/store`);
        const whole = await run(kind, [store, `${dir}/whole`]);
        assertEquals([whole.first, whole.last], [1, steps]);

        const rng = new Rng(11, kind);
        for (let k = 1; k <= kills; k++) {
          // Somewhere in its part of the run, and up to some steps later.
          const step = Math.floor(steps * (k - rng.uniform()) / (kills + 1)) + 1;
          await run(kind, [store, `${dir}/killed`], { step, after: 30 * rng.uniform() });
        }
        const last = await run(kind, [store, `${dir}/killed`]);
        assert(last.first > 1, "the last run went on from a checkpoint");
        assertEquals(last.last, steps);
        const files = await contents(`${dir}/whole`);
        assert(Object.keys(files).some((name) => name.endsWith(".safetensors")));
        assertEquals(await contents(`${dir}/killed`), files);
      }),
  });
}
