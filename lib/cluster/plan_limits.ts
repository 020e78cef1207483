/**
 * What of a planned run does not fit, and what takes most of its time.
 *
 * @module
 */
import type { NodeSize } from "./costs.ts";
import type { Bottleneck, PlanStage, PlanTotals } from "./plan.ts";
import type { ResolvedPlanRequest } from "./plan_request.ts";
import { formatBytes, formatDuration } from "./plan_format.ts";

/** What gives out, and why. */
export interface Finding {
  readonly name: Bottleneck;
  readonly why: string;
}

/** Bytes of a file of activations. */
const FILE_BYTES = 64 * 2 ** 20;
/** What a manifest has of a file and of a document: its name, number and hash; its id. */
const FILE_CHARACTERS = 130;
const DOCUMENT_CHARACTERS = 24;
/** The longest string of V8: a manifest is written and read as one. */
const LONGEST_STRING = 2 ** 29 - 24;
/** The most members of a set in V8: ids of documents are told apart by one. */
const LARGEST_SET = 2 ** 24;
/** Bytes that V8 gives to strings and objects of a process unless a flag says otherwise. */
const HEAP = 4.3e9;

/** All that does not fit, in the order of the run. */
export function exceeded({ request, node, stages, totals }: {
  request: ResolvedPlanRequest;
  node: NodeSize;
  stages: readonly PlanStage[];
  totals: PlanTotals;
}): Finding[] {
  const [harvest, ...others] = stages;
  const { textTokens, documentTokens, streamed, storage } = request;
  const found: Finding[] = [...memory(harvest, node, streamed)];
  const documents = Math.ceil(textTokens / documentTokens);
  if (harvest.heapBytes > HEAP) {
    found.push({
      name: "host memory",
      why: `harvest: ${formatBytes(harvest.heapBytes)} of strings and objects, ` +
        (streamed ? "the ids of documents" : "the text and the sequences of every token") +
        `, where V8 gives ${formatBytes(HEAP)}: ` +
        (streamed ? "make several stores" : "stream the documents"),
    });
  }
  if (documents > LARGEST_SET) {
    found.push({
      name: "planning",
      why: `${documents.toLocaleString("en")} documents, and a set of ids has ` +
        `${LARGEST_SET.toLocaleString("en")} at most: make several stores`,
    });
  }
  if (totals.storageBytes > storage.bytes) {
    found.push({
      name: "storage size",
      why: `${formatBytes(totals.storageBytes)} of ${formatBytes(storage.bytes)} in the storage, ` +
        `${formatBytes(totals.activationBytes)} of it activations: train on a model without a ` +
        "store (`modelReader`), or on fewer tokens",
    });
  }
  const files = Math.ceil(totals.activationBytes / FILE_BYTES);
  const characters = files * FILE_CHARACTERS + documents * DOCUMENT_CHARACTERS;
  if (characters > LONGEST_STRING) {
    found.push({
      name: "planning",
      why: `a manifest of ${files.toLocaleString("en")} files and ` +
        `${documents.toLocaleString("en")} documents has ${
          formatBytes(characters)
        }, and a string ` +
        `${formatBytes(LONGEST_STRING)} at most: make several stores`,
    });
  }
  for (const stage of others) found.push(...memory(stage, node, true));
  return found;
}

function memory(stage: PlanStage, node: NodeSize, streamed: boolean): Finding[] {
  const { name, hostBytes, deviceBytes, stateBytes } = stage;
  const found: Finding[] = [];
  if (hostBytes > node.hostBytes) {
    found.push({
      name: "host memory",
      why: `${name}: ${formatBytes(hostBytes)} of ${formatBytes(node.hostBytes)} on a host` +
        (streamed ? "" : ", most of it the text and the ids of every token: stream the documents"),
    });
  }
  if (node.deviceBytes !== undefined && deviceBytes > node.deviceBytes) {
    found.push({
      name: "device memory",
      why:
        `${name}: ${formatBytes(deviceBytes)} (${formatBytes(stateBytes)} of it parameters and ` +
        `Adam) of ${formatBytes(node.deviceBytes)} on a device: take a smaller batch`,
    });
  }
  return found;
}

/** What takes most of the time. */
export function slowest({ seconds, spent }: PlanTotals): Finding {
  const parts: [Bottleneck, number, string][] = [
    ["compute", spent.compute, "arithmetic"],
    ["storage bandwidth", spent.storage, "waiting for the storage"],
    ["planning", spent.planning, "starting units, loading models, reading text"],
  ];
  const [name, most, what] = parts.reduce((a, b) => b[1] > a[1] ? b : a);
  return {
    name,
    why: `${what}: ${formatDuration(most)} of ${formatDuration(seconds)}`,
  };
}
