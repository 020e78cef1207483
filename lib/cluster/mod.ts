/**
 * From one machine to many: work units, and their driver on Ray or on local processes.
 *
 * @module
 */
export { costNames, type Efficiency, unitCosts } from "./accelerators.ts";
export { readCosts } from "./costs.ts";
export type { MeasuredMachine, Measurement, NodeSize, StepCost, UnitCosts } from "./costs.ts";
export { Cluster, cluster } from "./driver.ts";
export type { ClusterOptions, RunOptions as ClusterRunOptions } from "./driver.ts";
export { EngineUnavailable } from "./engine.ts";
export type { Engine, Job, JobState } from "./engine.ts";
export { plan } from "./plan.ts";
export type { Bottleneck, PlanResult, PlanSeconds, PlanStage, PlanTotals } from "./plan.ts";
export type { PlanRequest, ResolvedPlanRequest } from "./plan_request.ts";
export { type PlanRow, planScales, planTable } from "./plan_table.ts";
export { Plan } from "./plan_view.ts";
export type { ModelSize } from "./plan_work.ts";
export { parseUnit, requireUnit } from "./parse_unit.ts";
export { localEngine } from "./local.ts";
export type { LocalOptions } from "./local.ts";
export type { RayOptions } from "./ray.ts";
export { readRecord } from "./record.ts";
export type { EvaluatedError, EvaluatedGain, EvaluateResult, HarvestResult } from "./record.ts";
export type { MeasureResult, MergeResult, TrainResult, UnitRecord, UnitResult } from "./record.ts";
export { RunReport } from "./run_report.ts";
export type { FailedUnit, RunCounts, SkippedUnit } from "./run_report.ts";
export { runUnit } from "./run_unit.ts";
export type { RunUnitOptions } from "./run_unit.ts";
export { sweep, sweepEvaluations, withDependencies } from "./sweep.ts";
export type { SweepOptions } from "./sweep.ts";
export { dependencies, unitCommand, unitHash, unitName } from "./unit.ts";
export type {
  EvaluatedModel,
  EvaluateUnit,
  HarvestUnit,
  MeasureSettings,
  MeasureUnit,
} from "./unit.ts";
export type { MergeUnit, StudyText, TrainingTokens, TrainNfmUnit, TrainSaeUnit } from "./unit.ts";
export type { TrainSecondaryUnit, TrainUnit, Unit } from "./unit.ts";
