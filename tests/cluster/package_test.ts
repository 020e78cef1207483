import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { unzipSync } from "fflate";
import { join } from "node:path";
import { packProject } from "../../lib/cluster/package.ts";
import { hashSources, readSources, versionsWith } from "../../lib/cluster/versions.ts";

Deno.test("the package holds what a unit needs, byte by byte, and nothing that is made or hidden", async () => {
  const sources = await readSources();
  const files = unzipSync(packProject(sources).content);
  assertEquals(Object.keys(files), [...sources.keys()]);
  for (const [path, content] of sources) assertEquals(files[path], content, path);
  for (
    const path of [
      ...["deno.json", "deno.lock", "lib/mod.ts", "lib/cli/node.sh", "lib/cli/setup.ts"],
      ...["data/stimuli/paris_folk.csv", "tests/std_assert/mod.ts"],
    ]
  ) {
    assert(sources.has(path), path);
  }
  const strange = [...sources.keys()].filter((path) =>
    /(^|\/)(\.|(node_modules|cache|out|notebooks)\/)/.test(path)
  );
  assertEquals(strange, []);
});

Deno.test("the same files make the same bytes in every time zone", async () => {
  const module = import.meta.resolve("../../lib/cluster/package.ts");
  const script = `
    import { packProject } from ${JSON.stringify(module)};
    const sources = new Map([["a.txt", new Uint8Array([1, 2, 3])]]);
    console.log(packProject(sources).content.toHex());`;
  const packed = await Promise.all(["UTC", "Asia/Tokyo", "America/Los_Angeles"].map(async (TZ) => {
    const args = ["eval", "--quiet", script];
    const { stdout } = await new Deno.Command(Deno.execPath(), { args, env: { TZ } }).output();
    return new TextDecoder().decode(stdout);
  }));
  assert(packed[0].length > 100);
  assertEquals(new Set(packed).size, 1);
});

Deno.test("the hash changes with a byte, with a name, and with nothing else", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const hash = hashSources(new Map([["a", bytes("1")], ["b", bytes("2")]]));
  assertEquals(hashSources(new Map([["a", bytes("1")], ["b", bytes("2")]])), hash);
  assertNotEquals(hashSources(new Map([["a", bytes("1")], ["b", bytes("3")]])), hash);
  assertNotEquals(hashSources(new Map([["a", bytes("1")], ["c", bytes("2")]])), hash);
  assertNotEquals(hashSources(new Map([["a", bytes("2")], ["b", bytes("1")]])), hash);
});

Deno.test("a folder that lacks a part of the project is no copy of it", async () => {
  const folder = await Deno.makeTempDir();
  await assertRejects(() => readSources(folder), Error, 'lacks "deno.json"');
  await Deno.remove(folder);
});

Deno.test({
  name: "a fresh copy says what it has before anything is installed in it",
  ignore: Deno.build.os === "windows",
  async fn() {
    const sources = await readSources();
    const folder = await Deno.makeTempDir();
    for (const [path, content] of sources) {
      await Deno.mkdir(join(folder, path, ".."), { recursive: true });
      await Deno.writeFile(join(folder, path), content);
    }
    const before = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    const probe = async (version: string) => {
      const { code, stdout, stderr } = await new Deno.Command("sh", {
        args: ["lib/cli/node.sh", "probe", version],
        cwd: folder,
        // No npx, which could fetch another Deno.
        env: { PATH: await programs(folder) },
      }).output();
      const text = new TextDecoder();
      return { code, said: text.decode(stdout), complained: text.decode(stderr) };
    };
    const { said, complained } = await probe(Deno.version.deno);
    assertEquals(complained, "");
    assertEquals(JSON.parse(said), { interlens: "versions", versions: versionsWith(sources) });
    const other = await probe("1.0.0");
    assertEquals(other.code, 1);
    assertEquals(
      other.complained,
      `This node has Deno ${Deno.version.deno} and no npx, the driver has Deno 1.0.0: install it here\n`,
    );
    await Deno.remove(join(folder, ".bin"), { recursive: true });
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), before);
    await Deno.remove(folder, { recursive: true });
  },
});

/** A search path with this Deno and little else. */
async function programs(folder: string): Promise<string> {
  const bin = join(folder, ".bin");
  await Deno.mkdir(bin, { recursive: true });
  for (const name of ["sed", "uname", "sh"]) {
    const { stdout } = await new Deno.Command("sh", { args: ["-c", `command -v ${name}`] })
      .output();
    await Deno.symlink(new TextDecoder().decode(stdout).trim(), join(bin, name)).catch(() => {});
  }
  await Deno.symlink(Deno.execPath(), join(bin, "deno")).catch(() => {});
  return bin;
}
