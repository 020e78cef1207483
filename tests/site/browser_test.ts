import { assert, assertEquals } from "@std/assert";
import { pathToFileURL } from "node:url";
import { fillPngs, publish, readNotebook } from "../../lib/site/mod.ts";
import { Chromium, findChromium } from "../../lib/site/chromium.ts";
import { seriousViolations } from "./axe.ts";
import { aFigure, code, hostile, markdown, notebook, ordinary, written } from "./fixtures.ts";

const chromium = await findChromium();
const where = chromium ? "" : " (skipped: no Chromium is installed)";

/** Scrolls through a page so that every figure is drawn, and says what is seen. */
const LOOK = `(async () => {
  const until = async (done) => {
    for (let i = 0; i < 200 && !done(); i++) await new Promise((r) => setTimeout(r, 50));
  };
  const figures = [...document.querySelectorAll(".figure")];
  for (const figure of figures) {
    figure.scrollIntoView();
    await until(() => figure.querySelector(".plot svg.main-svg"));
  }
  return {
    figures: figures.length,
    drawn: document.querySelectorAll(".plot .main-svg:first-of-type").length,
    ran: globalThis.ran ?? 0,
    wide: document.documentElement.scrollWidth - innerWidth,
    hidden: getComputedStyle(document.body).display === "none",
    paper: getComputedStyle(document.body).backgroundColor,
  };
})()`;

interface Seen {
  figures: number;
  drawn: number;
  ran: number;
  wide: number;
  hidden: boolean;
  paper: string;
}

Deno.test({
  name: `In a browser every figure is drawn, nothing foreign runs or is asked for${where}`,
  ignore: !chromium,
  async fn() {
    const { folder, paths } = await written({ "01_a": ordinary(), "02_hostile": hostile() });
    await publish({ notebooks: paths, out: `${folder}/site` });
    const browser = await Chromium.open(chromium!);
    try {
      const looks = [
        { name: "index", figures: 0, width: 400, dark: true },
        { name: "01_a", figures: 1, width: 1200, dark: true },
        { name: "02_hostile", figures: 2, width: 400, dark: false },
        { name: "02_hostile", figures: 2, width: 1200, dark: false },
      ];
      for (const { name, figures, width, dark } of looks) {
        const tab = await browser.tab({ width, dark, height: 800 });
        await tab.open(pathToFileURL(`${folder}/site/${name}.html`).href);
        const seen = await tab.evaluate<Seen>(LOOK);
        assertEquals(tab.complaints, []);
        assertEquals(tab.requests.filter((url) => !/^(?:file|data|blob):/.test(url)), []);
        assertEquals([seen.figures, seen.drawn], [figures, figures], name);
        assertEquals([seen.ran, seen.hidden], [0, false], name);
        assert(seen.wide <= 0, `${name} is ${seen.wide} px wider than ${width} px`);
        assertEquals(await seriousViolations(tab), [], name);
        assertEquals(seen.paper, dark ? "rgb(22, 24, 28)" : "rgb(255, 255, 255)");
        if (name === "02_hostile") {
          // Labels with markup are drawn as text.
          const [title, links] = await tab.evaluate<[string, number]>(
            `[document.querySelector("#figure-1 .gtitle").textContent.replace(/\\s+/g, ""),
              document.querySelectorAll("#figure-1 .plot a, #figure-1 .plot image").length]`,
          );
          assert(title.includes("<script>globalThis.ran=1</script>"), title);
          assert(title.includes("<b>bold</b>&lt;i&gt;&<i>x</i>"), title);
          assertEquals(links, 0);
        }
        await tab.close();
      }
    } finally {
      await browser.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: `The accessibility check sees a picture without words and text that is too pale${where}`,
  ignore: !chromium,
  async fn() {
    const browser = await Chromium.open(chromium!);
    try {
      const tab = await browser.tab({ width: 400, height: 400 });
      await tab.setContent(
        `<!doctype html><html lang="en"><title>x</title><main><h1>x</h1>` +
          `<img src="data:," width="9" height="9"><p style="color: #ccc">pale</p></main>`,
      );
      const found = (await seriousViolations(tab)).map(({ id }) => id);
      assertEquals(found.sort(), ["color-contrast", "image-alt"]);
    } finally {
      await browser.close();
    }
  },
});

Deno.test({
  name: `PNGs are stored in the notebook once, small and of the promised width${where}`,
  ignore: !chromium,
  async fn() {
    const broken = { output_type: "display_data", data: { "application/vnd.plotly.v1+json": {} } };
    const { folder, paths } = await written({
      a: notebook(markdown("# A"), code("f", aFigure(), broken)),
    });
    const first = await fillPngs(paths[0]);
    assertEquals(first, { figures: 1, filled: 1 });
    const after = await Deno.readTextFile(paths[0]);
    assert(after.length < 1e6);
    const { data, metadata } = (await readNotebook(paths[0])).cells[1].outputs![0];
    const png = Uint8Array.from(atob(data!["image/png"] as string), (c) => c.charCodeAt(0));
    assertEquals([...png.slice(1, 4)], [..."PNG"].map((c) => c.charCodeAt(0)));
    assertEquals(new DataView(png.buffer).getUint32(16), 2 * 900);
    assertEquals(metadata, { "image/png": { width: 900 } });

    assertEquals(await fillPngs(paths[0]), { figures: 1, filled: 0 });
    assertEquals(await Deno.readTextFile(paths[0]), after);
    await Deno.remove(folder, { recursive: true });
  },
});
