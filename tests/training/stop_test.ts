import { assert, assertEquals } from "@std/assert";
import { stopSignal, whileRunning } from "../../lib/training/mod.ts";

// Not mod.ts: what is tested needs no tensors, and starts faster without them.
const library = new URL("../../lib/training/stop.ts", import.meta.url).href;

/** Runs a script in another process, interrupts it each time it prints "ready". */
async function interrupted(script: string): Promise<{ code: number; output: string }> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", `import { stopSignal, whileRunning } from "${library}";\n${script}`],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let output = "";
  for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
    output += text;
    if (text.includes("ready")) process.kill("SIGINT");
  }
  return { code: (await process.status).code, output };
}

const wait = "await new Promise((resolve) => setTimeout(resolve, 30000));";

Deno.test({
  name: "An interrupt stops the run that listens, and the process goes on",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const { code, output } = await interrupted(`
      const signal = stopSignal();
      const steps = await whileRunning(signal, async () => {
        console.log("ready");
        for (let step = 0;; step++) {
          if (signal.aborted) return "kept";
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      });
      console.log(steps, stopSignal().aborted);
    `);
    assert(output.includes("kept false"), output);
    assertEquals(code, 0);
  },
});

Deno.test({
  name: "With nothing running an interrupt ends the process",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const { code } = await interrupted(`
      const signal = stopSignal();
      await whileRunning(signal, () => Promise.resolve());
      console.log("ready");
      ${wait}
    `);
    assertEquals(code, 130);
  },
});

Deno.test({
  name: "A second interrupt ends a run that does not stop",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const { code } = await interrupted(`
      const signal = stopSignal();
      signal.addEventListener("abort", () => console.log("ready"));
      await whileRunning(signal, async () => { console.log("ready"); ${wait} });
    `);
    assertEquals(code, 130);
  },
});

Deno.test("Each call gives a fresh signal, and a run's error passes through", async () => {
  const [a, b] = [stopSignal(), stopSignal()];
  assert(a !== b && !a.aborted);
  let message = "";
  await whileRunning(a, () => Promise.reject(new Error("boom"))).catch((e) => message = e.message);
  await whileRunning(b, () => Promise.resolve());
  assertEquals(message, "boom");
});
