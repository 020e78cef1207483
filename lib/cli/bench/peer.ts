/**
 * Programs on PyTorch to compare with: a Python process that answers requests.
 *
 * @module
 */
import { join } from "node:path";
import { lines } from "../lines.ts";

/** Variable that names a Python interpreter with torch, transformers, gguf and safetensors. */
export const PEERS_PYTHON = "INTERLENS_PEERS_PYTHON";

/** The Python process. */
export class Peer implements AsyncDisposable {
  /** What runs in it, for tables. */
  readonly name: string;
  readonly #child: Deno.ChildProcess;
  readonly #requests: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncGenerator<string>;

  private constructor(python: string, program: string, name: string) {
    this.name = name;
    this.#child = new Deno.Command(python, {
      args: [join(import.meta.dirname!, `${program}.py`)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#requests = this.#child.stdin.getWriter();
    this.#answers = lines(this.#child.stdout);
  }

  /**
   * Starts it, or returns undefined where no interpreter is named.
   *
   * @param program Name of a Python file beside this one.
   * @param name What runs in it, for tables.
   */
  static start(program: "model" | "sae" | "nfm", name = "PyTorch"): Peer | undefined {
    const python = Deno.env.get(PEERS_PYTHON);
    return python ? new Peer(python, program, name) : undefined;
  }

  /**
   * Has something done.
   *
   * @param what Name of a function of the program.
   * @param options Its arguments.
   * @returns Milliseconds it took, without the way there and back, and the number it returned.
   * @throws {Error} If the process ended, which it does on an error; it prints why.
   */
  async ask(
    what: string,
    options: Record<string, unknown> = {},
  ): Promise<{ ms: number; result: number }> {
    const request = JSON.stringify({ do: what, ...options }) + "\n";
    // Where the process ended, writing fails or not, and there is no answer.
    await this.#requests.write(new TextEncoder().encode(request)).catch(() => {});
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`The interpreter of ${PEERS_PYTHON} ended while asked to "${what}"`);
    const { seconds, result } = JSON.parse(value);
    return { ms: 1000 * seconds, result };
  }

  /** Has something done again and again, for `inTurn`. */
  work(what: string, options: Record<string, unknown>): { name: string; run(): Promise<number> } {
    return { name: this.name, run: async () => (await this.ask(what, options)).ms };
  }

  /** Ends the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#requests.close().catch(() => {});
    await this.#child.status;
  }
}
