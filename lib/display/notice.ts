/**
 * A warning that is seen and does not shout.
 *
 * @module
 */
import { escapeHtml } from "./escape.ts";
import { inJupyter, type MimeBundle, sendDisplay } from "./jupyter.ts";

/**
 * Shows a warning at once: a quiet box in a notebook, a line on the standard error elsewhere.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { notice } from "interlens";
 *
 * const said: string[] = [];
 * const { warn } = console;
 * console.warn = (text) => said.push(text);
 * notice("3 of 4096 features never fired on the validation split");
 * console.warn = warn;
 * assertEquals(said, ["Note: 3 of 4096 features never fired on the validation split"]);
 * ```
 *
 * @param text What the reader should know and can do about it; shown as it is, never as markup.
 * @param detail Lines that stand below it, such as the end of a log. Default none.
 */
export function notice(text: string, detail?: string): void {
  // A display that a kernel on its way down refuses must not end the run.
  if (inJupyter()) void sendDisplay(noticeBundle(text, detail)).catch(() => {});
  else console.warn(noticeText(text, detail));
}

function noticeText(text: string, detail?: string): string {
  return `Note: ${text}` + (detail ? `\n${detail.replace(/^/gm, "  ")}` : "");
}

/**
 * The output that `notice` sends to a notebook.
 *
 * @param text Text of the warning.
 * @param detail Lines below it.
 */
export function noticeBundle(text: string, detail?: string): MimeBundle {
  const lines = detail
    ? `<pre style="margin: 4px 0 0; white-space: pre-wrap">${escapeHtml(detail)}</pre>`
    : "";
  return {
    "text/html": '<div role="note" class="il-notice" style="border-left: 4px solid #e69f00; ' +
      `padding: 4px 12px; margin: 4px 0"><strong>Note</strong> ${escapeHtml(text)}${lines}</div>`,
    "text/plain": noticeText(text, detail),
  };
}
