/**
 * The `paper` profile without its hub, its hours and its GPU: every notebook unchanged, on a
 * checkpoint as OpenLLaMA publishes one (26 blocks, `pytorch_model.bin`, sentencepiece), generated
 * and narrow, with every size of the configuration cut.
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { NOTEBOOKS, program } from "../../lib/cli/environment.ts";
import { findNotebooks, runSeries } from "../../lib/cli/series.ts";
import { inScratch } from "../files/scratch.ts";
import { writeSubject } from "./subject.ts";

const jupyter = await Deno.stat(program("jupyter-lab")).then(() => true, () => false);
if (!jupyter) console.log("Skipping the rehearsal of the paper profile: Jupyter is not installed");

/** Sets variables while `use` runs. */
async function withEnvironment(
  variables: Record<string, string>,
  use: () => Promise<void>,
): Promise<void> {
  const before = Object.keys(variables).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
  try {
    await use();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}

Deno.test({
  name: "every notebook runs unchanged in the paper profile on a checkpoint of OpenLLaMA's form",
  ignore: !jupyter,
  fn: () =>
    inScratch(async (folder) => {
      const { model, text } = await writeSubject(folder);
      const names = (Deno.env.get("INTERLENS_REHEARSE") ?? "").split(" ").filter(Boolean);
      await withEnvironment({
        INTERLENS_CACHE: join(folder, "cache"),
        INTERLENS_MODEL: model,
        INTERLENS_TEXT: text,
        INTERLENS_REHEARSAL: "1",
      }, async () => {
        const notebooks = await findNotebooks(NOTEBOOKS, names);
        const results = await runSeries(notebooks, {
          profile: "paper",
          out: join(folder, "executed"),
        });
        assertEquals(
          results.flatMap(({ name, failure }) => failure ? [{ name, failure }] : []),
          [],
        );
        assertEquals(results.length, notebooks.length);
      });
    }),
});
