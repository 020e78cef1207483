/**
 * The automatic part of an accessibility check, by axe-core (Deque).
 */
import { fileURLToPath } from "node:url";
import type { Tab } from "../../lib/site/chromium.ts";

const path = fileURLToPath(import.meta.resolve("axe-core/axe.min.js"));

/** A rule of axe that a page breaks. */
export interface Violation {
  id: string;
  impact: string;
  /** Where, as the HTML of the first element. */
  first: string;
  count: number;
}

/** Rules with a serious or critical impact that the page of a tab breaks. */
export async function seriousViolations(tab: Tab): Promise<Violation[]> {
  await tab.evaluate(`${await Deno.readTextFile(path)}; undefined`);
  return await tab.evaluate<Violation[]>(
    `axe.run({ preload: false }).then(({ violations }) => violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, impact, nodes }) => ({
      id, impact, first: nodes[0].html.slice(0, 200), count: nodes.length,
    })))`,
  );
}
