import { assert, assertEquals } from "@std/assert";
import { Lock } from "../../lib/cli/lock.ts";
import { ROOT } from "../../lib/files/mod.ts";

/** Starts a process that takes the lock, starts a child of its own, and sleeps. */
async function holder(path: string): Promise<{ process: Deno.ChildProcess; child: number }> {
  const script = `
    import { Lock } from ${JSON.stringify(import.meta.resolve("../../lib/cli/lock.ts"))};
    const lock = await Lock.acquire(${JSON.stringify(path)});
    // The name of the repository in its arguments makes it one of ours.
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "setInterval(() => {}, 1000)", ${JSON.stringify(ROOT)}],
    }).spawn();
    lock.track(child.pid, child.status);
    console.log(child.pid);
    setInterval(() => {}, 1000);`;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", script],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = process.stdout.getReader();
  const child = parseInt(new TextDecoder().decode((await reader.read()).value));
  await reader.cancel();
  return { process, child };
}

const UNIX = Deno.build.os !== "windows";

Deno.test({
  name: "a lock whose holder was killed is free, and what the holder had started is ended",
  ignore: !UNIX,
  async fn() {
    const path = await Deno.makeTempFile();
    const { process, child } = await holder(path);
    assert(isAlive(child));
    process.kill("SIGKILL");
    await process.status;
    {
      using _lock = await Lock.acquire(path);
      assert(!isAlive(child));
      assertEquals(JSON.parse(await Deno.readTextFile(path)), { pid: Deno.pid, children: [] });
    }
    await Deno.remove(path);
  },
});

Deno.test({
  name: "a lock that is held makes the next one wait and say for whom",
  ignore: !UNIX,
  async fn() {
    const path = await Deno.makeTempFile();
    const { process, child } = await holder(path);
    let waitedFor = 0;
    const next = Lock.acquire(path, (pid) => {
      waitedFor = pid;
      process.kill("SIGKILL");
    });
    using _lock = await next;
    assertEquals(waitedFor, process.pid);
    await process.status;
    assert(!isAlive(child));
    await Deno.remove(path);
  },
});

Deno.test("a process of another program is left alone though a stale lock names its number", async () => {
  const path = await Deno.makeTempFile();
  const stranger = new Deno.Command(Deno.execPath(), {
    args: ["eval", "setInterval(() => {}, 1000)"],
    cwd: "/",
  }).spawn();
  await Deno.writeTextFile(path, JSON.stringify({ pid: 1, children: [stranger.pid] }));
  using _lock = await Lock.acquire(path);
  assert(isAlive(stranger.pid));
  stranger.kill();
  await stranger.status;
  await Deno.remove(path);
});

function isAlive(pid: number): boolean {
  // A zombie that nobody has collected yet is dead.
  const { stdout } = new Deno.Command("ps", { args: ["-o", "stat=", "-p", `${pid}`] }).outputSync();
  const state = new TextDecoder().decode(stdout).trim();
  return state !== "" && !state.startsWith("Z");
}
