/**
 * What a plan takes for granted, in sentences with its numbers.
 *
 * @module
 */
import { bytesPerToken } from "../activations/shard_writer.ts";
import { formatNumber } from "../display/mod.ts";
import type { UnitCosts } from "./costs.ts";
import { formatBytes, formatDuration } from "./plan_format.ts";
import type { ResolvedPlanRequest } from "./plan_request.ts";

/** The assumptions of a plan. */
export function assumptions(
  request: ResolvedPlanRequest,
  costs: UnitCosts,
  shards: number,
): string[] {
  const { tokens, nodes, seeds, batch, l0, architecture, parts, head, model, dtype } = request;
  const { storage, heldOut, streamed, textBytes, documentTokens, overhead, cacheBytes } = request;
  const count = (value: number) => formatNumber(value, 15);
  const epochs = (steps: number) => {
    const share = formatNumber(steps * batch / tokens, 3);
    return share === "1" ? "an epoch" : `${share} epochs`;
  };
  const store = tokens * bytesPerToken(model.dModel, dtype);
  return [
    `Costs of units: ${costs.statement}.`,
    `${nodes === 1 ? "One node does" : `${nodes} equal nodes do`} nothing else. Harvest, ` +
    "dictionaries, models of their error and evaluations follow each other; units of one phase run " +
    "side by side, one on a node, and none fails.",
    `${model.name}: ${model.blocks} blocks of width ${count(model.dModel)}, sequences of ` +
    `${request.contextLength} tokens, full ones, ${request.sequences} at a time; ` +
    `${count(heldOut.validation)} and ${count(heldOut.test)} tokens of validation and test.`,
    `A token takes ${count(bytesPerToken(model.dModel, dtype))} bytes (${dtype}) and ` +
    `${formatNumber(textBytes)} of text; a document has ${count(documentTokens)} tokens. ` +
    (streamed
      ? "Documents are read as they come; every part of the harvest reads all of them."
      : "Every part of the harvest holds all documents and makes tokens of all of them."),
    `${shards} parts of the harvest. ${architecture} dictionaries with ${l0} active features a ` +
    `token, none of them revived; machines of parts "${parts}" with a ${head} head.`,
    `Batches of ${count(batch)} tokens: ${epochs(request.steps)} for dictionaries, ` +
    (request.secondaryFeatures > 0
      ? `${epochs(request.secondarySteps)} for secondary ones, `
      : "no secondary ones, ") +
    `${epochs(request.nfmSteps)} for machines; ${seeds} ${
      seeds === 1 ? "seed" : "seeds"
    } of each, ` +
    "each training on one device.",
    store <= cacheBytes
      ? `A node keeps the training split (${formatBytes(store)}), so it reads it once.`
      : `The training split (${formatBytes(store)}) is larger than the ${
        formatBytes(cacheBytes)
      } that a ` +
        "node keeps, so every training reads it from the storage once an epoch, in windows of files.",
    `The storage holds ${formatBytes(storage.bytes)} and gives ${
      formatBytes(storage.bandwidth)
    }/s to ` +
    `all nodes together and ${
      formatBytes(storage.nodeBandwidth)
    }/s to one; reading goes on while ` +
    "a unit computes.",
    `A unit costs ${formatNumber(overhead)} s of driver and engine and ${
      formatDuration(costs.startSeconds)
    } until it computes.`,
  ];
}
