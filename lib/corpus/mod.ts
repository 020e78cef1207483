/**
 * Text in: documents, splits by document, and packing into sequences.
 *
 * @module
 */
export { BROWN, brown } from "./brown.ts";
export { checkStimuli } from "./check_stimuli.ts";
export type { Imbalance, StimulusCheck, StimulusShape } from "./check_stimuli.ts";
export { fromCsv } from "./csv.ts";
export { type Document, fromTexts } from "./document.ts";
export { fromFolder } from "./folder.ts";
export { fromJsonl } from "./jsonl.ts";
export { drawSequences, type PackOptions, packSequences } from "./pack.ts";
export type { PackTokenizer, Sequence } from "./pack.ts";
export { type DocumentSource, type SampleSize, takeDocuments } from "./source.ts";
export { splitDocuments, type SplitName, type SplitOptions, SPLITS, type Splits } from "./split.ts";
export { CELLS, loadStimuli, splitFrames, stimulusTable } from "./stimuli.ts";
export type { FrameSplit, Stimulus, StimulusDesign } from "./stimuli.ts";
export { targetToken } from "./target_token.ts";
export { wikitext, type WikitextOptions } from "./wikitext.ts";
