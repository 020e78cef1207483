import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { pathToFileURL } from "node:url";
import { publish, writeExplorer } from "../../lib/site/mod.ts";
import type { ExplorerContext, ExplorerData } from "../../lib/site/mod.ts";
import { Chromium, findChromium, type Tab } from "../../lib/site/chromium.ts";
import { explorerFiles, LIST_PART, SHARD } from "../../lib/site/explorer/files.ts";
import { explorerPages } from "../../lib/site/explorer/page.ts";
import { seriousViolations } from "./axe.ts";
import { HOSTILE, ordinary, written } from "./fixtures.ts";

const chromium = await findChromium();
const where = chromium ? "" : " (skipped: no Chromium is installed)";

/** A dictionary of so many features; those below the number of hostile texts say them. */
function dictionary(count: number): ExplorerData {
  const context = (text: string): ExplorerContext => ({
    ...{ document: 3, pieces: ["before ", text, " after"], levels: [0, 1, 0.25] },
    ...{ peak: 1, value: 2.5 },
  });
  return {
    about: {
      ...{ model: HOSTILE[0], hook: HOSTILE[1], text: HOSTILE[2], tokens: 10_000 },
      ...{ pairTokens: 10_000, draws: 20, fingerprint: "0123456789abcdef", version: "0.1.0" },
      configuration: { dictionary: { note: HOSTILE[3] } },
    },
    features: Array.from({ length: count }, (_, feature) => {
      const text = HOSTILE[feature] ?? `word${feature}`;
      return {
        ...{ feature, density: (feature % 100) / 1e4, max: 2.5, words: [text, "common"] },
        label: feature % 2 ? undefined : `label ${feature} ${text}`,
        top: [context(text), context("x")],
        active: [context(text)],
        raised: [{ piece: text, effect: 0.5 }],
        lowered: [{ piece: "y", effect: -0.5 }],
        partners: [{
          ...{ feature: (feature + 1) % count, together: 12, expected: 3.25, effect: 0.04 },
          ...{ gain: -0.002, asStrong: 1, raised: [text] },
        }],
      };
    }),
  };
}

async function site(count: number): Promise<{ folder: string; index: string; explorer: string }> {
  const { folder, paths } = await written({ "01_a": ordinary() });
  await writeExplorer(dictionary(count), `${folder}/data`);
  await publish({ notebooks: paths, out: `${folder}/site`, explorer: `${folder}/data` });
  const url = (name: string) => pathToFileURL(`${folder}/site/${name}`).href;
  return { folder, index: url("index.html"), explorer: url("explorer.html") };
}

const ready = (tab: Tab) => until(tab, `document.body.dataset.ready === "true"`);

async function until(tab: Tab, condition: string): Promise<void> {
  await tab.evaluate(`(async () => {
    for (let i = 0; i < 200 && !(${condition}); i++) await new Promise((r) => setTimeout(r, 50));
    if (!(${condition})) throw new Error("It never came true: " + ${JSON.stringify(condition)});
  })()`);
}

const text = (tab: Tab, selector: string) =>
  tab.evaluate<string>(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ""`);

async function press(tab: Tab, key: string): Promise<void> {
  const printed = key.length === 1 ? { text: key } : key === "Enter" ? { text: "\r" } : {};
  for (const type of ["keyDown", "keyUp"]) {
    await tab.send("Input.dispatchKeyEvent", { type, key, ...type === "keyDown" && printed });
  }
}

Deno.test("a large dictionary comes in parts, and no part repeats another", () => {
  const count = LIST_PART + 3 * SHARD + 1;
  const files = explorerFiles(dictionary(count));
  const names = [...files.keys()];
  assertEquals(names.filter((name) => name.startsWith("list")), ["list-000.json", "list-001.json"]);
  assertEquals(names.filter((name) => name.startsWith("features")).length, count / SHARD + 63 / 64);
  const features = names.filter((name) => name.startsWith("features"))
    .flatMap((name) => (files.get(name) as { feature: number }[]).map(({ feature }) => feature));
  assertEquals(features, Array.from({ length: count }, (_, i) => i));
});

Deno.test("what a token says cannot end the scripts that carry it", () => {
  const pages = explorerPages(explorerFiles(dictionary(HOSTILE.length)));
  for (const [name, content] of pages) {
    if (name.endsWith(".js")) assert(!content.includes("<"), name);
  }
  const html = pages.get("explorer.html")!;
  assertStringIncludes(html, "&lt;script&gt;globalThis.ran = 1&lt;/script&gt;");
  for (const [script] of html.matchAll(/<script[^>]*>/g)) {
    assert(script.startsWith(`<script src="assets/`), script);
  }
  assert(!/<(?:img|iframe|svg|style|form action)\b/.test(html));
});

Deno.test({
  name:
    `the explorer searches, opens features, keeps its state in the address and runs nothing foreign${where}`,
  ignore: !chromium,
  async fn() {
    const count = LIST_PART + 100;
    const { folder, index, explorer } = await site(count);
    const browser = await Chromium.open(chromium!);
    try {
      const tab = await browser.tab({ width: 1200, height: 800 });
      await tab.open(explorer);
      await ready(tab);
      assertEquals(await text(tab, "#status"), `${count} features`);
      assertEquals(await tab.evaluate("document.querySelectorAll('#results li').length"), 100);

      // By keyboard: to the search, into the list, into a feature.
      await press(tab, "/");
      for (const key of "WORD4150") await press(tab, key);
      assertEquals(await text(tab, "#status"), "1 feature");
      await press(tab, "ArrowDown");
      await press(tab, "Enter");
      await until(tab, `document.activeElement.id === "feature-title"`);
      assertStringIncludes(await text(tab, "#feature-title"), "Feature 4150");
      const address = await tab.evaluate<string>("location.hash");
      assertEquals(address, "#f=4150&q=WORD4150");

      // The address alone gives the same page.
      const other = await browser.tab({ width: 400, height: 800, dark: true });
      await other.open(explorer + address);
      await ready(other);
      await until(other, `document.querySelector("#feature-title")`);
      assertStringIncludes(await text(other, "#feature-title"), "Feature 4150");
      assertEquals(await other.evaluate("document.querySelector('#search').value"), "WORD4150");
      assert(await other.evaluate<number>("document.documentElement.scrollWidth") <= 400);
      assertEquals(await seriousViolations(other), []);
      await other.close();

      // A partner is a link, and the way back leads back.
      await tab.evaluate(`location.hash = "f=7"`);
      await until(
        tab,
        `/^Feature 7\\b/.test(document.querySelector("#feature-title").textContent)`,
      );
      await tab.evaluate(`document.querySelector("#feature .scroll a").click()`);
      await until(
        tab,
        `/^Feature 8\\b/.test(document.querySelector("#feature-title").textContent)`,
      );
      await tab.evaluate("history.back()");
      await until(
        tab,
        `/^Feature 7\\b/.test(document.querySelector("#feature-title").textContent)`,
      );
      assertEquals(await seriousViolations(tab), []);

      // What tokens and labels say is seen, and not obeyed.
      for (const [feature, said] of HOSTILE.entries()) {
        await tab.evaluate(`location.hash = "f=${feature}"`);
        await until(
          tab,
          `/^Feature ${feature}\\b/.test(document.querySelector("#feature-title").textContent)`,
        );
        assertEquals(await text(tab, ".contexts strong"), said);
      }
      await tab.evaluate(`location.hash = "f=999999"`);
      await until(
        tab,
        `document.querySelector("#feature").textContent.includes("no feature 999999")`,
      );
      assertEquals(await tab.evaluate("globalThis.ran ?? 0"), 0);
      assertEquals(
        await tab.evaluate("document.querySelectorAll('main img, main iframe').length"),
        0,
      );

      // The part of the index leads here; nothing was asked for elsewhere.
      await tab.open(index);
      assertEquals(
        await tab.evaluate("document.querySelectorAll('a[href=\"explorer.html\"]').length"),
        2,
      );
      assertEquals(tab.complaints, []);
      assertEquals(tab.requests.filter((url) => !/^(?:file|data|blob):/.test(url)), []);
      await tab.close();
    } finally {
      await browser.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
});
