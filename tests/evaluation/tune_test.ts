import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type ActivationReader, memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import {
  affineContender,
  type Contender,
  equalSaeWidth,
  evaluateTuned,
  mlpContender,
  nfmContender,
  saeParameterCount,
  secondarySaeContender,
  trialRows,
  tune,
  widerSaeContender,
} from "../../lib/evaluation/mod.ts";
import { parameterCount } from "../../lib/interaction/mod.ts";
import { compareFvu } from "../../lib/metrics/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

await openDevice({ backend: "cpu" });

type Share = { factor: number; other?: string };

/** On validation documents x̂ = x is best, on test documents x̂ = 3 x would be. */
function twoWorlds(): ActivationReader {
  const rng = new Rng(0, "two worlds");
  const document = Int32Array.from({ length: 40 }, (_, i) => i >> 2);
  const rows = Float32Array.from({ length: 40 }, () => rng.normal());
  return memoryStore(1, {
    train: { rows, document },
    validation: { rows, document },
    test: { rows: rows.map((value) => value / 3), document },
  });
}

/** Multiplies by a factor, and keeps account of what is trained and freed. */
function multiplier(factors: number[], log: string[] = []): Contender<Share, Share> {
  return {
    space: { factor: factors },
    train: (config) => {
      log.push(`train ${config.factor}`);
      if (config.factor < 0) {
        return Promise.reject(new Error(`The loss of ${config.factor} is NaN`));
      }
      return Promise.resolve(config);
    },
    reconstruct: ({ factor }) => ({ x }) => tf.mul(x, factor),
    parameters: () => 1,
    trainingTokens: () => 7,
    dispose: ({ factor }) => {
      log.push(`free ${factor}`);
    },
  };
}

Deno.test("The best on validation documents is chosen, whatever test documents say", async () => {
  const before = tf.memory().numTensors;
  const { model } = await tune(twoWorlds(), { model: multiplier([0.5, 1, 3]) }, { trials: 3 });
  assertEquals(model.config, { factor: 1 });
  assertAlmostEquals(model.fvu, 0, 1e-6);
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("A trainer that reads test documents ends tuning with an error", async () => {
  const cheat: Contender<Share, Share> = {
    ...multiplier([1]),
    train: async (config, store) => {
      await store.split("test").rows(0, 1);
      return config;
    },
  };
  await assertRejects(
    () => tune(twoWorlds(), { cheat }, { trials: 1 }),
    RangeError,
    "Cannot read test documents",
  );
  // And tuning itself does not: test documents that do not exist make no difference.
  const store = twoWorlds();
  const blind = {
    ...store,
    split: (name: "train" | "validation" | "test") => {
      if (name === "test") throw new Error("There are none");
      return store.split(name);
    },
  };
  await tune(blind, { model: multiplier([1, 2]) }, { trials: 2 });
});

Deno.test("Each kind has the same number of trials, and all of them are reported", async () => {
  const tuned = await tune(twoWorlds(), {
    a: multiplier([0.1, 0.2, 0.3, 0.4, 0.5]),
    b: { ...multiplier([2, 1.5]), space: { factor: [2, 1.5], other: ["x", "y"] } },
  }, { trials: 4 });
  for (const { trials, config, fvu } of [tuned.a, tuned.b]) {
    assertEquals(trials.length, 4);
    assertEquals(new Set(trials.map((trial) => JSON.stringify(trial.config))).size, 4);
    assertEquals(fvu, Math.min(...trials.map((trial) => trial.fvu)));
    assertEquals(trials.find((trial) => trial.fvu === fvu)!.config, config);
    assert(
      trials.every(({ parameters, trainingTokens }) => parameters === 1 && trainingTokens === 7),
    );
  }
  const rows = trialRows(tuned);
  assertEquals([rows.length, rows.filter(({ chosen }) => chosen === "yes").length], [8, 2]);
});

Deno.test("Which configurations are tried follows from the seed", async () => {
  const factors = Array.from({ length: 30 }, (_, i) => i / 10);
  const tried = async (seed: number) => {
    const { model } = await tune(twoWorlds(), { model: multiplier(factors) }, { trials: 5, seed });
    return model.trials.map(({ config }) => config.factor);
  };
  assertEquals(await tried(1), await tried(1));
  assert(`${await tried(1)}` !== `${await tried(2)}`);
});

Deno.test("Models that lose are freed, and the best one is not", async () => {
  const log: string[] = [];
  await tune(twoWorlds(), { model: multiplier([0.5, 1, 3], log) }, { trials: 3 });
  assertEquals(log.filter((line) => line.startsWith("free")), ["free 0.5", "free 3"]);
});

Deno.test("A training that fails is a trial that failed; if all do, that is the error", async () => {
  const { model } = await tune(twoWorlds(), { model: multiplier([-1, 1]) }, { trials: 2 });
  const failed = model.trials.find(({ failure }) => failure)!;
  assertEquals([failed.fvu, failed.failure], [Infinity, "The loss of -1 is NaN"]);
  await assertRejects(
    () => tune(twoWorlds(), { model: multiplier([-1, -2]) }, { trials: 2 }),
    Error,
    'All 2 trials of "model" failed',
  );
  const impossible = { ...multiplier([1]), train: () => Promise.reject(new RangeError("No")) };
  await assertRejects(() => tune(twoWorlds(), { impossible }, { trials: 1 }), RangeError, "No");
});

Deno.test("A stop keeps the rounds in which every kind had its turn", async () => {
  const stop = new AbortController();
  const log: string[] = [];
  const second: Contender<Share, Share> = {
    ...multiplier([0.7, 0.8, 0.9], log),
    train: (config) => {
      if (log.filter((line) => line.startsWith("train")).length === 3) stop.abort();
      return multiplier([], log).train(config, twoWorlds());
    },
  };
  const { a, b } = await tune(twoWorlds(), { a: multiplier([0.4, 0.5, 0.6], log), b: second }, {
    trials: 3,
    signal: stop.signal,
  });
  assertEquals([a.trials.length, b.trials.length], [1, 1]);
  assertEquals(log.slice(-2), ["free 0.5", "free 0.8"]); // the round that was not finished
  await assertRejects(
    () => tune(twoWorlds(), { a: multiplier([1]) }, { trials: 1, signal: AbortSignal.abort() }),
    Error,
    "stopped before",
  );
});

Deno.test("More trials than configurations are refused before anything is trained", async () => {
  const log: string[] = [];
  const few = { plenty: multiplier([1, 2, 3], log), few: multiplier([1], log) };
  await assertRejects(
    () => tune(twoWorlds(), few, { trials: 2 }),
    RangeError,
    'Cannot try 2 configurations of "few"',
  );
  await assertRejects(() => tune(twoWorlds(), few, { trials: 0 }), RangeError, "0 configurations");
  assertEquals(log, []);
});

/** x = a u + b v + a b w + noise, of which the dictionary knows a and b. */
function interactions() {
  const draw = (count: number, seed: number) => {
    const rng = new Rng(seed, "interactions");
    return {
      rows: Float32Array.from(
        Array.from({ length: count }, () => {
          const [a, b] = [rng.uniform() < 0.5 ? 1 : 0, rng.uniform() < 0.5 ? 1 : 0].map((on) =>
            on * (1 + rng.uniform())
          );
          return [a, b, 0.5 * a * b, 0.3].map((value) => value + 0.02 * rng.normal());
        }).flat(),
      ),
      document: Int32Array.from({ length: count }, (_, i) => Math.floor(i / 20)),
    };
  };
  const store = memoryStore(4, {
    train: draw(1200, 0),
    validation: draw(400, 1),
    test: draw(400, 2),
  });
  const W_dec = tf.tensor2d([[1, 0, 0, 0], [0, 1, 0, 0]]);
  const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 2 }, {
    W_enc: tf.transpose(W_dec),
    b_enc: tf.fill([2], -0.1),
    W_dec,
    b_dec: tf.zeros([4]),
  });
  return { store, sae };
}

Deno.test("Five kinds of rivals are tuned alike and compared on test documents", async () => {
  await openDevice();
  const { store, sae } = interactions();
  const base = { steps: 200, batchSize: 100, cache: false };
  const learningRate = [1e-5, 2e-2];
  const pairs = { parts: "both", head: "linear", K: 2, dSae: 2, dOut: 4 } as const;
  const { total: parameters } = parameterCount(pairs);
  const tuned = await tune(store, {
    nfm: nfmContender(sae, { K: 2, ...base }, { learningRate }),
    linear: nfmContender(sae, { parts: "linear", ...base }, { learningRate }),
    refit: affineContender(sae, {}, { ridge: [1e-4, 10] }),
    network: mlpContender(sae, { hidden: 2, ...base }, { learningRate }),
    secondary: secondarySaeContender(
      sae,
      { architecture: "standard", dSae: 3, l1Coefficient: 0.1, ...base },
      { learningRate },
    ),
    wider: widerSaeContender(sae, { parameters, l1Coefficient: 0.1, ...base }, { learningRate }),
  }, { trials: 2 });
  for (const [name, { config, trials }] of Object.entries(tuned)) {
    assertEquals(trials.length, 2, name);
    if (name !== "refit") assertEquals(config, { learningRate: 2e-2 }, name);
    if (name !== "refit") assertEquals(trials[0].trainingTokens, 20_000, name);
  }
  assertEquals(tuned.nfm.trials[0].parameters, parameters);
  assert(Math.abs(tuned.wider.trials[0].parameters! - parameters) <= 9 / 2);
  const measured = await evaluateTuned(store, tuned, { split: "test", sae, maxActive: 2 });
  const gain = compareFvu(measured.refit.perDocument, measured.nfm.perDocument);
  assert(
    gain.difference.low > 0,
    `pairs explain more than the affine map: ${JSON.stringify(gain)}`,
  );
  const none = compareFvu(measured.refit.perDocument, measured.linear.perDocument);
  assert(
    Math.abs(none.difference.estimate) < 0.2 * gain.difference.estimate,
    "Adam found the refit",
  );
  assert(measured.refit.fvu < measured.dictionary!.fvu);
  for (const kind of ["network", "secondary"] as const) {
    assert(measured[kind].fvu < measured.dictionary!.fvu, kind);
  }
});

Deno.test("A round reads the training documents once for all kinds, together all rounds do", async () => {
  await openDevice();
  const { store, sae } = interactions();
  const base = { steps: 5, batchSize: 100, cache: false };
  const space = { learningRate: [1e-3, 1e-2, 2e-2] };
  const read = async (together: boolean) => {
    let batches = 0;
    const counted: ActivationReader = {
      ...store,
      split: (name) => {
        const split = store.split(name);
        const shuffledBatch: typeof split.shuffledBatch = (...which) => {
          batches++;
          return split.shuffledBatch(...which);
        };
        return { ...split, shuffledBatch };
      },
    };
    const kinds = {
      nfm: nfmContender(sae, { K: 2, ...base }, space),
      network: mlpContender(sae, { hidden: 2, ...base }, space),
    };
    const { nfm, network } = await tune(counted, kinds, { trials: 3, together });
    return { batches, fvu: [nfm, network].map(({ trials }) => trials.map((trial) => trial.fvu)) };
  };
  const [apart, together] = [await read(false), await read(true)];
  assertEquals([apart.batches, together.batches], [3 * 5, 5]);
  assertEquals(together.fvu, apart.fvu);
});

Deno.test("A wider dictionary of equal parameters differs by less than a feature's", () => {
  for (const architecture of ["standard", "topk", "batchtopk", "jumprelu", "gated"] as const) {
    const size = { architecture, dIn: 576, dSae: 4096 };
    const feature = saeParameterCount({ ...size, dSae: 1 }) -
      saeParameterCount({ ...size, dSae: 0 });
    const nfm = parameterCount({ parts: "both", head: "linear", K: 64, dSae: 4096, dOut: 576 });
    const dSae = equalSaeWidth(size, nfm.total);
    const difference = saeParameterCount({ ...size, dSae }) - saeParameterCount(size) - nfm.total;
    assert(Math.abs(difference) <= feature / 2, `${architecture}: ${difference}`);
  }
  const size = { architecture: "topk", dIn: 4, dSae: 8 } as const;
  assertEquals(equalSaeWidth(size, 0), 8);
  assertThrows(() => equalSaeWidth(size, -1), RangeError, "-1 parameters");
});

Deno.test("What is counted as a dictionary's parameters are the elements of its tensors", () => {
  for (const architecture of ["standard", "topk"] as const) {
    const sae = new Sae({ architecture, dIn: 3, dSae: 5, ...architecture === "topk" && { k: 1 } }, {
      W_enc: tf.zeros([3, 5]),
      b_enc: tf.zeros([5]),
      W_dec: tf.zeros([5, 3]),
      b_dec: tf.zeros([3]),
    });
    const elements = [sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec].reduce((n, t) => n + t.size, 0);
    assertEquals(saeParameterCount(sae.config), elements);
  }
  const transcoder = { architecture: "jumprelu", dIn: 3, dSae: 5, dOut: 2, skip: true } as const;
  assertEquals(saeParameterCount(transcoder), 5 * (3 + 2 + 1 + 1) + 2 + 6);
});
