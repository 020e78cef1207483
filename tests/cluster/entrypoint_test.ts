import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { entrypoint, passEnvironment, shellQuote } from "../../lib/cluster/entrypoint.ts";

const VERSIONS = { interlens: "0.1.0", sources: "1f2e", deno: "2.9.6" };

/** Texts that break a quoting which forgets something. */
const HOSTILE = [
  "",
  "plain",
  "it's",
  "'; touch /tmp/broken; '",
  '"double" and `date` and $(date) and ${HOME} and $HOME',
  "back\\slash \\n \\' \\",
  "line\nfeed\r\n\ttab at the end\n\n",
  "*?[a-z]{a,b}~!#&|;<>() =%",
  "-n",
  "--",
  "ünïcode ☃ 𝒳 \u0001\u007f",
  '{"kind":"train","config":{"note":"a\'b\\"c"}}',
];

/** Runs a command as Ray does: by the system's shell. */
async function shell(script: string, env: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("/bin/sh", {
    args: ["-c", script],
    env,
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** What Ray does to the value of a variable: Python's `os.path.expandvars`, then `${NAME}` to nothing. */
function expandedByRay(value: string, env: Record<string, string>): string {
  return value
    .replace(/\$(\w+)/g, (whole, name) => env[name] ?? whole)
    .replace(/\$\{([^}]*)\}/g, (whole, name) => env[name] ?? whole)
    .replace(/\$\{[A-Z0-9_]+\}/g, "");
}

Deno.test({
  name: "every argument reaches the program as it was given, through the shell",
  ignore: Deno.build.os === "windows",
  async fn() {
    const random = Array.from({ length: 40 }, (_, seed) => {
      // All characters but NUL, in an order that a linear congruence mixes.
      const codes = Array.from({ length: 127 }, (_, i) => 1 + (i * 31 + seed * 17) % 127);
      return String.fromCharCode(...codes.slice(seed, seed + 60));
    });
    const words = [...HOSTILE, ...random];
    const command = ["printf", "%s\\0", ...words];
    const printed = await shell(entrypoint(command, { versions: VERSIONS }));
    assertEquals(printed, words.map((word) => `${word}\0`).join(""));
  },
});

Deno.test({
  name: "every variable reaches the program as it was given, through Ray's expansion and the shell",
  ignore: Deno.build.os === "windows",
  async fn() {
    const given = Object.fromEntries(HOSTILE.map((value, i) => [`TEST_${i}`, value]));
    // What stands for "$" on the way cannot itself be in a value that holds one.
    const { variables, script } = passEnvironment(given);
    const here = { HOME: "/expanded", PATH: Deno.env.get("PATH")! };
    const arrived = Object.fromEntries(
      Object.entries(variables).map(([name, value]) => [name, expandedByRay(value, here)]),
    );
    const names = JSON.stringify(Object.keys(given));
    const code = `console.log(JSON.stringify(${names}.map((name) => Deno.env.get(name))))`;
    const command = script + `exec ${[Deno.execPath(), "eval", code].map(shellQuote).join(" ")}`;
    assertEquals(JSON.parse(await shell(command, arrived)), HOSTILE);
  },
});

Deno.test("values of variables never stand in the command, which the log repeats", () => {
  const { script } = passEnvironment({ KEY: "secret$and$more", OTHER: "hidden" });
  assert(!/secret|hidden|more/.test(script), script);
  assertStringIncludes(script, "KEY");
});

Deno.test("a name that is none of a variable, and a NUL, are refused before anything is sent", () => {
  assertThrows(() => passEnvironment({ "A; rm": "" }), TypeError, '"A; rm"');
  assertThrows(() => passEnvironment({ A: "\0" }), TypeError, '"A"');
  assertThrows(() => passEnvironment({ A: "\u0001 and $" }), TypeError, '"A"');
  assertThrows(() => shellQuote("a\0b"), TypeError, "NUL");
});

Deno.test({
  name: "a folder of the project may have any name",
  ignore: Deno.build.os === "windows",
  async fn() {
    const parent = await Deno.makeTempDir();
    const project = `${parent}/it's a $HOME; "folder"`;
    await Deno.mkdir(`${project}/lib/cli`, { recursive: true });
    await Deno.writeTextFile(`${project}/lib/cli/node.sh`, 'pwd; printf "%s," "$@"');
    const options = { project, versions: VERSIONS, mark: "m" };
    const printed = await shell(entrypoint(["deno", "task", "a b"], options));
    assertEquals(printed, `${await Deno.realPath(project)}\nrun,2.9.6,1f2e,m,task,a b,`);
    await Deno.remove(parent, { recursive: true });
  },
});
