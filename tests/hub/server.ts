/**
 * A hub on this machine: generated repositories, served as the real one serves them.
 *
 * Two servers run, so that there are two origins. The hub answers the API and resolves files: a
 * plain file redirects within the hub, an LFS file redirects to the second server, whose answers
 * know nothing of repositories. Every request is recorded, and a fault can be planned for the next
 * answers about a file.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { inScratch } from "../files/scratch.ts";

/** Content of a file by its path in the repository. */
export type RepoFiles = Record<string, Uint8Array | string>;

/** A repository to serve. */
export interface ServedRepo {
  /** Name, `"owner/name"`. */
  id: string;
  /** Default "model". */
  kind?: "model" | "dataset";
  /** Files of the revision "main". */
  files: RepoFiles;
  /** Files of further revisions, by branch, tag or ref. */
  revisions?: Record<string, RepoFiles>;
  /** Token that must come with a request; without it the answer is 401. */
  token?: string;
  /** True if even the right token gets 403, since the licence was not accepted. */
  gated?: boolean;
}

/** What goes wrong with one answer about a file. */
export type Fault =
  /** The connection breaks after so many bytes of the answer's body. */
  | { dropAfter: number }
  /** Nothing more is sent after so many bytes, but the connection stays. */
  | { stallAfter: number }
  /** Another status, with headers. */
  | { status: number; headers?: Record<string, string> }
  /** Other bytes of the same length. */
  | { corrupt: true }
  /** The whole file, whatever range was asked for. */
  | { ignoreRange: true }
  /** A part that starts elsewhere than what was asked for. */
  | { shiftRange: number }
  /** A redirect to this address. */
  | { location: string };

/** A request that arrived. */
export interface SeenRequest {
  /** Which of the two servers it reached. */
  readonly server: "hub" | "storage";
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Header `Range`, or null. */
  readonly range: string | null;
  /** Header `Authorization`, or null. */
  readonly authorization: string | null;
  /** Bytes of body that were sent so far. */
  sent: number;
}

/** A running hub; see {@linkcode serveHub}. */
export interface TestHub extends AsyncDisposable {
  /** Address for `HF_ENDPOINT`. */
  readonly endpoint: string;
  /** Address of the second origin, which holds LFS files. */
  readonly storage: string;
  /** All requests so far, oldest first; empty it to count anew. */
  readonly requests: SeenRequest[];
  /** Commit of a revision, 40 hexadecimal digits. */
  commit(id: string, revision?: string): string;
  /** Replaces the files of "main": a new commit. */
  push(id: string, files: RepoFiles): void;
  /**
   * Plans faults: each spoils one answer, in this order, to a GET for the bytes of a file. With
   * `on: "head"` the answers to HEAD are spoiled instead, with `on: "api"` those about a repository,
   * whose name then stands for the path.
   */
  fail(path: string, faults: Fault[], on?: "get" | "head" | "api"): void;
}

const LFS = /\.(safetensors|bin|parquet|gguf|model|h5|pt|zip)$/;

interface ServedFile {
  readonly path: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Git's name of the content: of the pointer, where the content is in LFS. */
  readonly oid: string;
  readonly sha256?: string;
}

interface Revision {
  readonly commit: string;
  readonly files: Map<string, ServedFile>;
}

/**
 * Serves repositories until disposed. Files whose names end like weights, parquet files and
 * archives are in LFS, others are plain.
 *
 * @param options.repos The repositories.
 * @param options.pageSize Entries on one page of a file listing; default 1000, as the real hub has.
 */
export function serveHub(
  { repos, pageSize = 1000 }: { repos: ServedRepo[]; pageSize?: number },
): TestHub {
  const served = new Map(repos.map((repo) => [repo.id, {
    ...repo,
    kind: repo.kind ?? "model",
    revisions: new Map(
      Object.entries({ main: repo.files, ...repo.revisions })
        .map(([name, files]) => [name, revisionOf(files)]),
    ),
  }]));
  type Served = NonNullable<ReturnType<typeof served.get>>;
  const requests: SeenRequest[] = [];
  const faults = new Map<string, Fault[]>();

  const where = { port: 0, hostname: "127.0.0.1", onListen() {}, onError };
  const storageServer = Deno.serve(where, (request) => {
    const seen = see(request, "storage");
    const [, sha256] = /^\/([0-9a-f]{64})\?signature=/.exec(seen.path) ?? [];
    for (const { revisions } of served.values()) {
      for (const { files } of revisions.values()) {
        for (const file of files.values()) {
          if (file.sha256 === sha256) return content(request, file, seen, {});
        }
      }
    }
    return new Response("no such object", { status: 404 });
  });
  const hubServer = Deno.serve(where, (request) => {
    const seen = see(request, "hub");
    const path = seen.path.split("?")[0].split("/").slice(1).map(decodeURIComponent);
    if (path[0] === "api" && path[1] === "resolve-cache") return resolveCache(request, path, seen);
    if (path[0] === "api") return api(request, path, seen);
    return resolve(request, path, seen);
  });
  const address = ({ addr }: { addr: Deno.NetAddr }) => `http://127.0.0.1:${addr.port}`;
  const endpoint = address(hubServer);
  const storage = address(storageServer);

  function see(request: Request, server: "hub" | "storage"): SeenRequest {
    const seen = {
      server,
      method: request.method,
      path: request.url.slice(new URL(request.url).origin.length),
      range: request.headers.get("range"),
      authorization: request.headers.get("authorization"),
      sent: 0,
    };
    requests.push(seen);
    return seen;
  }

  /** The repository, or the answer that says why not. */
  function find(request: Request, kind: string, id: string): Served | Response {
    const repo = served.get(id);
    // The real hub does not say of a repository whether it is private or absent.
    if (!repo || repo.kind !== kind) return problem(401, "RepoNotFound", "Repository not found");
    const sent = request.headers.get("authorization");
    if (repo.token && sent !== `Bearer ${repo.token}`) {
      return problem(401, sent ? "InvalidToken" : "GatedRepo", "Access is restricted");
    }
    if (repo.gated) return problem(403, "GatedRepo", "Accept the licence of this repository");
    return repo;
  }

  /** `/api/models/owner/name/revision/main` and `/api/models/owner/name/tree/main?recursive=true`. */
  function api(request: Request, path: string[], seen: SeenRequest): Response {
    const verb = path.findIndex((part) => part === "revision" || part === "tree");
    const id = path.slice(2, verb).join("/");
    const spoiled = spoil(`api ${id}`);
    if (spoiled) return spoiled;
    const repo = find(request, path[1].slice(0, -1), id);
    if (repo instanceof Response) return repo;
    const revision = lookUp(repo, path.slice(verb + 1).join("/"));
    if (!revision) return problem(404, "RevisionNotFound", "Invalid rev id");
    if (path[verb] === "revision") {
      return Response.json({
        id,
        sha: revision.commit,
        siblings: [...revision.files.keys()].map((rfilename) => ({ rfilename })),
      });
    }
    const url = new URL(request.url);
    const files = [...revision.files.values()];
    const folders = new Set(
      files.flatMap(({ path }) =>
        path.split("/").slice(0, -1).map((_, i, parts) => parts.slice(0, i + 1).join("/"))
      ),
    );
    const entries = [
      ...[...folders].map((path) => ({ type: "directory", oid: "0".repeat(40), size: 0, path })),
      ...files.map(({ path, bytes, oid, sha256 }) => ({
        type: "file",
        oid,
        size: bytes.length,
        path,
        ...(sha256 && { lfs: { oid: sha256, size: bytes.length, pointerSize: 134 } }),
      })),
    ];
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const headers = new Headers();
    if (start + pageSize < entries.length) {
      url.searchParams.set("cursor", String(start + pageSize));
      headers.set("link", `<${url}>; rel="next"`);
    }
    seen.sent = 1;
    return Response.json(entries.slice(start, start + pageSize), { headers });
  }

  /** `/owner/name/resolve/main/path/to/file`, with `datasets` in front for a dataset. */
  function resolve(request: Request, path: string[], seen: SeenRequest): Response {
    const kind = path[0] === "datasets" ? "dataset" : "model";
    const verb = path.indexOf("resolve");
    const repo = find(request, kind, path.slice(kind === "dataset" ? 1 : 0, verb).join("/"));
    if (repo instanceof Response) return repo;
    // A revision may hold slashes only when they are escaped, so it is one part of the path.
    const revision = lookUp(repo, path[verb + 1]);
    if (!revision) return problem(404, "RevisionNotFound", "Invalid rev id");
    const name = path.slice(verb + 2).join("/");
    const file = revision.files.get(name);
    const commit = { "x-repo-commit": revision.commit };
    if (!file) return problem(404, "EntryNotFound", "Entry not found", commit);
    const spoiled = request.method === "HEAD" && spoil(`head ${name}`);
    if (spoiled) return spoiled;
    const linked = {
      ...commit,
      "x-linked-size": String(file.bytes.length),
      "x-linked-etag": `"${file.sha256 ?? file.oid}"`,
    };
    if (file.sha256) {
      return new Response("Found. Redirecting", {
        status: 302,
        headers: { ...linked, location: `${storage}/${file.sha256}?signature=for-this-file-only` },
      });
    }
    seen.sent = 0;
    const target = ["api", "resolve-cache", `${kind}s`, repo.id, revision.commit, name].join("/");
    return new Response("Temporary Redirect", {
      status: 307,
      headers: { ...linked, location: `/${encodeURI(target)}` },
    });
  }

  function resolveCache(request: Request, path: string[], seen: SeenRequest): Response {
    const repo = find(request, path[2].slice(0, -1), path.slice(3, 5).join("/"));
    if (repo instanceof Response) return repo;
    const file = lookUp(repo, path[5])!.files.get(path.slice(6).join("/"))!;
    return content(request, file, seen, { "x-repo-commit": path[5], etag: `"${file.oid}"` });
  }

  /** The bytes of a file, or what the next planned fault makes of them. */
  function content(
    request: Request,
    { path, bytes }: ServedFile,
    seen: SeenRequest,
    headers: Record<string, string>,
  ): Response {
    if (request.method === "HEAD") {
      return new Response(null, { headers: { ...headers, "content-length": `${bytes.length}` } });
    }
    const fault = faults.get(`get ${path}`)?.shift();
    if (fault && "status" in fault) {
      return new Response("planned", { status: fault.status, headers: fault.headers });
    }
    if (fault && "location" in fault) {
      return new Response(null, { status: 302, headers: { location: fault.location } });
    }
    const ignored = fault && "ignoreRange" in fault;
    const [, first] = ignored ? [] : /^bytes=(\d+)-$/.exec(seen.range ?? "") ?? [];
    const shift = fault && "shiftRange" in fault ? fault.shiftRange : 0;
    const start = Number(first ?? 0) + shift;
    if (first !== undefined && start >= bytes.length) {
      return new Response(null, {
        status: 416,
        headers: { "content-range": `bytes */${bytes.length}` },
      });
    }
    const body = fault && "corrupt" in fault
      ? bytes.slice(start).map((byte) => byte ^ 1)
      : bytes.subarray(start);
    return new Response(stream(body, seen, fault), {
      status: first === undefined ? 200 : 206,
      headers: {
        ...headers,
        "accept-ranges": "bytes",
        "content-length": `${body.length}`,
        ...(first !== undefined &&
          { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` }),
      },
    });
  }

  function spoil(key: string): Response | undefined {
    const fault = faults.get(key)?.shift();
    if (fault && "status" in fault) {
      return new Response("planned", { status: fault.status, headers: fault.headers });
    }
    if (fault && "location" in fault) {
      return new Response(null, { status: 302, headers: { location: fault.location } });
    }
  }

  return {
    endpoint,
    storage,
    requests,
    commit(id, revision = "main") {
      return served.get(id)!.revisions.get(revision)!.commit;
    },
    push(id, files) {
      served.get(id)!.revisions.set("main", revisionOf(files));
    },
    fail(path, planned, on = "get") {
      faults.set(`${on} ${path}`, [...planned]);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([hubServer.shutdown(), storageServer.shutdown()]);
    },
  };
}

/** Says nothing of connections that break as planned. */
function onError(error: unknown): Response {
  if ((error as Error).message !== "planned") console.error(error);
  return new Response(null, { status: 500 });
}

const CHUNK_BYTES = 1 << 14;

/** A body in chunks, as a network delivers it. */
function stream(
  body: Uint8Array<ArrayBuffer>,
  seen: SeenRequest,
  fault: Fault | undefined,
): ReadableStream<Uint8Array> {
  const dropped = fault && "dropAfter" in fault ? fault.dropAfter : undefined;
  const stalled = fault && "stallAfter" in fault ? fault.stallAfter : undefined;
  const end = Math.min(dropped ?? stalled ?? body.length, body.length);
  let stop = () => {};
  return new ReadableStream({
    async pull(controller) {
      if (seen.sent < end) {
        const chunk = body.subarray(seen.sent, Math.min(seen.sent + CHUNK_BYTES, end));
        seen.sent += chunk.length;
        controller.enqueue(chunk);
        return;
      }
      if (stalled !== undefined) await new Promise<void>((resolve) => stop = resolve);
      if (dropped !== undefined) {
        // What was sent should arrive before the connection breaks.
        await new Promise((resolve) => setTimeout(resolve, 50));
        controller.error(new Error("planned"));
      } else controller.close();
    },
    cancel() {
      stop();
    },
  });
}

function lookUp(repo: { revisions: Map<string, Revision> }, name: string): Revision | undefined {
  return repo.revisions.get(name) ??
    [...repo.revisions.values()].find(({ commit }) => commit === name);
}

function revisionOf(files: RepoFiles): Revision {
  const entries = Object.entries(files).map(([path, given]): ServedFile => {
    const bytes = typeof given === "string"
      ? new TextEncoder().encode(given)
      : new Uint8Array(given);
    if (!LFS.test(path)) return { path, bytes, oid: gitHash(bytes) };
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\n` +
      `size ${bytes.length}\n`;
    return { path, bytes, oid: gitHash(new TextEncoder().encode(pointer)), sha256 };
  });
  const commit = createHash("sha1");
  for (const { path, oid } of entries) commit.update(`${path} ${oid}\n`);
  return {
    commit: commit.digest("hex"),
    files: new Map(entries.map((file) => [file.path, file])),
  };
}

function gitHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

function problem(
  status: number,
  code: string,
  message: string,
  headers: Record<string, string> = {},
): Response {
  return new Response(message, {
    status,
    headers: { ...headers, "x-error-code": code, "x-error-message": message },
  });
}

/** Variables that decide where the hub and its cache are. */
const VARIABLES = [
  ...["HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"],
  ...["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"],
  ...["HF_HUB_DOWNLOAD_TIMEOUT"],
];

/**
 * Serves repositories while `use` runs, with an empty cache, and points the environment at both.
 *
 * @param options See {@linkcode serveHub}.
 * @param use Receives the hub and the cache's folder (`HF_HOME`), which is removed afterwards.
 */
export function withHub(
  options: Parameters<typeof serveHub>[0],
  use: (hub: TestHub, home: string) => Promise<void>,
): Promise<void> {
  return inScratch(async (folder) => {
    const before = VARIABLES.map((name) => [name, Deno.env.get(name)] as const);
    const hub = serveHub(options);
    const home = join(folder, "hf");
    try {
      for (const name of VARIABLES) Deno.env.delete(name);
      Deno.env.set("HF_ENDPOINT", hub.endpoint);
      Deno.env.set("HF_HOME", home);
      await use(hub, home);
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) Deno.env.delete(name);
        else Deno.env.set(name, value);
      }
      await hub[Symbol.asyncDispose]();
    }
  });
}
