import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { NOTEBOOKS, program } from "../../lib/cli/environment.ts";
import { dependenciesOf, staleness } from "../../lib/cli/executed.ts";
import { runSeries } from "../../lib/cli/series.ts";
import { ROOT } from "../../lib/files/mod.ts";

const jupyter = await Deno.stat(program("jupyter-lab")).then(() => true, () => false);
if (!jupyter) console.log("Skipping the execution of notebooks: Jupyter is not installed");

// Kernels find the configuration of the project from their folder upwards.
const FOLDER = join(ROOT, "out", `test-${crypto.randomUUID()}`);

async function write(name: string, ...cells: string[]): Promise<string> {
  const notebook = {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: { kernelspec: { name: "deno", display_name: "Deno", language: "typescript" } },
    cells: [
      { cell_type: "markdown", id: "title", metadata: {}, source: "# A notebook" },
      ...cells.map((source, i) => ({
        cell_type: "code",
        id: `cell-${i}`,
        metadata: { execution: { "iopub.execute_input": "2020-01-01T00:00:00Z" }, tags: ["x"] },
        execution_count: null,
        outputs: [],
        source,
      })),
    ],
  };
  await Deno.mkdir(FOLDER, { recursive: true });
  const path = join(FOLDER, `${name}.ipynb`);
  await Deno.writeTextFile(path, JSON.stringify(notebook));
  return path;
}

Deno.test({
  name: "a notebook is executed with the library, the profile and a display that updates",
  ignore: !jupyter,
  async fn() {
    const path = await write(
      "00_small",
      'import { openDevice, tf } from "interlens";\n' +
        'await openDevice({ backend: "cpu" });\n' +
        "[...await tf.add(1, 2).data()]",
      'console.log(Deno.env.get("INTERLENS_PROFILE"), Deno.env.get("INTERLENS_NOTEBOOK"))',
      "for (let i = 1; i <= 3; i++) {\n" +
        '  await Deno.jupyter.display({ "text/plain": `step ${i}` }, ' +
        '{ raw: true, display_id: "p", update: i > 1 });\n}',
      `console.log(${JSON.stringify(`see ${NOTEBOOKS}/x`)})`,
    );
    try {
      const out = join(FOLDER, "executed");
      const [result] = await runSeries([path], { profile: "quick", out });
      assertEquals(result.failure, undefined);
      const text = await Deno.readTextFile(result.output!);
      const { cells, metadata } = JSON.parse(text);
      const outputs = cells.slice(1).map((cell: { outputs: unknown[] }) => cell.outputs);
      // A backend may say something before the result.
      assertEquals(outputs[0].at(-1).data["text/plain"], ["[ 3 ]"]);
      assertEquals(outputs[1][0].text, ["quick 00_small\n"]);
      // The last state of a display that was updated, and nothing else.
      assertEquals(outputs[2].length, 1);
      assertEquals(outputs[2][0].data["text/plain"], ["step 3"]);
      // Neither the time of the run nor the place of the repository is kept.
      assertEquals(outputs[3][0].text, ["see notebooks/x\n"]);
      assertEquals(cells[1].metadata, { tags: ["x"] });
      assertEquals(cells.slice(1).map((c: { execution_count: number }) => c.execution_count), [
        ...[1, 2, 3, 4],
      ]);
      assertEquals(metadata.kernelspec.name, "deno");
      assert(!("version" in metadata.language_info));
      // The notebook that was executed stays as it is.
      assertEquals(JSON.parse(await Deno.readTextFile(path)).cells[1].outputs, []);
    } finally {
      await Deno.remove(FOLDER, { recursive: true });
    }
  },
});

Deno.test({
  name: "no output is lost, however late the kernel sends it",
  ignore: !jupyter,
  async fn() {
    // The kernel often reports the end of such a cell before its output.
    const cell = "for (let i = 1; i <= 3; i++) {\n" +
      "  console.log(i);\n" +
      '  await Deno.jupyter.display({ "text/plain": `step ${i}` }, ' +
      "{ raw: true, display_id: crypto.randomUUID() });\n}";
    const path = await write("00_late", ...Array(40).fill(cell));
    try {
      const [result] = await runSeries([path], { profile: "quick", out: join(FOLDER, "executed") });
      const { cells } = JSON.parse(await Deno.readTextFile(result.output!));
      const plain = cells.slice(1).flatMap((
        { outputs }: { outputs: Record<string, Record<string, string[]>>[] },
      ) => outputs.flatMap((output) => output.data?.["text/plain"] ?? output.text));
      // On a busy machine the kernel gives the end of a cell's output to the next one.
      const found = (plain.join("\n").match(/[123]/g) ?? []).sort().join("");
      assertEquals(found, "1".repeat(80) + "2".repeat(80) + "3".repeat(80));
    } finally {
      await Deno.remove(FOLDER, { recursive: true });
    }
  },
});

Deno.test({
  name: "a cell that throws ends the series, is named, and leaves earlier output as it was",
  ignore: !jupyter,
  async fn() {
    const first = await write(
      "00_fails",
      "const a = 1;\na",
      'throw new RangeError("K must be > 0")',
    );
    const second = await write("01_never", "1");
    try {
      const before = await Deno.readTextFile(first);
      const results = await runSeries([first, second], { profile: "quick" });
      assertEquals(results.length, 1);
      assertEquals(results[0].output, undefined);
      assertEquals(results[0].failure?.cell, 2);
      assertStringIncludes(results[0].failure!.message, "RangeError: K must be > 0");
      assertEquals(await Deno.readTextFile(first), before);
    } finally {
      await Deno.remove(FOLDER, { recursive: true });
    }
  },
});

Deno.test({
  name: "a cell that runs longer than its limit ends the series",
  ignore: !jupyter,
  async fn() {
    const path = await write("00_slow", "await new Promise(() => setInterval(() => {}, 1000))");
    try {
      const [result] = await runSeries([path], { profile: "quick", timeout: 1 });
      assertEquals(result.failure?.cell, 1);
      assertStringIncludes(result.failure!.message, "more than 1.0 s");
    } finally {
      await Deno.remove(FOLDER, { recursive: true });
    }
  },
});

Deno.test({
  name: "a series goes on where it stopped, and runs again what has changed and nothing else",
  ignore: !jupyter,
  async fn() {
    const cache = Deno.env.get("INTERLENS_CACHE");
    Deno.env.set("INTERLENS_CACHE", join(FOLDER, "cache"));
    try {
      const out = join(FOLDER, "executed");
      const first = await write("00_first", "1");
      let second = await write("01_second", 'throw new Error("not yet")');
      const run = async (resume = true) =>
        (await runSeries([first, second], { profile: "quick", out, resume }))
          .map(({ failure, seconds }) =>
            failure ? "failed" : seconds > 0 ? "executed" : "unchanged"
          );
      assertEquals(await run(), ["executed", "failed"]);
      second = await write("01_second", '"readVerdicts"');
      assertEquals(await run(), ["unchanged", "executed"]);
      assertEquals(await run(), ["unchanged", "unchanged"]);

      // A picture that was drawn later changes nothing; another output does.
      const path = join(out, "00_first.ipynb");
      const executed = JSON.parse(await Deno.readTextFile(path));
      executed.cells[1].outputs[0].data["image/png"] = "AAAA";
      await Deno.writeTextFile(path, JSON.stringify(executed));
      // What other notebooks found concerns the one that reads it.
      const verdicts = join(FOLDER, "cache", "verdicts", "quick");
      await Deno.mkdir(verdicts, { recursive: true });
      await Deno.writeTextFile(join(verdicts, "00_first.json"), "{}");
      assertEquals(await run(), ["unchanged", "executed"]);
      executed.cells[1].outputs = [];
      await Deno.writeTextFile(path, JSON.stringify(executed));
      assertEquals(await run(), ["executed", "unchanged"]);

      const before = await dependenciesOf(first, "quick");
      assertEquals(await staleness(path, before), undefined);
      assertEquals(
        await staleness(path, await dependenciesOf(first, "full")),
        "it was executed in another profile",
      );
      const library = { ...before, library: "0.0.1" };
      assertEquals(await staleness(path, library), "the library has changed");
    } finally {
      if (cache === undefined) Deno.env.delete("INTERLENS_CACHE");
      else Deno.env.set("INTERLENS_CACHE", cache);
      await Deno.remove(FOLDER, { recursive: true });
    }
  },
});
