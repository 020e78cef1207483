/**
 * Requests to the head of a Ray cluster: with time limits, and with errors that say what is wrong
 * and hold nothing secret.
 *
 * @module
 */
import { EngineUnavailable } from "./engine.ts";

/** How to reach a head. */
export interface HeadOptions {
  /** Headers of every request. */
  headers?: Readonly<Record<string, string>>;
  /** PEM file of further authorities. */
  ca?: string;
}

/** What a head answered: a status below 300, or one of those that the caller asked for. */
export interface Answer {
  readonly status: number;
  readonly text: string;
  /** Where a redirection leads. */
  readonly location?: string;
}

interface RequestOptions {
  body?: string | Uint8Array<ArrayBuffer>;
  /** Statuses that are answers and no failures. */
  expect?: readonly number[];
  /** Seconds until the head counts as unavailable. Default 30. */
  seconds?: number;
  /** Bytes at the end of the answer to keep. Default: all. */
  last?: number;
}

/** A head of a Ray cluster. */
export class RayHead implements Disposable {
  /** Its address as it may be shown. */
  readonly address: string;
  readonly #headers: Headers;
  readonly #client: Deno.HttpClient;

  /**
   * @param address Address of its dashboard. A user and a password in it become a header.
   * @throws {TypeError} If that is no address of HTTP, or a header cannot be sent.
   * @throws {Error} If the file of authorities cannot be read.
   */
  constructor(address: string, { headers = {}, ca }: HeadOptions = {}) {
    const url = parseAddress(address);
    try {
      this.#headers = new Headers(headers);
    } catch {
      throw new TypeError(
        `Cannot send the headers ${quoted(Object.keys(headers))} to a Ray head: a name or a ` +
          "value holds what no header may",
      );
    }
    if (url.username !== "" && !this.#headers.has("authorization")) {
      const user = `${decoded(url.username)}:${decoded(url.password)}`;
      const base64 = new TextEncoder().encode(user).toBase64();
      this.#headers.set("authorization", `Basic ${base64}`);
    }
    this.address = `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
    this.#client = Deno.createHttpClient(ca === undefined ? {} : { caCerts: [readPem(ca)] });
  }

  /**
   * Asks the head.
   *
   * @throws {EngineUnavailable} If it does not answer, or with a failure of its own.
   * @throws {Error} If it refuses, or if something else than a Ray head answers.
   */
  async request(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const { body, expect = [], seconds = 30, last = Infinity } = options;
    let response: Response, text: string;
    const headers = new Headers(this.#headers);
    if (typeof body === "string") headers.set("content-type", "application/json");
    try {
      response = await fetch(this.address + path, {
        ...{ method, headers, body, client: this.#client, redirect: "manual" },
        signal: AbortSignal.timeout(seconds * 1000),
      });
      text = await readEnd(response, last);
    } catch (error) {
      throw this.#unreachable(error, seconds);
    }
    const { status } = response;
    if (response.ok || expect.includes(status)) return { status, text };
    const location = response.headers.get("location") ?? undefined;
    throw this.refusal(method, path, { status, text, location });
  }

  /** Asks the head for JSON; see {@linkcode request}. */
  async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    return this.parse(path, (await this.request(method, path, options)).text);
  }

  /**
   * Reads an answer as JSON.
   *
   * @throws {Error} If it is none.
   */
  parse<T>(path: string, text: string): T {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(
        `"${this.address}" is no dashboard of a Ray head: it answers "${path}" with something ` +
          "else than JSON",
      );
    }
  }

  #unreachable(error: unknown, seconds: number): Error {
    if (error instanceof DOMException && error.name === "TimeoutError") {
      return new EngineUnavailable(
        `The Ray head at "${this.address}" does not answer within ${seconds} s`,
        { cause: error },
      );
    }
    let first = error;
    while (first instanceof Error && first.cause instanceof Error) first = first.cause;
    const said = first instanceof Error ? first.message : String(first);
    const around = /^error sending request .*?\): (client error \(\w+\): )?/s;
    const reason = this.#censored(said.replace(around, ""));
    if (/certificate/i.test(reason)) {
      return new Error(
        `The certificate of "${this.address}" is not trusted (${reason}): name the PEM file of ` +
          'its authority as "ca"',
        { cause: error },
      );
    }
    return new EngineUnavailable(
      `Cannot reach a Ray head at "${this.address}": ${reason}`,
      { cause: error },
    );
  }

  /** The error for an answer that is a failure; one that may pass is an {@linkcode EngineUnavailable}. */
  refusal(method: string, path: string, { status, text, location = "" }: Answer): Error {
    const names = [...this.#headers.keys()];
    const said = this.#censored(lastLine(text));
    if (status >= 300 && status < 400) {
      const target = URL.parse(location, this.address);
      return new Error(
        `"${this.address}" sends to ${
          target ? `"${target.origin}${target.pathname}"` : "nowhere"
        } ` +
          "in place of an answer: give the address behind it, and the headers that it wants",
      );
    }
    if (status === 401 || status === 403 || status === 407) {
      return new Error(
        `The Ray head at "${this.address}" refuses with ${status}${said && ` (${said})`}: ${
          names.length > 0
            ? `it does not accept the headers ${quoted(names)}`
            : 'it wants an authentication in "headers"'
        }`,
      );
    }
    if (status === 404 || status === 405) {
      return new Error(
        `"${this.address}" is no dashboard of a Ray head: it answers "${path}" with ${status}. ` +
          "Give the address that shows the dashboard, with its path if it has one",
      );
    }
    const message = `The Ray head at "${this.address}" answers ${method} "${path}" with ${status}` +
      (said && `: ${said}`);
    return status >= 500 || status === 429 ? new EngineUnavailable(message) : new Error(message);
  }

  /** A text of somebody else without what was sent in headers. */
  #censored(text: string): string {
    let censored = text;
    for (const value of this.#headers.values()) {
      const parts = value.split(/\s+/).filter((part) => part.length > 3);
      for (const secret of [value, ...parts]) censored = censored.replaceAll(secret, "…");
    }
    return censored;
  }

  /** Closes its connections. */
  [Symbol.dispose](): void {
    this.#client.close();
  }
}

function parseAddress(address: string): URL {
  const url = URL.parse(address);
  // Behind a password with "/", "?" or "#" an address looks as if it had ended before.
  const cut = url && `${url.pathname}${url.search}${url.hash}`.includes("@");
  if (url && !cut && (url.protocol === "http:" || url.protocol === "https:")) {
    url.search = "";
    return url;
  }
  // What cannot be read may hold a password.
  const shown = address.replace(/^([\w+.-]+:\/\/)?.*@/s, "$1");
  throw new TypeError(
    `Cannot reach a Ray cluster at "${shown}": give the address of its dashboard, such as ` +
      '"http://127.0.0.1:8265"' +
      (/^ray:/.test(address) ? '; "ray://" is the address for Python clients' : "") +
      (cut ? '; in a password write "/" as %2F and "@" as %40' : ""),
  );
}

/** A user or a password as it stands in an address. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new TypeError(
      "Cannot read the user and the password in the address of a Ray head: write % as %25",
    );
  }
}

function readPem(path: string): string {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (cause) {
    throw new Error(`Cannot read the certificates in "${path}"`, { cause });
  }
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw new Error(`Cannot use "${path}" as "ca": it holds no certificate in PEM format`);
}

/** The last bytes of a body as text, from the start of a character on, in memory for no more. */
async function readEnd(response: Response, last: number): Promise<string> {
  let kept: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    kept.push(chunk);
    size += chunk.length;
    while (size - kept[0].length >= last) size -= kept.shift()!.length;
  }
  if (kept.length !== 1) {
    const whole = new Uint8Array(size);
    let offset = 0;
    for (const chunk of kept) {
      whole.set(chunk, offset);
      offset += chunk.length;
    }
    kept = [whole];
  }
  return new TextDecoder().decode(kept[0].subarray(Math.max(0, size - last)));
}

/** What a Python traceback says in the end, shortened. */
export function lastLine(text: string): string {
  const lines = text.trim().split("\n").map((line) => line.trim());
  const line = lines.findLast((line) => /\w/.test(line) && !line.startsWith("<")) ?? "";
  return line.length > 300 ? `${line.slice(0, 299)}…` : line;
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(", ");
}
