import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  CELLS,
  checkStimuli,
  loadStimuli,
  splitFrames,
  stimulusTable,
} from "../../lib/corpus/mod.ts";
import { cacheDir, ROOT } from "../../lib/files/mod.ts";
import { ggufTokenizer, type Tokenizer } from "../../lib/tokenizer/mod.ts";
import { GgufFile } from "../../lib/weights/mod.ts";

const HEADER = "design,frame,factor_a,factor_b,text,target_span";
const DESIGNS = [
  ...["paris_folk", "paris_bidding", "positive_true", "formality_emotion", "familiar_approach"],
];

/** Four rows of a frame that is in order. */
function frame(name: string): string[] {
  return ["hot,big", "hot,small", "cold,big", "cold,small"].map((levels) => {
    const [a, b] = levels.split(",");
    return `tea,${name},${a},${b},"In ${name}, a ${b} ${a} cup.",cup`;
  });
}

/** Calls with the path of a file of these lines. */
async function withCsv<T>(lines: string[] | string, use: (path: string) => Promise<T>): Promise<T> {
  const path = await Deno.makeTempFile({ suffix: ".csv" });
  try {
    await Deno.writeTextFile(path, typeof lines === "string" ? lines : lines.join("\n"));
    return await use(path);
  } finally {
    await Deno.remove(path);
  }
}

/** Rows of two good frames with one of them changed: `row` as a spreadsheet counts. */
function changed(row: number, change: (line: string) => string): string[] {
  const lines = [HEADER, ...frame("Rome"), ...frame("Oslo")];
  lines[row - 1] = change(lines[row - 1]);
  return lines;
}

async function realTokenizer(): Promise<Tokenizer> {
  using file = await GgufFile.open(cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf"));
  return ggufTokenizer(file);
}

Deno.test("in every design that comes with the library, the versions of a frame differ in the words of the factors alone", async () => {
  const tokenizer = await realTokenizer();
  for (const name of DESIGNS) {
    const design = await loadStimuli(name);
    assert(design.frames.length >= 52, name);
    assertEquals(design.name, name);
    assertEquals(checkStimuli(design, tokenizer, { contextLength: 64 }).unbalanced, []);
    for (const [i, frame] of design.frames.entries()) {
      const versions = design.stimuli.slice(4 * i, 4 * i + 4);
      assertEquals(versions.map(({ a, b }) => [a, b]), CELLS.map(([a, b]) => [a, b]), frame);
      // What differs stands before the target: one word a factor, two where a word is a weak sign.
      const a = name === "formality_emotion" ? 2 : 1;
      const words = versions.map(({ text, targetSpan }) => {
        assertEquals(
          text.slice(text.indexOf(targetSpan)),
          versions[0].text.slice(versions[0].text.indexOf(targetSpan)),
        );
        return text.split(/\s+/);
      });
      const differ = (one: number, two: number) =>
        words[one].filter((word, j) => word !== words[two][j]).length;
      assertEquals([differ(0, 1), differ(0, 2), differ(0, 3)], [1, a, a + 1], `${name} ${frame}`);
      assertEquals([differ(1, 3), differ(2, 3)], [a, 1], `${name} ${frame}`);
    }
  }
});

Deno.test("no two frames of a design share more than half of their words, and no two texts are the same", async () => {
  for (const name of DESIGNS) {
    const { stimuli, frames } = await loadStimuli(name);
    assertEquals(new Set(stimuli.map(({ text }) => text)).size, stimuli.length);
    const first = frames.map((_, i) =>
      new Set(stimuli[4 * i].text.toLowerCase().match(/\p{L}+/gu))
    );
    for (let i = 0; i < first.length; i++) {
      for (let j = 0; j < i; j++) {
        const shared = first[i].intersection(first[j]).size / first[i].union(first[j]).size;
        assert(shared < 0.5, `${name}: frames ${frames[j]} and ${frames[i]} share ${shared}`);
      }
    }
  }
});

Deno.test("every word that makes a statement true makes as many statements false", async () => {
  const { stimuli, frames } = await loadStimuli("positive_true");
  const uses = new Map<string, number>();
  frames.forEach((_, i) => {
    const [yes, no] = [stimuli[4 * i], stimuli[4 * i + 1]].map(({ text }) =>
      text.match(/\p{L}+/gu)!
    );
    const at = yes.findIndex((word, j) => word !== no[j]);
    uses.set(yes[at], (uses.get(yes[at]) ?? 0) + 1);
    uses.set(no[at], (uses.get(no[at]) ?? 0) - 1);
  });
  assertEquals([...uses].filter(([, balance]) => balance !== 0), []);
});

Deno.test("a file of one's own is read: order of rows, line ends, quotation marks and blank lines do not matter", async () => {
  const [one, two] = [frame("Rome"), frame("Oslo").reverse()];
  const text = [HEADER, one[0], two[0], "", ...one.slice(1), ...two.slice(1), ""].join("\r\n");
  const design = await withCsv("\ufeff" + text, loadStimuli);
  assertEquals(design.frames, ["Rome", "Oslo"]);
  assertEquals(design.levels, { a: ["hot", "cold"], b: ["big", "small"] });
  assertEquals(
    design.stimuli.map(({ a, b }) => [a, b]),
    [...CELLS, ...CELLS].map(([a, b]) => [a, b]),
  );
  assertEquals(design.stimuli[0].text, "In Rome, a big hot cup.");
  // Of "Oslo", the first row of the file is its [0, 0].
  assertEquals(design.stimuli.map(({ row }) => row), [2, 5, 6, 7, 10, 9, 8, 3]);
});

Deno.test("columns may be in any order and more than the six, and a folder may have any name", async () => {
  const lines = [HEADER, ...frame("Rome"), ...frame("Oslo")].map((line, i) =>
    `${i === 0 ? "note" : "7"},${line}`
  );
  const { stimuli } = await withCsv(lines, loadStimuli);
  assertEquals(stimuli.length, 8);
});

Deno.test("a bad file is one error with file, row and column", async () => {
  const last = (line: string, text: string) => line.replace(/[^,]*$/, text);
  const cases: [string[] | string, RegExp][] = [
    ["", /there is no column "design", it has none/],
    [HEADER, /row 2, column "design": there are no rows/],
    [changed(1, (line) => line.replace("target_span", "span")), /no column "target_span", it has/],
    [changed(1, (line) => line.replaceAll(",", ";")), /no column "design", it has "design;frame/],
    [changed(3, (line) => last(line, "")), /row 3, column "target_span": it is empty/],
    [changed(3, (line) => last(line, '" "')), /row 3, column "target_span": it is empty/],
    [changed(4, (line) => line.replace(/".*"/, '""')), /row 4, column "text": it is empty/],
    [changed(4, (line) => line.replace("tea", "")), /row 4, column "design": it is empty/],
    [changed(4, (line) => line.replace("tea", "jam")), /row 4, column "design": "jam" is another/],
    [
      changed(4, (line) => line.replace(",cold,", ",warm,")),
      /row 5, column "factor_a": a third level: "hot", "warm", "cold"/,
    ],
    [
      changed(3, (line) => last(line, "mug")),
      /row 3, column "target_span": "mug" is not in the text "In/,
    ],
    [
      changed(3, (line) => last(line, "o")),
      /row 3, column "target_span": "o" is in the text .* more than once/,
    ],
    [
      changed(5, () => ""),
      /row 2, column "frame": frame "Rome".* no row with factor_a "cold" and factor_b "small"/,
    ],
    [
      changed(9, (line) => line.replace("small,", "big,")),
      /row 9, column "frame": frame "Oslo" has factor_a "cold" and factor_b "big" in row 8 already/,
    ],
    [
      [HEADER, ...frame("Rome").slice(0, 2)],
      /row 2, column "factor_a": all rows have the level "hot"/,
    ],
    [
      changed(3, (line) => line + ",more"),
      /row 3: 7 fields, while the header has 6; put quotation marks/,
    ],
    [changed(9, (line) => line.replace('cup."', "cup.")), /row 9: a quotation mark is not closed/],
  ];
  for (const [lines, message] of cases) {
    const error = await withCsv(
      lines,
      (path) =>
        assertRejects(() => loadStimuli(path), Error).then((error) => {
          assert(error.message.includes(path), error.message);
          return error;
        }),
    );
    assert(message.test(error.message), `${error.message}\nis not ${message}`);
  }
});

Deno.test("a name without a file is an error that says which there are", async () => {
  const error = await assertRejects(() => loadStimuli("paris_jazz"), Error, '"paris_jazz"');
  for (const name of DESIGNS) assert(error.message.includes(`"${name}"`));
  await assertRejects(() => loadStimuli(`${ROOT}/nowhere/mine.csv`), Error, "nowhere/mine.csv");
});

Deno.test("frames are split whole, by the seed, and both parts keep the order of the file", async () => {
  const design = await loadStimuli("familiar_approach");
  const split = (seed: number) => splitFrames(design, { seed, share: 0.25 });
  const { selection, confirmation } = split(1);
  assertEquals(selection.frames.length, Math.round(design.frames.length / 4));
  assertEquals([...selection.frames, ...confirmation.frames].sort(), [...design.frames].sort());
  assertEquals(selection.frames, design.frames.filter((name) => selection.frames.includes(name)));
  for (const part of [selection, confirmation]) {
    assertEquals(
      part.stimuli.map(({ frame }) => frame),
      part.frames.flatMap((name) => Array(4).fill(name)),
    );
  }
  assertEquals(split(1).selection.frames, selection.frames);
  assert(`${split(2).selection.frames}` !== `${selection.frames}`);
  for (const share of [0, 1, -1, NaN, 0.001]) {
    assertThrows(() => splitFrames(design, { share }), RangeError, `share of ${share}`);
  }
});

Deno.test("the table has a row for each stimulus, with names of levels", async () => {
  const table = await withCsv(
    [HEADER, ...frame("Rome")],
    async (path) => stimulusTable(await loadStimuli(path)),
  );
  assertEquals(table.height, 4);
  assertEquals(table.rows()[1], [3, "Rome", "hot", "small", "In Rome, a small hot cup.", "cup"]);
});

Deno.test("what differs between versions is listed with its values and rows", async () => {
  const lines = changed(3, (line) => line.replace("a small hot cup.", "A small, hot 7 cup!"));
  const design = await withCsv(lines, loadStimuli);
  const { unbalanced, shapes } = checkStimuli(design, await realTokenizer(), { contextLength: 64 });
  assertEquals(shapes.length, 8);
  assertEquals(new Set(unbalanced.map(({ frame }) => frame)), new Set(["Rome"]));
  assertEquals(
    Object.fromEntries(unbalanced.map(({ property, values }) => [property, values])),
    {
      tokens: [8, 11, 8, 8].map((tokens) => tokens + shapes[0].tokens - 8),
      target: [7, 10, 7, 7].map((target) => target + shapes[0].target - 7),
      punctuation: [2, 3, 2, 2],
      digits: [0, 1, 0, 0],
      capitals: [2, 3, 2, 2],
    },
  );
  assertEquals(unbalanced[0].rows, [2, 3, 4, 5]);
});

Deno.test("a text longer than the context is an error with file, row and column", async () => {
  const lines = changed(3, (line) => line.replace("In", "In".padEnd(80, " so")));
  const design = await withCsv(lines, loadStimuli);
  const tokenizer = await realTokenizer();
  const error = assertThrows(
    () => checkStimuli(design, tokenizer, { contextLength: 20 }),
    RangeError,
  );
  assert(error.message.includes(`"${design.path}": row 3, column "text"`), error.message);
});
