/**
 * Unigram pieces as sentencepiece chooses them: those whose scores, which are log-probabilities, have
 * the largest sum (T. Kudo, 2018, https://arxiv.org/abs/1804.10959).
 *
 * @module
 */
import { PieceType, type SentencepieceModel } from "./sentencepiece_model.ts";

/** How much less an unknown character scores than the lowest piece. */
const UNKNOWN_PENALTY = 10;
/** Beyond it sums begin at 0 again: float32 would lose what distinguishes them. */
const LARGEST_SUM = 1e5;

interface Node {
  readonly children: Map<number, Node>;
  id: number;
}

/** Cuts texts into the most probable pieces, in time linear in their length. */
export class UnigramSegmenter {
  readonly #root = node();
  /** Score of a piece, for those that are used. */
  readonly #scores: Float64Array;
  readonly #unknownScore: number;

  constructor({ pieces, scores, types }: SentencepieceModel) {
    let lowest = Infinity;
    for (let id = 0; id < pieces.length; id++) {
      if (types[id] === PieceType.NORMAL) lowest = Math.min(lowest, scores[id]);
    }
    this.#unknownScore = Math.fround((Number.isFinite(lowest) ? lowest : 0) - UNKNOWN_PENALTY);
    this.#scores = Float64Array.from(scores);
    const encoder = new TextEncoder();
    for (let id = 0; id < pieces.length; id++) {
      if (types[id] === PieceType.USER_DEFINED) {
        // So high that it is chosen nearly always.
        this.#scores[id] = Math.fround(0.1 * (encoder.encode(pieces[id]).length - 1));
      } else if (types[id] !== PieceType.NORMAL) continue;
      let at = this.#root;
      for (let i = 0; i < pieces[id].length; i++) {
        const unit = pieces[id].charCodeAt(i);
        let next = at.children.get(unit);
        if (!next) at.children.set(unit, next = node());
        at = next;
      }
      at.id = id;
    }
  }

  /**
   * The pieces of a text.
   *
   * @param each Called with the id of every piece, or -1 for an unknown character, and where in the
   * text it begins and ends.
   */
  segment(text: string, each: (id: number, start: number, end: number) => void): void {
    // Sums are rounded to float32 after every piece: it decides ties as sentencepiece does.
    const best = new Float32Array(text.length + 1);
    const from = new Int32Array(text.length + 1).fill(-1);
    const ids = new Int32Array(text.length + 1);
    let frontier = 0;
    const offer = (score: number, id: number, start: number, end: number) => {
      frontier = Math.max(frontier, end);
      const sum = Math.fround(score + best[start]);
      if (from[end] >= 0 && sum <= best[end]) return;
      best[end] = sum;
      from[end] = start;
      ids[end] = id;
    };
    for (let start = 0; start < text.length;) {
      if (Math.abs(best[start]) > LARGEST_SUM) {
        const offset = best[start];
        for (let i = start; i <= frontier; i++) if (from[i] >= 0) best[i] -= offset;
      }
      const next = start + (text.codePointAt(start)! > 0xffff ? 2 : 1);
      let known = false;
      let at = this.#root.children.get(text.charCodeAt(start));
      for (let end = start + 1; at; at = at.children.get(text.charCodeAt(end++))) {
        if (at.id >= 0) {
          offer(this.#scores[at.id], at.id, start, end);
          if (end === next) known = true;
        }
        if (end === text.length) break;
      }
      if (!known) offer(this.#unknownScore, -1, start, next);
      start = next;
    }
    const ends: number[] = [];
    for (let end = text.length; end > 0; end = from[end]) ends.push(end);
    for (const end of ends.reverse()) each(ids[end], from[end], end);
  }
}

function node(): Node {
  return { children: new Map(), id: -1 };
}
