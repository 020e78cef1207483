import { assert, assertEquals } from "@std/assert";
import {
  bars,
  escapeHtml,
  escapeLabel,
  escapeTemplate,
  figure,
  heatMap,
  histogram,
  interactionSurface,
  JUPYTER_DISPLAY,
  ladder,
  lines,
  lossCurves,
  table,
  unescapeLabel,
} from "../../lib/display/mod.ts";
import { noticeBundle } from "../../lib/display/notice.ts";
import { progressBundle } from "../../lib/display/progress.ts";

const HOSTILE = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  `"><svg onload=alert(1)>`,
  `<a href="javascript:alert(1)">x</a>`,
  "&lt;script&gt;",
  "<extra></extra>",
  "</td></table><iframe src=//example.org>",
];

Deno.test("HTML outputs contain hostile text only as text", () => {
  for (const text of HOSTILE) {
    const outputs = [
      table([{ [text]: text, list: [text], record: { text } }], { caption: text })
        [JUPYTER_DISPLAY](),
      noticeBundle(text, text),
      progressBundle(text, 0.5),
      progressBundle(text),
    ];
    for (const bundle of outputs) {
      const html = String(bundle["text/html"]);
      assertEquals(
        /<(?!\/?(?:div|span|progress|strong|table|caption|thead|tbody|tr|th|td|p|pre|small)\b)/
          .exec(html),
        null,
        html,
      );
      assert(!/<[^>]*\son\w+=/.test(html.replace(/"[^"]*"/g, "")), html);
    }
  }
});

Deno.test("Figures contain hostile text only as text, in every place that takes text", () => {
  for (const text of HOSTILE) {
    const words = { title: text, caption: text, alt: text, x: text, y: text, z: text };
    const figures = [
      lines([{ name: text, x: [1], y: [1] }, { name: text, x: [1], y: [2] }], words),
      lossCurves([{ step: 1, [text]: 2 }], words),
      ladder([{ name: text, value: 1 }], { ...words, reference: { value: 0, label: text } }),
      histogram([1, 2], { ...words, marks: [{ at: 1, label: text }] }),
      bars([{ name: text, value: 1, group: text }, { name: "b", value: 1, group: "c" }], words),
      heatMap({ x: [text], y: [text], z: [[1]] }, words),
      interactionSurface(
        [text, "b"].map((name) => ({
          ...{ names: [name, text] as const, first: [0, 1], second: [0, 1] },
          ...{ joint: [[0, 1], [1, 2]], additive: [[0, 1], [1, 2]] },
        })),
        words,
      ),
      figure([{ type: "scatter", x: [text], y: [1], text: [text], customdata: [[text]] }], {
        title: text as never,
        annotations: [{ text }],
        xaxis: { ticktext: [text], categoryarray: [text] },
      }, words),
    ];
    for (const { json } of figures) {
      eachString(json, (shown) => {
        assertEquals(shown.replace(/<\/?(?:br|b|extra)>/g, "").includes("<"), false, shown);
      });
    }
  }
});

Deno.test("A label with tags reaches the figure as entities, a template keeps bare tags only", () => {
  const { json } = figure(
    [{
      type: "scatter",
      x: [1],
      y: [1],
      name: "<b>bold</b> & <extra></extra>",
      hovertemplate: `<b>%{y}</b><a href="x">y</a><b onclick=z>`,
    }],
    {},
    { caption: "." },
  );
  assertEquals(json.data[0].name, "&lt;b>bold&lt;/b> &amp; &lt;extra>&lt;/extra>");
  assertEquals(json.data[0].hovertemplate, `<b>%{y}</b>&lt;a href="x">y&lt;/a>&lt;b onclick=z>`);
});

Deno.test("unescapeLabel undoes escapeLabel, and escapeHtml leaves plain text alone", () => {
  for (const text of [...HOSTILE, "a\nb", "&amp;lt;", "plain"]) {
    assertEquals(unescapeLabel(escapeLabel(text)), text);
  }
  assertEquals(escapeHtml("plain, 3 × 4"), "plain, 3 × 4");
  assertEquals(escapeTemplate("%{y:.2f} of %{x}"), "%{y:.2f} of %{x}");
});

function eachString(value: unknown, visit: (text: string) => void): void {
  if (typeof value === "string") visit(value);
  else if (value && typeof value === "object") {
    for (const [key, item] of Object.entries(value)) {
      visit(/^[\w.]+$/.test(key) ? "" : key);
      eachString(item, visit);
    }
  }
}
