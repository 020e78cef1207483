/**
 * `deno task explorer`: measures the dictionary and the factorization machine of the study for the
 * feature explorer, and makes the site with it.
 *
 * What was trained before is loaded from the cache; what was not is trained first. The measurement is
 * kept too, by the hash of all that decides it.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { computeEnvironment, OUT } from "./environment.ts";
import { main as publish } from "./publish.ts";
import { PROFILES } from "./series.ts";
import { setup } from "./setup.ts";
import { drawSequences, type Sequence } from "../corpus/mod.ts";
import { fingerprint, trainSae } from "../dictionary/mod.ts";
import { artefact, configHash, VERSION } from "../files/mod.ts";
import { trainNfm } from "../interaction/mod.ts";
import { exploreDictionary, readExplorer, writeExplorer } from "../site/mod.ts";
import {
  openStudy,
  openSubject,
  type Profile,
  type StudyConfig,
  studyConfig,
  studyData,
} from "../study/mod.ts";
import { stopSignal } from "../training/mod.ts";

/** Where the explorer's data of the last run lie; `deno task publish` takes them from here. */
export const EXPLORER: string = join(OUT, "explorer");

/** Held-out tokens that features are measured on, by profile. */
const TOKENS: Record<Profile, number> = { quick: 4000, full: 20_000, paper: 100_000 };

/**
 * Measures what the explorer shows of a configuration, or takes what was measured before.
 *
 * @param config The study's configuration.
 * @param options `profile`: says how many tokens; `out`: folder of the data.
 */
export async function makeExplorer(
  config: StudyConfig,
  { profile, out = EXPLORER }: { profile: Profile; out?: string },
): Promise<void> {
  const signal = stopSignal();
  const { documents, store } = await studyData(config, { signal });
  const { sae } = await trainSae(store, config.sae, { signal });
  const { nfm } = await trainNfm(store, sae, { ...config.nfm, signal });
  const maxTokens = TOKENS[profile];
  const key = {
    kind: "explorer",
    config: {
      ...{ version: VERSION, format: 2, maxTokens, store: configHash(store.manifest) },
      ...{ sae: await fingerprint(sae), nfm: config.nfm },
    },
  };
  await artefact<void>(key, {
    load: async (dir) => {
      const files = await readExplorer(dir);
      await Deno.remove(out, { recursive: true }).catch(() => {});
      await Deno.mkdir(out, { recursive: true });
      for (const name of files.keys()) await Deno.copyFile(join(dir, name), join(out, name));
    },
    make: async (dir) => {
      using model = await openSubject(config, { whole: true, signal });
      const { contextLength = 128, seed = 0 } = config.harvest;
      const sequences = upTo(
        maxTokens,
        drawSequences(documents.test, model.tokenizer, { contextLength, seed }),
      );
      const name = `${config.text === "brown" ? "Brown Corpus" : config.text}, test documents`;
      const text = { name, sequences, split: store.split("test") };
      const data = await exploreDictionary({ model, sae, nfm }, text, {
        maxTokens,
        maxNorm: store.manifest.maxNorm ?? undefined,
        configuration: { profile, ...config },
        signal,
      });
      await writeExplorer(data, dir);
    },
  });
  sae.dispose();
  nfm.dispose();
}

function upTo(tokens: number, sequences: Iterable<Sequence>): Sequence[] {
  const taken: Sequence[] = [];
  let count = 0;
  for (const sequence of sequences) {
    if (count >= tokens) break;
    taken.push(sequence);
    count += sequence.tokens.length - 1;
  }
  return taken;
}

/**
 * Measures in a process of its own, which has the variables of computing from its start.
 *
 * @param options `profile`; `out`: folder of the data.
 * @returns Whether it ended well; what went wrong is printed.
 */
export async function runExplorer(
  { profile, out = EXPLORER }: { profile: Profile; out?: string },
): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "-q", import.meta.filename!, "--measure", "--out", out],
    env: { ...computeEnvironment(), INTERLENS_PROFILE: profile },
    stdin: "null",
  }).spawn().status;
  return success;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      profile: { type: "string", default: Deno.env.get("INTERLENS_PROFILE") || "quick" },
      out: { type: "string", default: EXPLORER },
      site: { type: "string", default: join(OUT, "site") },
      measure: { type: "boolean", default: false },
    },
  });
  const profile = values.profile as Profile;
  const out = resolve(values.out);
  if (!PROFILES.includes(profile)) {
    throw new RangeError(
      `There is no profile "${values.profile}": expected one of ${PROFILES.join(", ")}`,
    );
  }
  if (values.measure) {
    await openStudy();
    await makeExplorer(studyConfig(), { profile, out });
    return 0;
  }
  await setup({ quiet: true });
  if (!await runExplorer({ profile, out })) return 1;
  console.log(`Data of the explorer: ${out}`);
  return await publish(["--out", values.site, "--explorer", out]);
}

if (import.meta.main) {
  try {
    Deno.exit(await main());
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
