import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { run, which } from "../../lib/cli/command.ts";
import { computeEnvironment, jupyterEnvironment, VENV } from "../../lib/cli/environment.ts";
import { freePort } from "../../lib/cli/lab.ts";
import { parseRequest } from "../../lib/cli/notebooks.ts";
import { kernelStep } from "../../lib/cli/python.ts";
import { requireDeno } from "../../lib/cli/setup.ts";
import { wheelFor } from "../../lib/cli/tensorflow.ts";
import { parseSummary } from "../../lib/cli/run_tests.ts";

Deno.test("a program that fails is named with its exit code and the end of what it printed", async () => {
  const script = 'console.log("first"); console.error("last"); Deno.exit(3)';
  const error = await assertRejects(() => run(Deno.execPath(), ["eval", script]), Error, "with 3");
  assert(error.message.endsWith("first\nlast"));
  await assertRejects(() => run("/no/such/program", []), Error, "Cannot start");
});

Deno.test("a program that is not on the search path is not found", async () => {
  assertEquals(await which("no-such-program-anywhere"), undefined);
});

Deno.test("every wheel is pinned, and only a GPU gets the one with CUDA", () => {
  const wheels = [wheelFor("x86_64", false), wheelFor("aarch64", false), wheelFor("x86_64", true)];
  assert(wheels.every(({ requirement }) => /^tensorflow.*==\d+\.\d+\.\d+$/.test(requirement)));
  assertEquals(wheels.map(({ cuda }) => cuda), [false, false, true]);
});

Deno.test("the kernelspec runs this Deno with the variables of computing and lets SIGINT through", () => {
  const kernel = kernelStep().inputs as Record<string, unknown>;
  const env = kernel.env as Record<string, string>;
  assertEquals((kernel.argv as string[])[0], Deno.execPath());
  assertEquals(env.NO_COLOR, "1");
  for (const [name, value] of Object.entries(computeEnvironment())) assertEquals(env[name], value);
  assert(!("interrupt_mode" in kernel));
});

Deno.test("Jupyter keeps its files inside the environment of the repository", () => {
  const places = Object.entries(jupyterEnvironment())
    .filter(([name]) => /^(JUPYTER.*_DIR|IPYTHONDIR)$/.test(name));
  assertEquals(places.length, 6);
  for (const [, place] of places) assert(place.startsWith(VENV));
});

Deno.test("a Deno that cannot run notebooks is refused, a newer one is not", () => {
  for (const version of ["2.9.4", "2.9.10", "2.10.0", "3.0.0"]) requireDeno(version);
  for (const version of ["1.46.3", "2.8.4", "2.9.3"]) {
    assertThrows(() => requireDeno(version), Error, `Deno ${version} is too old`);
  }
});

Deno.test("a port in use is passed over, and an impossible one is refused", () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  assert(freePort(port) > port);
  for (const impossible of [0, -1, 65536, 1.5, NaN]) {
    assertThrows(() => freePort(impossible), RangeError, "1 to 65535");
  }
});

Deno.test("the summary of a test run is read with and without steps, ignored tests and failures", () => {
  assertEquals(parseSummary("ok | 3 passed | 0 failed (12ms)"), { passed: 3, failed: 0 });
  const long =
    "\x1b[31mFAILED\x1b[0m | 10 passed (4 steps) | 1 failed (2 steps) | 3 ignored (1m2s)";
  assertEquals(parseSummary(long), { passed: 10, failed: 1 });
  assertEquals(parseSummary("the meter | 3 passed | 0 failed"), undefined);
});

Deno.test("notebooks go to the folder that is asked for, and replace themselves only on request", () => {
  assert(parseRequest([]).out?.endsWith("notebooks"));
  assertEquals(parseRequest(["--out", "/a/b", "00"]).out, "/a/b");
  assertEquals(parseRequest(["--in-place"]).out, undefined);
  assertEquals([parseRequest([]).resume, parseRequest(["--fresh"]).resume], [true, false]);
  assertThrows(() => parseRequest(["--timeout", "soon"]), RangeError, '"soon"');
});
