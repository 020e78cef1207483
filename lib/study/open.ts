/**
 * The first cell of every notebook.
 *
 * @module
 */
import { basename } from "node:path";
import { type Device, openDevice } from "../tensor/mod.ts";
import { VERSION } from "../files/mod.ts";
import { studyConfig } from "./config.ts";
import { type Profile, profile, rehearsing } from "./profile.ts";

/** The oldest Deno whose kernel reports errors of cells reliably. */
const OLDEST_DENO = [2, 9, 4];

/** What a notebook runs on. */
export interface Study {
  readonly device: Device;
  readonly profile: Profile;
  /**
   * Whether sizes are cut and the model may be a generated one (`INTERLENS_REHEARSAL`): nothing that
   * is measured has a meaning, and what only a trained model does must not be asserted.
   */
  readonly rehearsal: boolean;
}

/**
 * Checks the version of Deno, opens the device, and prints one line that says what runs: versions, device,
 * profile, model.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openStudy, profile } from "interlens";
 *
 * const study = await openStudy();
 * assertEquals(study.profile, profile());
 * ```
 *
 * @throws {Error} If Deno is older than 2.9.4: some kernels before it swallow the errors of cells.
 */
export async function openStudy(): Promise<Study> {
  requireDeno(Deno.version.deno);
  const device = await openDevice();
  const name = profile();
  const rehearsal = rehearsing();
  console.log(
    `Interlens ${VERSION} · Deno ${Deno.version.deno} · ${device.name} (${device.reason}) · ` +
      `profile ${name}${rehearsal ? ", a rehearsal: its numbers mean nothing" : ""} · ` +
      `model ${modelName()}`,
  );
  return { device, profile: name, rehearsal };
}

/** The model of the profile; of a folder or a file its name alone, since outputs are published. */
function modelName(): string {
  const { model } = studyConfig();
  if (model === null) return "SmolLM2-135M (embedded)";
  return /^[\w.-]+\/[\w.-]+$/.test(model) ? model : basename(model);
}

/** @throws {Error} If the version is too old. */
export function requireDeno(version: string): void {
  const numbers = version.split(/[.+-]/).slice(0, 3).map(Number);
  for (const [i, least] of OLDEST_DENO.entries()) {
    if (numbers[i] > least) return;
    if (numbers[i] < least) {
      throw new Error(
        `Deno ${version} is too old for these notebooks: 2.9.4 or later is needed; ` +
          "`npx -y deno@2.9.6 task lab` brings its own",
      );
    }
  }
}
