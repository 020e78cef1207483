import { type StudyText, type Unit, unitHash } from "../../lib/cluster/mod.ts";
import type { Instructions } from "./worker.ts";

const worker = new URL("./worker.ts", import.meta.url).pathname;
const tokens = { train: 8, validation: 8, test: 8 };
const harvest = { hook: "blocks.0.hook_resid_post", contextLength: 8, tokens };

/** Text of units that do nothing with it. */
export function dataOf(shards: number, seed = 0): StudyText {
  return { model: null, text: "brown", seed, harvest, shards };
}

/** Units that need nothing. */
export function parts(count: number, seed = 0): Unit[] {
  const data = dataOf(count, seed);
  return Array.from({ length: count }, (_, shard): Unit => ({ kind: "harvest", data, shard }));
}

/** The command of a small worker in place of the real ones. */
export function workerCommand(
  folder: string,
  instructions: (unit: Unit) => Instructions = () => ({}),
) {
  return (unit: Unit): string[] => [
    ...["deno", "run", "-A", "-q", "--no-check", "--no-config", "--no-lock", worker],
    ...[folder, unitHash(unit), JSON.stringify(unit), JSON.stringify(instructions(unit))],
  ];
}

/** What a unit of a shell does. */
export interface ShellInstructions {
  /** How long it works. */
  seconds?: number;
  fails?: boolean;
}

const SCRIPT = `
folder=$1 hash=$2 seconds=$3 fails=$4 record=$5
[ ! -e "$folder/storage/units/$hash.json" ] || exit 0
echo "$hash" >> "$folder/journal"
echo '{"interlens":"progress","label":"Work","done":1,"total":2}'
sleep "$seconds"
if [ "$fails" = true ]; then echo "Cannot open the model: there is none" >&2; exit 3; fi
mkdir -p "$folder/storage/units"
printf %s "$record" > "$folder/storage/units/$hash.$$"
mv "$folder/storage/units/$hash.$$" "$folder/storage/units/$hash.json"
echo "+$hash" >> "$folder/journal"
`;

/** The command of a unit that needs no more than a shell; its storage is `FOLDER/storage`. */
export function shellCommand(folder: string, instructions: (unit: Unit) => ShellInstructions) {
  return (unit: Unit): string[] => {
    const { seconds = 0, fails = false } = instructions(unit);
    const hash = unitHash(unit);
    const record = JSON.stringify({ unit, hash, result: { artefact: hash } });
    return ["sh", "-c", SCRIPT, "sh", folder, hash, String(seconds), String(fails), record];
  };
}

/** What workers have noted in `FOLDER/journal`: units that began, and that ended well. */
export async function journalOf(folder: string): Promise<{ begun: string[]; done: string[] }> {
  const lines = (await Deno.readTextFile(`${folder}/journal`).catch(() => "")).split("\n");
  return {
    begun: lines.filter((line) => /^[0-9a-f]/.test(line)),
    done: lines.filter((line) => line.startsWith("+")).map((line) => line.slice(1)),
  };
}

/** Waits for something that other processes do. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Runs a part of a test without printing notices, and gives them to it. */
export async function quietly<T>(use: (said: string[]) => Promise<T>): Promise<T> {
  const said: string[] = [];
  const { warn } = console;
  console.warn = (text: string) => said.push(text);
  try {
    return await use(said);
  } finally {
    console.warn = warn;
  }
}
