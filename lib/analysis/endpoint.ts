/**
 * A language model behind an address that the user gives: OpenAI's or Anthropic's interface, as many
 * providers and local servers speak them.
 *
 * What a call may cost is estimated and printed before the first request, and refused above a limit.
 * Answers are cached by the hash of what was asked, so a second run asks nothing. The key is read
 * from the environment when a request is made; it is never printed, cached or put into an error.
 *
 * @module
 */
import { setTimeout as wait } from "node:timers/promises";
import { progress } from "../display/mod.ts";
import { cacheDir, sha256, writeFileAtomic } from "../files/mod.ts";
import { whileRunning } from "../training/mod.ts";

/** Which interface a server speaks. */
export type EndpointKind = "openai" | "anthropic";

/** Where to ask, and what it may cost; see {@linkcode modelEndpoint}. */
export interface EndpointOptions {
  /** `"openai"` (chat completions, default) or `"anthropic"` (messages). */
  kind?: EndpointKind;
  /**
   * Address of the interface, such as `"http://localhost:8000/v1"`. Default: the environment variable
   * `INTERLENS_LABELS_URL`.
   */
  baseUrl?: string;
  /** Name of the model at that address. Default: the environment variable `INTERLENS_LABELS_MODEL`. */
  model?: string;
  /**
   * Name of the environment variable that holds the key. Default `OPENAI_API_KEY` or
   * `ANTHROPIC_API_KEY`. A server on this machine may do without.
   */
  keyVariable?: string;
  /** Price of a million tokens read and written, in any one currency; 0 and 0 for a server of yours. */
  price: { readonly input: number; readonly output: number };
  /** Most that one call of `labelFeatures` or `detectLabels` may cost, in that currency. */
  limit: number;
  /** Milliseconds that an answer may take; default 60,000. */
  timeout?: number;
  /** Requests for one answer at most; default 4. */
  attempts?: number;
  /** Milliseconds before the second request, doubled before each further one; default 1000. */
  retryDelay?: number;
  /** Requests at a time; default 4. */
  parallel?: number;
  /** Fields that are added to the body of each request; undefined takes one of ours away. */
  body?: Readonly<Record<string, unknown>>;
}

/** What asking would cost, at most. */
export interface CostEstimate {
  /** Answers that are not cached yet. */
  readonly requests: number;
  /** Answers that are. */
  readonly cached: number;
  /** Tokens read, counted as a third of the bytes, which is more than most tokenizers need. */
  readonly inputTokens: number;
  /** Tokens written if every answer is as long as it may be. */
  readonly outputTokens: number;
  /** At the prices given, in their currency. */
  readonly cost: number;
}

/** Prompts to answer. */
export interface Questions<T> {
  /** What is asked for, for messages, such as `"labels"`. */
  readonly what: string;
  /** The prompts. */
  readonly prompts: readonly string[];
  /** Longest answer in tokens. */
  readonly maxTokens: number;
  /**
   * Reads an answer.
   *
   * @throws {Error} If it is not of the form that was asked for; the message says what was expected.
   */
  parse(answer: string, index: number): T;
}

/** How to ask. */
export interface AskOptions {
  /** Folder of cached answers; default `data/cache/answers`. */
  cache?: string;
  /** Stops it; answers so far are cached. */
  signal?: AbortSignal;
}

/**
 * A refusal or failure of a server, or an answer that is not one.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { EndpointError, modelEndpoint } from "interlens";
 *
 * await using server = Deno.serve(
 *   { port: 0, hostname: "127.0.0.1", onListen: () => {} },
 *   () => new Response("no such model", { status: 404 }),
 * );
 * const endpoint = modelEndpoint({
 *   baseUrl: `http://127.0.0.1:${server.addr.port}/v1`,
 *   model: "tiny",
 *   price: { input: 0.5, output: 1.5 },
 *   limit: 0.01,
 * });
 * const questions = { what: "greetings", prompts: ["Say hello."], maxTokens: 20, parse: String };
 * const cache = await Deno.makeTempDir();
 * await assertRejects(() => endpoint.ask(questions, { cache }), EndpointError);
 * await Deno.remove(cache, { recursive: true });
 * ```
 */
export class EndpointError extends Error {
  override name = "EndpointError";
}

/** What another request may mend. */
class Passing extends EndpointError {
  constructor(message: string, readonly pause = 0) {
    super(message);
  }
}

const KEYS: Record<EndpointKind, string> = {
  openai: "OPENAI_API_KEY",
  anthropic: "ANTHROPIC_API_KEY",
};
const LONGEST_PAUSE_MS = 60_000;
const LONGEST_ANSWER_BYTES = 1 << 20;

/**
 * A model that answers prompts; made by `modelEndpoint`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ModelEndpoint } from "interlens";
 *
 * const endpoint = new ModelEndpoint({
 *   baseUrl: "http://localhost:8000/v1",
 *   model: "a-model",
 *   price: { input: 0.5, output: 1.5 }, // a million tokens
 *   limit: 0.1,
 * });
 * assertEquals([endpoint.kind, endpoint.model], ["openai", "a-model"]);
 * ```
 */
export class ModelEndpoint {
  /** Interface. */
  readonly kind: EndpointKind;
  /** Address that requests go to. */
  readonly url: string;
  /** Name of the model. */
  readonly model: string;
  readonly #keyVariable: string;
  readonly #options: EndpointOptions;

  /** Use {@linkcode modelEndpoint}. */
  constructor(options: EndpointOptions) {
    const { kind = "openai" } = options;
    if (!(kind in KEYS)) {
      throw new RangeError(
        `Cannot speak to an endpoint of kind "${kind}": expected "openai" or "anthropic"`,
      );
    }
    const base = options.baseUrl ?? Deno.env.get("INTERLENS_LABELS_URL") ?? "";
    const model = options.model ?? Deno.env.get("INTERLENS_LABELS_MODEL") ?? "";
    this.kind = kind;
    this.url = addressOf(base, kind);
    if (!model) {
      throw new RangeError(
        "Cannot ask a model without a name: give model, or set INTERLENS_LABELS_MODEL",
      );
    }
    this.model = model;
    this.#keyVariable = options.keyVariable ?? KEYS[kind];
    const { price, limit, timeout = 60_000, attempts = 4, retryDelay = 1000, parallel = 4 } =
      options;
    const least = { timeout: 1, attempts: 1, retryDelay: 0, parallel: 1, limit: 0 };
    const numbers = { timeout, attempts, retryDelay, parallel, limit };
    for (const [name, value] of Object.entries(numbers)) {
      if (!(value >= least[name as keyof typeof least] && Number.isFinite(value))) {
        throw new RangeError(
          `Cannot ask with ${name} = ${value}: expected a number from ` +
            `${least[name as keyof typeof least]} on`,
        );
      }
    }
    if (!(price?.input >= 0 && price?.output >= 0)) {
      throw new RangeError(
        "Cannot estimate the cost without a price: give price as { input, output }, each for a " +
          "million tokens; 0 for a server of yours",
      );
    }
    this.#options = { ...options, ...numbers };
  }

  /**
   * What asking would cost at most; nothing is sent.
   *
   * @throws {Error} If a cached answer cannot be read.
   */
  async estimate(questions: Questions<unknown>, options: AskOptions = {}): Promise<CostEstimate> {
    const { prompts, maxTokens } = questions;
    const cached = await Promise.all(
      prompts.map(async (prompt) => await this.#cached(prompt, maxTokens, options)),
    );
    const open = prompts.filter((_, i) => cached[i] === undefined);
    const bytes = open.reduce((sum, prompt) => sum + new TextEncoder().encode(prompt).length, 0);
    const inputTokens = Math.ceil(bytes / 3) + 16 * open.length;
    const outputTokens = maxTokens * open.length;
    const { input, output } = this.#options.price;
    return {
      requests: open.length,
      cached: prompts.length - open.length,
      inputTokens,
      outputTokens,
      cost: (inputTokens * input + outputTokens * output) / 1e6,
    };
  }

  /**
   * Answers, read by `parse`, in the order of the prompts.
   *
   * @throws {RangeError} If it could cost more than the limit; nothing was sent then.
   * @throws {EndpointError} If the server refuses, fails or answers in another form; what was
   * answered before is cached.
   */
  async ask<T>(questions: Questions<T>, options: AskOptions = {}): Promise<T[]> {
    const { what, prompts, maxTokens, parse } = questions;
    const { limit, parallel = 4 } = this.#options;
    const estimate = await this.estimate(questions, options);
    const { requests, cached, inputTokens, outputTokens, cost } = estimate;
    const count = (n: number) => n.toLocaleString("en");
    console.log(
      `${what}: ${count(requests)} requests to ${this.model}, about ${count(inputTokens)} tokens ` +
        `read and at most ${count(outputTokens)} written, at most ${cost.toPrecision(2)} at the ` +
        `prices given (limit ${limit}); ${count(cached)} answers are cached`,
    );
    if (cost > limit) {
      throw new RangeError(
        `Asking for ${what} could cost ${cost.toPrecision(2)}, more than the limit of ${limit}: ` +
          `raise limit, or ask for fewer features`,
      );
    }
    const answers = new Array<T>(prompts.length);
    const failed = new AbortController();
    const signal = options.signal
      ? AbortSignal.any([options.signal, failed.signal])
      : failed.signal;
    const line = progress(`Asking for ${what}`, {
      total: Math.max(1, prompts.length),
      unit: "answers",
    });
    let [next, done] = [0, 0];
    const worker = async () => {
      while (next < prompts.length) {
        signal.throwIfAborted();
        const index = next++;
        const before = await this.#cached(prompts[index], maxTokens, options);
        const answer = before ?? await this.#persist(prompts[index], maxTokens, signal);
        answers[index] = this.#read(answer, what, () => parse(answer, index));
        if (before === undefined) await this.#keep(prompts[index], maxTokens, answer, options);
        line.update(++done);
      }
    };
    await whileRunning(options.signal, async () => {
      const workers = Array.from({ length: parallel }, () =>
        worker().catch((error) => {
          failed.abort(error);
          throw error;
        }));
      const ended = await Promise.allSettled(workers);
      options.signal?.throwIfAborted();
      const first = ended.find((end) => end.status === "rejected");
      if (first) throw failed.signal.reason;
    });
    line.finish();
    return answers;
  }

  #read<T>(answer: string, what: string, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      throw new EndpointError(
        `"${this.model}" gave an answer to a question for ${what} that cannot be used, ` +
          `${quoted(answer)}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  async #path(prompt: string, maxTokens: number, { cache }: AskOptions): Promise<string> {
    const { kind, url, model } = this;
    const { body = {} } = this.#options;
    const hash = await sha256(JSON.stringify([kind, url, model, prompt, maxTokens, body]));
    return `${cache ?? cacheDir("answers")}/${hash.slice(0, 32)}.json`;
  }

  async #cached(
    prompt: string,
    maxTokens: number,
    options: AskOptions,
  ): Promise<string | undefined> {
    const path = await this.#path(prompt, maxTokens, options);
    let text: string;
    try {
      text = await Deno.readTextFile(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    try {
      const { answer } = JSON.parse(text);
      if (typeof answer === "string") return answer;
    } catch {
      // Said below.
    }
    throw new Error(`Cannot read the cached answer "${path}": delete it to ask again`);
  }

  async #keep(
    prompt: string,
    maxTokens: number,
    answer: string,
    options: AskOptions,
  ): Promise<void> {
    const { model, url } = this;
    const path = await this.#path(prompt, maxTokens, options);
    await writeFileAtomic(path, JSON.stringify({ model, url, prompt, answer }, null, 2) + "\n");
  }

  async #persist(prompt: string, maxTokens: number, signal: AbortSignal): Promise<string> {
    const { attempts = 4, retryDelay = 1000 } = this.#options;
    for (let failures = 1;; failures++) {
      try {
        return await this.#request(prompt, maxTokens, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Passing)) throw error;
        if (failures >= attempts) {
          throw new EndpointError(`${error.message}; gave up after ${attempts} requests`);
        }
        const pause = Math.max(error.pause, retryDelay * 2 ** (failures - 1));
        await wait(Math.min(pause, LONGEST_PAUSE_MS), undefined, { signal });
      }
    }
  }

  async #request(prompt: string, maxTokens: number, signal: AbortSignal): Promise<string> {
    const { timeout = 60_000, body } = this.#options;
    const key = this.#key();
    const late = AbortSignal.timeout(timeout);
    let response: Response;
    let text: string;
    try {
      response = await fetch(this.url, {
        method: "POST",
        // A redirect would take the key to another place.
        redirect: "manual",
        headers: {
          "content-type": "application/json",
          ...this.kind === "anthropic"
            ? { "anthropic-version": "2023-06-01", ...key && { "x-api-key": key } }
            : key && { authorization: `Bearer ${key}` },
        },
        body: JSON.stringify({
          model: this.model,
          max_tokens: maxTokens,
          temperature: 0,
          messages: [{ role: "user", content: prompt }],
          ...body,
        }),
        signal: AbortSignal.any([signal, late]),
      });
      text = await boundedText(response);
    } catch (error) {
      if (error instanceof EndpointError) throw error;
      signal.throwIfAborted();
      if (late.aborted) {
        throw new Passing(`"${this.url}" gave no answer in ${timeout / 1000} s`);
      }
      throw new Passing(
        `Cannot reach "${this.url}": ${this.#withoutKey(String((error as Error).message), key)}`,
      );
    }
    if (response.status !== 200) throw this.#refusal(response, this.#withoutKey(text, key));
    const answer = answerOf(text, this.kind);
    if (answer === undefined) {
      throw new EndpointError(
        `"${this.url}" answered in another form than ${this.kind}'s, ` +
          `${quoted(this.#withoutKey(text, key))}: check kind and the address`,
      );
    }
    return answer;
  }

  #key(): string | undefined {
    const key = Deno.env.get(this.#keyVariable)?.trim();
    if (!key) {
      if (isLocal(this.url)) return undefined;
      throw new EndpointError(
        `Cannot ask "${this.url}" without a key: set the environment variable ${this.#keyVariable}`,
      );
    }
    if (!/^[\x21-\x7e]+$/.test(key)) {
      throw new EndpointError(
        `The key in ${this.#keyVariable} holds characters that no key has: set it again`,
      );
    }
    if (!this.url.startsWith("https:") && !isLocal(this.url)) {
      throw new EndpointError(
        `The key in ${this.#keyVariable} is not sent to "${this.url}", which is not encrypted: give ` +
          `an address with https`,
      );
    }
    return key;
  }

  #withoutKey(text: string, key: string | undefined): string {
    return key ? text.replaceAll(key, "…") : text;
  }

  #refusal(response: Response, text: string): EndpointError {
    const { status } = response;
    const said = text.trim() ? `: ${quoted(text)}` : "";
    if (status === 401 || status === 403) {
      return new EndpointError(
        `"${this.url}" refuses the key in ${this.#keyVariable} (${status})${said}; set one that may ` +
          `use "${this.model}"`,
      );
    }
    if (status === 404) {
      return new EndpointError(
        `"${this.url}" does not know the model "${this.model}" or the address is wrong (404)${said}`,
      );
    }
    if (status === 408 || status === 429 || status >= 500) {
      const why = status === 429 ? "has had too many requests (429)" : `failed (${status})`;
      const pause = 1000 * Number(response.headers.get("retry-after") ?? 0);
      return new Passing(`"${this.url}" ${why}${said}`, pause > 0 ? pause : 0);
    }
    if (status >= 300 && status < 400) {
      return new EndpointError(
        `"${this.url}" redirects (${status}): give the address that it leads to`,
      );
    }
    return new EndpointError(`"${this.url}" refuses the request (${status})${said}`);
  }
}

/**
 * A language model behind an address of your choice.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { modelEndpoint } from "interlens";
 *
 * const endpoint = modelEndpoint({
 *   baseUrl: "http://localhost:8000/v1",
 *   model: "a-model",
 *   price: { input: 0.5, output: 1.5 }, // a million tokens
 *   limit: 0.1,
 * });
 * const { requests, outputTokens } = await endpoint.estimate({
 *   what: "greetings",
 *   prompts: ["Say hello."],
 *   maxTokens: 20,
 *   parse: (answer) => answer,
 * });
 * assertEquals([requests, outputTokens], [1, 20]);
 * ```
 *
 * @param options Where, which model, and what it may cost.
 * @throws {RangeError} If the address, the model or the price is missing, or an option is out of
 * range; an address that holds a user name or parameters is refused, because it is cached and shown.
 */
export function modelEndpoint(options: EndpointOptions): ModelEndpoint {
  return new ModelEndpoint(options);
}

function addressOf(base: string, kind: EndpointKind): string {
  if (!base) {
    throw new RangeError(
      "Cannot ask a model without an address: give baseUrl, or set INTERLENS_LABELS_URL",
    );
  }
  const url = URL.canParse(base) ? new URL(base) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new RangeError(`Cannot ask at "${base}": expected an address with http or https`);
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new RangeError(
      `Cannot ask at an address of "${url.host}" with a user name or parameters: give the address ` +
        `alone, and the key in the environment`,
    );
  }
  const path = url.pathname.replace(/\/+$/, "");
  if (kind === "openai") return `${url.origin}${path}/chat/completions`;
  return `${url.origin}${path.replace(/\/v1$/, "")}/v1/messages`;
}

function isLocal(url: string): boolean {
  return ["localhost", "127.0.0.1", "[::1]"].includes(new URL(url).hostname);
}

/** The text of an answer; undefined if the body is not of the interface's form. */
function answerOf(body: string, kind: EndpointKind): string | undefined {
  try {
    const json = JSON.parse(body);
    const text = kind === "openai"
      ? json.choices[0].message.content
      : json.content.find(({ type }: { type: string }) => type === "text").text;
    return typeof text === "string" ? text : undefined;
  } catch {
    return undefined;
  }
}

async function boundedText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ["", 0];
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > LONGEST_ANSWER_BYTES) {
      throw new EndpointError(
        `"${response.url}" sent more than ${LONGEST_ANSWER_BYTES} bytes: check the address`,
      );
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The start of a foreign text, on one line. */
function quoted(text: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what is replaced
  const line = text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim();
  return `"${line.length > 200 ? `${line.slice(0, 200)}…` : line}"`;
}
