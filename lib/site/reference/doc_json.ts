/**
 * What `deno doc --json` says of the library.
 *
 * @module
 */
import { join } from "node:path";
import { ROOT } from "../../files/mod.ts";

/** A comment. */
export interface JsDoc {
  readonly doc?: string;
  readonly tags?: readonly {
    readonly kind: string;
    readonly name?: string;
    readonly doc?: string;
    readonly tsType?: { readonly repr?: string };
  }[];
}

/** Where something is declared. */
export interface Location {
  /** Address of the file. */
  readonly filename: string;
  /** Line, from 0. */
  readonly line: number;
  /** Column, from 0. */
  readonly col: number;
}

/** A member of a class. */
export interface Member {
  readonly name: string;
  readonly jsDoc?: JsDoc;
  readonly location: Location;
  readonly isStatic?: boolean;
  readonly accessibility?: string;
}

/** A declaration of a symbol. */
export interface Declaration {
  readonly kind: string;
  readonly location: Location;
  readonly jsDoc?: JsDoc;
  readonly def: {
    readonly constructors?: readonly Member[];
    readonly properties?: readonly Member[];
    readonly methods?: readonly Member[];
    readonly target?: Location;
  };
}

/** An exported name. */
export interface DocSymbol {
  readonly name: string;
  readonly declarations: readonly Declaration[];
}

/** A folder of the library. */
export interface DocModule {
  /** Name of the folder. */
  readonly name: string;
  readonly doc: string;
  readonly symbols: readonly DocSymbol[];
}

/** Left out: it is TensorFlow.js, which has a reference of its own. */
const FOREIGN = new Set(["tf"]);

/**
 * The public folders in the order in which `lib/mod.ts` exports them, with their symbols.
 *
 * @throws {Error} If `deno doc` cannot read the library.
 */
export async function readDocumentation(): Promise<DocModule[]> {
  const surface = await Deno.readTextFile(join(ROOT, "lib", "mod.ts"));
  const names = [...surface.matchAll(/^export \* from "\.\/(\w+)\/mod\.ts";$/gm)].map(([, n]) => n);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", ...names.map((name) => `lib/${name}/mod.ts`)],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  if (!success) {
    const end = new TextDecoder().decode(stderr).trim().split("\n").slice(-5).join("\n");
    throw new Error(`Cannot make the reference: deno doc failed\n${end}`);
  }
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout)) as {
    nodes: Record<string, { module_doc?: JsDoc; symbols: DocSymbol[] }>;
  };
  return names.map((name) => {
    const [, found] = Object.entries(nodes).find(([file]) => file.endsWith(`/lib/${name}/mod.ts`))!;
    const own = found.symbols.filter((symbol) =>
      !FOREIGN.has(symbol.name) && symbol.declarations.every(({ kind }) => kind !== "reference")
    );
    return { name, doc: found.module_doc?.doc ?? "", symbols: own };
  });
}
