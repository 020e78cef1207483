/**
 * `deno task quickstart`: from a clone to executed notebooks and the site they make.
 *
 * The committed notebooks stay as they are; everything goes into `out/`.
 *
 * @module
 */
import { basename, join, relative } from "node:path";
import { NOTEBOOKS, OUT } from "./environment.ts";
import { EXPLORER, runExplorer } from "./explorer.ts";
import { requireJupyter } from "./notebooks.ts";
import { findNotebooks, runSeries } from "./series.ts";
import { setup } from "./setup.ts";
import { duration } from "./ticker.ts";
import { formatNumber, table } from "../display/mod.ts";
import { ROOT } from "../files/mod.ts";
import { publish } from "../site/mod.ts";
import { type Profile, readHeadlines } from "../study/mod.ts";

const PROFILE: Profile = "quick";

async function quickstart(): Promise<boolean> {
  const start = performance.now();
  await setup();
  await requireJupyter();
  const notebooks = await findNotebooks(NOTEBOOKS);
  console.log(`\nExecuting ${notebooks.length} notebooks in the ${PROFILE} profile`);
  const out = join(OUT, "notebooks");
  const results = await runSeries(notebooks, { profile: PROFILE, out, resume: true });
  const executed = results.flatMap(({ output }) => output ?? []);

  let published = executed.length > 0;
  if (published) {
    console.log("\nMeasuring the features of the dictionary");
    const explorer = await runExplorer({ profile: PROFILE }) ? EXPLORER : undefined;
    console.log("\nMaking the site");
    try {
      const { messages } = await publish({
        ...{ notebooks: executed, out: join(OUT, "site") },
        ...{ explorer, reference: true },
      });
      for (const message of messages) console.log(message);
    } catch (error) {
      published = false;
      console.error(`The site was not made: ${error instanceof Error ? error.message : error}`);
    }
  }

  const names = executed.map((path) => basename(path, ".ipynb"));
  const headlines = await readHeadlines(PROFILE);
  const findings = headlines.filter(({ notebook }) => names.includes(notebook))
    .flatMap(({ notebook, findings }) => findings.map((finding) => ({ notebook, ...finding })));
  if (findings.length > 0) {
    const rows = findings.map(({ notebook, quantity, value, unit, interval }) => ({
      notebook,
      quantity,
      value: formatNumber(value),
      unit,
      "95 % interval": interval ? interval.map((bound) => formatNumber(bound)).join(" to ") : "",
    }));
    console.log(`\n${table(rows, { maxRows: rows.length })}`);
  }
  console.log(`\nExecuted notebooks: ${relative(ROOT, out)}`);
  if (published) console.log(`Site: ${relative(ROOT, join(OUT, "site", "index.html"))}`);
  console.log("To change them and run them cell by cell: deno task lab");
  console.log(`Took ${duration((performance.now() - start) / 1000)}`);
  const failed = notebooks.length - executed.length + (published ? 0 : 1);
  console.log(`${executed.length} passed, ${failed} failed`);
  return failed === 0;
}

if (import.meta.main) {
  try {
    if (!await quickstart()) Deno.exit(1);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
