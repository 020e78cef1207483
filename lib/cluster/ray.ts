/**
 * Jobs on a Ray cluster, through the documented REST interface of its head.
 *
 * Ray starts a job's command on a node with the wanted resources, keeps what it prints, and ends
 * it with the node or the head that it depends on. The project comes to a node as Ray's working
 * directory, or lies there already.
 *
 * @module
 */
import { setTimeout as wait } from "node:timers/promises";
import { configHash } from "../files/mod.ts";
import type { Engine, Job, JobState } from "./engine.ts";
import { entrypoint, passEnvironment, probeEntrypoint } from "./entrypoint.ts";
import { type HeadOptions, lastLine, RayHead } from "./head.ts";
import { packProject, type ProjectPackage } from "./package.ts";
import { formatBytes } from "./plan_format.ts";
import { differenceOf, readSources, type Versions, versionsWith } from "./versions.ts";

/** How to reach a head, and what its nodes run. */
export interface RayOptions extends HeadOptions {
  /**
   * Folder in which the project lies on every node: a shared folder, or one of a container image.
   * Default: it is uploaded to the head, and every node unpacks it and sets it up once.
   */
  project?: string;
  /**
   * Environment variables of every job, before those of its own: credentials of a storage,
   * `HF_HOME` of a shared model cache. Whoever may ask the head for its jobs can read them there.
   */
  env?: Readonly<Record<string, string>>;
}

/** Seconds that a node has to say what it runs. The first time, it may have to fetch Deno. */
const PROBE_SECONDS = 300;
/** Seconds that Ray gives a stopped job for its last checkpoint before it kills it; its own 3 are few. */
const STOP_SECONDS = 60;

/** Where a job's resources stand among its metadata: the head does not tell them otherwise. */
const RESOURCES = "interlens_resources";

/**
 * Milliseconds until a job that has ended is dropped. Ray looks once a second whether a job goes on;
 * one that it does not find then it notes as failed, and a new one of the same name it would end.
 */
const LINGER_MS = 4000;
const LEAVE_ATTEMPTS = 15;

/** What Ray notes in a log before a job begins. */
const RAY_LINE = /^\d{4}-\d\d-\d\d [\d:,]+\tINFO job_manager\.py:\d+ -- .*\n/;

/** What the head tells of a job. */
interface JobDetails {
  status: "PENDING" | "RUNNING" | "STOPPED" | "SUCCEEDED" | "FAILED";
  message?: string | null;
  error_type?: string | null;
  driver_node_id?: string | null;
  driver_exit_code?: number | null;
  metadata?: Record<string, string> | null;
}

/** What the head tells of a node. */
interface NodeDetails {
  node_id: string;
  node_ip: string;
  state: string;
  resources_total?: Record<string, number>;
}

/** What of the project a node needs to know. */
interface Project {
  versions: Versions;
  /** Absent where the project lies on every node. */
  package?: ProjectPackage;
}

/**
 * An engine that runs jobs on a Ray cluster.
 *
 * A job of the program `"deno"` runs in the project, with the Deno of the driver's version (the
 * installed one, or that of npm), after `deno task setup` where that was not done. A job that waits
 * longer for a free node than Ray likes is handed in again.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { rayEngine } from "./ray.ts";
 *
 * // As much of a head as one job needs.
 * const seen: Record<string, unknown>[] = [];
 * await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
 *   if (request.method === "POST") seen.push(await request.json());
 *   return Response.json({ status: "RUNNING", driver_node_id: "n1" });
 * });
 * await using engine = rayEngine(`http://127.0.0.1:${server.addr.port}`);
 * await engine.submit({
 *   id: "a",
 *   command: ["echo", "it's"],
 *   env: { NAME: "x" },
 *   resources: { cpus: 2 },
 *   avoid: [],
 * });
 * assertEquals(seen[0].entrypoint, `exec 'echo' 'it'\\''s'`);
 * assertEquals(seen[0].entrypoint_num_cpus, 2);
 * assertEquals(await engine.state("a"), { state: "running", node: "n1" });
 * ```
 *
 * @param address The head's dashboard, such as `"https://ray.example.org"` or
 * `"http://127.0.0.1:8265"`.
 * @throws {TypeError} If the address is none of HTTP, or a header or variable cannot be sent.
 * @throws {Error} If the file of authorities cannot be read.
 */
export function rayEngine(address: string, options: RayOptions = {}): Engine {
  return new RayEngine(address, options);
}

class RayEngine implements Engine {
  readonly name: string;
  readonly interval = 0.5;
  readonly #head: RayHead;
  readonly #folder: string | undefined;
  readonly #env: Readonly<Record<string, string>>;
  #read: Promise<Project> | undefined;
  #uploading: Promise<unknown> | undefined;
  /** What was handed in, by id, until it is forgotten. */
  readonly #submitted = new Map<string, string>();
  /** Jobs that were stopped. */
  readonly #stopping = new Set<string>();
  /** Jobs that are to be dropped, with the end of that. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #closing = new AbortController();

  constructor(address: string, { project, env = {}, ...options }: RayOptions) {
    passEnvironment(env);
    this.#head = new RayHead(address, options);
    this.#folder = project;
    this.#env = env;
    this.name = `Ray at ${this.#head.address}`;
  }

  async check(signal?: AbortSignal): Promise<void> {
    const version = await this.#head.json<{ ray_version?: string }>("GET", "/api/version");
    if (typeof version.ray_version !== "string") {
      throw new Error(`"${this.#head.address}" is no dashboard of a Ray head: it tells no version`);
    }
    const { versions, package: zip } = await this.#project();
    if (zip) await this.#upload(zip);
    const nodes = await this.#nodes();
    const wrong = (await Promise.all(nodes.map(async (node) => {
      const problem = await this.#probe(node, signal);
      return problem && `${node.node_ip} (${node.node_id.slice(0, 8)}): ${problem}`;
    }))).filter((line) => line !== undefined);
    if (wrong.length === 0) return;
    throw new Error(
      `${wrong.length} of ${nodes.length} nodes of the Ray cluster at "${this.#head.address}" ` +
        `cannot run what this driver has (interlens ${versions.interlens}, sources ` +
        `${versions.sources.slice(0, 12)}, Deno ${versions.deno}); bring them to the same state` +
        (this.#folder === undefined ? "" : ` in "${this.#folder}"`) +
        `:\n${wrong.map((line) => `  ${line}`).join("\n")}`,
    );
  }

  async submit(job: Job): Promise<void> {
    const project = job.command[0] === "deno" ? await this.#project() : undefined;
    if (project?.package) await this.#upload(project.package);
    const avoid = await this.#avoidable(job);
    const { cpus, gpus, memory } = job.resources;
    const given = { ...this.#env, ...job.env };
    const { variables, script } = passEnvironment(given);
    const body = JSON.stringify({
      submission_id: job.id,
      entrypoint: script + entrypoint(job.command, {
        project: project && this.#folder,
        versions: project?.versions ?? { interlens: "", sources: "", deno: "" },
        // A set-up is one of these sources with this cache.
        mark: configHash({ sources: project?.versions.sources, cache: given.INTERLENS_CACHE }),
      }),
      // Without any resource, Ray runs a job on the head.
      entrypoint_num_cpus: cpus ?? (gpus ? 0 : 1),
      entrypoint_num_gpus: gpus,
      entrypoint_memory: memory === undefined ? undefined : Math.ceil(memory),
      entrypoint_label_selector: avoid.length === 0
        ? undefined
        : { "ray.io/node-id": avoid.length === 1 ? `!${avoid[0]}` : `!in(${avoid.join(",")})` },
      metadata: { [RESOURCES]: JSON.stringify(job.resources) },
      runtime_env: {
        ...project?.package && { working_dir: `gcs://${project.package.name}` },
        env_vars: { NO_COLOR: "1", RAY_JOB_STOP_WAIT_TIME_S: `${STOP_SECONDS}`, ...variables },
      },
    });
    await this.#leaving.get(job.id);
    await this.#post(body);
    this.#submitted.set(job.id, body);
    this.#stopping.delete(job.id);
  }

  async obstacle(resources: Job["resources"]): Promise<string | undefined> {
    const nodes = await this.#nodes();
    if (nodes.some((node) => suits(node, resources))) return undefined;
    const largest = (name: "CPU" | "GPU" | "memory") =>
      Math.max(0, ...nodes.map(({ resources_total: total = {} }) => total[name] ?? 0));
    const most = { cpus: largest("CPU"), gpus: largest("GPU"), memory: largest("memory") };
    return `No node of ${this.name} has ${
      inWords(resources) || "1 processor"
    }; none has more than ` +
      `${inWords(most)}. What needs them waits a quarter of an hour for such a node`;
  }

  async state(id: string): Promise<JobState> {
    const details = this.#leaving.has(id) ? undefined : await this.#details(id);
    if (!details) return { state: "unknown" };
    const body = this.#submitted.get(id);
    if (body !== undefined && await this.#gaveUp(details)) {
      await this.#drop(id);
      await wait(1000);
      await this.#post(body);
      return { state: "pending" };
    }
    // Ray ends a job that waits only when its turn has come.
    if (details.status === "PENDING" && this.#stopping.has(id)) return { state: "stopped" };
    if (await this.#isLost(details)) return { state: "lost", ...nodeOf(details) };
    const state = ({
      PENDING: "pending",
      RUNNING: "running",
      STOPPED: "stopped",
      SUCCEEDED: "succeeded",
      FAILED: "failed",
    } as const)[details.status];
    if (state === undefined) {
      throw new Error(
        `"${this.#head.address}" says that the job "${id}" is ${JSON.stringify(details.status)}: ` +
          "this is no state of a Ray job",
      );
    }
    return {
      state,
      ...nodeOf(details),
      ...state === "failed" && { message: failure(details) },
    };
  }

  async log(id: string, bytes: number): Promise<string> {
    // Ray writes the command into the log, of a short job behind what the job said.
    const body = this.#submitted.get(id);
    const command = body === undefined ? undefined : JSON.parse(body).entrypoint as string;
    const announced = `Running entrypoint for job ${id}: ${command}\n`;
    const { status, text } = await this.#head.request("GET", `${path(id)}/logs`, {
      expect: [404, 500],
      // A byte takes up to six in JSON.
      last: 6 * (bytes + announced.length) + 64,
    });
    if (status === 404) return "";
    if (status === 500) return `(Ray cannot read this log: ${lastLine(text)})`;
    const said = logOf(text).replace(announced, "").replace(RAY_LINE, "");
    const log = new TextEncoder().encode(said);
    return new TextDecoder().decode(log.subarray(Math.max(0, log.length - bytes)));
  }

  async stop(id: string): Promise<void> {
    this.#stopping.add(id);
    await this.#head.request("POST", `${path(id)}/stop`, { expect: [404] });
  }

  forget(id: string): Promise<void> {
    this.#submitted.delete(id);
    const attempts = this.#stopping.delete(id) ? LEAVE_ATTEMPTS : 1;
    if (!this.#leaving.has(id)) {
      // What Ray keeps of it is small, and vanishes with the head: no failure matters.
      const gone = this.#leave(id, attempts).catch(() => {}).finally(() =>
        this.#leaving.delete(id)
      );
      this.#leaving.set(id, gone);
    }
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    // A job that Ray has not ended by then stays in its list.
    const timer = setTimeout(() => this.#closing.abort(), 2 * LINGER_MS);
    await Promise.all(this.#leaving.values());
    clearTimeout(timer);
    this.#closing.abort();
    this.#head[Symbol.dispose]();
  }

  /** Drops a job after a while; one that was stopped while it waited ends only when its turn comes. */
  async #leave(id: string, attempts: number): Promise<void> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      await wait(LINGER_MS, undefined, { signal: this.#closing.signal });
      if (await this.#drop(id)) return;
    }
  }

  /** Drops a job; false if it goes on, which Ray answers with 500. */
  async #drop(id: string): Promise<boolean> {
    const options = { expect: [404, 500], seconds: 10 };
    const { status } = await this.#head.request("DELETE", path(id), options);
    return status !== 500;
  }

  /** What the driver has, read once: what is edited while it runs does not reach its jobs. */
  #project(): Promise<Project> {
    return this.#read ??= (async () => {
      const sources = await readSources();
      const versions = versionsWith(sources);
      return this.#folder === undefined
        ? { versions, package: packProject(sources) }
        : { versions };
    })();
  }

  /** Uploads the project unless the head has it; it drops what no job has needed for ten minutes. */
  async #upload({ name, content }: ProjectPackage): Promise<void> {
    const path = `/api/packages/gcs/${name}`;
    const { status } = await this.#head.request("GET", path, { expect: [404] });
    if (status !== 404) return;
    // Several jobs at once wait for one upload.
    this.#uploading ??= this.#head.request("PUT", path, { body: content, seconds: 300 })
      .finally(() => this.#uploading = undefined);
    await this.#uploading;
  }

  /** Hands a job in, unless there is one with its name. */
  async #post(body: string): Promise<void> {
    const options = { body, expect: [500], seconds: 120 };
    const answer = await this.#head.request("POST", "/api/jobs/", options);
    if (answer.status !== 500 || answer.text.includes("already exists")) return;
    throw this.#head.refusal("POST", "/api/jobs/", answer);
  }

  async #details(id: string): Promise<JobDetails | undefined> {
    const answer = await this.#head.request("GET", path(id), { expect: [404] });
    if (answer.status !== 404) return this.#head.parse(path(id), answer.text);
    if (answer.text.includes("does not exist")) return undefined;
    throw this.#head.refusal("GET", path(id), answer);
  }

  /** True if Ray ended a job only because no node was free for a quarter of an hour. */
  async #gaveUp({ status, error_type, metadata }: JobDetails): Promise<boolean> {
    if (status !== "FAILED" || error_type !== "JOB_SUPERVISOR_ACTOR_START_TIMEOUT") return false;
    const resources = JSON.parse(metadata?.[RESOURCES] ?? "{}");
    return (await this.#nodes()).some((node) => suits(node, resources));
  }

  /** True if Ray notes a job as failed only because it ended with its node. */
  async #isLost(details: JobDetails): Promise<boolean> {
    const { status, driver_exit_code: code, driver_node_id: node, error_type, message } = details;
    if (status !== "FAILED" || typeof code === "number") return false;
    // What Ray ends because a node's memory runs out would need as much elsewhere.
    if (error_type === "JOB_SUPERVISOR_ACTOR_DIED" && !/memory/i.test(message ?? "")) return true;
    return !!node && !(await this.#nodes()).some(({ node_id }) => node_id === node);
  }

  /** Nodes that can run something. */
  async #nodes(): Promise<NodeDetails[]> {
    const answer = await this.#head.json<{ data?: { result?: { result?: NodeDetails[] } } }>(
      "GET",
      "/api/v0/nodes?limit=10000",
    );
    const nodes = answer.data?.result?.result;
    if (!Array.isArray(nodes)) {
      throw new Error(`The Ray head at "${this.#head.address}" does not tell its nodes`);
    }
    return nodes.filter((node) => node.state === "ALIVE" && ((node.resources_total?.CPU ?? 0) > 0));
  }

  /** Those nodes to avoid that are there, unless a job would then have none. */
  async #avoidable({ avoid, resources }: Job): Promise<string[]> {
    if (avoid.length === 0) return [];
    const nodes = (await this.#nodes()).filter((node) => suits(node, resources));
    const there = nodes.map((node) => node.node_id).filter((id) => avoid.includes(id));
    return there.length < nodes.length ? there : [];
  }

  /** What is wrong with a node, or undefined. */
  async #probe(node: NodeDetails, signal?: AbortSignal): Promise<string | undefined> {
    const { versions, package: zip } = await this.#project();
    const id = `interlens-probe-${crypto.randomUUID()}`;
    const { variables, script } = passEnvironment(this.#env);
    await this.#head.request("POST", "/api/jobs/", {
      seconds: 120,
      body: JSON.stringify({
        submission_id: id,
        entrypoint: script + probeEntrypoint({ project: this.#folder, versions }),
        // Beside whatever runs there.
        entrypoint_num_cpus: 0,
        entrypoint_label_selector: { "ray.io/node-id": node.node_id },
        runtime_env: {
          ...zip && { working_dir: `gcs://${zip.name}` },
          env_vars: { NO_COLOR: "1", ...variables },
        },
      }),
    });
    const end = performance.now() + 1000 * PROBE_SECONDS;
    let [state, log] = [await this.state(id), ""];
    try {
      while (state.state === "pending" || state.state === "running") {
        if (performance.now() > end) {
          return `it has not said what it runs within ${PROBE_SECONDS} s`;
        }
        await wait(200, undefined, { signal });
        state = await this.state(id);
      }
      log = await this.log(id, 4096);
    } finally {
      if (state.state === "pending" || state.state === "running") {
        await this.stop(id).catch(() => {});
      }
      await this.forget(id);
    }
    const line = log.split("\n").find((line) => line.startsWith('{"interlens":"versions"'));
    if (line) return differenceOf(versions, JSON.parse(line).versions);
    // A node that has left since is no longer asked.
    if (!(await this.#nodes()).some(({ node_id }) => node_id === node.node_id)) return undefined;
    return lastLine(log) || state.message || `it is ${state.state} without a word`;
  }
}

/** True if a node that does nothing else has the resources. */
function suits({ resources_total: total = {} }: NodeDetails, needed: Job["resources"]): boolean {
  return (total.CPU ?? 0) >= (needed.cpus ?? 0) && (total.GPU ?? 0) >= (needed.gpus ?? 0) &&
    (total.memory ?? 0) >= (needed.memory ?? 0);
}

function inWords({ cpus, gpus, memory }: Job["resources"]): string {
  const plural = (count: number, one: string) => `${count} ${one}${count === 1 ? "" : "s"}`;
  const parts = [
    ...cpus === undefined ? [] : [plural(cpus, "processor")],
    ...gpus === undefined ? [] : [plural(gpus, "GPU")],
    ...memory === undefined ? [] : [`${formatBytes(memory)} of memory`],
  ];
  return parts.join(", ").replace(/, ([^,]*)$/, " and $1");
}

function path(id: string): string {
  return `/api/jobs/${encodeURIComponent(id)}`;
}

function nodeOf({ driver_node_id: node }: JobDetails): { node?: string } {
  return node ? { node } : {};
}

/** Why a job failed, in a line: the log is asked for on its own. */
function failure({ message, driver_exit_code: code, error_type }: JobDetails): string {
  if (typeof code === "number") {
    return code < 0 ? `It was ended by signal ${-code}` : `It ended with exit code ${code}`;
  }
  if (error_type === "RUNTIME_ENV_SETUP_FAILURE") return lastLine(message ?? "");
  if (error_type === "JOB_SUPERVISOR_ACTOR_START_TIMEOUT") {
    return "No node of the cluster has the processors, GPUs or memory that it needs";
  }
  const first = (message ?? "").trim().split("\n")[0];
  return first.length > 300 ? `${first.slice(0, 299)}…` : first || "Ray does not say why";
}

/** The log in the end of an answer of Ray, which is a JSON object with the log as its only text. */
function logOf(text: string): string {
  if (text.startsWith("{")) return JSON.parse(text).logs;
  const quoted = text.slice(0, text.lastIndexOf('"') + 1);
  // The first characters may be the end of an escape.
  for (let start = 0; start < 8; start++) {
    try {
      return JSON.parse(`"${quoted.slice(start)}`);
    } catch { /* one further */ }
  }
  return "";
}
