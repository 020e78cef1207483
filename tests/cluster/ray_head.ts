/**
 * A real Ray cluster on this machine, of several nodes with a processor each, for tests.
 *
 * @module
 */
import { services } from "../services.ts";

/**
 * Runs a program that leaves others behind it, and ends all of them when its standard input closes:
 * with the test, however that ends.
 */
const GUARD = `
import os, signal, subprocess, sys, threading
os.setpgid(0, 0)
def end():
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end).start()
try:
    done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    sys.stdout.buffer.write(done.stdout + b"\\nended with %d\\n" % done.returncode)
    sys.stdout.flush()
finally:
    os.close(1)
`;

/** How long a node may take to start, in seconds; it takes 5 to 8 on an idle machine. */
const START_SECONDS = 60;
const ATTEMPTS = 3;

/** A running cluster; see {@linkcode startRay}. */
export interface RayCluster extends AsyncDisposable {
  /** Address of its dashboard, `"http://127.0.0.1:…"`. */
  readonly address: string;
  /** Ids of its nodes; the first is the head. */
  readonly nodes: readonly string[];
  /** Ends a node at once, as a loss of power does. */
  killNode(index: number): Promise<void>;
  /** Starts another node in the place of one that was ended. */
  replaceNode(index: number): Promise<void>;
  /** Ends the head at once. */
  killHead(): Promise<void>;
  /**
   * Ends all nodes and starts them anew at the same address, the head first: nothing is remembered.
   *
   * @param count How many to start. Default: as many as there were at first.
   */
  restartHead(count?: number): Promise<void>;
  /** Ends all of it. */
  stop(): Promise<void>;
}

/** A node: its guard, and what waits for the end of it. */
interface Node {
  id: string;
  end(): Promise<void>;
}

/**
 * Starts a cluster and waits until all its nodes are there.
 *
 * @param options.nodes How many, the head included. Default 2.
 * @throws {Error} If Ray is not installed or a node does not start, with what it said.
 */
export async function startRay({ nodes: count = 2 } = {}): Promise<RayCluster> {
  const found = await services();
  if (!found) throw new Error("A Ray cluster cannot be started here: Ray is not installed");
  // Paths of sockets are short by law of the system.
  const folder = await Deno.makeTempDir({ dir: "/tmp", prefix: "r" });
  const [port, dashboard, client] = freePorts(3);
  const address = `http://127.0.0.1:${dashboard}`;
  const nodes: Node[] = [];

  /** Ray waits half a minute for its own processes, which is little on a machine that is busy. */
  const start = async (index: number): Promise<void> => {
    for (let attempt = 1;; attempt++) {
      try {
        return await startOnce(index);
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
      }
    }
  };
  const startOnce = async (index: number): Promise<void> => {
    const before = index === 0 ? [] : await aliveNodes(address);
    const place = index === 0
      ? [
        ...["--head", "--port", `${port}`, "--temp-dir", folder],
        ...["--dashboard-host", "127.0.0.1", "--dashboard-port", `${dashboard}`],
        ...["--ray-client-server-port", `${client}`],
      ]
      : ["--address", `127.0.0.1:${port}`];
    const guard = new Deno.Command(found.python, {
      args: [
        ...["-c", GUARD, found.program("ray"), "start", ...place],
        ...["--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--disable-usage-stats"],
        ...["--object-store-memory", "100000000"],
        // Its default is one for every node of a machine.
        ...["--dashboard-agent-listen-port", `${freePorts(1)[0]}`],
      ],
      env: {
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER: "1",
        RAY_USAGE_STATS_ENABLED: "0",
        // A node that is gone is noticed within seconds; the defaults are a minute.
        RAY_health_check_initial_delay_ms: "1000",
        RAY_health_check_period_ms: "1000",
        RAY_health_check_timeout_ms: "3000",
        RAY_health_check_failure_threshold: "2",
        RAY_gcs_rpc_server_reconnect_timeout_s: "5",
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const end = async () => {
      await guard.stdin.close().catch(() => {});
      await guard.status;
    };
    const said = await new Response(guard.stdout).text();
    if (!said.endsWith("ended with 0\n")) {
      await end();
      throw new Error(`Ray does not start:\n${said.split("\n").slice(-20).join("\n")}`);
    }
    nodes[index] = { id: "", end };
    const known = new Set(before);
    for (const limit = performance.now() + 1000 * START_SECONDS;;) {
      const id = (await aliveNodes(address)).find((id) => !known.has(id));
      if (id !== undefined) return void (nodes[index].id = id);
      if (performance.now() > limit) {
        await end();
        throw new Error(`Node ${index} of Ray does not come`);
      }
      await pause(200);
    }
  };
  const startAll = async (count: number) => {
    for (let index = 0; index < count; index++) await start(index);
  };
  const endAll = async () => {
    await Promise.all(nodes.splice(0).map((node) => node.end()));
  };
  let stopped: Promise<void> | undefined;
  const stop = () =>
    stopped ??= (async () => {
      await endAll();
      await removeFolder(folder);
    })();
  try {
    await startAll(count);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    address,
    get nodes() {
      return nodes.map(({ id }) => id);
    },
    killNode: (index) => nodes[index].end(),
    replaceNode: async (index) => {
      await nodes[index].end();
      await start(index);
    },
    killHead: () => nodes[0].end(),
    restartHead: async (nodesThen = count) => {
      await endAll();
      await startAll(nodesThen);
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Ids of the nodes that are there; none where no head answers. */
async function aliveNodes(address: string): Promise<string[]> {
  try {
    const answer = await fetch(`${address}/api/v0/nodes`, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) return await answer.body?.cancel(), [];
    const { data } = await answer.json();
    return (data.result.result as { node_id: string; state: string }[])
      .filter(({ state }) => state === "ALIVE").map(({ node_id }) => node_id);
  } catch {
    return [];
  }
}

function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ port: 0, hostname: "127.0.0.1" }),
  );
  const ports = listeners.map(({ addr }) => addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Workers that notice the end of their node a moment later still write into it. */
async function removeFolder(folder: string): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt++) {
    try {
      return await Deno.remove(folder, { recursive: true });
    } catch {
      await pause(250);
    }
  }
}
