import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { reportedResults } from "../../lib/study/mod.ts";

Deno.test("The reported numbers are complete and each names its notebook", async () => {
  const results = await reportedResults();
  assertEquals(Object.keys(results), ["R1", "R2", "R3", "R4", "R5", "R7", "R8", "R10"]);
  for (const { notebook, value, unit } of Object.values(results)) {
    assert(/^0[0-5]_/.test(notebook), notebook);
    assert(Number.isFinite(value) && unit.length > 0);
  }
});

Deno.test("The reported share of interactions is the one of the initial weights", async () => {
  // Rows of a [3200, 50000] matrix of std 0.01 against rows of a [50000, 150] matrix of std 0.05.
  const linear = 0.01 * Math.sqrt(50_000);
  const interaction = 0.05 * Math.sqrt(150);
  assertAlmostEquals(linear, 2.236, 5e-4);
  assertAlmostEquals(interaction, 0.612, 5e-4);
  const { R8 } = await reportedResults();
  assertAlmostEquals(100 * interaction / (linear + interaction), R8.value, 0.05);
});
