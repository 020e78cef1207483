import { assert, assertEquals } from "@std/assert";
import { isReady, runStep, type Step, Unavailable } from "../../lib/cli/step.ts";

/** A step in a folder of its own that counts how often it was made. */
async function counted(inputs: unknown = 1) {
  const folder = await Deno.makeTempDir();
  const state = { made: 0 };
  const step: Step = {
    name: "a step",
    inputs,
    stamp: `${folder}/stamp.json`,
    files: [`${folder}/result`],
    async make() {
      state.made++;
      await Deno.writeTextFile(`${folder}/result`, "x".repeat(state.made));
      return "one file";
    },
  };
  return {
    step,
    state,
    folder,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

Deno.test("a step that was done is not done again", async () => {
  await using it = await counted();
  assertEquals((await runStep(it.step)).outcome, "done");
  assertEquals((await runStep(it.step)).outcome, "already there");
  assertEquals(it.state.made, 1);
});

Deno.test("a step that was interrupted before its stamp is done again", async () => {
  await using it = await counted();
  await it.step.make();
  assert(!await isReady(it.step));
  assertEquals((await runStep(it.step)).outcome, "done");
  assertEquals(it.state.made, 2);
});

Deno.test("a step whose stamp is cut short is done again", async () => {
  await using it = await counted();
  await runStep(it.step);
  const stamp = await Deno.readTextFile(it.step.stamp);
  await Deno.writeTextFile(it.step.stamp, stamp.slice(0, stamp.length / 2));
  assertEquals((await runStep(it.step)).outcome, "done");
});

Deno.test("a step is done again when its result was changed, removed, or its inputs differ", async () => {
  await using it = await counted();
  await runStep(it.step);
  await Deno.writeTextFile(`${it.folder}/result`, "something else");
  assertEquals((await runStep(it.step)).outcome, "done");
  await Deno.remove(`${it.folder}/result`);
  assertEquals((await runStep(it.step)).outcome, "done");
  assertEquals((await runStep({ ...it.step, inputs: 2 })).outcome, "done");
  assertEquals((await runStep({ ...it.step, inputs: 2 })).outcome, "already there");
});

Deno.test("a step that fails has no stamp, not even an earlier one", async () => {
  await using it = await counted();
  await runStep(it.step);
  const broken: Step = {
    ...it.step,
    inputs: 2,
    make: () => Promise.reject(new Error("no network")),
  };
  const { outcome, detail } = await runStep(broken);
  assertEquals([outcome, detail], ["failed", "no network"]);
  assert(!await isReady(it.step));
});

Deno.test("a step that this machine cannot do is skipped and says how to get it", async () => {
  await using it = await counted();
  const { outcome, detail } = await runStep({
    ...it.step,
    make: () => Promise.reject(new Unavailable("No compiler", "Slower", "Install it")),
  });
  assertEquals([outcome, detail], ["skipped", "No compiler\nSlower\nInstall it"]);
});
