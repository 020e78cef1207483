import { assert, assertStringIncludes } from "@std/assert";
import { checkNotebooks } from "../../lib/cli/check_notebooks.ts";

Deno.test("an error of types is said of its notebook, cell and line, and right cells pass", async () => {
  const notebooks = {
    "03_wrong": ['import { tf } from "interlens";', "\nconst x = 1;\ntf.onez([x]);"],
    "04_right": [
      'import { tf } from "interlens";\nconst x = tf.ones([2, 2]);',
      "const sum = await tf.sum(x).data();",
      "sum[0].toFixed(2)",
    ],
  };
  const folder = await Deno.makeTempDir();
  try {
    const paths: string[] = [];
    for (const [name, sources] of Object.entries(notebooks)) {
      const cells = sources.flatMap((source) => [
        { cell_type: "markdown", source: "text" },
        { cell_type: "code", source },
      ]);
      paths.push(`${folder}/${name}.ipynb`);
      await Deno.writeTextFile(paths.at(-1)!, JSON.stringify({ cells }));
    }
    // One run of the compiler for both: it reads the whole library each time.
    const said = await checkNotebooks(paths);
    assertStringIncludes(said, "03_wrong.ipynb, cell 2, 3:4");
    assertStringIncludes(said, "onez");
    assert(!said.includes("04_right"), said);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
