// The feature explorer: a list that is searched as one types, and the feature that the address names.
// Data come as scripts, because a page that is opened from a disk may read nothing else.
"use strict";

const LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const ROWS = 100; // of the list at a time
const VERSION = document.currentScript.dataset.version;

const $ = (id) => document.getElementById(id);
const status = $("status");

// ---- Data

/** Loads a file of data; each calls `interlensData` with its name and content. */
const waiting = new Map();
globalThis.interlensData = (name, content) => {
  waiting.get(name)?.resolve(content);
};
function load(name) {
  if (!waiting.has(name)) {
    const entry = Promise.withResolvers?.() ?? resolvers();
    waiting.set(name, entry);
    const script = document.createElement("script");
    script.src = `explorer/${name}.js?${VERSION}`;
    script.onload = () => script.remove();
    script.onerror = () => {
      waiting.delete(name);
      entry.reject(new Error(`explorer/${name}.js cannot be loaded`));
    };
    document.head.append(script);
  }
  return waiting.get(name).promise;
}
function resolvers() {
  const entry = {};
  entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
  return entry;
}

let index;
const all = { feature: [], density: [], max: [], words: [], label: [], pair: [], text: [] };
const place = new Map(); // by number of the feature

/** Takes up a part of the list. */
function add(part) {
  const before = all.feature.length;
  for (let i = 0; i < part.feature.length; i++) {
    const words = part.words[i].map((piece) => index.pieces[piece]);
    all.feature.push(part.feature[i]);
    all.density.push(part.density[i]);
    all.max.push(part.max[i]);
    all.words.push(words);
    all.label.push(part.label?.[i] ?? "");
    all.pair.push(part.pair?.[i] ?? 0);
    all.text.push(`${part.label?.[i] ?? ""}\n${words.join("\n")}`.toLowerCase());
    place.set(part.feature[i], before + i);
  }
}

// ---- Address

/** What the address says: f, the feature; q, the search; s, the order. */
function state() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const feature = parameters.get("f");
  return {
    feature: feature !== null && /^\d+$/.test(feature) ? Number(feature) : undefined,
    query: parameters.get("q") ?? "",
    sort: parameters.get("s") ?? "feature",
  };
}

function address(change) {
  const { feature, query, sort } = { ...state(), ...change };
  const parameters = new URLSearchParams();
  if (feature !== undefined) parameters.set("f", feature);
  if (query) parameters.set("q", query);
  if (sort !== "feature") parameters.set("s", sort);
  return `#${parameters}`;
}

// ---- Elements

/** An element with attributes and children; text stays text. */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
const svg = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

function number(value, digits = 3) {
  if (value === 0) return "0";
  return Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5
    ? value.toExponential(digits - 1)
    : String(Number(value.toPrecision(digits)));
}
const percent = (share, digits) => `${number(100 * share, digits)} %`;

// ---- Search

const ORDERS = {
  feature: (a, b) => a - b,
  density: (a, b) => all.density[b] - all.density[a],
  rare: (a, b) => (all.density[a] || 2) - (all.density[b] || 2),
  max: (a, b) => all.max[b] - all.max[a],
  pair: (a, b) => all.pair[b] - all.pair[a],
};
let found = [];
let shown = 0;
let searched; // what `found` answers

/** Places of the features that a query and an order give. */
function search(query, sort) {
  const wanted = query.trim().toLowerCase();
  const exact = /^#?\d+$/.test(wanted) ? Number(wanted.replace("#", "")) : undefined;
  const places = [];
  for (let i = 0; i < all.feature.length; i++) {
    if (!wanted || all.feature[i] === exact || all.text[i].includes(wanted)) places.push(i);
  }
  const order = ORDERS[sort] ?? ORDERS.feature;
  places.sort((a, b) => order(a, b) || a - b);
  if (exact !== undefined && place.has(exact)) {
    // The feature of this number before those of tokens like it.
    const at = place.get(exact);
    places.splice(places.indexOf(at), 1);
    places.unshift(at);
  }
  return places;
}

function list() {
  const { query, sort } = state();
  const key = `${all.feature.length}\n${sort}\n${query}`;
  if (key === searched) return mark();
  searched = key;
  found = search(query, sort);
  shown = 0;
  $("results").replaceChildren();
  more();
  const loading = all.feature.length < index.features
    ? `, ${all.feature.length} of ${index.features} loaded`
    : "";
  status.textContent = `${found.length} ${found.length === 1 ? "feature" : "features"}${loading}`;
}

function more() {
  const rows = found.slice(shown, shown + ROWS).map(row);
  shown += rows.length;
  $("results").append(...rows);
  $("more").hidden = shown >= found.length;
  mark();
  return rows[0];
}

function row(i) {
  const number_ = all.feature[i];
  const link = el("a", { href: address({ feature: number_ }) });
  link.dataset.feature = number_;
  const name = el(
    "span",
    { class: "name" },
    all.label[i] || all.words[i].join(" · ") || "never active here",
  );
  link.append(
    el("span", { class: "number" }, String(number_)),
    name,
    el("span", { class: "density" }, percent(all.density[i], 2)),
  );
  return el("li", {}, link);
}

/** Marks the open feature in the list; links keep the search they stand in. */
function mark() {
  const { feature } = state();
  for (const link of $("results").querySelectorAll("a")) {
    if (Number(link.dataset.feature) === feature) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// ---- A feature

let opened = 0;
async function open(feature) {
  const turn = ++opened;
  const at = place.get(feature);
  document.body.classList.toggle("open", feature !== undefined);
  if (feature === undefined) {
    $("feature").replaceChildren(el("p", { class: "quiet" }, "Choose a feature."));
    document.title = $("feature").dataset.title;
    return;
  }
  if (at === undefined) {
    $("feature").replaceChildren(
      el("h2", { tabindex: "-1" }, `Feature ${feature}`),
      el(
        "p",
        {},
        all.feature.length < index.features
          ? "The list is being loaded."
          : `There is no feature ${feature}: the explorer has ${index.features} of this dictionary.`,
      ),
    );
    return;
  }
  const shard = Math.floor(at / index.shard);
  let data;
  try {
    const name = `features-${String(shard).padStart(4, "0")}`;
    data = (await load(name))[at % index.shard];
  } catch (error) {
    if (turn === opened) $("feature").replaceChildren(el("p", {}, error.message));
    return;
  }
  if (turn !== opened) return; // another one was opened meanwhile
  $("feature").replaceChildren(...parts(at, data));
  document.title = `Feature ${feature} · ${$("feature").dataset.title}`;
}

function parts(at, data) {
  const feature = all.feature[at];
  const name = all.label[at] || all.words[at].join(" · ");
  const [previous, next] = neighbours(at);
  const steps = el("p", { class: "neighbours" });
  steps.append(el("a", { href: address({ feature: undefined }), class: "back" }, "All features"));
  if (previous !== undefined) {
    steps.append(" ", el("a", { href: address({ feature: previous }) }, `← ${previous}`));
  }
  if (next !== undefined) {
    steps.append(" ", el("a", { href: address({ feature: next }) }, `${next} →`));
  }
  const heading = el("h2", { tabindex: "-1", id: "feature-title" }, `Feature ${feature}`);
  if (name) heading.append(" ", el("span", { class: "quiet" }, name));
  const { tokens } = index.about;
  const facts = el(
    "p",
    {},
    all.density[at] === 0
      ? `Not active on any of ${tokens.toLocaleString("en")} held-out tokens.`
      : `Active on ${percent(all.density[at])} of ${
        tokens.toLocaleString("en")
      } held-out tokens, ` +
        `at most ${number(all.max[at])}.`,
  );
  return [
    steps,
    heading,
    facts,
    histogram(at),
    ...contexts(
      "Strongest contexts",
      data.top,
      at,
      "The token that each was chosen for is bold; the deeper the colour, the more active the feature.",
    ),
    ...contexts(
      "A fair sample of contexts",
      data.active,
      at,
      "Drawn from all tokens on which the feature is active: strongest contexts alone flatter it.",
    ),
    ...logits(data),
    ...partners(data),
  ];
}

function neighbours(at) {
  const i = found.indexOf(at);
  const name = (j) => i >= 0 && found[j] !== undefined ? all.feature[found[j]] : undefined;
  return [name(i - 1), name(i + 1)];
}

/** Densities of all features on a logarithmic axis, with a mark at this one's. */
function histogram(at) {
  const [low, bins, width, height] = [-4.5, 27, 540, 96];
  const bin = (density) =>
    Math.min(bins - 1, Math.max(0, Math.floor((Math.log10(density) - low) * 6)));
  const counts = new Array(bins).fill(0);
  let silent = 0;
  for (const density of all.density) density > 0 ? counts[bin(density)]++ : silent++;
  const most = Math.max(1, ...counts);
  const here = all.density[at];
  const rank = all.density.reduce((n, density) => n + (density > here), 0) + 1;
  const words = here > 0
    ? `Densities of ${all.feature.length} features, ${silent} of them never active; this one is ` +
      `number ${rank} by frequency`
    : `Densities of ${all.feature.length} features, ${silent} of them never active, as this one`;
  const picture = svg("svg", {
    ...{
      viewBox: `0 0 ${width} ${height + 20}`,
      role: "img",
      "aria-label": words,
      class: "densities",
    },
  });
  counts.forEach((count, i) => {
    const size = count / most * height;
    picture.append(svg("rect", {
      ...{ x: i * width / bins, y: height - size, width: width / bins - 1, height: size },
      class: here > 0 && bin(here) === i ? "here" : "bar",
    }));
  });
  for (let power = -4; power <= 0; power++) {
    const text = svg("text", { x: (power - low) * 6 * width / bins, y: height + 15 });
    text.textContent = power === 0 ? "100 %" : `${100 * 10 ** power} %`;
    text.setAttribute("text-anchor", power === 0 ? "end" : "middle");
    picture.append(text);
  }
  return el("figure", {}, picture, el("figcaption", {}, `${words}.`));
}

function contexts(title, rows, at, note) {
  if (rows.length === 0) return [];
  const items = rows.map(([document_, peak, value, levels, pieces]) => {
    const text = el("span", { class: "context" });
    pieces.forEach((piece, i) => {
      const level = LEVELS.indexOf(levels[i]) / 63;
      const token = el(i === peak ? "strong" : "span", {}, index.pieces[piece]);
      if (level > 0) {
        token.style.backgroundColor = `rgba(0, 114, 178, ${(0.6 * level).toFixed(2)})`;
        token.title = number(level * all.max[at], 2);
      }
      text.append(token);
    });
    return el(
      "li",
      {},
      el("span", { class: "value" }, number(value)),
      text,
      el("span", { class: "document" }, `document ${document_}`),
    );
  });
  return [
    el("h3", {}, title),
    el("p", { class: "note" }, note),
    el("ol", { class: "contexts" }, ...items),
  ];
}

function logits({ raised, lowered }) {
  const table = (caption, pairs) => {
    const body = el("tbody");
    for (let i = 0; i < pairs.length; i += 2) {
      body.append(
        el(
          "tr",
          {},
          el("td", {}, el("code", {}, index.pieces[pairs[i]])),
          el("td", { class: "right" }, number(pairs[i + 1])),
        ),
      );
    }
    return el(
      "table",
      {},
      el("caption", {}, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "col" }, "token"),
          el("th", { scope: "col", class: "right" }, "effect"),
        ),
      ),
      body,
    );
  };
  if (raised.length === 0) return [];
  return [
    el("h3", {}, "What its direction does to the next token by itself"),
    el(
      "p",
      { class: "note" },
      "Decoder direction times the weight of the final norm times the " +
        "unembedding, less the mean over the vocabulary. What later blocks make of it is not in it: " +
        "effects rank tokens.",
    ),
    el("div", { class: "tables" }, table("Raised most", raised), table("Lowered most", lowered)),
  ];
}

function partners({ partners: rows }) {
  const { pairTokens, draws } = index.about;
  if (pairTokens === 0) return [];
  if (rows.length === 0) {
    return [
      el("h3", {}, "Partners in the factorization machine"),
      el("p", {}, "It is active together with no feature often enough to be measured."),
    ];
  }
  const body = el("tbody");
  for (const [feature, together, expected, effect, gain, asStrong, raised] of rows) {
    const at = place.get(feature);
    const name = at === undefined ? "" : all.label[at] || all.words[at].slice(0, 3).join(" · ");
    const link = el("a", { href: address({ feature }) }, String(feature));
    body.append(
      el(
        "tr",
        {},
        el("td", {}, ...(at === undefined ? [String(feature)] : [link, ` ${name}`])),
        el("td", { class: "right" }, `${together} (${number(expected, 2)})`),
        el("td", { class: "right" }, percent(effect, 2)),
        el("td", { class: "right" }, `${gain > 0 ? "+" : ""}${percent(gain, 2)}`),
        el("td", { class: "right" }, `${asStrong} of ${draws}`),
        el(
          "td",
          {},
          raised.length
            ? el("code", {}, raised.map((piece) => index.pieces[piece]).join(" "))
            : "–",
        ),
      ),
    );
  }
  const columns = [
    "partner",
    "together (by chance)",
    "size",
    "error without it",
    "as strong, permuted",
    "raises",
  ];
  return [
    el("h3", {}, "Strongest partners in the factorization machine"),
    el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Partners" },
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ...columns.map((name, i) =>
              el("th", { scope: "col", ...(i > 0 && i < 5 ? { class: "right" } : {}) }, name)
            ),
          ),
        ),
        body,
      ),
    ),
    el(
      "p",
      { class: "note" },
      `On ${pairTokens.toLocaleString("en")} held-out tokens. Together: tokens on ` +
        "which both are active, and how many there would be if they were so independently. Size: the pair's " +
        "term on those tokens over the dictionary's residual. Error without it: how much larger the squared " +
        "error on those tokens becomes without the term; below 0 the term harms. As strong, permuted: in how " +
        `many of ${draws} draws in which features exchange their embeddings this feature has a partner at least as ` +
        "strong; where that is many, the size says nothing about the pair, and what it raises is left out.",
    ),
  ];
}

// ---- Events

let typing;
function follow({ focus = false } = {}) {
  const { feature, query, sort } = state();
  if ($("search").value !== query && document.activeElement !== $("search")) {
    $("search").value = query;
  }
  $("sort").value = ORDERS[sort] ? sort : "feature";
  list();
  return open(feature).then(() => {
    if (focus && feature !== undefined) $("feature").querySelector("h2")?.focus();
  });
}

async function start() {
  index = await load("explorer");
  const parts = Math.ceil(index.features / index.listPart);
  add(await load("list-000"));
  await follow();
  for (let part = 1; part < parts; part++) {
    add(await load(`list-${String(part).padStart(3, "0")}`));
    await new Promise((resolve) => setTimeout(resolve)); // the page answers between parts
    await follow();
  }
  document.body.dataset.ready = "true";
}

$("search").addEventListener("input", () => {
  clearTimeout(typing);
  history.replaceState(null, "", address({ query: $("search").value }));
  list();
  typing = setTimeout(() => relink(), 300);
});
/** Links in the list carry the search. */
function relink() {
  for (const link of $("results").querySelectorAll("a")) {
    link.href = address({ feature: Number(link.dataset.feature) });
  }
}
$("sort").addEventListener("change", () => {
  history.replaceState(null, "", address({ sort: $("sort").value }));
  list();
});
$("more").addEventListener("click", () => more()?.querySelector("a").focus());
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  if (found.length > 0) location.hash = address({ feature: all.feature[found[0]] });
});
addEventListener("hashchange", () => follow({ focus: true }));

addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "/" && !/^(?:INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) {
    event.preventDefault();
    $("search").focus();
    $("search").select();
    return;
  }
  const links = [...$("results").querySelectorAll("a")];
  const at = links.indexOf(target);
  if (key === "ArrowDown" && (at >= 0 || target === $("search"))) {
    event.preventDefault();
    links[Math.min(links.length - 1, at + 1)]?.focus();
  } else if (key === "ArrowUp" && at >= 0) {
    event.preventDefault();
    (at === 0 ? $("search") : links[at - 1]).focus();
  }
});

start().catch((error) => status.textContent = error.message);
