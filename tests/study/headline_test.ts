import { assertEquals } from "@std/assert";
import { headline, readHeadlines } from "../../lib/study/mod.ts";

Deno.test("headline numbers are read as notebooks store them, in reading order", async () => {
  const cache = await Deno.makeTempDir();
  const before = Deno.env.get("INTERLENS_CACHE");
  const profile = Deno.env.get("INTERLENS_PROFILE");
  Deno.env.set("INTERLENS_CACHE", cache);
  Deno.env.set("INTERLENS_PROFILE", "quick");
  try {
    await headline("01_b", [{ quantity: "L0", value: 64, unit: "features" }]);
    await headline("00_a", [{ quantity: "FVU", value: 0.25, unit: "", interval: [0.2, 0.3] }]);
    const found = await readHeadlines();
    assertEquals(
      found.map(({ notebook, findings }) => [notebook, findings[0].value]),
      [["00_a", 0.25], ["01_b", 64]],
    );
    assertEquals(await readHeadlines("full"), []);
  } finally {
    if (before === undefined) Deno.env.delete("INTERLENS_CACHE");
    else Deno.env.set("INTERLENS_CACHE", before);
    if (profile === undefined) Deno.env.delete("INTERLENS_PROFILE");
    else Deno.env.set("INTERLENS_PROFILE", profile);
    await Deno.remove(cache, { recursive: true });
  }
});
