/**
 * What a large run is asked to do, with every default filled in.
 *
 * @module
 */
import type { StoreDtype } from "../activations/mod.ts";
import type { NfmParts } from "../interaction/mod.ts";
import type { NodeSize } from "./costs.ts";
import type { ModelSize } from "./plan_work.ts";

/** Models whose sizes are known by name, up to the study's "layer 16". */
const MODELS: Readonly<Record<string, ModelSize>> = {
  "OpenLLaMA-3B": {
    name: "OpenLLaMA-3B",
    blocks: 16,
    ...{ dModel: 3200, nHeads: 32, nKvHeads: 32, dHead: 100, dMlp: 8640, vocabSize: 32_000 },
  },
  "SmolLM2-135M": {
    name: "SmolLM2-135M",
    blocks: 16,
    ...{ dModel: 576, nHeads: 9, nKvHeads: 3, dHead: 64, dMlp: 1536, vocabSize: 49_152 },
  },
};

/** What is to be done; see {@linkcode plan}. */
export interface PlanRequest {
  /** Training tokens. */
  readonly tokens: number;
  /** Features of the dictionary, and of a secondary one. */
  readonly features: number;
  /** Widths of the machines' embeddings, a training each. */
  readonly K: readonly number[];
  /** Nodes, each with one accelerator, or computing by itself. Default 1. */
  readonly nodes?: number;
  /** Active features a token. Default 64. */
  readonly l0?: number;
  /** `"topk"` or `"standard"`, ReLU with an L1 penalty. Default `"topk"`. */
  readonly architecture?: "topk" | "standard";
  /** Terms of the machines. Default `"both"`. */
  readonly parts?: Exclude<NfmParts, "linear">;
  /** Heads of the machines. Default `"linear"`; the study's is `"relu"`. */
  readonly head?: "linear" | "relu";
  /** Tokens a step of training. Default 2048. */
  readonly batch?: number;
  /** Steps of every training. Default: one epoch. */
  readonly steps?: number;
  /** Steps of the machines' trainings, where they differ. */
  readonly nfmSteps?: number;
  /** Features of the secondary dictionary; 0 trains none. Default: `features`. */
  readonly secondaryFeatures?: number;
  /** Steps of the secondary dictionary's training, where they differ. */
  readonly secondarySteps?: number;
  /** Seeds of which everything is trained. Default 1. */
  readonly seeds?: number;
  /** Type of activations on disk. Default `"float32"`. */
  readonly dtype?: StoreDtype;
  /** `"OpenLLaMA-3B"` (default), `"SmolLM2-135M"`, or the sizes of another model. */
  readonly model?: string | ModelSize;
  /** Longest sequence in tokens. Default 128. */
  readonly contextLength?: number;
  /** Sequences that the model runs together. Default 16. */
  readonly sequences?: number;
  /** Tokens of validation and of test. Default: 2 and 10 % of `tokens`, at most 100,000 and 500,000. */
  readonly heldOut?: { readonly validation: number; readonly test: number };
  /** Parts of the harvest. Default: so many that each takes four hours at most, a multiple of `nodes`. */
  readonly shards?: number;
  /**
   * Whether documents are read as they come (`stream` of a `StudyText`); if not, every part of the
   * harvest holds all of them and makes tokens of them before it starts. Default: only where they cannot
   * all be held.
   */
  readonly streamed?: boolean;
  /** Tokens of all documents that the harvest draws from. Default: as many as it keeps. */
  readonly textTokens?: number;
  /** Bytes of text a token. Default 4.5. */
  readonly textBytes?: number;
  /** Tokens of a document. Default 700. */
  readonly documentTokens?: number;
  /** Seconds that the driver and its engine add to a unit. Default 0.5. */
  readonly overhead?: number;
  /** Bytes of activations that a node keeps of a storage. Default 16 GiB. */
  readonly cacheBytes?: number;
  /** What a node has. Default: what the costs say. */
  readonly node?: Partial<NodeSize>;
  /** The storage that nodes share. */
  readonly storage?: {
    /** Bytes that it holds. Default 100 TB. */
    readonly bytes?: number;
    /** Bytes a second to all nodes together. Default 5 GB/s. */
    readonly bandwidth?: number;
    /** Bytes a second to one node. Default 1.25 GB/s, a network of 10 Gbit/s. */
    readonly nodeBandwidth?: number;
  };
}

/** A request with every default filled in, except those that depend on costs. */
export interface ResolvedPlanRequest
  extends Required<Omit<PlanRequest, "model" | "storage" | "shards" | "node">> {
  readonly model: ModelSize;
  readonly storage: Required<NonNullable<PlanRequest["storage"]>>;
  readonly shards?: number;
  readonly node: Partial<NodeSize>;
}

/** Names of the models whose sizes are known. */
export function modelSizeNames(): string[] {
  return Object.keys(MODELS);
}

/**
 * Fills in defaults and refuses what cannot be planned.
 *
 * @throws {RangeError} Naming the impossible value.
 */
export function resolvePlanRequest(given: PlanRequest): ResolvedPlanRequest {
  // Plain data has no undefined fields.
  const request = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  ) as unknown as PlanRequest;
  const { tokens, features, batch = 2048, l0 = 64 } = request;
  requireIntegers(1, { tokens, features, batch, l0 });
  const steps = request.steps ?? Math.max(1, Math.ceil(tokens / batch));
  const heldOut = request.heldOut ?? {
    validation: Math.min(100_000, Math.ceil(0.02 * tokens)),
    test: Math.min(500_000, Math.ceil(0.1 * tokens)),
  };
  const resolved: ResolvedPlanRequest = {
    ...request,
    nodes: request.nodes ?? 1,
    seeds: request.seeds ?? 1,
    l0,
    batch,
    steps,
    nfmSteps: request.nfmSteps ?? steps,
    secondaryFeatures: request.secondaryFeatures ?? features,
    secondarySteps: request.secondarySteps ?? steps,
    architecture: request.architecture ?? "topk",
    parts: request.parts ?? "both",
    head: request.head ?? "linear",
    dtype: request.dtype ?? "float32",
    model: modelSize(request.model ?? "OpenLLaMA-3B"),
    contextLength: request.contextLength ?? 128,
    sequences: request.sequences ?? 16,
    heldOut,
    streamed: request.streamed ?? false,
    textTokens: request.textTokens ?? tokens + heldOut.validation + heldOut.test,
    textBytes: request.textBytes ?? 4.5,
    documentTokens: request.documentTokens ?? 700,
    overhead: request.overhead ?? 0.5,
    cacheBytes: request.cacheBytes ?? 16 * 2 ** 30,
    node: request.node ?? {},
    storage: { bytes: 100e12, bandwidth: 5e9, nodeBandwidth: 1.25e9, ...request.storage },
  };
  check(resolved);
  return resolved;
}

function check(request: ResolvedPlanRequest): void {
  const { tokens, features, l0, batch, K, heldOut, storage, model } = request;
  const { nodes, steps, nfmSteps, secondarySteps, seeds, shards, sequences } = request;
  requireIntegers(1, { nodes, steps, nfmSteps, secondarySteps, seeds, shards, sequences });
  requireIntegers(2, { contextLength: request.contextLength });
  requireIntegers(0, {
    secondaryFeatures: request.secondaryFeatures,
    ...{ validation: heldOut.validation, test: heldOut.test },
  });
  if (K.length === 0 || new Set(K).size < K.length) {
    throw new RangeError(
      `Cannot plan machines of K = ${K.join(", ") || "nothing"}: expected widths, each once`,
    );
  }
  for (const width of K) requireIntegers(1, { K: width });
  requireIntegers(1, model as unknown as Record<string, number>, [
    ...["dModel", "nHeads", "nKvHeads", "dHead", "dMlp", "vocabSize", "blocks"],
  ]);
  if (l0 > features) {
    throw new RangeError(
      `Cannot plan ${l0} active features a token of ${features}: expected at most as many`,
    );
  }
  if (batch > tokens) {
    throw new RangeError(
      `Cannot plan batches of ${batch} tokens from ${tokens}: expected at most as many`,
    );
  }
  const kept = tokens + heldOut.validation + heldOut.test;
  if (!(request.textTokens >= kept && Number.isFinite(request.textTokens))) {
    throw new RangeError(
      `Cannot keep ${kept} tokens of a text of ${request.textTokens}: expected at most as many`,
    );
  }
  requireOneOf("architecture", request.architecture, ["topk", "standard"]);
  requireOneOf("parts", request.parts, ["both", "interaction"]);
  requireOneOf("head", request.head, ["linear", "relu"]);
  requireOneOf("dtype", request.dtype, ["float16", "float32"]);
  const positive: Record<string, number | undefined> = {
    ...{ textBytes: request.textBytes, documentTokens: request.documentTokens },
    ...{ cacheBytes: request.cacheBytes, storageBytes: storage.bytes },
    ...{ storageBandwidth: storage.bandwidth, nodeBandwidth: storage.nodeBandwidth },
    ...{ hostBytes: request.node.hostBytes, deviceBytes: request.node.deviceBytes },
  };
  for (const [name, value] of Object.entries(positive)) {
    if (value !== undefined && !(value > 0)) {
      throw new RangeError(`Cannot plan with ${name} = ${value}: expected more than 0`);
    }
  }
  if (!(request.overhead >= 0 && Number.isFinite(request.overhead))) {
    throw new RangeError(`Cannot plan with overhead = ${request.overhead} s: expected 0 or more`);
  }
}

/** Sizes of a model, by its name or given. */
function modelSize(model: string | ModelSize): ModelSize {
  if (typeof model !== "string") return model;
  if (!Object.hasOwn(MODELS, model)) {
    throw new RangeError(
      `The sizes of the model "${model}" are not known: expected one of ${
        modelSizeNames().join(", ")
      }, or its sizes`,
    );
  }
  return MODELS[model];
}

function requireIntegers(
  least: number,
  values: Readonly<Record<string, number | undefined>>,
  names: readonly string[] = Object.keys(values),
): void {
  for (const name of names) {
    const value = values[name];
    if (value === undefined && name === "shards") continue;
    if (!(Number.isSafeInteger(value) && value! >= least)) {
      throw new RangeError(
        `Cannot plan with ${name} = ${value}: expected an integer from ${least} on`,
      );
    }
  }
}

function requireOneOf(name: string, value: string, known: readonly string[]): void {
  if (known.includes(value)) return;
  throw new RangeError(
    `Cannot plan with ${name} "${value}": expected ${known.map((k) => `"${k}"`).join(" or ")}`,
  );
}
