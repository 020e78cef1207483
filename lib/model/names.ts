/**
 * Names of hook points, those of TransformerLens, and their shapes.
 *
 * @module
 */
import type { ModelConfig } from "./config.ts";

/** Hook points of a block in the order in which they are reached, without `blocks.{l}.`. */
export const BLOCK_HOOKS = [
  "hook_resid_pre", //          [batch, pos, d_model]
  "ln1.hook_scale", //          [batch, pos, 1]
  "ln1.hook_normalized", //     [batch, pos, d_model], before the weight
  "attn.hook_q", //             [batch, pos, head, d_head]
  "attn.hook_k", //             [batch, pos, kv_head, d_head]
  "attn.hook_v", //             [batch, pos, kv_head, d_head]
  "attn.hook_rot_q", //         [batch, pos, head, d_head]
  "attn.hook_rot_k", //         [batch, pos, kv_head, d_head]
  "attn.hook_attn_scores", //   [batch, head, query, key], -1e9 where masked
  "attn.hook_pattern", //       [batch, head, query, key]
  "attn.hook_z", //             [batch, pos, head, d_head]
  "attn.hook_result", //        [batch, pos, head, d_model], made only if something waits there
  "hook_attn_out", //           [batch, pos, d_model]
  "hook_resid_mid", //          [batch, pos, d_model]
  "ln2.hook_scale", //          [batch, pos, 1]
  "ln2.hook_normalized", //     [batch, pos, d_model], before the weight
  "mlp.hook_pre", //            [batch, pos, d_mlp], the gate
  "mlp.hook_pre_linear", //     [batch, pos, d_mlp], what it gates
  "mlp.hook_post", //           [batch, pos, d_mlp]
  "hook_mlp_out", //            [batch, pos, d_model]
  "hook_resid_post", //         [batch, pos, d_model]
] as const;

/** Every hook point of a run in the order in which it is reached; `stopAtLayer` is exclusive. */
export function hookNames(cfg: ModelConfig, stopAtLayer?: number): string[] {
  const names = ["hook_embed"]; // [batch, pos, d_model]
  for (let l = 0; l < (stopAtLayer ?? cfg.nLayers); l++) {
    for (const name of BLOCK_HOOKS) names.push(`blocks.${l}.${name}`);
  }
  if (stopAtLayer === undefined) {
    names.push("ln_final.hook_scale"); //      [batch, pos, 1]
    names.push("ln_final.hook_normalized"); // [batch, pos, d_model], before the weight
  }
  return names;
}

/** The `count` candidates that are fewest edits away from `name` (Levenshtein distance). */
export function nearest(name: string, candidates: string[], count = 3): string[] {
  return candidates
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
