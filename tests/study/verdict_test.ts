import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { judge, readVerdicts, recordVerdict, type VerdictRow } from "../../lib/study/mod.ts";
import { cacheDir } from "../../lib/files/mod.ts";

const row: VerdictRow = {
  id: "Q3",
  claim: "a test",
  reported: "1 %",
  faithful: "1 %",
  corrected: "0.2 % [0.1, 0.3]",
  control: "0 %",
  judgement: "supported",
  verdict: "A sentence.",
};

Deno.test("judge() says no more than the interval", () => {
  assertEquals(judge({ low: 0, high: 1 }), "undecided");
  assertEquals(judge({ low: -1, high: 0 }), "contradicted");
  assertThrows(() => judge({ low: 1, high: 0 }), RangeError, "[1, 0]");
  assertThrows(() => judge({ low: NaN, high: 0 }), RangeError);
});

Deno.test("Verdicts come back with their notebook, results before questions", async () => {
  const notebook = "99_test";
  try {
    await recordVerdict(notebook, [row, { ...row, id: "R10" }, { ...row, id: "R2" }]);
    const mine = (await readVerdicts()).filter((verdict) => verdict.notebook === notebook);
    assertEquals(mine.map(({ id }) => id), ["R2", "R10", "Q3"]);
    assertEquals(mine[2], { ...row, notebook });
  } finally {
    const { profile } = await import("../../lib/study/mod.ts");
    await Deno.remove(cacheDir("verdicts", profile(), `${notebook}.json`));
  }
});

Deno.test("A verdict without a number or about nothing is refused", async () => {
  await assertRejects(() => recordVerdict("x", [{ ...row, id: "X1" }]), RangeError, '"X1"');
  await assertRejects(
    () => recordVerdict("x", [{ ...row, corrected: "NaN %" }]),
    RangeError,
    '"corrected"',
  );
  await assertRejects(() => recordVerdict("x", [{ ...row, control: " " }]), RangeError, "control");
});
