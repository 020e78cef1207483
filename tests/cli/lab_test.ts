import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { program } from "../../lib/cli/environment.ts";
import { freePort } from "../../lib/cli/lab.ts";
import { lines } from "../../lib/cli/lines.ts";
import { ROOT } from "../../lib/files/mod.ts";

const jupyter = await Deno.stat(program("jupyter-lab")).then(() => true, () => false);
if (!jupyter) console.log("Skipping JupyterLab: it is not installed");

Deno.test({
  name: "JupyterLab answers with its token, refuses without, and ends on Ctrl-C",
  ignore: !jupyter || Deno.build.os === "windows",
  async fn() {
    const port = freePort(18888);
    const lab = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "-q", "lib/cli/lab.ts", "--port", `${port}`],
      cwd: ROOT,
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    let address: URL | undefined;
    for await (const line of lines(lab.stdout)) {
      const match = /^JupyterLab: (\S+)$/.exec(line);
      if (!match) continue;
      address = new URL(match[1]);
      break;
    }
    try {
      assert(address, "no address was printed");
      assertEquals(address.hostname, "127.0.0.1");
      const kernels = new URL("/api/kernelspecs", address);
      const without = await fetch(kernels);
      await without.body?.cancel();
      assertNotEquals(without.status, 200);
      kernels.search = address.search;
      const { kernelspecs } = await (await fetch(kernels)).json();
      assertEquals(kernelspecs.deno.spec.display_name, "Deno (Interlens)");
    } finally {
      lab.kill("SIGINT");
    }
    assertEquals((await lab.status).code, 0);
    // The port is free again: nothing was left behind.
    assertEquals(freePort(port), port);
  },
});
