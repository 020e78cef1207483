/**
 * JupyterLab in a browser, as somebody uses it: notebook 02 from top to bottom, and the Stop button.
 *
 * The notebook is rehearsed: unchanged, on a small generated checkpoint, with its sizes cut.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { NOTEBOOKS, program } from "../../lib/cli/environment.ts";
import { freePort } from "../../lib/cli/lab.ts";
import { lines } from "../../lib/cli/lines.ts";
import { cacheDir, ROOT } from "../../lib/files/mod.ts";
import { Chromium, findChromium, type Tab } from "../../lib/site/chromium.ts";
import { writeSubject } from "../notebooks/subject.ts";
import { click, until, withText } from "./page.ts";

const jupyter = await Deno.stat(program("jupyter-lab")).then(() => true, () => false);
const chromium = await findChromium();
const missing = [...jupyter ? [] : ["Jupyter"], ...chromium ? [] : ["Chromium"]].join(" and ");
if (missing) console.log(`Skipping JupyterLab in a browser: ${missing} is not installed`);

const TRAIN = `import { memoryStore, openDevice, Rng, stopSignal, trainSae } from "interlens";
await openDevice({ backend: "cpu" });
const split = { rows: new Rng(0).normals(2000 * 8, 1), document: new Int32Array(2000) };
const store = memoryStore(8, { train: split, validation: split, test: split });
const result = await trainSae(
  store,
  { architecture: "topk", dSae: 16, k: 2, steps: 10_000_000, batchSize: 64 },
  { signal: stopSignal(), cache: false },
);
console.log(\`stopped \${result.stopped}\`);`;
const NEXT = "console.log(`next ${result.sae.config.dSae} ${result.history.at(-1).step > 0}`);";

const STATUS = `document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status`;

async function writeTraining(path: string): Promise<void> {
  const cells = [TRAIN, NEXT].map((source, i) => ({
    ...{ cell_type: "code", id: `cell-${i}`, metadata: {}, execution_count: null },
    ...{ outputs: [], source },
  }));
  const kernelspec = { name: "deno", display_name: "Deno", language: "typescript" };
  const notebook = { nbformat: 4, nbformat_minor: 5, metadata: { kernelspec }, cells };
  await Deno.writeTextFile(path, JSON.stringify(notebook));
}

/** Starts `deno task lab`; returns it and its address. */
async function startLab(
  env: Record<string, string>,
): Promise<{ lab: Deno.ChildProcess; address: URL }> {
  const lab = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "-q", "lib/cli/lab.ts", "--port", `${freePort(18900)}`],
    cwd: ROOT,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  for await (const line of lines(lab.stdout)) {
    const match = /^JupyterLab: (\S+)$/.exec(line);
    if (match) return { lab, address: new URL(match[1]) };
  }
  throw new Error("JupyterLab ended before it gave its address");
}

/** Opens a notebook in a tab of its own and waits for its kernel. */
async function openNotebook(browser: Chromium, address: URL, path: string): Promise<Tab> {
  const tab = await browser.tab({ width: 1300, height: 900 });
  await tab.open(
    `${address.origin}/lab/workspaces/${crypto.randomUUID()}/tree/${path}${address.search}`,
  );
  await until(
    tab,
    `/Deno/.test(document.querySelector('[data-jp-item-name="kernelName"]')?.textContent) && ` +
      `${STATUS} === "idle"`,
  );
  return tab;
}

async function runAll(tab: Tab): Promise<void> {
  await click(tab, withText(".lm-MenuBar-itemLabel", "Run"));
  await click(tab, withText(".lm-Menu-itemLabel", "Run All Cells"));
}

/** Everything that a notebook shows; what is out of sight is not in the page. */
const READ = `(async () => {
  const panel = document.querySelector(".jp-WindowedPanel-outer");
  const figures = new Set();
  const errors = new Set();
  const prompts = new Set();
  for (let y = 0; y < panel.scrollHeight; y += 300) {
    panel.scrollTop = y;
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 60));
    for (const plot of panel.querySelectorAll(".js-plotly-plot")) {
      if (plot.querySelector(".main-svg .trace, .main-svg .bars, .main-svg .hm")) {
        figures.add(plot.querySelector(".gtitle").textContent);
      }
    }
    for (const error of panel.querySelectorAll('[data-mime-type="application/vnd.jupyter.error"]')) {
      errors.add(error.textContent);
    }
    for (const prompt of panel.querySelectorAll(".jp-InputPrompt")) prompts.add(prompt.textContent);
  }
  return { figures: [...figures], errors: [...errors], prompts: [...prompts] };
})()`;

Deno.test({
  name: "in JupyterLab notebook 02 runs from top to bottom, draws its figures, and a stopped " +
    `training leaves its state to the next cell${missing ? ` (skipped: no ${missing})` : ""}`,
  ignore: missing !== "" || Deno.build.os === "windows",
  async fn() {
    // Kernels find the configuration of the project from their folder upwards.
    const name = `out/test-${crypto.randomUUID()}`;
    const folder = join(ROOT, name);
    await Deno.mkdir(join(folder, "cache"), { recursive: true });
    const found = (await Array.fromAsync(Deno.readDir(NOTEBOOKS))).map((entry) => entry.name)
      .find((file) => /^02_.*\.ipynb$/.test(file))!;
    await Deno.copyFile(join(NOTEBOOKS, found), join(folder, found));
    await writeTraining(join(folder, "train.ipynb"));
    const { model, text } = await writeSubject(folder);
    // Set-up looks for the embedded model in the cache; it need not be unpacked again.
    await Deno.symlink(cacheDir("models"), join(folder, "cache", "models"));
    const { lab, address } = await startLab({
      ...{ INTERLENS_CACHE: join(folder, "cache"), INTERLENS_MODEL: model, INTERLENS_TEXT: text },
      ...{ INTERLENS_REHEARSAL: "1", INTERLENS_PROFILE: "paper" },
    });
    const browser = await Chromium.open(chromium!);
    try {
      const study = await openNotebook(browser, address, `${name}/${found}`);
      await runAll(study);
      await until(study, `${STATUS} === "busy"`);
      await until(study, `${STATUS} === "idle"`);
      const { figures, errors, prompts } = await study.evaluate<
        { figures: string[]; errors: string[]; prompts: string[] }
      >(READ);
      assertEquals(errors, []);
      const source = JSON.parse(await Deno.readTextFile(join(NOTEBOOKS, found)));
      const cells = source.cells.filter((cell: { cell_type: string; source: string[] }) =>
        cell.cell_type === "code" && [cell.source].flat().join("").trim() !== ""
      ).length;
      assertEquals(
        prompts.filter((prompt) =>
          /^\[\d+\]:$/.test(prompt)
        ).length,
        cells,
      );
      assert(figures.length >= 2 && figures.every((title) => title.length > 0), figures.join());
      const elsewhere = (url: string) =>
        !url.startsWith(address.origin) && !/^(?:data|blob):/.test(url);
      assertEquals(study.requests.filter(elsewhere), []);
      await study.close();

      const training = await openNotebook(browser, address, `${name}/train.ipynb`);
      await runAll(training);
      await until(
        training,
        `/\\d steps\\/s/.test(document.querySelector(".il-progress")?.textContent)`,
      );
      await click(
        training,
        `document.querySelector('[data-jp-item-name="interrupt"] button, ` +
          `[data-jp-item-name="interrupt"]')`,
      );
      const outputs = `[...document.querySelectorAll(".jp-OutputArea-output")]` +
        `.map(({ textContent }) => textContent).join("\\n")`;
      await until(training, `/next/.test(${outputs})`);
      const shown = await training.evaluate<string>(outputs);
      assertStringIncludes(shown, "stopped true");
      assertStringIncludes(shown, "next 16 true");
      await training.close();
    } finally {
      await browser.close();
      lab.kill("SIGINT");
      await lab.status;
      await lab.stdout.cancel().catch(() => {});
      await Deno.remove(folder, { recursive: true });
    }
  },
});
