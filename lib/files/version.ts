/**
 * Version of the library.
 *
 * @module
 */
import config from "../../deno.json" with { type: "json" };

/**
 * Version of the library as `deno.json` states it, written into every artefact.
 *
 * ```ts
 * import { assertMatch } from "@std/assert";
 * import { VERSION } from "interlens";
 *
 * assertMatch(VERSION, /^\d+\.\d+\.\d+/);
 * ```
 */
export const VERSION: string = config.version;
