import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { Progress, progress, type ProgressOutput, withoutProgress } from "../../lib/display/mod.ts";
import { jsonOutput, progressBundle } from "../../lib/display/progress.ts";

function recorder() {
  const shown: { text: string; fraction?: number }[] = [];
  const output: ProgressOutput & { time: number } = {
    time: 0,
    interval: 250,
    now() {
      return this.time;
    },
    write(text, fraction) {
      shown.push({ text, fraction });
    },
  };
  return { shown, output };
}

Deno.test("Progress is shown at most four times a second however often it is told", () => {
  const { shown, output } = recorder();
  const line = new Progress("Run", { total: 10_000 }, output);
  for (let done = 1; done <= 10_000; done++) {
    output.time += 1;
    line.update(done);
  }
  // Ten seconds: the start and forty states.
  assertEquals(shown.length, 41);
});

Deno.test("Progress shows rate, time left and values", () => {
  const { shown, output } = recorder();
  const line = new Progress("Run", { total: 1000, unit: "tokens" }, output);
  line.update(100);
  output.time = 1000;
  line.update(300, { loss: 0.12345 });
  assertEquals(shown.at(-1), {
    text: "Run: 300 of 1000 tokens, 200 tokens/s, 3.5 s left, loss 0.1235",
    fraction: 0.3,
  });
});

Deno.test("Progress counts whole units, shows parts of them in its bar, and may learn of more", () => {
  const { shown, output } = recorder();
  const line = new Progress("Run", { total: 4 }, output);
  line.update(1.5);
  assertEquals(shown.at(-1), { text: "Run: 1 of 4 steps", fraction: 0.375 });
  line.total = 6;
  output.time = 300;
  line.update(1.5);
  assertEquals(shown.at(-1), { text: "Run: 1 of 6 steps", fraction: 0.25 });
  assertThrows(() => line.total = 0, RangeError, '"Run"');
});

Deno.test("Progress of a resumed run does not count what was there before", () => {
  const { shown, output } = recorder();
  const line = new Progress("Run", { total: 1000 }, output);
  line.update(500);
  output.time = 10_000;
  line.update(510);
  assertMatch(shown.at(-1)!.text, /, 1 steps\/s, 8 min 10 s left$/);
});

Deno.test("Progress ends in one line and says nothing after it", () => {
  const { shown, output } = recorder();
  const line = new Progress("Run", { total: 20_000 }, output);
  line.update(1);
  output.time = 65_000;
  line.update(20_000, { loss: 0.5 });
  line.finish();
  assertEquals(shown.at(-1), {
    text: "Run: 20,000 steps in 1 min 5 s, 308 steps/s, loss 0.5",
    fraction: undefined,
  });
  const count = shown.length;
  line.update(5);
  line.stop("late");
  line.finish("again");
  assertEquals(shown.length, count);
});

Deno.test("Progress that is stopped says where and why", () => {
  const { shown, output } = recorder();
  const line = new Progress("Run", { total: 10 }, output);
  line.update(4);
  output.time = 2000;
  line.stop("stopped by the user");
  assertEquals(shown.at(-1)!.text, "Run: stopped by the user at 4 of 10 steps after 2.0 s");
});

Deno.test("Progress in a notebook is a bar while it runs and a line at the end", () => {
  const running = progressBundle("Run: 1 of 4 steps", 0.25);
  assert(String(running["text/html"]).includes(`<progress max="1" value="0.2500"`));
  assertEquals(running["text/plain"], "Run: 1 of 4 steps");
  assert(!String(progressBundle("Run: done")["text/html"]).includes("<progress"));
});

Deno.test("Progress refuses a total that cannot be reached", () => {
  for (const total of [0, -1, NaN, Infinity]) {
    assertThrows(() => progress("Run", { total }), RangeError, `towards ${total}`);
  }
});

Deno.test("Progress for a program is a line of JSON at most once a second", () => {
  let text = "";
  let time = 0;
  const output = { ...jsonOutput((line) => text += line), now: () => time };
  const line = new Progress("Run\nof two", { total: 5000, unit: "tokens" }, output);
  for (let done = 1; done <= 5000; done++) {
    time++;
    line.update(done);
  }
  line.finish();
  const states = text.trimEnd().split("\n").map((json) => JSON.parse(json));
  // The start, five seconds, the end.
  assertEquals(states.map(({ done }) => done), [0, 1, 1001, 2001, 3001, 4001, 5000]);
  const rest = { interlens: "progress", label: "Run\nof two", total: 5000, unit: "tokens" };
  assertEquals(states.map(({ done: _, ...others }) => others), states.map(() => rest));
});

Deno.test("What runs inside of work without progress shows none, what runs beside it does", async () => {
  const shown: string[] = [];
  const write = Deno.stderr.writeSync;
  Deno.stderr.writeSync = (bytes) => {
    shown.push(new TextDecoder().decode(bytes));
    return bytes.length;
  };
  try {
    const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
    await Promise.all([
      withoutProgress(async () => {
        await pause();
        progress("Hidden", { total: 1 }).finish();
      }),
      pause().then(() => progress("Beside", { total: 1 }).finish()),
    ]);
    await assertRejects(
      () => withoutProgress(() => Promise.reject(new Error("lost"))),
      Error,
      "lost",
    );
    progress("After", { total: 1 }).finish();
  } finally {
    Deno.stderr.writeSync = write;
  }
  const labels = ["Hidden", "Beside", "After"].filter((label) =>
    shown.some((text) => text.includes(label))
  );
  assertEquals(labels, ["Beside", "After"]);
});
