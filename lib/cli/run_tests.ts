/**
 * `deno task test`: every test, and every example of the documentation, in the environment that
 * notebooks run in.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util";
import { computeEnvironment } from "./environment.ts";
import { lines } from "./lines.ts";
import { setup } from "./setup.ts";
import { ROOT } from "../files/mod.ts";

/** How many tests passed and failed. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/**
 * Reads the last line of a test run.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseSummary } from "./run_tests.ts";
 *
 * const line = "FAILED | 41 passed (6 steps) | 2 failed | 1 ignored (3s)";
 * assertEquals(parseSummary(line), { passed: 41, failed: 2 });
 * assertEquals(parseSummary("running 3 tests from ./a_test.ts"), undefined);
 * ```
 */
export function parseSummary(line: string): Counts | undefined {
  const plain = stripVTControlCharacters(line);
  const match = /^(?:ok|FAILED) \| (\d+) passed\b.*?\| (\d+) failed\b/.exec(plain);
  return match ? { passed: Number(match[1]), failed: Number(match[2]) } : undefined;
}

/**
 * Runs `deno test` over the whole repository or some paths, and passes on what it prints.
 *
 * @param args Paths and options for `deno test`. Default: `lib` and `tests`.
 * @returns What its last line says. A run that ends badly without a failed test (an error of types,
 * a crash) counts as one failure.
 */
export async function runTests(args: string[] = []): Promise<Counts> {
  const paths = args.some((arg) => !arg.startsWith("-")) ? [] : ["lib", "tests"];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--doc", "--quiet", ...args, ...paths],
    cwd: ROOT,
    env: {
      ...computeEnvironment(),
      ...Deno.stdout.isTerminal() && !Deno.noColor ? { FORCE_COLOR: "1" } : {},
    },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let counts: Counts = { passed: 0, failed: 0 };
  for await (const line of lines(child.stdout)) {
    console.log(line);
    counts = parseSummary(line) ?? counts;
  }
  const { success } = await child.status;
  return success ? counts : { ...counts, failed: Math.max(1, counts.failed) };
}

if (import.meta.main) {
  try {
    await setup({ quiet: true });
    const { passed, failed } = await runTests(Deno.args);
    console.log(`${passed} passed, ${failed} failed`);
    if (failed > 0 || passed === 0) Deno.exit(1);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
