/**
 * The published write-up, built from executed notebooks.
 *
 * @module
 */
export { notebookProblems, readNotebook } from "./notebook.ts";
export type { Cell, Notebook, Output } from "./notebook.ts";
export { cleanHtml } from "./sanitize.ts";
export { type Heading, MarkdownPage } from "./markdown.ts";
export { fillPngs, type PngReport } from "./png.ts";
export { publish, type PublishOptions, type PublishReport } from "./publish.ts";
export * from "./explorer/mod.ts";
