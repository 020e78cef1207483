/**
 * From one machine to many: work units, and their driver on Ray or on local processes.
 *
 * @module
 */
export type { Engine, Job, JobState } from "./engine.ts";
