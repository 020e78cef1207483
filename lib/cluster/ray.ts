/**
 * Jobs on a Ray cluster, through the documented REST interface of its head.
 *
 * @module
 */
import type { Engine } from "./engine.ts";

/** How to reach a head, and what its nodes run. */
export interface RayOptions {
  /** Headers of every request, such as `{ authorization: "Bearer …" }`. */
  headers?: Readonly<Record<string, string>>;
  /** PEM file of the authorities that the head's certificate may come from, beside the usual ones. */
  ca?: string;
  /**
   * Folder in which the project lies on every node: a shared folder, or one of a container image.
   * Default: it is uploaded to the head, which hands it to the nodes.
   */
  project?: string;
  /** Environment variables of every job beside its own; those of a job come before them. */
  env?: Readonly<Record<string, string>>;
}

/**
 * An engine that runs jobs on a Ray cluster.
 *
 * @param address The head's dashboard, such as `"https://ray.example.org"` or
 * `"http://127.0.0.1:8265"`.
 * @throws {TypeError} If the address is none of HTTP.
 */
export function rayEngine(address: string, options: RayOptions = {}): Engine {
  throw new Error(`Cannot reach "${address}" yet (${Object.keys(options)})`);
}
