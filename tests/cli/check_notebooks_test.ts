import { assertEquals, assertStringIncludes } from "@std/assert";
import { checkNotebooks } from "../../lib/cli/check_notebooks.ts";

async function check(...cells: string[]): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/03_example.ipynb`;
    const notebook = {
      cells: cells.flatMap((source) => [
        { cell_type: "markdown", source: "text" },
        { cell_type: "code", source },
      ]),
    };
    await Deno.writeTextFile(path, JSON.stringify(notebook));
    return await checkNotebooks([path]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("cells that use the library rightly pass, with what earlier cells declared", async () => {
  const said = await check(
    'import { tf } from "interlens";\nconst x = tf.ones([2, 2]);',
    "const sum = await tf.sum(x).data();",
    "sum[0].toFixed(2)",
  );
  assertEquals(said, "");
});

Deno.test("an error of types is said of the notebook, the cell and the line in it", async () => {
  const said = await check(
    'import { tf } from "interlens";',
    "\nconst x = 1;\ntf.onez([x]);",
  );
  assertStringIncludes(said, "03_example.ipynb, cell 2, 3:4");
  assertStringIncludes(said, "onez");
});
