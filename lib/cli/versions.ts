/**
 * What a node has: prints the version of the library, the hash of its sources and the version of
 * Deno as one line of JSON. With the hash that is expected, says nothing if it is that, and ends
 * with an error otherwise.
 *
 * Runs in a fresh copy of the repository, before `deno task setup`.
 *
 * @module
 */
import { readSources, versionsWith } from "../cluster/versions.ts";

const [expected] = Deno.args;
const here = versionsWith(await readSources());
if (expected === undefined) {
  console.log(JSON.stringify({ interlens: "versions", versions: here }));
} else if (here.sources !== expected) {
  console.error(
    `The project on this node has the sources ${here.sources.slice(0, 12)}, the driver ` +
      `${expected.slice(0, 12)}: bring it to the same state`,
  );
  Deno.exit(1);
}
