import { assert, assertEquals, assertThrows } from "@std/assert";
import { requireDeno } from "../../lib/study/open.ts";
import { describeConfig, forSeed, studyConfig } from "../../lib/study/mod.ts";

Deno.test("studyConfig() changes only what is asked for", () => {
  const plain = studyConfig();
  const changed = studyConfig({ sae: { k: 8 }, harvest: { tokens: { test: 7 } } });
  assertEquals(changed.sae, { ...plain.sae, k: 8 });
  assertEquals(changed.harvest.tokens, { ...plain.harvest.tokens, test: 7 });
  assertEquals(changed.nfm, plain.nfm);
});

Deno.test("studyConfig() hands its seed to every section", () => {
  const { harvest, sae, secondary, nfm } = studyConfig({ seed: 3 });
  assertEquals([harvest.seed, sae.seed, secondary.seed, nfm.seed], [3, 3, 3, 3]);
});

Deno.test("studyConfig() refuses a misspelt name and allows an optional one", () => {
  assertThrows(
    () => studyConfig({ sae: { dsae: 4 } as unknown as { dSae: number } }),
    RangeError,
    'Cannot set "sae.dsae"',
  );
  assertEquals(studyConfig({ sae: { auxK: 4 } }).sae.auxK, 4);
});

Deno.test("describeConfig() gives every value a reason", () => {
  const config = studyConfig();
  for (
    const { name, why } of describeConfig(config, "harvest", "sae", "reluSae", "secondary", "nfm")
  ) {
    assert(why.length > 0, name);
  }
});

Deno.test("describeConfig() shows small numbers as they are", () => {
  const rows = describeConfig(studyConfig({ sae: { learningRate: 1e-5, dSae: 4096 } }), "sae");
  const value = (name: string) => rows.find((row) => row.name === name)?.value;
  assertEquals([value("sae.learningRate"), value("sae.dSae")], ["0.00001", "4,096"]);
});

Deno.test("requireDeno() compares versions by number", () => {
  requireDeno("2.9.4");
  requireDeno("2.10.0");
  requireDeno("3.0.0+abc");
  assertThrows(() => requireDeno("2.9.3"), Error, "too old");
  assertThrows(() => requireDeno("1.46.3"), Error, "too old");
});

Deno.test("forSeed() changes every training and no data", () => {
  const config = studyConfig({ seed: 1 });
  const other = forSeed(config, 5);
  assertEquals(other.harvest, config.harvest);
  assertEquals(
    [other.sae, other.reluSae, other.secondary, other.studySecondary, other.nfm].map(({ seed }) =>
      seed
    ),
    [5, 5, 5, 5, 5],
  );
  assertEquals(forSeed(other, 1), config);
});

Deno.test("A rehearsal cuts sizes and keeps every choice", () => {
  Deno.env.set("INTERLENS_REHEARSAL", "1");
  Deno.env.set("INTERLENS_PROFILE", "paper");
  try {
    const { sae, harvest, nfm, seeds, text } = studyConfig();
    assertEquals([sae.dSae, sae.steps, sae.architecture, nfm.K], [256, 20, "topk", 16]);
    assertEquals([harvest.tokens.train, harvest.maxNormRatio, text], [3000, 5, "wikitext"]);
    assertEquals(seeds.length, 1);
  } finally {
    Deno.env.delete("INTERLENS_REHEARSAL");
    Deno.env.delete("INTERLENS_PROFILE");
  }
});
