import { assert } from "@std/assert";
import { join } from "node:path";
import { computeEnvironment } from "../../lib/cli/environment.ts";
import { ROOT } from "../../lib/files/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { keptBytes, OPEN_LLAMA_3B, type Sizes, writeCheckpoint } from "./large_checkpoint.ts";
import type { Probe } from "./load_probe.ts";

/** What loading may hold beside the weights. */
const ALLOWANCE = 500e6;

const linux = Deno.build.os === "linux";
const large = Deno.env.get("INTERLENS_TEST_LARGE") === "1";
if (!large) {
  console.log(
    "Not tested here: a checkpoint of OpenLLaMA-3B's size (INTERLENS_TEST_LARGE=1 tests it; it " +
      "takes 5 GB of disk and 12 GB of memory)",
  );
}

async function probe(folder: string, layers: number): Promise<Probe> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "-q", join(ROOT, "tests/model/load_probe.ts"), folder, `${layers}`],
    cwd: ROOT,
    env: { ...computeEnvironment(), NO_COLOR: "1" },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout).trim().split("\n").at(-1)!);
}

function memoryTest(name: string, sizes: Sizes, layers: number, ignore: boolean): void {
  Deno.test({
    name,
    ignore,
    fn: () =>
      inScratch(async (folder) => {
        await writeCheckpoint(folder, sizes);
        const found = await probe(folder, layers);
        const kept = keptBytes(sizes, layers);
        console.log(JSON.stringify({ kept, ...found }));
        assert(Number.isFinite(found.norm) && found.norm > 0);
        assert(
          found.peakOfLoading <= 1.15 * kept + ALLOWANCE,
          `loading ${kept} bytes took ${found.peakOfLoading}`,
        );
      }),
  });
}

memoryTest(
  "loading the first blocks takes their own memory and little else",
  { dModel: 1024, nHeads: 16, dMlp: 2816, vocabSize: 8_000, nLayers: 25, storedLayers: 25 },
  24,
  !linux,
);

memoryTest(
  "16 blocks of OpenLLaMA-3B's size load from float16 and run",
  OPEN_LLAMA_3B,
  16,
  !linux || !large,
);
