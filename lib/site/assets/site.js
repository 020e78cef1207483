// Draws the figures of a page when they come near the view, in the colours of the reader's scheme.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 1080px)");

// Colours of the figures' theme, lib/display/theme.ts, and what they become on a dark page.
const DARK = JSON.parse(document.currentScript?.dataset.dark ?? "{}");

function recoloured(value) {
  if (typeof value === "string") return DARK[value.toLowerCase()] ?? value;
  if (Array.isArray(value)) return value.map(recoloured);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => // A scale of colours means something; it stays.
    [key, key === "colorscale" ? item : recoloured(item)]),
  );
}

function fitted(layout, width) {
  if (width >= 560) return layout;
  // On a telephone: no room beside the plot, titles in more lines, long names in smaller letters.
  const title = layout.title?.text ?? "";
  const lines = wrapped(title.replaceAll("<br>", " "), Math.floor(width / 8.5));
  const before = title.split("<br>").length;
  const margin = layout.margin ?? {};
  const left = Math.min(margin.l ?? 72, Math.round(width * 0.4));
  const names = layout.yaxis?.ticktext;
  // Panels side by side keep a width at which they can be read; the figure scrolls.
  const wide = columnsOf(layout) * PANEL;
  return {
    ...layout,
    ...(wide > width && { width: wide, autosize: false }),
    ...(names && {
      yaxis: {
        ...layout.yaxis,
        ticktext: names.map((name) => wrapped(name, Math.floor((left - 12) / 6)).join("<br>")),
      },
    }),
    title: {
      ...layout.title,
      text: lines.join("<br>"),
      // plotly.js centres further lines about the first.
      pad: { l: 12, t: 12 + 9 * (lines.length - 1) },
      font: { ...layout.title?.font, size: 14 },
    },
    font: { ...layout.font, size: 11 },
    margin: {
      ...margin,
      l: left,
      r: Math.min(margin.r ?? 24, 12),
      t: (margin.t ?? 78) + 18 * Math.max(0, lines.length - before),
    },
  };
}

/** Width of a panel beside others on a telephone, in pixels. */
const PANEL = 270;

/** Panels that stand side by side. */
function columnsOf(layout) {
  const starts = Object.entries(layout).filter(([key]) => /^xaxis\d*$/.test(key))
    .map(([, axis]) => axis.domain?.[0] ?? 0);
  return new Set(starts).size;
}

function wrapped(text, characters) {
  const lines = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line && line.length + 1 + word.length > characters) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}

// plotly.js is large: a page is read while it loads, and one without figures in view never loads it.
let loading;
function plotly() {
  return loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "assets/plotly.min.js";
    script.onload = resolve;
    script.onerror = () => reject(new Error("assets/plotly.min.js cannot be loaded"));
    document.head.append(script);
  });
}

async function draw(figure, light = !dark.matches) {
  const plot = figure.querySelector(".plot");
  const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
  const colours = light ? (x) => x : recoloured;
  try {
    await plotly();
    // The picture makes room; the plot needs to know its width before it is drawn.
    plot.hidden = false;
    figure.classList.add("drawn");
    const shown = fitted(layout, plot.clientWidth);
    if (shown.autosize === false) plot.tabIndex = 0; // what scrolls must be reached by the keyboard
    else plot.removeAttribute("tabindex");
    await Plotly.react(plot, colours(data), colours(shown), {
      responsive: shown.autosize !== false,
      displaylogo: false,
      displayModeBar: false,
    });
  } catch (error) {
    // The picture or the words come back.
    plot.hidden = true;
    figure.classList.remove("drawn");
    console.error(error);
  }
}

const figures = [...document.querySelectorAll(".figure")].filter((f) => f.querySelector(".plot"));

if (figures.length > 0) {
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "600px" });
  figures.forEach((figure) => observer.observe(figure));
  const drawn = () => figures.filter((figure) => figure.classList.contains("drawn"));
  dark.addEventListener("change", () => drawn().forEach((figure) => draw(figure)));
  matchMedia("(max-width: 600px)").addEventListener(
    "change",
    () => drawn().forEach((f) => draw(f)),
  );
  // A figure without a picture is printed as it is drawn: on white.
  addEventListener("beforeprint", () => drawn().forEach((figure) => draw(figure, true)));
  addEventListener("afterprint", () => drawn().forEach((figure) => draw(figure)));
}

const contents = document.querySelector(".contents details");
if (contents) {
  const fold = () => contents.open = !narrow.matches;
  fold();
  narrow.addEventListener("change", fold);
  contents.addEventListener("click", (event) => {
    if (narrow.matches && event.target.closest("a")) contents.open = false;
  });
}

// Folded code is printed unfolded.
const folded = () => document.querySelectorAll("main details:not([open])");
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = [...folded()];
  unfolded.forEach((details) => details.open = true);
});
addEventListener("afterprint", () => unfolded.forEach((details) => details.open = false));
