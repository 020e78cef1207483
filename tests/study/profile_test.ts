import { assertEquals, assertThrows } from "@std/assert";
import { profile } from "../../lib/study/mod.ts";

Deno.test("profile() is quick unless INTERLENS_PROFILE says otherwise, and refuses other names", () => {
  const before = Deno.env.get("INTERLENS_PROFILE");
  try {
    Deno.env.delete("INTERLENS_PROFILE");
    assertEquals(profile(), "quick");
    Deno.env.set("INTERLENS_PROFILE", "paper");
    assertEquals(profile(), "paper");
    Deno.env.set("INTERLENS_PROFILE", "large");
    assertThrows(profile, RangeError, "expected quick, full or paper");
  } finally {
    if (before === undefined) Deno.env.delete("INTERLENS_PROFILE");
    else Deno.env.set("INTERLENS_PROFILE", before);
  }
});
