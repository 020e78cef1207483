import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { artefact, artefactDir, VERSION } from "../../lib/files/mod.ts";
import { inScratch, namesBelow, withFullDisk } from "./scratch.ts";
import { writeFileAtomic } from "../../lib/files/mod.ts";

/** Runs `use` and returns the lines that it printed. */
async function printed(use: () => Promise<unknown>): Promise<string[]> {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line: string) => lines.push(line);
  try {
    await use();
  } finally {
    console.log = log;
  }
  return lines;
}

/** An artefact that holds its configuration, and counts how often it was made. */
function note(dir: string) {
  const counts = { made: 0 };
  const get = (config: unknown, fail?: Error) =>
    artefact<string>({ kind: "note", config, dir }, {
      load: (folder) => Deno.readTextFile(`${folder}/note.txt`),
      make: async (folder) => {
        counts.made++;
        await Deno.writeTextFile(`${folder}/note.txt`, JSON.stringify(config));
        if (fail) throw fail;
      },
    });
  return { counts, get };
}

Deno.test("an artefact is made once for equal configurations, and again for another", () =>
  inScratch(async (dir) => {
    const { counts, get } = note(dir);
    await printed(async () => {
      assertEquals(await get({ k: 1, seed: 0 }), '{"k":1,"seed":0}');
      assertEquals(await get({ seed: 0, k: 1 }), '{"k":1,"seed":0}');
      assertEquals(counts.made, 1);
      assertEquals(await get({ k: 2, seed: 0 }), '{"k":2,"seed":0}');
      assertEquals(counts.made, 2);
    });
  }));

Deno.test("its record says what made it", () =>
  inScratch(async (dir) => {
    const config = { k: 1, list: [1, "a"] };
    await printed(() => note(dir).get(config));
    const folder = artefactDir({ kind: "note", config, dir });
    const { created, ...record } = JSON.parse(await Deno.readTextFile(`${folder}/artefact.json`));
    assertEquals(record, {
      kind: "note",
      config,
      hash: folder.slice(-16),
      libraryVersion: VERSION,
    });
    assertMatch(created, /^\d{4}-\d\d-\d\dT/);
  }));

Deno.test("one line says whether it was loaded or made, and which field made the difference", () =>
  inScratch(async (dir) => {
    const { get } = note(dir);
    const lines = await printed(async () => {
      await get({ sae: { k: 1 }, seed: 0 });
      await get({ sae: { k: 1 }, seed: 0 });
      await get({ sae: { k: 2 }, seed: 0 });
      await get({ sae: { k: 2 }, seed: 5, extra: true });
    });
    assertEquals(lines.length, 4);
    assertStringIncludes(lines[0], "note: making it, the first of its kind");
    assertStringIncludes(lines[1], "note: loaded, made 2");
    assertStringIncludes(lines[2], "in sae.k: 1 → 2");
    assertStringIncludes(lines[3], "in extra: absent → true, seed: 0 → 5");
  }));

Deno.test("a maker that throws leaves nothing, and the earlier artefact as it was", () =>
  inScratch(async (dir) => {
    const { get } = note(dir);
    await printed(async () => {
      await get({ k: 1 });
      const before = namesBelow(dir);
      await assertRejects(() => get({ k: 2 }, new RangeError("No")), RangeError, "No");
      assertEquals(namesBelow(dir), before);
      assertEquals(await get({ k: 1 }), '{"k":1}');
    });
  }));

Deno.test("a folder without its record is not trusted and is made again", () =>
  inScratch(async (dir) => {
    const { counts, get } = note(dir);
    const folder = artefactDir({ kind: "note", config: { k: 1 }, dir });
    await Deno.mkdir(folder, { recursive: true });
    await Deno.writeTextFile(`${folder}/note.txt`, "half");
    const lines = await printed(async () => assertEquals(await get({ k: 1 }), '{"k":1}'));
    assertStringIncludes(lines[0], "what lies there is incomplete");

    for (const record of ["", "{", '{"kind":"other"}']) {
      await Deno.writeTextFile(`${folder}/artefact.json`, record);
      await printed(() => get({ k: 1 }));
    }
    assertEquals(counts.made, 4);
  }));

Deno.test("a full disk while an artefact is made leaves the earlier ones and nothing else", () =>
  inScratch(async (dir) => {
    const make = (k: number, bytes: number) =>
      artefact({ kind: "big", config: { k }, dir }, {
        load: () => k,
        make: async (folder) => {
          await writeFileAtomic(`${folder}/a`, new Uint8Array(10));
          await writeFileAtomic(`${folder}/b`, new Uint8Array(bytes));
        },
      });
    await printed(async () => {
      await make(1, 10);
      const before = namesBelow(dir);
      await withFullDisk(1000, async () => {
        await assertRejects(() => make(2, 2000), Error, "the disk is full");
      });
      // Full at the very last step, the record.
      await withFullDisk(25, async () => {
        await assertRejects(() => make(2, 10), Error, "the disk is full");
      });
      assertEquals(namesBelow(dir), before);
      assertEquals(await make(2, 10), 2);
    });
  }));

Deno.test("of two calls at once the first to finish makes the artefact of both", () =>
  inScratch(async (dir) => {
    const finish = [0, 1].map(() => Promise.withResolvers<void>());
    const call = (i: number) =>
      artefact<string>({ kind: "note", config: 1, dir }, {
        load: (folder) => Deno.readTextFile(`${folder}/maker`),
        make: async (folder) => {
          await Deno.writeTextFile(`${folder}/maker`, `${i}`);
          await finish[i].promise;
        },
      });
    await printed(async () => {
      const both = [call(0), call(1)];
      finish[1].resolve();
      assertEquals(await both[1], "1");
      finish[0].resolve();
      assertEquals(await both[0], "1");
    });
    assertEquals([...Deno.readDirSync(`${dir}/note`)].length, 1);
  }));

Deno.test("the partial folder of a process that ended is removed, that of a living one is not", () =>
  inScratch(async (dir) => {
    const { get } = note(dir);
    const folder = artefactDir({ kind: "note", config: { k: 1 }, dir });
    const machine = Deno.hostname().replace(/[^\w-]/g, "_");
    const dead = new Deno.Command(Deno.execPath(), { args: ["--version"], stdout: "null" }).spawn();
    await dead.status;
    const partials = [dead.pid, Deno.pid].map((pid) => `${folder}.${machine}.${pid}.abcd.partial`);
    const elsewhere = `${folder}.another-machine.${dead.pid}.abcd.partial`;
    for (const partial of [...partials, elsewhere]) await Deno.mkdir(partial, { recursive: true });

    await printed(() => get({ k: 1 }));
    const left = [...Deno.readDirSync(`${dir}/note`)].map(({ name }) => `${dir}/note/${name}`);
    assertEquals(left.sort(), [folder, partials[1], elsewhere].sort());
  }));

Deno.test("an artefact that cannot be read names its folder", () =>
  inScratch(async (dir) => {
    const { get } = note(dir);
    const folder = artefactDir({ kind: "note", config: { k: 1 }, dir });
    await printed(async () => {
      await get({ k: 1 });
      await Deno.remove(`${folder}/note.txt`);
      await assertRejects(() => get({ k: 1 }), Error, `Cannot load the note in "${folder}"`);
    });
  }));

Deno.test("a configuration that is not plain data, or a kind that is no name, is refused first", () =>
  inScratch(async (dir) => {
    const { counts, get } = note(dir);
    await assertRejects(() => get({ k: NaN }), TypeError, '"k" is NaN');
    const outside = () =>
      artefact({ kind: "../note", config: 1, dir }, {
        load: () => 0,
        make: () => Promise.resolve(),
      });
    await assertRejects(outside, RangeError, 'kind "../note"');
    assertEquals(counts.made, 0);
    assertEquals(namesBelow(dir), []);
  }));
