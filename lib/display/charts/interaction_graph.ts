/**
 * Pairs as a graph: features on a circle, a line for each pair.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, THEME } from "../theme.ts";
import { type ChartOptions, refuseEmpty, shortened, titled } from "./options.ts";

/** A pair of named things and how strongly they act together. */
export interface GraphEdge {
  /** Names of both; what has one name is one node. */
  readonly pair: readonly [string, string];
  /** Strength, of either sign: a line is as wide as its size, and dashed below 0. */
  readonly strength: number;
  /** What the hover text adds, for example the pair's p. */
  readonly note?: string;
}

/** Widths of lines, in pixels. */
const WIDTH = { least: 1, most: 9 };
/** Nodes whose labels fit around the circle. */
const MOST_NODES = 60;

/**
 * Who acts with whom. Nodes stand on a circle, neighbours in the order in which strong pairs name
 * them, so that a chain of partners stays together; the size of a node is the sum of its pairs.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { interactionGraph } from "interlens";
 *
 * const chart = interactionGraph([
 *   { pair: ["Paris", "folk"], strength: 2 },
 *   { pair: ["folk", "dance"], strength: -1, note: "p = 0.01" },
 * ], { title: "Folk has two partners", caption: "Mixed differences of a made-up machine." });
 * const nodes = chart.json.data.at(-1) as unknown as { text: string[] };
 * assertEquals(nodes.text, ["Paris", "folk", "dance"]);
 * ```
 *
 * @param edges The pairs; of two lines of one pair both are drawn.
 * @param options Words; the axes have none.
 * @throws {RangeError} If there is no pair, a strength is not finite, a pair is of one thing with
 * itself, or there are more than 60 nodes.
 */
export function interactionGraph(
  edges: readonly GraphEdge[],
  options: Omit<ChartOptions, "x" | "y">,
): Figure {
  refuseEmpty("an interaction graph", edges.length);
  const wrong = edges.find(({ pair: [a, b], strength }) => !Number.isFinite(strength) || a === b);
  if (wrong) {
    throw new RangeError(
      `Cannot draw the pair "${
        wrong.pair.join('" and "')
      }" of strength ${wrong.strength}: expected ` +
        "two different names and a finite number",
    );
  }
  const ordered = edges.toSorted((a, b) => Math.abs(b.strength) - Math.abs(a.strength));
  const names = [...new Set(ordered.flatMap(({ pair }) => pair))];
  if (names.length > MOST_NODES) {
    throw new RangeError(
      `Cannot draw a graph of ${names.length} nodes: their names do not fit, give the pairs of at ` +
        `most ${MOST_NODES}`,
    );
  }
  const place = new Map(names.map((name, i) => {
    const angle = Math.PI / 2 - 2 * Math.PI * i / names.length;
    return [name, { x: Math.cos(angle), y: Math.sin(angle) }];
  }));
  const most = Math.abs(ordered[0].strength) || 1;
  // Weak lines first, so that strong ones lie above them.
  const lines = ordered.toReversed().map(({ pair: [a, b], strength, note }): Data => {
    const [from, to] = [place.get(a)!, place.get(b)!];
    const text = `${a} × ${b}: ${formatNumber(strength)}${note ? `, ${note}` : ""}`;
    return {
      type: "scatter",
      mode: "lines",
      // A point in the middle, where the hover text finds it.
      x: [from.x, (from.x + to.x) / 2, to.x],
      y: [from.y, (from.y + to.y) / 2, to.y],
      line: {
        color: COLORS[strength < 0 ? 1 : 0],
        dash: strength < 0 ? "dash" : "solid",
        width: WIDTH.least + (WIDTH.most - WIDTH.least) * Math.abs(strength) / most,
      },
      text: [text, text, text],
      hovertemplate: "%{text}<extra></extra>",
    };
  });
  const sums = names.map((name) =>
    edges.reduce(
      (sum, { pair, strength }) => pair.includes(name) ? sum + Math.abs(strength) : sum,
      0,
    )
  );
  const largest = Math.max(...sums) || 1;
  const partners = names.map((name) => edges.filter(({ pair }) => pair.includes(name)).length);
  const nodes = {
    type: "scatter",
    mode: "text+markers",
    x: names.map((name) => place.get(name)!.x),
    y: names.map((name) => place.get(name)!.y),
    text: names.map((name) => shortened(name, 24)),
    textposition: names.map((name) => {
      const { x, y } = place.get(name)!;
      return Math.abs(x) > 0.3
        ? (x > 0 ? "middle right" : "middle left")
        : y > 0
        ? "top center"
        : "bottom center";
    }),
    textfont: { color: THEME.ink, size: 12 },
    marker: {
      color: THEME.ink,
      opacity: 1,
      size: sums.map((sum) => 7 + 11 * Math.sqrt(sum / largest)),
    },
    hovertext: names.map((name, i) =>
      `${name}: ${partners[i]} ${partners[i] === 1 ? "partner" : "partners"}, ${
        formatNumber(sums[i])
      } in all`
    ),
    hovertemplate: "%{hovertext}<extra></extra>",
  } as unknown as Data; // the types know one position for all labels, plotly.js one for each
  const hidden = { visible: false, zeroline: false, showgrid: false } as const;
  const layout: Partial<Layout> = {
    ...titled(options, false),
    height: options.height ?? 520,
    showlegend: false,
    hovermode: "closest",
    xaxis: { ...hidden, range: [-1.9, 1.9] },
    yaxis: { ...hidden, range: [-1.25, 1.25], scaleanchor: "x" },
  };
  return figure([...lines, nodes], layout, options);
}
