/**
 * Speed of the language model: loading, prompts, writing, harvests; beside transformers where
 * there is an interpreter that has it.
 *
 * @module
 */
import { formatNumber } from "../../display/mod.ts";
import { harvest } from "../../activations/mod.ts";
import { brown, type Document } from "../../corpus/mod.ts";
import { cacheDir } from "../../files/mod.ts";
import { loadModel, type Model } from "../../model/mod.ts";
import { Rng, tf } from "../../tensor/mod.ts";
import { MODEL } from "../pins.ts";
import {
  type BenchRow,
  finish,
  inTurn,
  type Machine,
  milliseconds,
  peakMemory,
} from "./measure.ts";
import { Peer } from "./peer.ts";

const BLOCKS = 16;
const HOOK = `blocks.${BLOCKS - 1}.hook_resid_post`;
const [BATCH, LENGTH] = [16, 128];

/** What is measured of the model; nothing where it was not set up. */
export async function benchModel(machine: Machine): Promise<BenchRow[]> {
  const path = cacheDir("models", MODEL.file);
  if (!await Deno.stat(path).then(() => true, () => false)) return [];
  await using peer = Peer.start("model", "transformers");
  let model!: Model;
  const ours = () => milliseconds(async () => model = await loadModel(path));
  const threads = navigator.hardwareConcurrency;
  const load = await inTurn(
    "load a model of 135 M parameters",
    ours,
    peer?.work("load", { path, threads }),
    {
      repetitions: 1,
      rate: () => "4-bit weights to float32",
    },
  );
  const rows = [
    load,
    await benchBlocks(model, machine, peer),
    await benchPrompt(model, machine, peer),
    await benchWriting(model, machine, peer),
    await benchHarvest(model, machine, peer),
    ...await memory(peer),
  ];
  model.dispose();
  return rows;
}

const perSecond = (tokens: number) => (ms: number) =>
  `${formatNumber(1000 * tokens / ms)} tokens/s`;

/** Multiplications and additions of a token in the matrix products of the first blocks. */
function operations({ cfg: { dModel, nHeads, nKvHeads, dHead, dMlp } }: Model): number {
  const attention = 2 * dModel * dHead * (nHeads + nKvHeads);
  return BLOCKS * 2 * (attention + 3 * dModel * dMlp);
}

/** Milliseconds that a square product of as many operations takes now. */
async function floor(model: Model, tokens: number, { product }: Machine): Promise<number> {
  const { ms, operations: each } = await product();
  return ms * operations(model) * tokens / each;
}

function benchBlocks(model: Model, machine: Machine, peer?: Peer): Promise<BenchRow> {
  const rng = new Rng(0);
  const batch = machine.full ? BATCH : 2;
  const tokens = Array.from({ length: batch }, () => [
    model.cfg.bosId,
    ...Array.from({ length: LENGTH - 1 }, () => 100 + rng.integer(40_000)),
  ]);
  const ours = async () => {
    const { cache } = await model.runWithCache(tokens, { names: HOOK, stopAtLayer: BLOCKS });
    const x = tf.clone(cache.get(HOOK));
    cache.dispose();
    await finish(x);
  };
  const work = `blocks 0-${BLOCKS - 1}, ${batch} × ${LENGTH} tokens`;
  const theirs = peer?.work("blocks", { ids: tokens, count: BLOCKS });
  const count = batch * LENGTH;
  return inTurn(work, () => milliseconds(ours), theirs, {
    rate: perSecond(count),
    floor: () => floor(model, count, machine),
  });
}

/** A text of at least as many tokens, cut to them. */
async function prompt(model: Model, tokens: number): Promise<{ text: string; ids: number[] }> {
  const [{ text }] = await brown();
  const ids = model.tokenizer.encode(text).slice(0, tokens);
  return { text: model.tokenizer.decode(ids), ids };
}

async function benchPrompt(model: Model, { full }: Machine, peer?: Peer): Promise<BenchRow> {
  const { text, ids } = await prompt(model, full ? 512 : 64);
  const ours = () => milliseconds(() => model.generate(text, { maxNewTokens: 1 }));
  return inTurn(
    `read a prompt of ${ids.length} tokens, write one`,
    ours,
    peer?.work("generate", { ids, tokens: 1 }),
    { rate: perSecond(ids.length) },
  );
}

async function benchWriting(model: Model, { full }: Machine, peer?: Peer): Promise<BenchRow> {
  const { text, ids } = await prompt(model, 16);
  const wanted = full ? 64 : 8;
  let written = 0;
  const ours = async () => {
    written = 0;
    // A hook at the end sees every step; it costs nothing.
    const hooks = { "ln_final.hook_scale": () => void written++ };
    const ms = await milliseconds(() => model.generate(text, { maxNewTokens: wanted, hooks }));
    return ms * wanted / written;
  };
  return inTurn(
    `write ${wanted} tokens`,
    ours,
    peer?.work("generate", { ids, tokens: wanted }),
    { rate: perSecond(wanted) },
  );
}

async function benchHarvest(
  model: Model,
  machine: Machine,
  peer?: Peer,
): Promise<BenchRow> {
  const { full } = machine;
  const none: Document[] = [];
  const documents = (await brown()).slice(0, full ? 8 : 1)
    .map((document) => full ? document : { ...document, text: document.text.slice(0, 2000) });
  const texts = documents.map(({ text }) => text);
  let tokens = 0;
  const ours = async () => {
    const dir = await Deno.makeTempDir();
    try {
      const splits = { train: documents, validation: none, test: none };
      const options = {
        hook: HOOK,
        tokens: { train: "all", validation: 0, test: 0 },
        dir,
      } as const;
      const start = performance.now();
      const store = await harvest(model, splits, options);
      const ms = performance.now() - start;
      tokens = store.split("train").tokens;
      return ms;
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  };
  if (peer) await peer.ask("prepare");
  const request = { texts, length: LENGTH, batch: BATCH, count: BLOCKS };
  const row = await inTurn("harvest, from text to files", ours, peer?.work("harvest", request), {
    repetitions: full ? 3 : 1,
    rate: (ms) => perSecond(tokens)(ms),
    // Beginnings of sequences run too, and are left out of the tokens.
    floor: () => floor(model, tokens * LENGTH / (LENGTH - 1), machine),
  });
  return { ...row, work: `${row.work}, ${tokens.toLocaleString("en")} tokens` };
}

/** What the two processes held at most, all of the above included. */
async function memory(peer?: Peer): Promise<BenchRow[]> {
  const ours = await peakMemory();
  if (ours === undefined) return [];
  const theirs = peer && (await peer.ask("peak")).result;
  const gigabytes = (bytes: number) => `${formatNumber(bytes / 1e9)} GB`;
  const beside = theirs === undefined ? "" : `, ${peer!.name} ${gigabytes(theirs)}`;
  return [{ work: "peak memory of the process", rate: gigabytes(ours) + beside, bytes: ours }];
}
