/**
 * The feature explorer: what it shows, and its files.
 *
 * @module
 */
export { exploreDictionary } from "./data.ts";
export type {
  ExplorerAbout,
  ExplorerContext,
  ExplorerData,
  ExplorerFeature,
  ExplorerModel,
  ExplorerOptions,
  ExplorerPartner,
  ExplorerSubject,
  ExplorerText,
  ExplorerToken,
} from "./data.ts";
export { type ExplorerFiles, readExplorer, writeExplorer } from "./files.ts";
export type { Partner, PartnerOptions } from "./partners.ts";
