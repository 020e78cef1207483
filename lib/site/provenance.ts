/**
 * What made a notebook's outputs: the line that `openStudy` prints, and the artefacts that were used.
 *
 * @module
 */
import { escapeHtml } from "../display/mod.ts";
import { joined, type Notebook } from "./notebook.ts";

/** What a notebook was executed with. */
export interface Provenance {
  /** Version of this library. */
  readonly version: string;
  /** Version of Deno. */
  readonly deno: string;
  /** What computed. */
  readonly device: string;
  /** Profile of the study. */
  readonly profile: string;
  /** Name of the model, if the line names it. */
  readonly model?: string;
  /** Whether sizes were cut so that its numbers mean nothing. */
  readonly rehearsal: boolean;
  /** Kinds and hashes of the artefacts that it made or loaded. */
  readonly artefacts: readonly { readonly kind: string; readonly hash: string }[];
}

const LINE =
  /^Interlens (\S+) · Deno (\S+) · (.+) · profile (\w+)(, a rehearsal[^·\n]*)?(?: · model (.+))?$/m;
const ARTEFACT = /\(data\/cache\/([\w-]+)\/([0-9a-f]{16})\)/g;

/**
 * What a notebook says of its execution; undefined if its cells never called `openStudy`.
 *
 * @param notebook The executed notebook.
 */
export function provenanceOf({ cells }: Notebook): Provenance | undefined {
  const printed = cells.flatMap(({ outputs = [] }) => outputs)
    .filter(({ output_type }) => output_type === "stream").map(({ text }) => joined(text)).join(
      "\n",
    );
  const line = LINE.exec(printed);
  if (!line) return undefined;
  const found = new Map<string, { kind: string; hash: string }>();
  for (const [place, kind, hash] of printed.matchAll(ARTEFACT)) found.set(place, { kind, hash });
  const [, version, deno, device, profile, rehearsal, model] = line;
  return {
    ...{ version, deno, device, profile, model },
    rehearsal: rehearsal !== undefined,
    artefacts: [...found.values()],
  };
}

/**
 * The same as a part of a page.
 *
 * @param made What made it.
 * @param configuration Id of the heading over the configuration, if there is one.
 */
export function provenanceHtml(made: Provenance, configuration?: string): string {
  const rows: [string, string][] = [
    ["Profile", escapeHtml(made.profile)],
    ...made.model ? [["Model", escapeHtml(made.model)] as [string, string]] : [],
    ["Interlens", escapeHtml(made.version)],
    ["Deno", escapeHtml(made.deno)],
    ["Device", escapeHtml(made.device)],
  ];
  if (configuration !== undefined) {
    rows.push([
      "Configuration",
      `<a href="#${escapeHtml(configuration)}">the cell and its values</a>`,
    ]);
  }
  if (made.artefacts.length > 0) {
    const shown = made.artefacts.map(({ kind, hash }) =>
      `${escapeHtml(kind)} <code>${escapeHtml(hash)}</code>`
    );
    rows.push(["Artefacts, by the hash of their configuration", shown.join(", ")]);
  }
  return `<section class="made" aria-labelledby="made"><h2 id="made">What made this page</h2>\n` +
    `<div class="scroll" tabindex="0"><table><tbody>${
      rows.map(([name, value]) => `<tr><th scope="row">${name}</th><td>${value}</td></tr>`).join(
        "\n",
      )
    }</tbody></table></div></section>`;
}
