/**
 * How much of everything a run takes: minutes, an evening, or a GPU.
 *
 * @module
 */

/**
 * - `quick`: the embedded model, minutes on two cores; what continuous integration runs.
 * - `full`: the embedded model on more text and with twice the features, about half an hour; what
 *   the committed notebooks show.
 * - `paper`: the study's own model and text, on a GPU.
 */
export type Profile = "quick" | "full" | "paper";

/**
 * The profile in force: `INTERLENS_PROFILE`, or `quick`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { profile } from "interlens";
 *
 * Deno.env.set("INTERLENS_PROFILE", "full");
 * assertEquals(profile(), "full");
 * Deno.env.delete("INTERLENS_PROFILE");
 * assertEquals(profile(), "quick");
 * ```
 *
 * @throws {RangeError} If the variable names no profile.
 */
export function profile(): Profile {
  const name = Deno.env.get("INTERLENS_PROFILE") || "quick";
  if (name !== "quick" && name !== "full" && name !== "paper") {
    throw new RangeError(
      `Cannot run the profile "${name}" of INTERLENS_PROFILE: expected quick, full or paper`,
    );
  }
  return name;
}

/** Whether `INTERLENS_REHEARSAL` asks for every size of the configuration to be cut. */
export function rehearsing(): boolean {
  return Boolean(Deno.env.get("INTERLENS_REHEARSAL"));
}
