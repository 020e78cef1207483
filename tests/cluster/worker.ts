/**
 * A unit in small, for tests of the driver with real processes: reads what it is told to do, works,
 * and leaves its record last.
 *
 *   deno run -A worker.ts STORAGE HASH UNIT INSTRUCTIONS
 *
 * @module
 */
import { existsSync } from "node:fs";

/** What a worker does beside leaving its record. */
export interface Instructions {
  /** Milliseconds of work. */
  work?: number;
  /** File to which it appends its hash when it begins, and "+" and its hash when it has worked. */
  journal?: string;
  /** Bytes that it writes before its record. */
  writes?: number;
  /** Ends with an error. */
  fails?: boolean;
  /** Ends itself in the middle of its work, if this file is not there yet. */
  diesUnless?: string;
}

if (import.meta.main) {
  const [storage, hash, unit, instructions] = Deno.args;
  const { work = 0, journal, writes = 0, fails, diesUnless }: Instructions = JSON.parse(
    instructions,
  );
  if (Deno.env.get("INTERLENS_PARENT") === "stdin") void untilParentEnds();
  const note = (line: string) => {
    if (journal) Deno.writeTextFileSync(journal, `${line}\n`, { append: true });
  };
  note(hash);
  const progress = (done: number) =>
    console.log(JSON.stringify({ interlens: "progress", label: "Work", done, total: 10 }));
  for (let done = 1; done <= 10; done++) {
    await new Promise((resolve) => setTimeout(resolve, work / 10));
    progress(done);
    if (done === 5 && diesUnless && !existsSync(diesUnless)) {
      Deno.writeTextFileSync(diesUnless, "");
      Deno.kill(Deno.pid, "SIGKILL");
    }
  }
  if (fails) {
    console.error("Cannot open the model: there is none");
    Deno.exit(3);
  }
  Deno.mkdirSync(`${storage}/units`, { recursive: true });
  if (writes > 0) {
    try {
      Deno.writeFileSync(`${storage}/part-${hash}`, new Uint8Array(writes));
    } catch (error) {
      Deno.removeSync(`${storage}/part-${hash}`);
      console.error(`Cannot write the part: ${(error as Error).message}`);
      Deno.exit(1);
    }
  }
  const record = { unit: JSON.parse(unit), hash, result: { artefact: hash }, seconds: work / 1000 };
  Deno.writeTextFileSync(`${storage}/units/${hash}.${Deno.pid}`, JSON.stringify(record));
  Deno.renameSync(`${storage}/units/${hash}.${Deno.pid}`, `${storage}/units/${hash}.json`);
  note(`+${hash}`);
  Deno.exit();
}

async function untilParentEnds(): Promise<void> {
  for await (const _ of Deno.stdin.readable);
  Deno.exit(143);
}
