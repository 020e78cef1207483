/**
 * Stopping a run without losing it: Ctrl-C in a terminal, the Stop button in Jupyter.
 *
 * Jupyter sends SIGINT, which would end the kernel and everything it holds. Once a
 * stop signal was asked for, the interrupt aborts the runs that listen to one, and
 * they return what they have.
 *
 * @module
 */

/** Signals that a run may still listen to. */
const live = new Map<AbortSignal, AbortController>();
let listening = false;

/**
 * A fresh signal that is aborted by Ctrl-C or by Jupyter's Stop button.
 *
 * In a Jupyter kernel an interrupt with nothing running has no effect. In a terminal
 * it ends the process, as it does without Interlens; so does a second interrupt while
 * a run is stopping.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { stopSignal, whileRunning } from "interlens";
 *
 * const signal = stopSignal();
 * const finished = await whileRunning(signal, () => Promise.resolve(!signal.aborted));
 * assert(finished);
 * ```
 */
export function stopSignal(): AbortSignal {
  if (!listening) {
    // Deno does not stay alive for this listener.
    Deno.addSignalListener("SIGINT", interrupt);
    listening = true;
  }
  const controller = new AbortController();
  live.set(controller.signal, controller);
  return controller.signal;
}

/**
 * Does work that a signal can stop; afterwards an interrupt no longer aborts the signal.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { stopSignal, whileRunning } from "interlens";
 *
 * const signal = stopSignal();
 * const steps = await whileRunning(signal, async () => {
 *   let steps = 0;
 *   while (steps < 3 && !signal.aborted) steps = await Promise.resolve(steps + 1);
 *   return steps;
 * });
 * assertEquals(steps, 3);
 * ```
 *
 * @param signal From `stopSignal`, or any other, or none.
 * @param work What to do; it should look at the signal.
 * @returns What the work returns.
 */
export async function whileRunning<T>(
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } finally {
    if (signal) live.delete(signal);
  }
}

function interrupt(): void {
  if (live.size === 0) {
    if (!inKernel()) Deno.exit(130); // 128 + SIGINT, as a shell expects
    return;
  }
  const controllers = [...live.values()];
  live.clear();
  for (const controller of controllers) {
    controller.abort(new DOMException("The run was stopped", "AbortError"));
  }
}

function inKernel(): boolean {
  try {
    return !!(Deno as unknown as { jupyter?: unknown }).jupyter;
  } catch {
    return false; // Outside a kernel Deno throws when this property is read.
  }
}
