/**
 * Text that is shown while it is written: one display that grows in a notebook, plain output in a
 * terminal.
 *
 * @module
 */
import { escapeHtml } from "./escape.ts";
import { inJupyter, type MimeBundle, sendDisplay } from "./jupyter.ts";

/** Least time between two states of a display, in milliseconds. */
const INTERVAL = 100;

/**
 * Shows pieces of text as they come.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, randomModel, showStream } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({}, 0);
 * const text = await showStream(model.stream("abc", { maxNewTokens: 8 }), { after: "abc" });
 * assertEquals(text, await model.generate("abc", { maxNewTokens: 8 }));
 * ```
 *
 * @param pieces The text; shown as it is, never as markup.
 * @param options `after`: a text that stands before it, muted, such as the prompt. Default none.
 * @returns All pieces together.
 */
export async function showStream(
  pieces: AsyncIterable<string>,
  { after = "" }: { after?: string } = {},
): Promise<string> {
  if (inJupyter()) {
    const id = crypto.randomUUID();
    return await collect(pieces, async (text, again) => {
      // A display that a kernel on its way down refuses must not end the run.
      await sendDisplay(streamBundle(text, after), id, again).catch(() => {});
    });
  }
  const encoder = new TextEncoder();
  const write = (piece: string) => Deno.stdout.writeSync(encoder.encode(piece));
  let text = "";
  write(after);
  for await (const piece of pieces) {
    text += piece;
    write(piece);
  }
  write("\n");
  return text;
}

/**
 * Joins pieces, and shows what there is now and then, and at the end, also where that is an error.
 *
 * @param show Is given the text so far, and whether it was called before.
 */
export async function collect(
  pieces: AsyncIterable<string>,
  show: (text: string, again: boolean) => Promise<void>,
): Promise<string> {
  let text = "";
  let shown: number | undefined;
  const showNow = async () => {
    const again = shown !== undefined;
    shown = performance.now();
    await show(text, again);
  };
  try {
    for await (const piece of pieces) {
      text += piece;
      if (shown === undefined || performance.now() - shown >= INTERVAL) await showNow();
    }
  } finally {
    await showNow();
  }
  return text;
}

/** The output that `showStream` sends to a notebook. */
export function streamBundle(text: string, after: string): MimeBundle {
  const muted = after && `<span style="opacity: 0.65">${escapeHtml(after)}</span>`;
  return {
    "text/html": `<div class="il-stream" style="white-space: pre-wrap">${muted}${
      escapeHtml(text)
    }</div>`,
    "text/plain": after + text,
  };
}
