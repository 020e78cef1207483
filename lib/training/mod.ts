/**
 * One training loop for all trainers: schedules, checkpoints, resume, stop signal.
 *
 * @module
 */
export { cachedRun } from "./cached_run.ts";
export type { CachedRunKey, CachedRunMaker } from "./cached_run.ts";
export { loadCheckpoint, removeCheckpoint, saveCheckpoint } from "./checkpoint.ts";
export type { Checkpoint, HistoryRow } from "./checkpoint.ts";
export type { BestEvaluation, EarlyStop } from "./early_stop.ts";
export { fit } from "./fit.ts";
export type {
  Batch,
  CheckpointOptions,
  FitOptions,
  FitResult,
  Params,
  StepResult,
  TrainerState,
} from "./fit.ts";
export { loopChoices, loopOptions } from "./loop_config.ts";
export type { LoopConfig } from "./loop_config.ts";
export { Permutation, shuffledIndices } from "./order.ts";
export { learningRateAt, requireSchedule, warmupFactor } from "./schedule.ts";
export type { Schedule } from "./schedule.ts";
export { stopSignal, whileRunning } from "./stop.ts";
export { type StepOfOrder, WindowedOrder } from "./windowed_order.ts";
