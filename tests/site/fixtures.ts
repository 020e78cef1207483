import { bars, type Displayable, JUPYTER_DISPLAY, table } from "../../lib/display/mod.ts";
import type { Cell, Notebook, Output } from "../../lib/site/mod.ts";

/** Texts that would run, load or reach outside if they were taken for markup. */
export const HOSTILE = [
  "<script>globalThis.ran = 1</script>",
  "<img src=x onerror='globalThis.ran = 1'>",
  `<a href="javascript:globalThis.ran=1">link</a>`,
  "</script><script>globalThis.ran = 1</script>",
  "<svg onload='globalThis.ran = 1'><circle r=5 /></svg>",
  "<iframe src='https://example.org'></iframe>",
  "<style>body { display: none }</style>",
  "<img src='https://example.org/i.png'>",
  "<form action='https://example.org'><input name=q></form>",
  "<math><mtext><table><mglyph><style><img src=x onerror='globalThis.ran = 1'>",
  "<b>bold</b> &lt;i&gt; & <i>x</i>",
];

export function shown(value: Displayable): Output {
  return { output_type: "display_data", data: value[JUPYTER_DISPLAY](), metadata: {} };
}

export function markdown(source: string): Cell {
  return { cell_type: "markdown", source, metadata: {} };
}

export function code(source: string, ...outputs: Output[]): Cell {
  return { cell_type: "code", source, execution_count: 1, outputs, metadata: {} };
}

export function notebook(...cells: Cell[]): Notebook {
  return { cells, metadata: {}, nbformat: 4 };
}

export const aFigure = () =>
  shown(
    bars([{ name: "train", value: 1 }, { name: "test", value: 2 }], {
      title: "Twice as much",
      caption: "What is seen.",
      y: "FVU",
    }),
  );

export const ordinary = () =>
  notebook(
    markdown("# 01 · A *finding*\n\nPairs win by $2.1$ points & more.\n\n## Method of this"),
    code("const a = 1; // one\na < 2", {
      output_type: "stream",
      text: ["\x1b[31mred\x1b[0m\n", "50 %\r100 %\n"],
    }),
    code("bars()", aFigure()),
    code("table()", shown(table([{ quantity: "FVU", ours: 0.5, verdict: "holds" }]))),
    markdown(
      "## Limitations\n\nSee [the next](02_hostile.ipynb#more) and [a page](https://a.org).",
    ),
  );

export const hostile = () => {
  const all = HOSTILE.join("");
  return notebook(
    markdown(`# 02 · ${all}\n\nA paragraph ${all}\n\n${all}\n\n## More ${all}\n\n$${HOSTILE[0]}$`),
    code(all, { output_type: "stream", text: all }),
    ...HOSTILE.map((text) =>
      code(
        "show",
        { output_type: "display_data", data: { "text/html": text, "text/plain": text } },
        { output_type: "display_data", data: { "text/plain": text } },
        {
          output_type: "display_data",
          data: {
            "image/svg+xml":
              `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="globalThis.ran=1">` +
              `<script>globalThis.ran = 1</script><image href="https://example.org/s.png"/></svg>`,
          },
        },
        { output_type: "display_data", data: { "image/png": `x" onerror="globalThis.ran=1` } },
        shown(table([{ [text]: text, verdict: text }], { caption: text })),
      )
    ),
    code("bars", shown(bars([{ name: all, value: 1 }], { title: all, caption: all, x: all }))),
    // A figure that another library made, or a hand wrote: nothing in it was escaped.
    code("raw", {
      output_type: "display_data",
      data: {
        "application/vnd.plotly.v1+json": {
          data: [{
            type: "bar",
            x: HOSTILE,
            y: HOSTILE.map((_, i) => i),
            text: HOSTILE,
            name: all,
          }],
          layout: {
            title: { text: all },
            annotations: [{ text: all, x: 1, y: 1 }],
            images: [{ source: "https://example.org/p.png", x: 0, y: 1, sizex: 1, sizey: 1 }],
          },
          config: { editable: true },
        },
        "text/plain": all,
      },
    }),
  );
};

/** Writes notebooks into a new folder; returns it and their paths. */
export async function written(
  notebooks: Record<string, Notebook>,
): Promise<{ folder: string; paths: string[] }> {
  const folder = await Deno.makeTempDir();
  const paths: string[] = [];
  for (const [name, content] of Object.entries(notebooks)) {
    paths.push(`${folder}/${name}.ipynb`);
    await Deno.writeTextFile(paths.at(-1)!, JSON.stringify(content));
  }
  return { folder, paths };
}
