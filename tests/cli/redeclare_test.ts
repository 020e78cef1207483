import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { program } from "../../lib/cli/environment.ts";
import { runSeries } from "../../lib/cli/series.ts";
import { ROOT } from "../../lib/files/mod.ts";

const jupyter = await Deno.stat(program("jupyter-lab")).then(() => true, () => false);
if (!jupyter) console.log("Skipping cells that are run again: Jupyter is not installed");

/** The configuration cell and those below it, as somebody runs them again after an edit. */
const configuration = (k: number) =>
  `const config = { architecture: "topk", dSae: 8, k: ${k}, steps: 4, batchSize: 16 } as const;\nconfig.k`;
const TRAIN = "const { sae } = await trainSae(store, config);";
const CELLS = [
  `import { memoryStore, openDevice, requireDictionary, Rng, trainNfm, trainSae } from "interlens";
await openDevice({ backend: "cpu" });
const split = { rows: new Rng(0).normals(64 * 4, 1), document: new Int32Array(64) };
const store = memoryStore(4, { train: split, validation: split, test: split });`,
  configuration(2),
  TRAIN,
  `const { nfm } = await trainNfm(store, sae, { K: 2, steps: 4, batchSize: 16 });
await requireDictionary(nfm, sae);`,
  configuration(3),
  // Below the edited cell nothing was run: the machine still fits the dictionary that is there.
  "await requireDictionary(nfm, sae);",
  TRAIN,
  "await requireDictionary(nfm, sae).catch((error) => console.log(error.message));",
  `const { nfm } = await trainNfm(store, sae, { K: 2, steps: 4, batchSize: 16 });
await requireDictionary(nfm, sae);`,
  configuration(2),
  TRAIN,
];

Deno.test({
  name: "an edited configuration cell is run again in any order, and what is stale is said",
  ignore: !jupyter,
  async fn() {
    // Kernels find the configuration of the project from their folder upwards.
    const folder = join(ROOT, "out", `test-${crypto.randomUUID()}`);
    const cache = Deno.env.get("INTERLENS_CACHE");
    Deno.env.set("INTERLENS_CACHE", join(folder, "cache"));
    try {
      await Deno.mkdir(folder, { recursive: true });
      const path = join(folder, "00_edited.ipynb");
      const cells = CELLS.map((source, i) => ({
        ...{ cell_type: "code", id: `cell-${i}`, metadata: {}, execution_count: null },
        ...{ outputs: [], source },
      }));
      await Deno.writeTextFile(
        path,
        JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells }),
      );
      const [{ failure, output }] = await runSeries([path], {
        profile: "quick",
        out: join(folder, "executed"),
      });
      assertEquals(failure, undefined);
      const printed = (JSON.parse(await Deno.readTextFile(output!)).cells as {
        outputs: { text?: string[] }[];
      }[]).map(({ outputs }) => outputs.flatMap(({ text = [] }) => text).join(""));
      assertStringIncludes(printed[2], "sae: making it, the first of its kind");
      assertStringIncludes(printed[6], "sae: making it, different from the nearest one");
      assertStringIncludes(printed[6], "in k: 2 → 3");
      assertStringIncludes(printed[7], "it was trained on another dictionary");
      assertStringIncludes(printed[8], "nfm: making it, different from the nearest one");
      assert(/sae: loaded, made \d{4}/.test(printed[10]), printed[10]);
    } finally {
      if (cache === undefined) Deno.env.delete("INTERLENS_CACHE");
      else Deno.env.set("INTERLENS_CACHE", cache);
      await Deno.remove(folder, { recursive: true });
    }
  },
});
