/**
 * `deno task bench [section…] [--backend name]`: how fast this machine is, each figure beside the
 * machine's own matrix product of the same minute, because machines differ and are noisy, and the
 * language model beside Hugging Face transformers where `INTERLENS_PEERS_PYTHON` names a Python
 * interpreter with torch, transformers, gguf and safetensors.
 *
 * Prints a table and writes `out/bench.json`.
 *
 * @module
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { computeEnvironment, OUT } from "./environment.ts";
import { formatNumber, table } from "../display/mod.ts";
import { ROOT, VERSION, writeFileAtomic } from "../files/mod.ts";
import { type Device, openDevice } from "../tensor/mod.ts";
import type { BenchRow, Machine, Spread } from "./bench/measure.ts";
import { benchModel } from "./bench/model.ts";
import { benchNfm } from "./bench/nfm.ts";
import { benchStore } from "./bench/store.ts";
import { benchAdam, benchProduct, benchSparse, Square } from "./bench/tensor.ts";
import { benchTraining } from "./bench/training.ts";

const SECTIONS: Record<string, (machine: Machine) => Promise<BenchRow[]>> = {
  adam: benchAdam,
  sparse: benchSparse,
  sae: benchTraining,
  nfm: benchNfm,
  store: benchStore,
  model: benchModel,
};

/** What the command line asks for. */
export interface BenchRequest {
  /** Sections in their order. */
  sections: string[];
  /** The backend to measure; undefined is the one that Interlens would choose. */
  backend?: string;
  /** Where a process that measures one section writes its rows. */
  rows?: string;
}

/**
 * Reads the command line.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { parseBench } from "./bench.ts";
 *
 * assertEquals(parseBench(["model", "--backend", "wasm"]).sections, ["model"]);
 * assertEquals(parseBench([]).sections, ["adam", "sparse", "sae", "nfm", "store", "model"]);
 * assertThrows(() => parseBench(["modle"]), RangeError, '"modle"');
 * ```
 *
 * @throws {RangeError} If there is no section of a name.
 */
export function parseBench(args: string[]): BenchRequest {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { backend: { type: "string" }, rows: { type: "string" } },
  });
  const all = Object.keys(SECTIONS);
  const unknown = positionals.find((name) => !all.includes(name));
  if (unknown !== undefined) {
    throw new RangeError(
      `There is no section "${unknown}" of the bench: expected some of ${all.join(", ")}`,
    );
  }
  const sections = positionals.length > 0 ? all.filter((s) => positionals.includes(s)) : all;
  return { sections, ...values };
}

interface Measured {
  readonly device: Device;
  readonly product: BenchRow;
  readonly rows: BenchRow[];
}

/** Measures one section in this process. */
async function measure(section: string): Promise<Measured> {
  const device = await openDevice();
  const full = device.gpu || device.backend === "tensorflow";
  const n = full ? 2048 : 512;
  const product = await benchProduct(n);
  const gflops = 2 * n ** 3 / product.ms.median / 1e6;
  using square = new Square(n);
  const machine = { gflops, full, product: () => square.time() };
  return { device, product, rows: await SECTIONS[section](machine) };
}

/**
 * Measures one section in a process of its own, so that its peak of memory is its own; the
 * allocator reads its settings, too, when a process starts.
 */
async function measureApart(section: string, backend: string | undefined): Promise<Measured> {
  const rows = await Deno.makeTempFile();
  try {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "-q", import.meta.filename!, section, "--rows", rows],
      cwd: ROOT,
      env: { ...computeEnvironment(), ...backend && { INTERLENS_BACKEND: backend } },
      stdout: "null",
    });
    const { code } = await child.spawn().status;
    if (code !== 0) throw new Error(`Measuring "${section}" ended with ${code}`);
    return JSON.parse(await Deno.readTextFile(rows));
  } finally {
    await Deno.remove(rows);
  }
}

const inWords = ({ median, range }: Spread) =>
  `${formatNumber(median)} (${range.map((ms) => formatNumber(ms)).join(" to ")})`;

const inPercent = ({ median, range }: Spread) =>
  inWords({ median: 100 * median, range: [100 * range[0], 100 * range[1]] });

function report(device: Device, rows: BenchRow[]): string {
  const peer = rows.find((row) => row.peer)?.peer?.name;
  return String(table(
    rows.map(({ work, ms, rate, share, peer: theirs }) => ({
      work,
      "median ms (range)": ms ? inWords(ms) : "",
      rate: share ? `${rate}, ${inPercent(share)} % of the product's rate` : rate,
      ...peer && {
        [`${peer}, ms`]: theirs ? inWords(theirs.ms) : "",
        "its time by ours": theirs ? inWords(theirs.ratio) : "",
      },
    })),
    { caption: `Interlens ${VERSION}, ${device.name}`, maxRows: rows.length },
  ));
}

if (import.meta.main) {
  try {
    const { sections, backend, rows: path } = parseBench(Deno.args);
    if (path) {
      await Deno.writeTextFile(path, JSON.stringify(await measure(sections[0])));
      Deno.exit(0);
    }
    const measured: Record<string, Measured> = {};
    for (const section of sections) {
      console.log(`Measuring ${section}`);
      measured[section] = await measureApart(section, backend);
    }
    const [{ device }] = Object.values(measured);
    const rows = Object.values(measured).flatMap(({ product, rows }) => [product, ...rows]);
    console.log(report(device, rows));
    const json = { version: VERSION, device, threads: navigator.hardwareConcurrency, measured };
    await writeFileAtomic(join(OUT, "bench.json"), JSON.stringify(json, null, 2) + "\n");
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
