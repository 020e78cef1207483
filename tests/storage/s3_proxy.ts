/**
 * What stands between a client and the real S3 server and spoils answers as planned.
 *
 * @module
 */

/** What goes wrong with one request. */
export type Fault =
  /** Another status, with the code that the server would give. */
  | { status: number; code?: string }
  /** No answer until the proxy is closed. */
  | { silent: true }
  /** The connection breaks after so many bytes of the answer's body. */
  | { dropAfter: number; noLength?: true }
  /** The answer does not say how long it is. */
  | { noLength: true }
  /** Nothing more comes after so many bytes, but the connection stays. */
  | { stallAfter: number }
  /** Other bytes of the same length. */
  | { wrong: true }
  /** The server does it, and its answer is lost. */
  | { loseAnswer: true }
  /** Something happens on the server before the request reaches it. */
  | { before: () => Promise<unknown> };

/** A request that arrived. */
export interface Seen {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Header `Range`, or null. */
  readonly range: string | null;
}

/** A running proxy; see {@linkcode serveProxy}. */
export interface S3Proxy extends AsyncDisposable {
  readonly endpoint: string;
  /** All requests so far, oldest first. */
  readonly requests: Seen[];
  /**
   * Plans faults: each spoils one request, in this order, of this method and with this in its path.
   *
   * @returns Takes back the faults that are left.
   */
  fail(method: string, inPath: string, faults: Fault[]): () => void;
}

/** Passes requests on to a server at `target` until disposed. */
export function serveProxy(target: string): S3Proxy {
  const requests: Seen[] = [];
  const plans: { method: string; inPath: string; faults: Fault[] }[] = [];
  const closed = Promise.withResolvers<void>();
  const onError = (error: unknown) => {
    if (!closing && (error as Error).message !== "planned") console.error(error);
    return new Response(null, { status: 500 });
  };
  let closing = false;
  const where = { port: 0, hostname: "127.0.0.1", onListen() {}, onError };
  const server = Deno.serve(where, async (request) => {
    const path = request.url.slice(new URL(request.url).origin.length);
    requests.push({ method: request.method, path, range: request.headers.get("range") });
    const fault: Record<string, unknown> = plans
      .find((plan) =>
        plan.method === request.method && path.includes(plan.inPath) && plan.faults.length > 0
      )?.faults.shift() ?? {};
    if ("silent" in fault) await closed.promise;
    if (closing) return new Response(null, { status: 503 });
    if (typeof fault.status === "number") {
      await request.body?.cancel();
      const code = fault.code ?? "InternalError";
      const xml = `<Error><Code>${code}</Code><Message>planned</Message></Error>`;
      return new Response(request.method === "HEAD" ? null : xml, { status: fault.status });
    }
    if (fault.before) await (fault.before as () => Promise<unknown>)();
    const headers = new Headers(request.headers);
    headers.set("accept-encoding", "identity");
    const { method, body } = request;
    const answer = await fetch(target + path, { method, headers, body });
    const answered = { status: answer.status, headers: new Headers(answer.headers) };
    if (method === "HEAD" || answer.status === 204) {
      await answer.body?.cancel();
      return new Response(null, answered);
    }
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if ("loseAnswer" in fault) return new Response(null, { status: 500 });
    if ("wrong" in fault) return new Response(bytes.map((byte) => byte ^ 1), answered);
    if ("noLength" in fault) answered.headers.delete("content-length");
    const cut = (fault.dropAfter ?? fault.stallAfter) as number | undefined;
    const end = cut ?? ("noLength" in fault ? bytes.length : undefined);
    if (end === undefined) return new Response(bytes, answered);
    let sent = 0;
    const stream = new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (sent < end) {
          const chunk = bytes.subarray(sent, Math.min(sent + (1 << 16), end));
          sent += chunk.length;
          return controller.enqueue(chunk);
        }
        if (cut === undefined) return controller.close();
        if ("stallAfter" in fault) return await closed.promise;
        // What was sent should arrive before the connection breaks.
        await new Promise((resolve) => setTimeout(resolve, 50));
        controller.error(new Error("planned"));
      },
    });
    return new Response(stream, answered);
  });
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    requests,
    fail(method, inPath, faults) {
      const plan = { method, inPath, faults: [...faults] };
      plans.unshift(plan);
      return () => void plan.faults.splice(0);
    },
    async [Symbol.asyncDispose]() {
      closing = true;
      closed.resolve();
      await server.shutdown();
    },
  };
}
