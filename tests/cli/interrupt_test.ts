import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { jupyterEnvironment, NOTEBOOKS, program } from "../../lib/cli/environment.ts";

const python = program("python");
const jupyter = await Deno.stat(program("jupyter-lab")).then(() => true, () => false);
if (!jupyter) console.log("Skipping the Stop button: Jupyter is not installed");

Deno.test({
  name: "the Stop button ends a training cell with its state, and the next cell uses it",
  ignore: !jupyter,
  async fn() {
    const { success, stdout, stderr } = await new Deno.Command(python, {
      args: [join(import.meta.dirname!, "interrupt_kernel.py"), NOTEBOOKS],
      env: jupyterEnvironment(),
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const { printed: [trained, next], alive } = JSON.parse(new TextDecoder().decode(stdout));
    assertStringIncludes(trained, "stopped true");
    assertEquals([next, alive], ["next 16 true\n", true]);
  },
});
