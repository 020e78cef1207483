import { assertEquals } from "@std/assert";
import { fetcherName, ShardCache } from "../../lib/activations/shard_cache.ts";
import { inScratch } from "../files/scratch.ts";

const names = ["a", "b", "c", "d", "e"];
const sizes = new Map(names.map((name) => [name, 10]));

/** Puts a file where its room is. */
async function bring(cache: ShardCache, name: string, next: string[] = []): Promise<string> {
  const { state, path } = await cache.reserve(name, next);
  if (state !== "reserved") return state;
  await Deno.writeTextFile(path, name.repeat(10));
  await cache.commit(name);
  return state;
}

async function touch(cache: ShardCache, name: string, seconds: number): Promise<void> {
  await cache.touch(name, new Date(1000 * seconds));
}

Deno.test("files that were not used for the longest time go first, and never more than needed", () =>
  inScratch(async (dir) => {
    const cache = new ShardCache(dir, sizes, 35);
    for (const name of ["a", "b", "c"]) await bring(cache, name);
    await touch(cache, "a", 3);
    await touch(cache, "b", 1);
    await touch(cache, "c", 2);
    await bring(cache, "d");
    assertEquals([...await cache.present()].sort(), ["a", "c", "d"]);
    assertEquals(await bring(cache, "d"), "there");
    await bring(cache, "e");
    assertEquals([...await cache.present()].sort(), ["a", "d", "e"]);
    await cache.close();
  }));

Deno.test("what will be read stays, and of it what will be read last goes first", () =>
  inScratch(async (dir) => {
    const cache = new ShardCache(dir, sizes, 30);
    for (const name of ["a", "b", "c"]) await bring(cache, name);
    for (const [i, name] of ["c", "b", "a"].entries()) await touch(cache, name, i);
    assertEquals(await bring(cache, "d", ["a", "b", "c", "d"]), "full");
    assertEquals(await bring(cache, "d", ["c", "a", "d", "b"]), "reserved");
    assertEquals([...await cache.present()].sort(), ["a", "c", "d"]);
    assertEquals(await bring(cache, "e", ["e", "c", "d", "a"]), "reserved");
    assertEquals([...await cache.present()].sort(), ["c", "d", "e"]);
    await cache.close();
  }));

Deno.test("what is on its way counts, whoever fetches it, until it is whole or given back", () =>
  inScratch(async (dir) => {
    const [one, other] = [new ShardCache(dir, sizes, 20), new ShardCache(dir, sizes, 20)];
    const { path } = await one.reserve("a", []);
    assertEquals((await other.reserve("a", [])).state, "elsewhere");
    assertEquals(await bring(other, "b"), "reserved");
    assertEquals((await other.reserve("c", ["b", "c"])).state, "full");
    assertEquals((await one.reserve("c", [])).state, "reserved");
    assertEquals([...await one.present()], []);
    await one.release("c");
    await Deno.writeTextFile(path, "0123456789");
    await one.commit("a");
    assertEquals((await other.reserve("a", [])).state, "there");
    await one.close();
    await other.close();
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name).sort(), [".lock", "a"]);
  }));

Deno.test("what a killed process was fetching does not count, even if it had the number of this one", () =>
  inScratch(async (dir) => {
    for (const name of [`${Deno.pid}.${crypto.randomUUID()}`, fetcherName().replace(/^./, "x")]) {
      const left = ShardCache.folderOf(dir, name);
      await Deno.mkdir(`${left}/a`, { recursive: true });
      await Deno.writeTextFile(`${left}/.lock`, "");
    }
    const cache = new ShardCache(dir, sizes, 10);
    assertEquals(await bring(cache, "a"), "reserved");
    await cache.close();
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name).sort(), [".lock", "a"]);
  }));

Deno.test("files that belong to nobody stay, and those of another size go", () =>
  inScratch(async (dir) => {
    await Deno.writeTextFile(`${dir}/notes.txt`, "mine");
    await Deno.writeTextFile(`${dir}/a`, "short");
    const cache = new ShardCache(dir, sizes, 10);
    assertEquals([...await cache.present()], []);
    assertEquals(await bring(cache, "b"), "reserved");
    assertEquals(await Deno.readTextFile(`${dir}/notes.txt`), "mine");
    await cache.close();
  }));
