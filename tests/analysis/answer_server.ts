/** A server on this machine that answers prompts as a provider does. */

/** A request that arrived. */
export interface SeenPrompt {
  readonly path: string;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
  readonly prompt: string;
}

/** A running server. */
export interface AnswerServer extends AsyncDisposable {
  /** Address without a path. */
  readonly origin: string;
  /** Requests so far. */
  readonly seen: SeenPrompt[];
  /** Answers for the next requests, in their order; after them every prompt gets `answer`. */
  readonly next: (() => Response | Promise<Response>)[];
}

/** An answer in OpenAI's form. */
export const openai = (text: string) =>
  Response.json({ choices: [{ message: { role: "assistant", content: text } }] });

/** An answer in Anthropic's form. */
export const anthropic = (text: string) => Response.json({ content: [{ type: "text", text }] });

/** Serves until it is disposed of. */
export function serveAnswers(answer: (prompt: string) => Response): AnswerServer {
  const seen: SeenPrompt[] = [];
  const next: AnswerServer["next"] = [];
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    async (request) => {
      const body = await request.json();
      const prompt = body.messages[0].content;
      seen.push({ path: new URL(request.url).pathname, headers: request.headers, body, prompt });
      return await (next.shift() ?? (() => answer(prompt)))();
    },
  );
  return {
    origin: `http://127.0.0.1:${server.addr.port}`,
    seen,
    next,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
