/**
 * The one place that knows whether this process is a Jupyter kernel, and how to show something at
 * once: as a Jupyter display in a kernel, as text in a terminal.
 *
 * @module
 */

/** One output in several formats, the key is the MIME type; a front end shows the richest it knows. */
export type MimeBundle = Record<string, unknown>;

/**
 * Key of the method with which a value tells the Deno kernel how to render it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { type Displayable, JUPYTER_DISPLAY } from "interlens";
 *
 * const bold: Displayable = {
 *   [JUPYTER_DISPLAY]: () => ({ "text/html": "<b>2</b>", "text/plain": "2" }),
 *   toString: () => "2",
 * };
 * assertEquals(bold[JUPYTER_DISPLAY]()["text/plain"], "2");
 * ```
 */
export const JUPYTER_DISPLAY: unique symbol = Symbol.for("Jupyter.display") as never;

/** Something that renders in Jupyter and reads well as text. */
export interface Displayable {
  /** The output, in every format that it has. */
  [JUPYTER_DISPLAY](): MimeBundle;
  /** The output as text for a terminal. */
  toString(): string;
}

interface Kernel {
  broadcast(type: string, content: Record<string, unknown>): Promise<void>;
}

function kernel(): Kernel | undefined {
  try {
    // Outside the kernel the property exists but throws when it is read.
    return (Deno as unknown as { jupyter?: Kernel }).jupyter;
  } catch {
    return undefined;
  }
}

/**
 * Whether this process is a Jupyter kernel.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { inJupyter } from "interlens";
 *
 * assertEquals(inJupyter(), false);
 * ```
 */
export function inJupyter(): boolean {
  return kernel() !== undefined;
}

/**
 * Sends a display to the notebook, or changes one that was sent before.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { sendDisplay } from "interlens";
 *
 * // Elsewhere than in a notebook there is nothing that could show it.
 * await assertRejects(() => sendDisplay({ "text/plain": "2" }), Error, "not a Jupyter kernel");
 * ```
 *
 * @param bundle What to show.
 * @param displayId Name of the display, for a later update.
 * @param update Whether the display was sent before.
 * @throws {Error} If this process is not a Jupyter kernel.
 */
export async function sendDisplay(
  bundle: MimeBundle,
  displayId?: string,
  update = false,
): Promise<void> {
  const jupyter = kernel();
  if (!jupyter) {
    throw new Error("Cannot send a display: this process is not a Jupyter kernel, print the text");
  }
  await jupyter.broadcast(update ? "update_display_data" : "display_data", {
    data: bundle,
    metadata: {},
    transient: displayId === undefined ? {} : { display_id: displayId },
  });
}

/**
 * Shows a figure or table now, where a cell's last value would show it at the end. In a terminal
 * its text is printed.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { show, table } from "interlens";
 *
 * const errors = table([{ head: "linear", "error %": 12.5 }]);
 * assertEquals(errors.columns, ["head", "error %"]);
 * await show(errors);
 * ```
 *
 * @param output What to show.
 */
export async function show(output: Displayable): Promise<void> {
  if (inJupyter()) await sendDisplay(output[JUPYTER_DISPLAY]());
  else console.log(output.toString());
}
