import { assertRejects } from "@std/assert";
import { requireSpace } from "../../lib/files/mod.ts";
import { inScratch } from "./scratch.ts";

Deno.test("requireSpace lets pass what fits and says what is missing otherwise", () =>
  inScratch(async (folder) => {
    await requireSpace(folder, 1);
    await assertRejects(
      () => requireSpace(folder, 1e18, "The harvest"),
      Error,
      `The harvest needs 1.00e+9 GB in "${folder}"`,
    );
  }));
