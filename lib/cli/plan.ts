/**
 * `deno task plan --tokens 1e9 --features 50000 --k 150,1000,10000 --nodes 8`: what a large run will
 * take, and what gives out first. `--measure` measures this machine first, `--device` names another
 * one, `--table` shows scales from 10⁵ to 10¹² tokens as Markdown, `--json` prints plain data.
 *
 * @module
 */
import { costNames, type Efficiency, unitCosts } from "../cluster/accelerators.ts";
import { type NodeSize, readCosts, type UnitCosts, writeCosts } from "../cluster/costs.ts";
import { threadEnvironment } from "../cluster/job.ts";
import { plan, type PlanRequest, planTable } from "../cluster/mod.ts";
import { modelSizeNames } from "../cluster/plan_request.ts";
import { formatNumber, type Table, table } from "../display/mod.ts";
import { ROOT } from "../files/mod.ts";
import { computeEnvironment } from "./environment.ts";
import { type Flag, type Flags, helped, readFlags } from "./flags.ts";
import { measureCosts } from "./plan/measure.ts";

/** Flags: the fields that they set, and what they are for. */
type Fields = Record<string, readonly [field: string, help: string]>;

/** What the command line asks for. */
export interface PlanCommand {
  /** The run; absent if nothing but measuring is asked for. */
  readonly request?: Omit<PlanRequest, "tokens"> & { tokens?: number };
  /** A name of `unitCosts`, or `"measured"`. */
  readonly device: string;
  readonly efficiency: Efficiency;
  /** What a node has, as far as it is given. */
  readonly node: Partial<NodeSize>;
  readonly measure: boolean;
  readonly table: boolean;
  readonly json: boolean;
  /** Threads that a unit computes with. */
  readonly threads: number;
  /** Where a process that only measures writes what it found. */
  readonly costs?: string;
}

/** What is asked for as a number: the field of a request, and what it is for. */
const NUMBERS: Fields = {
  tokens: ["tokens", "training tokens; with --table only this line of the table"],
  features: ["features", "features of the dictionary"],
  nodes: ["nodes", "nodes, each with one accelerator or computing by itself; default 1"],
  l0: ["l0", "active features a token; default 64"],
  batch: ["batch", "tokens a step of training; default 2048"],
  steps: ["steps", "steps of every training; default one epoch"],
  "nfm-steps": ["nfmSteps", "steps of the machines' trainings, where they differ"],
  "secondary-features": [
    "secondaryFeatures",
    "features of the secondary dictionary, 0 for none; default as many as the first has",
  ],
  "secondary-steps": ["secondarySteps", "steps of its training, where they differ"],
  seeds: ["seeds", "seeds of which everything is trained; default 1"],
  "context-length": ["contextLength", "longest sequence in tokens; default 128"],
  shards: ["shards", "parts of the harvest; default so many that each takes four hours at most"],
  "text-tokens": [
    "textTokens",
    "tokens of all documents that the harvest draws from; default as many as it keeps",
  ],
  "document-tokens": ["documentTokens", "tokens of a document; default 700"],
  "text-bytes": ["textBytes", "bytes of text a token; default 4.5"],
  overhead: ["overhead", "seconds that driver and engine add to a unit; default 0.5"],
  "cache-bytes": ["cacheBytes", "bytes that a node keeps of a storage; default 16 GiB"],
};

const CHOICES: Fields = {
  architecture: ["architecture", '"topk" (default) or "standard", ReLU with an L1 penalty'],
  parts: ["parts", 'terms of the machines, "both" (default) or "interaction"'],
  head: ["head", 'of the machines, "linear" (default) or "relu"'],
  dtype: ["dtype", 'of activations on disk, "float32" (default) or "float16"'],
  model: ["model", `${modelSizeNames().join(" or ")}; default the first`],
};

/** Of a node, of the storage, of what is reached of an accelerator's peaks. */
const NESTED = {
  node: {
    "host-memory": ["hostBytes", "bytes of memory of a node"],
    "device-memory": ["deviceBytes", "bytes of memory of its accelerator"],
  },
  storage: {
    "storage-size": ["bytes", "bytes that the storage holds; default 100e12"],
    "storage-bandwidth": ["bandwidth", "bytes a second to all nodes together; default 5e9"],
    "node-bandwidth": ["nodeBandwidth", "bytes a second to one node; default 1.25e9"],
  },
  efficiency: {
    "compute-efficiency": ["compute", "share of an accelerator's peak of computing; default 0.3"],
    "bandwidth-efficiency": ["bandwidth", "share of its peak of memory traffic; default 0.5"],
  },
} satisfies Record<string, Fields>;

/** Flags with a value. */
const VALUES: Flags = {
  ...mapValues(NUMBERS, numeric),
  k: { value: "N,…", help: "widths of the machines' embeddings, a training each: 150,1000" },
  ...mapValues(CHOICES, ([, help]) => ({ value: "NAME", help })),
  device: {
    value: "NAME",
    help: `what a node computes with: ${costNames().join(", ")}, or "measured"; default what was ` +
      "measured here, else the first",
  },
  threads: { value: "N", help: "threads that a unit computes with; default all of this machine" },
  ...Object.assign({}, ...Object.values(NESTED).map((group: Fields) => mapValues(group, numeric))),
  costs: { value: "FILE", help: "with --measure: only writes what was measured into this file" },
};
const FLAGS: Flags = {
  ...VALUES,
  streamed: { help: "documents are read as they come; default where they cannot be held" },
  planned: { help: "documents are held, and drawn from in turn" },
  measure: { help: "measures what units cost on this machine, in short runs, and keeps it" },
  table: { help: "a table in Markdown, from 10⁵ to 10¹² tokens" },
  json: { help: "the plan as JSON" },
};
const PURPOSE = "what a large run will take, and what gives out first.";

/**
 * Reads the command line; numbers may be written as 1e9.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { parsePlan } from "./plan.ts";
 *
 * const { request } = parsePlan(["--tokens", "1e9", "--features", "50000", "--k", "150,1000"]);
 * assertEquals([request?.tokens, request?.K], [1e9, [150, 1000]]);
 * assertThrows(() => parsePlan(["--tokens", "many"]), RangeError, '--tokens "many"');
 * ```
 *
 * @throws {RangeError} If a flag is missing or no number.
 */
export function parsePlan(args: string[]): PlanCommand {
  const values = readFlags("plan", args, FLAGS);
  const number = (name: string) => {
    const value = values[name];
    return value === undefined ? undefined : toNumber(name, String(value));
  };
  const group = (fields: Fields) =>
    Object.fromEntries(
      Object.entries(fields).filter(([name]) => values[name] !== undefined)
        .map(([name, [field]]) => [field, number(name)]),
    );
  const threads = number("threads") ?? navigator.hardwareConcurrency;
  if (!(Number.isInteger(threads) && threads >= 1)) {
    throw new RangeError(`Cannot compute with ${threads} threads: expected an integer from 1 on`);
  }
  const numbers = group(NUMBERS);
  const wantsTable = values.table === true;
  const asked = Object.keys(VALUES).some((name) =>
    values[name] !== undefined &&
    !["device", "costs", "threads", ...Object.keys(NESTED.node)].includes(name)
  );
  const K = values.k === undefined ? [] : String(values.k).split(",").map((k) => toNumber("k", k));
  const missing = [
    ...wantsTable || values.tokens !== undefined ? [] : ["--tokens 1e9"],
    ...values.features !== undefined ? [] : ["--features 50000"],
    ...K.length > 0 ? [] : ["--k 150,1000"],
  ];
  const onlyMeasures = values.measure === true && !asked && !wantsTable;
  if (missing.length > 0 && !onlyMeasures) {
    throw new RangeError(`A plan needs ${missing.join(" and ")} (or --measure alone)`);
  }
  return {
    ...!onlyMeasures && {
      request: {
        ...numbers,
        ...Object.fromEntries(
          Object.entries(CHOICES).filter(([name]) => values[name] !== undefined)
            .map(([name, [field]]) => [field, values[name]]),
        ),
        ...values.streamed === true
          ? { streamed: true }
          : values.planned === true
          ? { streamed: false }
          : {},
        node: group(NESTED.node),
        storage: group(NESTED.storage),
        K,
      } as unknown as PlanCommand["request"],
    },
    device: String(values.device ?? (values.measure ? "measured" : "")),
    efficiency: group(NESTED.efficiency),
    measure: values.measure === true,
    table: wantsTable,
    json: values.json === true,
    ...values.costs !== undefined && { costs: String(values.costs) },
    node: group(NESTED.node),
    threads,
  };
}

function numeric([, help]: readonly [string, string]): Flag {
  return { value: "N", help };
}

function mapValues<A, B>(of: Readonly<Record<string, A>>, f: (a: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(of).map(([name, value]) => [name, f(value)]));
}

function toNumber(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new RangeError(
    `Cannot read --${name} "${text}": expected a number such as 1000 or 1e9` +
      (name === "k" ? ", several separated by commas" : ""),
  );
}

/** The costs that a command names: measured ones where there are any, unless it says otherwise. */
async function costsOf({ device, efficiency, threads }: PlanCommand): Promise<UnitCosts> {
  if (device !== "" && device !== "measured") return unitCosts(device, efficiency);
  const measured = await readCosts({ threads });
  if (measured) return measured;
  if (device === "") return unitCosts(costNames()[0]);
  throw new Error(
    `Nothing was measured on this machine with ${threads} threads: run \`deno task plan --measure ` +
      `--threads ${threads}\`, or name a device, ` + costNames().join(", "),
  );
}

/** What was measured, beside what the fitted costs say. */
export function measurementTable({ statement, measurements = [] }: UnitCosts): Table {
  const ms = (seconds: number) => formatNumber(1000 * seconds, 3);
  return table(
    measurements.map(({ work, seconds: [least, median, most], fitted }) => ({
      work,
      "median ms (range)": `${ms(median)} (${ms(least)} to ${ms(most)})`,
      "fitted ms": ms(fitted),
      "fitted by measured": formatNumber(fitted / median, 3),
    })),
    { caption: `Costs of units, ${statement}`, maxRows: Math.max(1, measurements.length) },
  );
}

/** A table in Markdown. */
export function markdown({ columns, cells, numeric }: Table): string {
  const line = (row: readonly string[]) => `| ${row.join(" | ")} |`;
  return [
    line(columns),
    line(columns.map((_, c) => numeric[c] ? "---:" : "---")),
    ...cells.map(line),
  ].join("\n");
}

/**
 * Measures in a process of its own: the allocator reads its settings when a process starts, and what
 * short runs print is nobody's business.
 *
 * @throws {Error} With what the process said, if it failed.
 */
export async function measureApart(
  { threads, node = {} }: Pick<PlanCommand, "threads"> & Partial<Pick<PlanCommand, "node">>,
): Promise<UnitCosts> {
  const flags = { "--host-memory": node.hostBytes, "--device-memory": node.deviceBytes };
  const args = Object.entries(flags).flatMap(([flag, bytes]) =>
    bytes === undefined ? [] : [flag, String(bytes)]
  );
  const path = await Deno.makeTempFile({ suffix: ".json" });
  try {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "-q", import.meta.filename!, "--measure", ...args],
        ...["--threads", String(threads), "--costs", path],
      ],
      cwd: ROOT,
      env: { ...computeEnvironment(), ...threadEnvironment({ cpus: threads }) },
      stdout: "null",
      stderr: "piped",
    }).output();
    if (code !== 0) {
      const said = new TextDecoder().decode(stderr).trim().split("\n").at(-1);
      throw new Error(`Measuring this machine ended with ${code}: ${said}`);
    }
    return JSON.parse(await Deno.readTextFile(path));
  } finally {
    await Deno.remove(path);
  }
}

if (import.meta.main) {
  try {
    if (helped("plan", PURPOSE, Deno.args, FLAGS)) Deno.exit(0);
    const command = parsePlan(Deno.args);
    if (command.costs) {
      const node = { hostBytes: Deno.systemMemoryInfo().total, ...command.node };
      await Deno.writeTextFile(
        command.costs,
        JSON.stringify(await measureCosts(node, command.threads)),
      );
      Deno.exit(0);
    }
    if (command.measure) {
      console.error("Measuring this machine with short runs; one to three minutes on two cores");
      const measured = await measureApart(command);
      await writeCosts(measured, { threads: command.threads });
      if (!command.json) console.log(String(measurementTable(measured)));
    }
    if (command.request) {
      const costs = await costsOf(command);
      const { tokens, ...request } = command.request;
      if (command.table) {
        console.log(
          markdown(planTable(request, costs, tokens === undefined ? undefined : [tokens])),
        );
      } else {
        const result = plan({ ...request, tokens: tokens! }, costs);
        console.log(command.json ? JSON.stringify(result, null, 2) : String(result));
      }
    }
    Deno.exit(0);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
