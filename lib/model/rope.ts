/**
 * Rotary position embedding (Su et al., 2021, equation 34), in the half-split order of Hugging
 * Face: coordinate i is paired with i + d/2, not with its neighbour.
 *
 *     (x_i, x_{i+d/2}) is rotated by p · f_i at position p,  f_i = θ^(-2i/d) unless scaled
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { ModelConfig } from "./config.ts";

/** Cosines and signed sines of consecutive positions. */
export interface RopeTables {
  /** `[position, d_head]` */
  readonly cos: tf.Tensor2D;
  /** `[position, d_head]`, negative in the first half: that half subtracts. */
  readonly sin: tf.Tensor2D;
}

/** What the angles depend on. */
export type RopeConfig = Pick<
  ModelConfig,
  "dHead" | "ropeTheta" | "ropeScaling" | "contextLength"
>;

/**
 * Radians a position for each of the `d_head / 2` pairs, in float64.
 *
 * @param length Tokens of the run, earlier ones included; only dynamic scaling asks.
 */
export function ropeFrequencies(
  { dHead, ropeTheta, ropeScaling: scaling }: RopeConfig,
  length: number,
): Float64Array {
  let theta = ropeTheta;
  if (scaling?.type === "dynamic") {
    const stretch = Math.max(length, scaling.originalContext) / scaling.originalContext;
    theta *= (scaling.factor * stretch - scaling.factor + 1) ** (dHead / (dHead - 2));
  }
  return Float64Array.from({ length: dHead / 2 }, (_, i) => {
    const frequency = theta ** (-2 * i / dHead);
    if (scaling?.type === "linear") return frequency / scaling.factor;
    if (scaling?.type === "factors") return frequency / scaling.factors[i];
    if (scaling?.type !== "llama3") return frequency;
    // Turns that the pair makes in the original context: many are kept, few are stretched.
    const turns = scaling.originalContext * frequency / (2 * Math.PI);
    const ramp = (turns - scaling.lowFreqFactor) / (scaling.highFreqFactor - scaling.lowFreqFactor);
    const kept = Math.min(1, Math.max(0, ramp));
    return kept * frequency + (1 - kept) * frequency / scaling.factor;
  });
}

/** Positions whose tables are made at once; longer runs double them. */
const FIRST_POSITIONS = 256;

/**
 * The tables of a model. They grow with the longest run: those of a context of 131,072 tokens would
 * take 134 MB that few runs need.
 */
export class Rope implements Disposable {
  readonly #cfg: RopeConfig;
  #tables: RopeTables;

  constructor(cfg: RopeConfig) {
    this.#cfg = cfg;
    this.#tables = this.#first(Math.min(cfg.contextLength, FIRST_POSITIONS));
  }

  /** Tables of positions `offset … offset + pos - 1`, owned by the caller. */
  tables(offset: number, pos: number): RopeTables {
    const length = offset + pos;
    const { ropeScaling: scaling, contextLength } = this.#cfg;
    if (scaling?.type === "dynamic" && length > scaling.originalContext) {
      return tables(ropeFrequencies(this.#cfg, length), offset, pos);
    }
    if (length > this.#tables.cos.shape[0]) {
      this.dispose();
      const room = 2 ** Math.ceil(Math.log2(length));
      this.#tables = this.#first(Math.max(length, Math.min(contextLength, room)));
    }
    const { cos, sin } = this.#tables;
    return {
      cos: tf.slice(cos, [offset, 0], [pos, -1]),
      sin: tf.slice(sin, [offset, 0], [pos, -1]),
    };
  }

  dispose(): void {
    tf.dispose([this.#tables.cos, this.#tables.sin]);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #first(positions: number): RopeTables {
    const { cos, sin } = tables(ropeFrequencies(this.#cfg, 0), 0, positions);
    // They outlive the `tidy` of whoever runs the model first.
    return { cos: tf.keep(cos), sin: tf.keep(sin) };
  }
}

function tables(frequencies: Float64Array, offset: number, positions: number): RopeTables {
  const half = frequencies.length;
  const cos = new Float32Array(positions * 2 * half);
  const sin = new Float32Array(positions * 2 * half);
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < half; i++) {
      const at = p * 2 * half + i;
      const angle = (offset + p) * frequencies[i];
      cos[at] = cos[at + half] = Math.cos(angle);
      sin[at + half] = Math.sin(angle);
      sin[at] = -sin[at + half];
    }
  }
  const shape: [number, number] = [positions, 2 * half];
  return { cos: tf.tensor2d(cos, shape), sin: tf.tensor2d(sin, shape) };
}

/** Rotates `[batch, head, pos, d_head]` by tables of the positions `pos`. */
export function rotate(x: tf.Tensor4D, { cos, sin }: RopeTables): tf.Tensor4D {
  return tf.tidy(() => {
    const [first, second] = tf.split(x, 2, -1);
    return tf.add(tf.mul(x, cos), tf.mul(tf.concat([second, first], -1), sin));
  });
}
