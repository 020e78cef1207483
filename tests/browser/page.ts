/**
 * A page as its reader meets it: the mouse, the keyboard, and waiting for what should be seen.
 */
import type { Tab } from "../../lib/site/chromium.ts";

/**
 * Waits until an expression of the page is true.
 *
 * @param seconds How long at most; the machine may be busy.
 * @throws {Error} If it never was, with the expression.
 */
export async function until(tab: Tab, expression: string, seconds = 120): Promise<void> {
  for (const end = performance.now() + 1000 * seconds; performance.now() < end;) {
    if (await tab.evaluate<boolean>(`!!(${expression})`)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`It was never seen in ${seconds} s: ${expression}`);
}

/** Clicks into the middle of an element, given as an expression; waits until it is there. */
export async function click(tab: Tab, element: string): Promise<void> {
  await until(tab, `(${element})?.getBoundingClientRect().width`);
  const [x, y] = await tab.evaluate<[number, number]>(`(() => {
    const { x, y, width, height } = (${element}).getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  })()`);
  const button = { button: "left", clickCount: 1 };
  await tab.send("Input.dispatchMouseEvent", { type: "mouseMoved", x, y });
  await tab.send("Input.dispatchMouseEvent", { type: "mousePressed", x, y, ...button });
  await tab.send("Input.dispatchMouseEvent", { type: "mouseReleased", x, y, ...button });
}

/** The element of a selector that has this text, as an expression for `click` and `until`. */
export function withText(selector: string, text: string): string {
  return `[...document.querySelectorAll(${JSON.stringify(selector)})]` +
    `.find((element) => element.textContent.trim() === ${JSON.stringify(text)})`;
}
