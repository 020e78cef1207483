/**
 * Requests to a hub: the token goes to the hub's own origin and nowhere else, silence counts as a
 * dropped connection, and what may pass by itself is tried again.
 *
 * @module
 */
import { setTimeout as wait } from "node:timers/promises";
import type { Place } from "./repo.ts";

/** How to ask. */
export interface HubOptions {
  /** Stops it; what was downloaded is kept and resumed by the next call. */
  signal?: AbortSignal;
  /** Milliseconds before the second attempt, doubled before each further one; default 500. */
  retryDelay?: number;
}

/** A refusal or failure of the hub; `absent` if it says that there is no such thing. */
export class HubError extends Error {
  override name = "HubError";
  constructor(message: string, readonly absent: boolean = false, cause?: unknown) {
    super(message, { cause });
  }
}

/** What another attempt may mend: a dropped connection, a busy or broken server. */
export class Transient extends HubError {
  constructor(message: string, readonly pause: number = 0, cause?: unknown) {
    super(message, false, cause);
  }
}

const REDIRECTS = 10;
/** Attempts in a row that may bring nothing. */
const ATTEMPTS = 5;
/** Bytes that make an attempt count as one that brought something. */
const PROGRESS_BYTES = 1 << 20;
const LONGEST_PAUSE_MS = 60_000;

/**
 * Tries until it succeeds, with growing pauses.
 *
 * @param attempt What to do; only a {@linkcode Transient} failure is tried again.
 * @param options.attempts Attempts in a row that may bring nothing; default 5.
 * @param options.progress Bytes so far: after a megabyte more, attempts count anew.
 */
export async function persist<T>(
  attempt: () => Promise<T>,
  { signal, retryDelay = 500, attempts = ATTEMPTS, progress = () => 0 }: HubOptions & {
    attempts?: number;
    progress?: () => number;
  },
): Promise<T> {
  let before = progress();
  for (let failures = 0;;) {
    signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Transient)) throw error;
      if (progress() - before >= PROGRESS_BYTES) {
        failures = 0;
        before = progress();
      }
      if (++failures >= attempts) throw error;
      const pause = Math.max(error.pause, retryDelay * 2 ** (failures - 1));
      await wait(Math.min(pause, LONGEST_PAUSE_MS), undefined, { signal }).catch(() => {});
    }
  }
}

/** An answer whose body, if it is read, is read with patience. */
export class Answer implements AsyncDisposable {
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #silence = new AbortController();
  readonly #what: string;
  readonly #place: Place;
  readonly #signal: AbortSignal | undefined;
  #response: Response | undefined;
  /** Headers of the last answer, and of redirects before it where it has none of that name. */
  readonly headers: Headers = new Headers();

  private constructor(what: string, place: Place, signal: AbortSignal | undefined) {
    this.#what = what;
    this.#place = place;
    this.#signal = signal;
  }

  /**
   * Asks, and follows redirects: a GET anywhere, a HEAD within the hub, because the hub itself
   * knows a file's commit and checksum.
   *
   * @param url Address on the hub.
   * @param options.what What is asked for, for messages.
   * @param options.start First byte that is wanted, if not all are.
   * @throws {HubError} If the hub says no; {@linkcode Transient} if it may say yes another time.
   */
  static async to(url: string, { place, what, method = "GET", start = 0, signal }: {
    place: Place;
    what: string;
    method?: "GET" | "HEAD";
    start?: number;
    signal?: AbortSignal;
  }): Promise<Answer> {
    const { endpoint, token } = place.settings;
    const home = new URL(endpoint).origin;
    const answer = new Answer(what, place, signal);
    try {
      for (let i = 0; i <= REDIRECTS; i++) {
        const atHome = new URL(url).origin === home;
        const response = answer.#response = await answer.#hear(fetch(url, {
          method,
          redirect: "manual",
          signal: answer.#silence.signal,
          headers: {
            // Lengths and ranges count bytes of the file, not of a compressed one.
            "accept-encoding": "identity",
            ...(start > 0 && { range: `bytes=${start}-` }),
            ...(atHome && token && { authorization: `Bearer ${token}` }),
          },
        }));
        for (const [name, value] of response.headers) answer.headers.set(name, value);
        const location = response.headers.get("location");
        if (response.status < 300 || response.status >= 400 || !location) {
          if (response.status === 200 || response.status === 206) return answer;
          throw refusal(place, response, { what, atHome });
        }
        if (!URL.canParse(location, url) || !/^https?:/.test(new URL(location, url).protocol)) {
          throw new HubError(
            `"${endpoint}" redirects ${what} to "${location}", which is no address`,
          );
        }
        url = new URL(location, url).href;
        if (method === "HEAD" && new URL(url).origin !== home) return answer;
        await response.body?.cancel();
      }
      throw new HubError(`"${endpoint}" redirects ${what} more than ${REDIRECTS} times`);
    } catch (error) {
      await answer[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** HTTP status. */
  get status(): number {
    return this.#response!.status;
  }

  /** The body as JSON. */
  async json(): Promise<unknown> {
    const text = new TextDecoder();
    let json = "";
    for await (const chunk of this.body()) json += text.decode(chunk, { stream: true });
    try {
      return JSON.parse(json + text.decode());
    } catch (error) {
      throw new Transient(`"${this.#place.settings.endpoint}" answered with no JSON`, 0, error);
    }
  }

  /** The body, in chunks. */
  async *body(): AsyncGenerator<Uint8Array> {
    const reader = this.#response!.body?.getReader();
    while (reader) {
      const { done, value } = await this.#hear(reader.read());
      if (done) return;
      yield value;
    }
  }

  /** Lets go of the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#silence.abort();
    await this.#response?.body?.cancel().catch(() => {});
  }

  /** Waits for the network: for as long as patience allows, and until the caller stops. */
  async #hear<T>(event: Promise<T>): Promise<T> {
    const { id, settings: { endpoint, patience } } = this.#place;
    const stop = () => this.#silence.abort();
    this.#timer = setTimeout(stop, patience);
    this.#signal?.addEventListener("abort", stop);
    if (this.#signal?.aborted) stop();
    try {
      return await event;
    } catch (error) {
      this.#signal?.throwIfAborted();
      const reason = this.#silence.signal.aborted
        ? `nothing came for ${patience / 1000} s`
        : innermost(error).split(/: /).at(-1);
      throw new Transient(
        `"${endpoint}" cannot be reached for ${this.#what} of "${id}" (${reason}): check the network, ` +
          `HF_ENDPOINT and the proxy, or set HF_HUB_OFFLINE=1 to use what the cache has`,
        0,
        error,
      );
    } finally {
      clearTimeout(this.#timer);
      this.#signal?.removeEventListener("abort", stop);
    }
  }
}

function innermost(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : innermost(error.cause);
}

/** The sentence for an answer that brings nothing. */
function refusal(
  { id, kind, revision, settings: { endpoint, token } }: Place,
  { status, headers, url }: Response,
  { what, atHome }: { what: string; atHome: boolean },
): HubError {
  if (!atHome) {
    // Its address was good for a while only: the hub gives another one.
    return new Transient(`The storage "${new URL(url).host}" answered ${status} for ${what}`);
  }
  if (status === 401 || status === 403) {
    const page = `${endpoint}/${kind === "dataset" ? "datasets/" : ""}${id}`;
    return new HubError(
      `The hub refuses the ${kind} "${id}" (status ${status}): it is private, its licence must be ` +
        `accepted, or there is none of this name. Check the name, ` +
        (token ? "whether the token may read it" : "set HF_TOKEN to a token that may read it") +
        `, and accept the licence at "${page}"`,
    );
  }
  if (status === 404) {
    const code = headers.get("x-error-code");
    const missing = code === "RevisionNotFound"
      ? `The ${kind} "${id}" has no revision "${revision}"`
      : code === "EntryNotFound"
      ? `The ${kind} "${id}" has no ${what} at revision "${revision}"`
      : `"${endpoint}" has no ${kind} "${id}": check the name, and whether it is a model or a dataset`;
    return new HubError(missing, true);
  }
  if (status === 408 || status === 429 || status >= 500) {
    const after = Number(headers.get("retry-after") ?? 0);
    const meaning = status === 429 ? "it was asked too often" : "it has a problem";
    return new Transient(
      `"${endpoint}" answered ${status} for ${what} of "${id}": ${meaning}; try again later`,
      after > 0 ? after * 1000 : 0,
    );
  }
  return new HubError(`"${endpoint}" answered ${status} for ${what} of "${id}": expected 200`);
}
