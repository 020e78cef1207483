import { randomModel, Rng, Sae, type StimulusDesign, tf } from "interlens";

/** Frames with two slots, in texts of given endings; `paddedBy` makes the frames differ in length. */
export function tinyDesign(frames = 4, paddedBy = (frame: number) => "x".repeat(frame)) {
  const names = Array.from({ length: frames }, (_, i) => `${i + 1}`);
  const design: StimulusDesign = {
    name: "tiny",
    path: "tiny.csv",
    levels: { a: ["red", "dim"], b: ["sun", "sky"] },
    frames: names,
    stimuli: names.flatMap((frame, f) =>
      ([[1, 1], [1, 0], [0, 1], [0, 0]] as const).map(([a, b], c) => ({
        design: "tiny",
        frame,
        a,
        b,
        text: `${paddedBy(f)}${a ? "red" : "dim"} ${b ? "sun" : "sky"} went.`,
        targetSpan: "went",
        row: 2 + 4 * f + c,
      }))
    ),
  };
  return design;
}

/** The first stimuli of a design alone; what is measured of a text may not depend on the others. */
export function only(design: StimulusDesign, ...indices: number[]): StimulusDesign {
  return { ...design, frames: [], stimuli: indices.map((i) => design.stimuli[i]) };
}

export const HOOK = "blocks.1.hook_resid_post";

/** A small model and a dictionary of it with random weights, in units of its own. */
export function tinySubject({ dSae = 12, seed = 0 } = {}) {
  const model = randomModel({ dModel: 8, nHeads: 2, nLayers: 2 }, seed);
  const weights = (name: string, rows: number, columns: number) =>
    tf.tensor2d(new Rng(seed, name).normals(rows * columns, 0.5), [rows, columns]);
  const sae = new Sae({ architecture: "standard", dIn: 8, dSae }, {
    W_enc: weights("W_enc", 8, dSae),
    b_enc: tf.tensor1d(new Rng(seed, "b_enc").normals(dSae, 0.2)),
    W_dec: weights("W_dec", dSae, 8),
    b_dec: tf.zeros([8]),
  }, { normalizer: { scale: 0.5, clip: { low: -1.5, high: 1.5 } }, metadata: { hook_name: HOOK } });
  return { model, sae };
}
