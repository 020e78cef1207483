/**
 * What features and their interactions mean: stimuli measured, features selected and discovered
 * against their nulls, examples, labels, attribution to pairs.
 *
 * @module
 */
export {};
