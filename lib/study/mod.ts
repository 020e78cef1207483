/**
 * What the notebook series shares: profiles, the study's numbers, headlines.
 *
 * @module
 */
export { type Headline, headline, type Headlines, readHeadlines } from "./headline.ts";
export { type Profile, profile } from "./profile.ts";
export { type ReportedResult, reportedResults, reportedRun, reportedStudy } from "./reported.ts";
export type { ReportedClaim, ReportedDimension, ReportedDiscovery } from "./reported.ts";
export type { ReportedFeature, ReportedMeasure, ReportedRun } from "./reported.ts";
export type { ReportedSelection, ReportedStudy } from "./reported.ts";
export { type ConfigRow, describeConfig, forSeed, type Overrides, studyConfig } from "./config.ts";
export type { StudyConfig } from "./config.ts";
export { openStudy, type Study } from "./open.ts";
export { openSubject, type StudyData, studyData, studyDocuments, studySource } from "./subject.ts";
export { judge, readVerdicts, recordVerdict } from "./verdict.ts";
export type { Judgement, RecordedVerdict, VerdictRow } from "./verdict.ts";
