/**
 * `deno task planted`: what a dictionary leaves of planted pairs, from end to end; writes
 * `data/planted/end_to_end.json`, the numbers of the published table.
 *
 * @module
 */
import { join } from "node:path";
import { table } from "../display/mod.ts";
import { ROOT, VERSION, writeFileAtomic } from "../files/mod.ts";
import { type EndToEndRow, plantedEndToEnd } from "../interaction/mod.ts";
import { openDevice } from "../tensor/mod.ts";

/** Worlds of the table: half as wide as there are features, or twice; β from nothing to 1. */
const WORLDS = [
  { d: 32, beta: 0 },
  { d: 32, beta: 0.3 },
  { d: 32, beta: 0.6 },
  { d: 32, beta: 1 },
  { d: 128, beta: 0 },
  { d: 128, beta: 0.6 },
];

/** Every world is made and a dictionary trained on it this many times. */
const SEEDS = [0, 1];

if (import.meta.main) {
  const device = await openDevice();
  const rows: (typeof WORLDS[number] & EndToEndRow & { seeds: number })[] = [];
  for (const world of WORLDS) {
    const runs: EndToEndRow[][] = [];
    for (const seed of SEEDS) runs.push(await plantedEndToEnd({ ...world, seed }));
    for (const i of runs[0].keys()) {
      const same = runs.map((run) => run[i]);
      const mean = Object.fromEntries(
        Object.keys(same[0]).filter((key) => key !== "codes").map((key) => [
          key,
          same.reduce((sum, row) => sum + Number(row[key as keyof EndToEndRow]), 0) / same.length,
        ]),
      );
      rows.push({ ...world, ...same[0], ...mean, seeds: SEEDS.length });
    }
  }
  console.log(String(table(
    rows.map(({ d, beta, codes, R0, R1, R2, R3, gainPercent, averagePrecision, precisionAtM }) => ({
      d,
      β: beta,
      codes,
      ...{ R0, R1, R2, R3, "gain, %": gainPercent },
      // Where nothing is planted there is nothing to find.
      AP: beta === 0 ? "" : averagePrecision,
      "P@M": beta === 0 ? "" : precisionAtM,
    })),
    { caption: "FVU by rung, and the planted pairs among the strongest", maxRows: rows.length },
  )));
  const provenance = `Made by "deno task planted" of Interlens ${VERSION} on ${device.name}: ` +
    "PlantedPairs-v1, 64 features, 32 pairs, p = 0.05, σ = 0.05, 30,000 training and 10,000 test " +
    `tokens; a TopK dictionary of 64 latents, k = 6, 3000 steps; means over seeds ${
      SEEDS.join(", ")
    }`;
  const path = join(ROOT, "data", "planted", "end_to_end.json");
  await writeFileAtomic(path, JSON.stringify({ provenance, rows }, null, 2) + "\n");
}
