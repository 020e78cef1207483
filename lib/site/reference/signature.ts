/**
 * Declarations as they stand in the source, without their bodies: formatted by hand and complete.
 *
 * @module
 */

/** Characters behind which a brace opens a type and not a body. */
const BEFORE_TYPE = new Set([..."(:|&<,[=?", "=>"]);

/**
 * The head of a function, method or class: everything before the body.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { headAt } from "./signature.ts";
 *
 * const source = "export async function f(a = { b: 1 }): Promise<{ c: number }> {\n  return g();\n}";
 * assertEquals(headAt(source, 0), "async function f(a = { b: 1 }): Promise<{ c: number }>");
 * ```
 *
 * @param source Text of the file.
 * @param start Where the declaration begins, as an index into the text.
 */
export function headAt(source: string, start: number): string {
  return tidy(source.slice(start, walk(source, start, true)), columnOf(source, start));
}

/**
 * A whole declaration: an interface or a type with its comments.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { declarationAt } from "./signature.ts";
 *
 * const source = "export interface A {\n  // }\n  b: '}';\n}\nexport type C = { d: 1 } | 2;\nlet e;";
 * assertEquals(declarationAt(source, 0), "interface A {\n  // }\n  b: '}';\n}");
 * assertEquals(declarationAt(source, source.indexOf("export type")), "type C = { d: 1 } | 2;");
 * ```
 *
 * @param source Text of the file.
 * @param start Where the declaration begins.
 */
export function declarationAt(source: string, start: number): string {
  return tidy(source.slice(start, walk(source, start, false)), columnOf(source, start));
}

const columnOf = (source: string, start: number) => start - source.lastIndexOf("\n", start - 1) - 1;

/** Without `export` and without the indentation of what is around it. */
function tidy(text: string, column: number): string {
  return text.replace(/^export (?:declare )?(?:default )?/, "").trimEnd()
    .replaceAll(`\n${" ".repeat(column)}`, "\n");
}

/** Where the body of a declaration begins, or where the declaration ends. */
function walk(source: string, start: number, head: boolean): number {
  let depth = 0;
  let last = "";
  for (let i = start; i < source.length; i++) {
    const character = source[i];
    const two = source.slice(i, i + 2);
    if (two === "//" || two === "/*") {
      const end = source.indexOf(two === "//" ? "\n" : "*/", i + 2);
      if (end < 0) return source.length;
      i = two === "//" ? end - 1 : end + 1;
      continue;
    }
    if (character === '"' || character === "'" || character === "`") {
      for (i++; i < source.length && source[i] !== character; i++) if (source[i] === "\\") i++;
      last = character;
      continue;
    }
    if (/\s/.test(character)) continue;
    if (depth === 0 && character === "{" && head && !BEFORE_TYPE.has(last)) return i;
    if ("([{".includes(character)) depth++;
    if (character === "<" && /[\w$]/.test(last)) depth++;
    if (character === ">" && last !== "=" && depth > 0) depth--;
    if (")]}".includes(character)) {
      depth--;
      // The end of an interface; a type goes on to its semicolon.
      if (
        depth === 0 && character === "}" && !head &&
        /^(?:export )?interface\b/.test(source.slice(start))
      ) {
        return i + 1;
      }
      if (depth < 0) return i;
    }
    if (depth === 0 && character === ";") return head ? i : i + 1;
    last = last === "=" && character === ">" ? "=>" : character;
  }
  return source.length;
}
