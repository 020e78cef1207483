import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Engine, Job } from "../../lib/cluster/engine.ts";
import { rayEngine } from "../../lib/cluster/ray.ts";

const JOB: Job = {
  ...{ id: "job", command: ["sh", "-c", "true"], env: {} },
  ...{ resources: { gpus: 2 }, avoid: [] },
};

/** As much of a head as the tests need. */
interface FakeHead {
  /** What it tells of every job. */
  details: Record<string, unknown>;
  /** Resources of its nodes. */
  nodes: Record<string, number>[];
  /** The log of every job. */
  log: string;
  /** Requests with a body or an effect. */
  seen: { method: string; path: string; body?: Record<string, unknown> }[];
}

async function withHead(use: (engine: Engine, head: FakeHead) => Promise<void>): Promise<void> {
  const head: FakeHead = { details: { status: "PENDING" }, nodes: [{ CPU: 1 }], log: "", seen: [] };
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const { method } = request;
      const path = new URL(request.url).pathname;
      if (method !== "GET") {
        head.seen.push({
          method,
          path,
          ...method === "POST" && { body: JSON.parse(await request.text() || "{}") },
        });
        return Response.json({});
      }
      if (path === "/api/v0/nodes") {
        const result = head.nodes.map((resources_total, i) => (
          { node_id: `node${i}`, node_ip: "192.0.2.1", state: "ALIVE", resources_total }
        ));
        return Response.json({ data: { result: { result } } });
      }
      if (path.endsWith("/logs")) {
        // As Python writes JSON.
        const ascii = JSON.stringify({ logs: head.log }).replace(
          /[\u0080-\uffff]/g,
          (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
        );
        return new Response(ascii);
      }
      return Response.json({ ...head.details, metadata: head.seen[0]?.body?.metadata });
    },
  );
  await using engine = rayEngine(`http://127.0.0.1:${server.addr.port}`);
  await use(engine, head);
}

Deno.test("what no node can bear is told in words, and nothing of what one can", () =>
  withHead(async (engine, head) => {
    head.nodes = [{ CPU: 8, GPU: 1, memory: 2e9 }, { CPU: 16, memory: 1e9 }];
    assertEquals(await engine.obstacle!({ cpus: 8, gpus: 1, memory: 1e9 }), undefined);
    assertEquals(await engine.obstacle!({}), undefined);
    const told = await engine.obstacle!({ cpus: 12, gpus: 1 });
    assertMatch(
      told!,
      /has 12 processors and 1 GPU; none has more than 16 processors, 1 GPU and 2 GB of memory\./,
    );
    head.nodes = [];
    for (const resources of [{ cpus: 1 }, {}]) {
      const told = await engine.obstacle!(resources);
      assertMatch(told ?? "", /has 1 processor; none has more than 0 /);
    }
  }));

const GIVEN_UP = { status: "FAILED", error_type: "JOB_SUPERVISOR_ACTOR_START_TIMEOUT" };

Deno.test("a job that Ray gave up in a long queue is handed in again as it was", () =>
  withHead(async (engine, head) => {
    head.nodes = [{ CPU: 1 }, { CPU: 8, GPU: 2 }];
    await engine.submit(JOB);
    head.details = GIVEN_UP;
    assertEquals(await engine.state("job"), { state: "pending" });
    assertEquals(head.seen.map(({ method }) => method), ["POST", "DELETE", "POST"]);
    assertEquals(head.seen[2].body, head.seen[0].body);
  }));

Deno.test("a job that no node can bear has failed, and says why", () =>
  withHead(async (engine, head) => {
    head.nodes = [{ CPU: 8, GPU: 1 }, { CPU: 8 }];
    await engine.submit(JOB);
    head.details = GIVEN_UP;
    const { state, message } = await engine.state("job");
    assertEquals(state, "failed");
    assertMatch(message!, /No node of the cluster has the processors, GPUs or memory/);
    assertEquals(head.seen.length, 1);
  }));

Deno.test("a job that ended with its node is lost, one that failed on it has failed", () =>
  withHead(async (engine, head) => {
    head.nodes = [{ CPU: 1 }];
    const failed = { status: "FAILED", message: "no", driver_exit_code: null };
    const states: [Record<string, unknown>, string][] = [
      [{ ...failed, driver_node_id: "gone" }, "lost"],
      [{ ...failed, driver_node_id: "node0", error_type: "JOB_SUPERVISOR_ACTOR_DIED" }, "lost"],
      [{ ...failed, driver_node_id: "node0" }, "failed"],
      [{
        ...{ ...failed, driver_node_id: "node0", error_type: "JOB_SUPERVISOR_ACTOR_DIED" },
        message: "The node was running low on memory",
      }, "failed"],
      [{ ...failed, driver_node_id: "gone", driver_exit_code: 1 }, "failed"],
      [{ ...failed, error_type: "RUNTIME_ENV_SETUP_FAILURE" }, "failed"],
    ];
    for (const [details, expected] of states) {
      head.details = details;
      assertEquals((await engine.state("job")).state, expected);
    }
  }));

Deno.test("comparing versions can be stopped, and its jobs end", () =>
  withHead(async (engine, head) => {
    head.details = { status: "RUNNING", ray_version: "2.0" };
    const stop = new AbortController();
    const checking = engine.check(stop.signal);
    while (head.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    stop.abort();
    await assertRejects(() => checking, Error, "aborted");
    const [probe, stopped] = head.seen;
    assertEquals(stopped.path, `/api/jobs/${probe.body!.submission_id}/stop`);
  }));

Deno.test("a job asks for what it needs, and for a processor where it says nothing", () =>
  withHead(async (engine, head) => {
    head.nodes = Array(3).fill({ CPU: 1, GPU: 2 });
    const given: [Job["resources"], unknown[]][] = [
      [{}, [1, undefined, undefined]],
      [{ gpus: 1 }, [0, 1, undefined]],
      [{ cpus: 4, gpus: 0.5, memory: 1e9 + 0.5 }, [4, 0.5, 1e9 + 1]],
    ];
    for (const [resources, expected] of given) {
      await engine.submit({ ...JOB, resources });
      const body = head.seen.at(-1)!.body!;
      assertEquals(
        [body.entrypoint_num_cpus, body.entrypoint_num_gpus, body.entrypoint_memory],
        expected,
      );
    }
    const selectors: [string[], string | undefined][] = [
      [[], undefined],
      [["node1"], "!node1"],
      [["node1", "gone", "node0"], "!in(node0,node1)"],
      [["node0", "node1", "node2"], undefined],
    ];
    for (const [avoid, expected] of selectors) {
      await engine.submit({ ...JOB, avoid });
      const selector = head.seen.at(-1)!.body!.entrypoint_label_selector;
      assertEquals(selector, expected && { "ray.io/node-id": expected });
    }
  }));

Deno.test("the end of a log is whole characters, wherever its JSON is cut", () =>
  withHead(async (engine, head) => {
    await engine.submit(JOB);
    const lines = Array.from({ length: 300 }, (_, i) => `${i} "\\" ☃ é\t\\u263a`);
    head.log = lines.join("\n");
    const whole = await engine.log("job", 1e6);
    assertEquals(whole, head.log);
    const bytes = new TextEncoder().encode(whole);
    for (let count = 200; count < 240; count++) {
      const end = await engine.log("job", count);
      assert(whole.endsWith(end.replace(/^\ufffd+/, "")), end);
      assertEquals(end, new TextDecoder().decode(bytes.subarray(-count)));
    }
  }));
