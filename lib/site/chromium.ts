/**
 * A headless Chromium that draws a page and says what it sees, over the DevTools protocol: enough to
 * turn figures into PNGs and to test pages, without a package of its own.
 *
 * @module
 */
import { delimiter, join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];
const ELSEWHERE = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

/**
 * Path of an installed Chromium or Chrome, or undefined. The environment variable
 * `INTERLENS_CHROMIUM` names another one; empty, it says that there is none.
 */
export async function findChromium(): Promise<string | undefined> {
  const chosen = Deno.env.get("INTERLENS_CHROMIUM");
  if (chosen !== undefined) return chosen || undefined;
  const folders = (Deno.env.get("PATH") ?? "").split(delimiter).filter(Boolean);
  const paths = [...NAMES.flatMap((name) => folders.map((folder) => join(folder, name)))];
  for (const path of [...paths, ...ELSEWHERE]) {
    if (await Deno.stat(path).then((stat) => stat.isFile, () => false)) return path;
  }
}

/** How a tab looks at its page. */
export interface View {
  /** Width in CSS pixels. */
  width: number;
  /** Height in CSS pixels. */
  height: number;
  /** Dark colours preferred. Default false. */
  dark?: boolean;
  /** Styles of print instead of those of a screen. Default false. */
  print?: boolean;
}

interface Message {
  id?: number;
  method?: string;
  sessionId?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
}

/** A running Chromium. Close it. */
export class Chromium {
  readonly #child: Deno.ChildProcess;
  readonly #socket: WebSocket;
  readonly #profile: string;
  readonly #listening: Promise<void>;
  readonly #closed: Promise<void>;
  readonly #waiting = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  readonly #tabs = new Map<string, Tab>();
  #next = 1;

  private constructor(
    child: Deno.ChildProcess,
    socket: WebSocket,
    profile: string,
    listening: Promise<void>,
  ) {
    this.#listening = listening;
    const closed = Promise.withResolvers<void>();
    this.#child = child;
    this.#socket = socket;
    this.#profile = profile;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.#closed = closed.promise;
    socket.onclose = () => {
      closed.resolve();
      for (const { reject } of this.#waiting.values()) reject(new Error("Chromium has ended"));
      this.#waiting.clear();
    };
  }

  /**
   * Starts a Chromium that can reach no host but this one's files.
   *
   * @param path The program, as `findChromium` gives it.
   * @throws {Error} If it does not start within half a minute.
   */
  static async open(path: string): Promise<Chromium> {
    const profile = await Deno.makeTempDir({ prefix: "interlens-chromium-" });
    const command = new Deno.Command(path, {
      args: [
        "--headless",
        // The sandbox refuses to run as root, as in a container.
        ...(Deno.build.os !== "windows" && Deno.uid() === 0 ? ["--no-sandbox"] : []),
        "--disable-gpu",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--remote-debugging-port=0",
        `--user-data-dir=${profile}`,
        "about:blank",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    });
    let child: Deno.ChildProcess | undefined;
    let listening: Promise<void> | undefined;
    const address = Promise.withResolvers<string>();
    const timer = setTimeout(() => address.reject(new Error("it said nothing for 30 s")), 30_000);
    try {
      child = command.spawn();
      listening = readLines(child.stderr, (line) => {
        const match = /^DevTools listening on (ws:\S+)/.exec(line);
        if (match) address.resolve(match[1]);
      }).then(() => address.reject(new Error("it ended at once")));
      const socket = new WebSocket(await address.promise);
      await new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = () => reject(new Error("its DevTools do not answer"));
      });
      return new Chromium(child, socket, profile, listening);
    } catch (error) {
      if (child) {
        kill(child);
        await child.status;
        await listening;
      }
      await Deno.remove(profile, { recursive: true }).catch(() => {});
      throw new Error(
        `Cannot start "${path}": ${(error as Error).message}. Check that "${path} --headless ` +
          `about:blank" runs, or set INTERLENS_CHROMIUM to another one, or to nothing`,
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  /** Opens an empty page. */
  async tab(view: View): Promise<Tab> {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(this, sessionId as string, targetId as string);
    this.#tabs.set(sessionId as string, tab);
    for (const domain of ["Page", "Runtime", "Network", "Log"]) await tab.send(`${domain}.enable`);
    await tab.view(view);
    return tab;
  }

  /**
   * Sends a command of the DevTools protocol.
   *
   * @throws {Error} If Chromium refuses it.
   */
  send(
    method: string,
    params: Record<string, unknown> = {},
    sessionId?: string,
  ): Promise<Record<string, unknown>> {
    const id = this.#next++;
    const answer = Promise.withResolvers<Record<string, unknown>>();
    this.#waiting.set(id, answer);
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return answer.promise;
  }

  /** Ends Chromium and removes what it wrote. */
  async close(): Promise<void> {
    const patience = setTimeout(() => kill(this.#child), 5000);
    await this.send("Browser.close").catch(() => {});
    await this.#child.status;
    clearTimeout(patience);
    await this.#closed;
    await this.#listening;
    // Its helpers may still be writing for a moment.
    for (let attempt = 0; attempt < 20; attempt++) {
      const removed = await Deno.remove(this.#profile, { recursive: true }).then(
        () => true,
        () => false,
      );
      if (removed) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  #receive({ id, method, sessionId, params = {}, result, error }: Message): void {
    if (id !== undefined) {
      const answer = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) answer?.reject(new Error(`Chromium refused: ${error.message}`));
      else answer?.resolve(result ?? {});
    } else if (sessionId && method) this.#tabs.get(sessionId)?.notice(method, params);
  }
}

/** A page of a running Chromium. */
export class Tab {
  /** Addresses that the page asked for, the page itself included. */
  readonly requests: string[] = [];
  /** Errors of scripts and complaints of the browser, as violations of the security policy. */
  readonly complaints: string[] = [];
  readonly #chromium: Chromium;
  readonly #session: string;
  readonly #target: string;
  #loaded = Promise.withResolvers<void>();

  /** @internal */
  constructor(chromium: Chromium, session: string, target: string) {
    this.#chromium = chromium;
    this.#session = session;
    this.#target = target;
  }

  /** Sends a command of the DevTools protocol to this page. */
  send(method: string, params: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    return this.#chromium.send(method, params, this.#session);
  }

  /** Changes how the page is looked at. */
  async view({ width, height, dark = false, print = false }: View): Promise<void> {
    await this.send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: false,
    });
    await this.send("Emulation.setEmulatedMedia", {
      media: print ? "print" : "screen",
      features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }],
    });
  }

  /** Opens an address and waits until it is loaded. */
  async open(url: string): Promise<void> {
    this.#loaded = Promise.withResolvers();
    const { errorText } = await this.send("Page.navigate", { url });
    if (errorText) throw new Error(`Cannot open "${url}": ${errorText}`);
    await this.#loaded.promise;
  }

  /** Replaces the page by this HTML. */
  async setContent(html: string): Promise<void> {
    const { frameTree } = await this.send("Page.getFrameTree");
    const { frame } = frameTree as { frame: { id: string } };
    await this.send("Page.setDocumentContent", { frameId: frame.id, html });
  }

  /**
   * Value of an expression in the page; a promise is awaited.
   *
   * @throws {Error} If the expression throws, with what it threw.
   */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    }) as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value;
  }

  /** A PNG of what is seen, or of the whole page, as base64. */
  async screenshot(whole = false): Promise<string> {
    const { data } = await this.send("Page.captureScreenshot", { captureBeyondViewport: whole });
    return data as string;
  }

  /** Closes the page. */
  async close(): Promise<void> {
    await this.#chromium.send("Target.closeTarget", { targetId: this.#target });
  }

  /** @internal */
  notice(method: string, params: Record<string, unknown>): void {
    if (method === "Page.loadEventFired") this.#loaded.resolve();
    else if (method === "Network.requestWillBeSent") {
      this.requests.push((params.request as { url: string }).url);
    } else if (method === "Runtime.exceptionThrown") {
      const { exceptionDetails } = params as {
        exceptionDetails: { text: string; exception?: { description?: string } };
      };
      this.complaints.push(exceptionDetails.exception?.description ?? exceptionDetails.text);
    } else if (method === "Log.entryAdded") {
      const { entry } = params as { entry: { level: string; text: string } };
      if (entry.level === "error") this.complaints.push(entry.text);
    }
  }
}

async function readLines(
  stream: ReadableStream<Uint8Array>,
  visit: (line: string) => void,
): Promise<void> {
  let rest = "";
  const text = stream.pipeThrough(new TextDecoderStream() as never) as ReadableStream<string>;
  for await (const part of text) {
    const parts = (rest + part).split("\n");
    rest = parts.pop()!;
    parts.forEach(visit);
  }
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
