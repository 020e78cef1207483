/**
 * What the commands that run a work unit have in common: `deno task harvest`, `train`, `evaluate` and
 * `measure`.
 *
 * A unit is given as JSON (`--spec`, what a driver hands over) or by flags on top of a configuration
 * file. SIGINT and SIGTERM stop it so that it can go on later; with `INTERLENS_PARENT=stdin` so does
 * the end of the standard input, which is the end of whoever started it.
 *
 * @module
 */
import { delimiter } from "node:path";
import {
  parseUnit,
  readRecord,
  requireUnit,
  runUnit,
  type StudyText,
  type Unit,
  unitHash,
  unitName,
} from "../cluster/mod.ts";
import { formatSeconds } from "../display/mod.ts";
import { ROOT } from "../files/mod.ts";
import { openStorage } from "../storage/mod.ts";
import { type Overrides, type StudyConfig, studyConfig } from "../study/mod.ts";
import { computeEnvironment } from "./environment.ts";
import { type Flags, type FlagValues, helped, readFlags } from "./flags.ts";

/** What all commands have beside their own flags. */
const COMMON: Flags = {
  config: {
    value: "FILE",
    help: "JSON that changes the study's configuration; may also say shards, stream, window",
  },
  spec: { value: "JSON", help: "the unit itself, in place of all other flags but --storage" },
  storage: { value: "PLACE", help: 'folder or "s3://bucket/prefix"; default INTERLENS_STORAGE' },
};

/** Flags that several commands have. */
export const SHARED = {
  shards: { value: "N", help: "parts of the harvest; default 1, or what --config says" },
  tokens: { value: "N", help: "training tokens, such as 1e6; default all" },
  seed: { value: "N", help: "seed of the training; default that of the configuration" },
} satisfies Flags;

/** What a run is made of: the content of a configuration file. */
export interface RunConfig extends StudyConfig {
  /** Parts of the harvest. */
  readonly shards: number;
  /** See `StudyText`. */
  readonly stream?: boolean;
  /** See `TrainingTokens`. */
  readonly window?: number;
}

/** A command. */
export interface UnitCommand {
  /** Its name in `deno task`. */
  readonly task: string;
  /** What it does, in a sentence. */
  readonly purpose: string;
  /** Kinds of units that it runs. */
  readonly kinds: readonly Unit["kind"][];
  /** Its own flags, beside `--spec`, `--config` and `--storage`. */
  readonly flags: Flags;
  /** The unit that flags name. */
  unit(flags: FlagValues, config: RunConfig): Unit;
}

/** Milliseconds behind which a second signal means now. */
const TWICE = 1000;
/** Seconds that a stopped unit has to keep what it did, once its parent is gone. */
const GRACE = 60;

/**
 * The unit and the storage that arguments name.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { HARVEST } from "./harvest.ts";
 * import { readUnit } from "./unit_command.ts";
 *
 * const args = ["--shard", "3/64", "--storage", "s3://bucket/study"];
 * const { unit, storage } = await readUnit(HARVEST, args);
 * assertEquals([unit.kind, unit.data.shards, storage], ["harvest", 64, "s3://bucket/study"]);
 * await assertRejects(() => readUnit(HARVEST, ["--shard", "65/64"]), RangeError, "65/64");
 * ```
 *
 * @throws {Error} If they name none, or one that cannot be run, saying why.
 */
export async function readUnit(
  command: UnitCommand,
  args: string[],
): Promise<{ unit: Unit; storage: string }> {
  const { spec, config, storage, ...flags } = readFlags(command.task, args, flagsOf(command));
  let unit: Unit;
  if (spec !== undefined) {
    const more = Object.keys({ ...config !== undefined && { config }, ...flags });
    if (more.length > 0) {
      throw new RangeError(`Cannot combine --spec with --${more[0]}: the unit is in the JSON`);
    }
    unit = parseUnit(String(spec));
    if (!command.kinds.includes(unit.kind)) {
      throw new RangeError(
        `Cannot run a unit of kind "${unit.kind}" by "deno task ${command.task}": expected ` +
          command.kinds.map((kind) => `"${kind}"`).join(" or "),
      );
    }
  } else {
    unit = command.unit(flags, await readConfig(config as string | undefined));
    requireUnit(unit);
  }
  const place = storage ?? Deno.env.get("INTERLENS_STORAGE");
  if (!place) {
    throw new RangeError(
      `Cannot tell where results go: give --storage (or INTERLENS_STORAGE) a folder or ` +
        `"s3://bucket/prefix"`,
    );
  }
  return { unit, storage: String(place) };
}

function flagsOf({ flags }: UnitCommand): Flags {
  return { ...flags, ...COMMON };
}

/** The configuration of the profile with what a file changes. */
async function readConfig(path: string | undefined): Promise<RunConfig> {
  let changes: Overrides<StudyConfig> & Partial<Pick<RunConfig, "shards" | "stream" | "window">> =
    {};
  if (path !== undefined) {
    try {
      changes = JSON.parse(await Deno.readTextFile(path));
      if (typeof changes !== "object" || changes === null || Array.isArray(changes)) {
        throw new TypeError("it is no JSON object");
      }
    } catch (error) {
      throw new Error(`Cannot read the configuration "${path}": ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
  const { shards = 1, stream, window, ...rest } = changes;
  return {
    ...studyConfig(rest),
    shards,
    ...stream !== undefined && { stream },
    ...window !== undefined && { window },
  };
}

/** What all units of a run share. */
export function studyText(config: RunConfig): StudyText {
  const { model, text, seed, harvest, shards, stream } = config;
  return { model, text, seed, harvest, shards, ...stream !== undefined && { stream } };
}

/** A whole number from a flag; also as 1e6. Undefined if the flag was not given. */
export function countFlag(flags: FlagValues, name: string): number | undefined {
  const value = flags[name];
  if (value === undefined) return undefined;
  const count = Number(value);
  if (String(value).trim() !== "" && Number.isSafeInteger(count) && count >= 0) return count;
  throw new RangeError(`Cannot use --${name} "${value}": expected a whole number from 0 on`);
}

/**
 * Runs a command.
 *
 * @returns Its exit status: 0, 1 for an error, 130 or 143 where a signal stopped it.
 */
export async function runUnitCommand(command: UnitCommand, args: string[]): Promise<number> {
  if (helped(command.task, command.purpose, args, flagsOf(command))) return 0;
  const lacking = lackingEnvironment();
  if (lacking) return await runAgain(lacking);
  const stop = new AbortController();
  const stopped = listen(stop);
  try {
    const { unit, storage: place } = await readUnit(command, args);
    const storage = openStorage(place);
    const known = await readRecord(storage, unit);
    const record = await runUnit(unit, { storage, signal: stop.signal });
    const name = unitName(unit);
    console.log(
      Deno.env.get("INTERLENS_PROGRESS") === "json"
        ? JSON.stringify({
          interlens: "record",
          unit: name,
          hash: unitHash(unit),
          seconds: record.seconds,
          loaded: known !== undefined,
        })
        : known
        ? `${name}: done before, ${record.created.slice(0, 10)}`
        : `${name}: done in ${formatSeconds(record.seconds)}`,
    );
    return 0;
  } catch (error) {
    if (stop.signal.aborted) {
      console.error("Stopped: the same command goes on from here");
      return stopped();
    }
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

/** Aborts on a signal or at the end of the parent; returns the exit status that belongs to it. */
function listen(stop: AbortController): () => number {
  let status = 1;
  let asked = 0;
  const end = (code: number, reason: string) => {
    // Ctrl-C reaches a task and its program, and the task hands it on: that is asking once.
    if (stop.signal.aborted && performance.now() - asked > TWICE) Deno.exit(code);
    if (stop.signal.aborted) return;
    asked = performance.now();
    status = code;
    stop.abort(new DOMException(reason, "AbortError"));
  };
  Deno.addSignalListener("SIGINT", () => end(130, "The unit was stopped"));
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGTERM", () => end(143, "The unit was stopped"));
  }
  if (Deno.env.get("INTERLENS_PARENT") === "stdin") void untilParentEnds(end);
  return () => status;
}

async function untilParentEnds(end: (code: number, reason: string) => void): Promise<void> {
  try {
    for await (const _ of Deno.stdin.readable);
  } catch { /* as good as its end */ }
  setTimeout(() => Deno.exit(143), 1000 * GRACE);
  end(143, "Whoever started the unit is gone");
}

/** Variables of computing that this process lacks, which count at its start only. */
function lackingEnvironment(): Record<string, string> | undefined {
  const wanted = computeEnvironment();
  const lacks = Object.entries(wanted).some(([name, value]) => {
    const found = Deno.env.get(name);
    // Folders of libraries may have others before them.
    return name === "LD_LIBRARY_PATH"
      ? !found?.split(delimiter).includes(value.split(delimiter)[0])
      : found === undefined;
  });
  return lacks ? wanted : undefined;
}

/** The same command with its variables; signals and the standard input go on to it. */
async function runAgain(env: Record<string, string>): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "-q", Deno.mainModule, ...Deno.args],
    cwd: ROOT,
    env,
  }).spawn();
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const signal of signals) {
    Deno.addSignalListener(signal, () => {
      try {
        child.kill(signal);
      } catch { /* it has ended */ }
    });
  }
  return (await child.status).code;
}
