/**
 * Turns executed notebooks into a site: `deno task publish [--out DIR] [--explorer DIR] [notebooks…]`.
 *
 * The feature explorer is part of it where `deno task explorer` has left its data.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { join, relative } from "node:path";
import { ROOT } from "../files/mod.ts";
import { publish } from "../site/mod.ts";
import { findNotebooks } from "./series.ts";

if (import.meta.main) Deno.exit(await main(Deno.args));

/** Runs the command; its result is the exit status. */
export async function main(args: string[]): Promise<number> {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        out: { type: "string", default: join(ROOT, "out", "site") },
        explorer: { type: "string" },
      },
    });
    const notebooks = positionals.length > 0
      ? positionals
      : await findNotebooks(join(ROOT, "notebooks"));
    const explorer = values.explorer ?? await madeExplorer();
    const report = await publish({ notebooks, out: values.out, explorer, reference: true });
    for (const { title, path, figures, bytes } of report.pages) {
      console.log(
        `${title}: ${figures} ${figures === 1 ? "figure" : "figures"}, ${kilobytes(bytes)} ` +
          `(${relative(Deno.cwd(), path)})`,
      );
    }
    if (report.filled > 0) console.log(`${report.filled} figures drawn as PNG in their notebooks`);
    for (const message of report.messages) console.warn(`Note: ${message}`);
    if (explorer === undefined) {
      console.log("The site has no feature explorer: `deno task explorer` makes one");
    }
    console.log(`The site takes ${kilobytes(report.bytes)}. Open ${report.index}`);
    return 0;
  } catch (error) {
    console.error((error as Error).message);
    return 1;
  }
}

/** Where `deno task explorer` left its data, if it did. */
async function madeExplorer(): Promise<string | undefined> {
  const folder = join(ROOT, "out", "explorer");
  const index = await Deno.stat(join(folder, "explorer.json")).catch(() => undefined);
  return index?.isFile ? folder : undefined;
}

function kilobytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
