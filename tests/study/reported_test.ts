import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { reportedResults, reportedRun, reportedStudy } from "../../lib/study/mod.ts";

Deno.test("The reported results are complete, and each names its notebook", async () => {
  const results = await reportedResults();
  const ids = ["R1", "R2", "R2'", "R2''", "R3", "R4", "R4'", "R5", "R6", "R7", "R8", "R9", "R10"];
  assertEquals(Object.keys(results), ids);
  for (const { notebook, value, unit } of Object.values(results)) {
    assert(/^0[2-5]_/.test(notebook), notebook);
    assert(Number.isFinite(value) && unit.length > 0);
  }
});

Deno.test("A reported reduction is what its errors before and after make, as far as they have digits", async () => {
  for (const { id, value, values, unit } of Object.values(await reportedResults())) {
    if (values?.before === undefined) continue;
    assertEquals(unit, "% of the SAE's error");
    assertAlmostEquals(100 * (1 - values.after / values.before), value, 0.03, id);
  }
});

Deno.test("The reported share of interactions is the one of the reported norms", async () => {
  const { R8 } = await reportedResults();
  const { linear, interaction } = R8.values!;
  assertAlmostEquals(100 * interaction / (linear + interaction), R8.value, 0.1);
});

Deno.test("Each claim names a run and a measure of it, and each run four finite cells a measure", async () => {
  const { claims, runs, selections, discoveries, provenance } = await reportedStudy();
  assert(provenance.includes("109da20"));
  assertEquals(claims.map(({ id }) => id), ["Q1", "Q2", "Q3", "Q4", "Q5"]);
  for (const { run, measure, notebook } of claims) {
    const { measures, notebook: place } = await reportedRun(run);
    assert(measure in measures, `${run} ${measure}`);
    assertEquals(place, notebook);
  }
  for (const { run, measures, notebook } of runs) {
    assert(/^(0[6-9]|1[01])_/.test(notebook), notebook);
    assertEquals(new Set(measures.map(({ name }) => name)).size, measures.length, run);
    for (const { cells } of measures) {
      assert(cells.length === 4 && cells.every(Number.isFinite), run);
    }
  }
  for (const { run } of [...selections, ...discoveries]) await reportedRun(run);
  for (const { features, t } of discoveries) assertEquals(features.length, t.length);
  await assertRejects(() => reportedRun("paris"), RangeError, "paris_folk");
});
