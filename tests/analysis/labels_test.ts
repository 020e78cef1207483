import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  collectExamples,
  EndpointError,
  type EndpointOptions,
  type Examples,
  labelByTokens,
  labelFeatures,
  modelEndpoint,
} from "../../lib/analysis/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { type AnswerServer, anthropic, openai, serveAnswers } from "./answer_server.ts";
import { axisSae, sequencesOf, tableModel } from "./fake_model.ts";

const KEY = "sk-secret-0123456789";
const TEXTS = ["", " Kettle", " kettle", " the", " lamp", "\n"];
const TABLE = [[9, 9], [3, 0], [2, 0], [0, 0], [0, 4], [0, 0]];
const FREE = { input: 0, output: 0 };

async function examplesOf(): Promise<Examples> {
  await openDevice();
  const sae = axisSae(2);
  const examples = await collectExamples(
    tableModel(TABLE, TEXTS),
    sae,
    sequencesOf([3, 1, 3, 3], [2, 3, 3, 3, 3], [4, 3, 5], [3, 3, 4, 3, 3, 3]),
    { window: { before: 1, after: 1 } },
  );
  sae.dispose();
  return examples;
}

interface Scene {
  readonly server: AnswerServer;
  readonly examples: Examples;
  /** What was printed so far. */
  readonly printed: string[];
  readonly cache: string;
  ask(options?: Partial<EndpointOptions>): Promise<string[]>;
}

/** Runs with a server, a cache of its own and the key in the environment. */
function endpointTest(name: string, fn: (scene: Scene) => Promise<void>): void {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () =>
      inScratch(async (cache) => {
        const examples = await examplesOf();
        const printed: string[] = [];
        const log = console.log;
        console.log = (...parts: unknown[]) => void printed.push(parts.join(" "));
        Deno.env.set("OPENAI_API_KEY", KEY);
        Deno.env.set("ANTHROPIC_API_KEY", KEY);
        await using server = serveAnswers((prompt) => openai(`"Kettles, ${prompt.length}"`));
        try {
          const ask = async (options: Partial<EndpointOptions> = {}) => {
            const endpoint = modelEndpoint({
              ...{ baseUrl: `${server.origin}/v1`, model: "tiny", price: FREE, limit: 0 },
              ...{ retryDelay: 1, parallel: 1 },
              ...options,
            });
            const labels = await labelFeatures(examples, { endpoint, cache });
            return labels.map(({ label }) => label);
          };
          await fn({ server, examples, printed, cache, ask });
          assert(!printed.join("\n").includes(KEY), "the key was printed");
          for await (const { name } of Deno.readDir(cache)) {
            assert(!(await Deno.readTextFile(`${cache}/${name}`)).includes(KEY), "it was cached");
          }
        } finally {
          console.log = log;
          Deno.env.delete("OPENAI_API_KEY");
          Deno.env.delete("ANTHROPIC_API_KEY");
        }
      }),
  });
}

endpointTest("labels are asked for once, with marked tokens, and then cached", async (scene) => {
  const { server, ask, printed } = scene;
  const labels = await ask();
  assert(labels.every((label) => /^Kettles, \d+$/.test(label)));
  assertEquals(server.seen.length, 2);
  const [{ path, headers, body, prompt }] = server.seen;
  assertEquals(path, "/v1/chat/completions");
  assertEquals(headers.get("authorization"), `Bearer ${KEY}`);
  assertEquals([body.model, body.temperature, body.max_tokens], ["tiny", 0, 40]);
  assert(prompt.includes(" the« Kettle»9 the"));
  assertEquals(prompt.match(/« Kettle»/g)?.length, 1, "a context was shown twice");
  assert(prompt.includes("« kettle»6 the"));
  assert(printed[0].startsWith("labels: 2 requests to tiny"));
  assertEquals(await ask(), labels);
  assertEquals(server.seen.length, 2, "it asked again");
  assert(
    printed.some((line) => line.includes("0 requests") && line.includes("2 answers are cached")),
  );
  await ask({ model: "other" });
  assertEquals(server.seen.length, 4, "another model has other answers");
});

endpointTest(
  "Anthropic's interface has its own address, headers and form",
  async ({ server, ask }) => {
    server.next.push(() => anthropic("kettles"), () => anthropic("lamps"));
    assertEquals(await ask({ kind: "anthropic" }), ["kettles", "lamps"]);
    const [{ path, headers }] = server.seen;
    assertEquals(path, "/v1/messages");
    assertEquals(headers.get("x-api-key"), KEY);
    assertEquals(headers.get("anthropic-version"), "2023-06-01");
    assertEquals(headers.get("authorization"), null);
  },
);

endpointTest("address and model may come from the environment", async ({ server, ask }) => {
  Deno.env.set("INTERLENS_LABELS_URL", `${server.origin}/v1/`);
  Deno.env.set("INTERLENS_LABELS_MODEL", "from-environment");
  try {
    await ask({ baseUrl: undefined, model: undefined });
    assertEquals(server.seen[0].body.model, "from-environment");
  } finally {
    Deno.env.delete("INTERLENS_LABELS_URL");
    Deno.env.delete("INTERLENS_LABELS_MODEL");
  }
});

endpointTest(
  "what could cost more than the limit is refused before anything is sent",
  async (scene) => {
    const { server, ask, printed } = scene;
    const price = { input: 1000, output: 1000 };
    await assertRejects(
      () => ask({ price, limit: 0.01 }),
      RangeError,
      "more than the limit of 0.01",
    );
    assertEquals(server.seen.length, 0);
    assert(/at most 0\.\d+ at the prices given \(limit 0\.01\)/.test(printed[0]));
    await ask({ price, limit: 10 });
    assertEquals(server.seen.length, 2);
    // What is cached costs nothing.
    await ask({ price, limit: 0 });
  },
);

endpointTest(
  "a busy or broken server is asked again, after the pause that it names",
  async (scene) => {
    const { server, ask } = scene;
    const busy = (status: number, headers?: HeadersInit) => () =>
      new Response("busy", { status, headers });
    server.next.push(busy(429, { "retry-after": "0.01" }), busy(503), busy(500));
    await ask();
    assertEquals(server.seen.length, 5);
    server.next.push(...Array.from({ length: 4 }, () => busy(429)));
    await assertRejects(() => ask({ model: "b" }), EndpointError, "too many requests (429)");
    assertEquals(server.seen.length, 9);
  },
);

endpointTest(
  "a refused key is said without the key, and not tried again",
  async ({ server, ask }) => {
    for (const status of [401, 403]) {
      server.next.push(() => new Response(`no such key: ${KEY}\nsorry`, { status }));
      const error = await assertRejects(() => ask(), EndpointError, "OPENAI_API_KEY");
      assert(!String(error).includes(KEY) && !Deno.inspect(error).includes(KEY));
      assert(error.message.includes(`(${status})`) && error.message.includes("no such key: …"));
    }
    assertEquals(server.seen.length, 2);
    server.next.push(() => new Response("", { status: 404 }));
    await assertRejects(() => ask(), EndpointError, 'does not know the model "tiny"');
  },
);

endpointTest(
  "an answer of another form is an error that shows it, and is not cached",
  async (scene) => {
    const { server, ask } = scene;
    for (
      const [body, message] of [
        ["<html>welcome</html>", "<html>welcome"],
        [JSON.stringify({ choices: [] }), "another form than openai's"],
        [JSON.stringify({ choices: [{ message: { content: null } }] }), "another form"],
        [JSON.stringify({ choices: [{ message: { content: " \n" } }] }), "expected a label"],
        ["x".repeat(2 << 20), "more than"],
      ]
    ) {
      server.next.push(() => new Response(body));
      await assertRejects(() => ask(), EndpointError, message);
    }
    assertEquals(server.seen.length, 5);
    await ask();
    assertEquals(server.seen.length, 7);
  },
);

endpointTest("a silent server is given up", async ({ server, ask }) => {
  const silent = () =>
    new Promise<Response>((resolve) => setTimeout(() => resolve(openai("x")), 400));
  server.next.push(silent, silent);
  await assertRejects(
    () => ask({ timeout: 50, attempts: 2 }),
    EndpointError,
    "no answer in 0.05 s; gave up after 2 requests",
  );
});

endpointTest("a redirect is not followed: it would take the key along", async ({ server, ask }) => {
  await using other = serveAnswers(() => openai("stolen"));
  server.next.push(() => Response.redirect(`${other.origin}/v1/chat/completions`, 307));
  await assertRejects(() => ask(), EndpointError, "redirects (307)");
  assertEquals(other.seen.length, 0);
});

endpointTest("a server of one's own may do without a key; another must have one", async (scene) => {
  const { server, ask } = scene;
  Deno.env.delete("OPENAI_API_KEY");
  await ask();
  assertEquals(server.seen[0].headers.get("authorization"), null);
  const far = { baseUrl: "https://api.invalid/v1", model: "x" };
  await assertRejects(() => ask(far), EndpointError, "set the environment variable OPENAI_API_KEY");
  Deno.env.set("OPENAI_API_KEY", KEY);
  await assertRejects(
    () => ask({ ...far, baseUrl: "http://api.invalid/v1" }),
    EndpointError,
    "not encrypted",
  );
  Deno.env.set("OPENAI_API_KEY", `${KEY}\nX: y`);
  await assertRejects(() => ask({ model: "c" }), EndpointError, "holds characters that no key has");
});

endpointTest("an unreachable server is named", async ({ ask }) => {
  await assertRejects(
    () => ask({ baseUrl: "http://127.0.0.1:1/v1", attempts: 1 }),
    EndpointError,
    'Cannot reach "http://127.0.0.1:1/v1/chat/completions"',
  );
});

endpointTest("a damaged cached answer is named, not trusted", async ({ ask, cache }) => {
  await ask();
  for await (const { name } of Deno.readDir(cache)) {
    await Deno.writeTextFile(`${cache}/${name}`, "{");
  }
  await assertRejects(() => ask(), Error, "delete it to ask again");
});

endpointTest("answers that came before a failure or a stop are kept", async (scene) => {
  const { server, ask, examples, cache } = scene;
  server.next.push(() => openai("first"), () => new Response("", { status: 401 }));
  await assertRejects(() => ask(), EndpointError);
  server.next.push(() => openai("second"));
  assertEquals(await ask(), ["first", "second"]);
  assertEquals(server.seen.length, 3);
  const endpoint = modelEndpoint({ baseUrl: server.origin, model: "d", price: FREE, limit: 0 });
  const signal = AbortSignal.abort();
  await assertRejects(() => labelFeatures(examples, { endpoint, cache, signal }), DOMException);
});

Deno.test("an endpoint that cannot be asked is refused by name", () => {
  const good = { baseUrl: "http://localhost:1/v1", model: "m", price: FREE, limit: 0 };
  const refuse = (change: Partial<EndpointOptions>, message: string) =>
    assertThrows(() => modelEndpoint({ ...good, ...change }), RangeError, message);
  refuse({ baseUrl: "" }, "INTERLENS_LABELS_URL");
  refuse({ baseUrl: "localhost" }, "expected an address");
  refuse({ baseUrl: "ftp://a.invalid" }, "expected an address");
  refuse({ model: "" }, "INTERLENS_LABELS_MODEL");
  refuse({ price: undefined }, "give price");
  refuse({ price: { input: -1, output: 0 } }, "give price");
  refuse({ limit: NaN }, "limit = NaN");
  refuse({ attempts: 0 }, "attempts = 0");
  refuse({ kind: "other" as "openai" }, '"openai" or "anthropic"');
  for (const baseUrl of [`https://u:${KEY}@a.invalid/v1`, `https://a.invalid/v1?key=${KEY}`]) {
    const error = assertThrows(() => modelEndpoint({ ...good, baseUrl }), RangeError);
    assert(!error.message.includes(KEY), "the key in the address was shown");
  }
});

Deno.test("a label shows spaces and line breaks", () => {
  const tokens = [" ", "\n"].map((_, id) => ({ id, count: 5, rate: 1, lift: 9, share: 0.5 }));
  const none = { top: [], bottom: [], active: [], random: [], inactive: [] };
  const [{ label, words }] = labelByTokens({
    features: [{ feature: 0, density: 0.1, max: 1, tokens, ...none }],
    tokens: 100,
    texts: ({ ids }) => Array.from(ids, (id) => [" ", "\n"][id]),
  });
  assertEquals(label, "␣ / ↵");
  assertEquals(words, [" ", "↵"]);
});

Deno.test("a label by tokens unites case and leaves out what is frequent everywhere", async () => {
  const examples = await examplesOf();
  const labels = labelByTokens(examples, { lift: 2 });
  assertEquals(labels.map(({ label }) => label), ["kettle", "lamp"]);
  assertEquals(labels[0].source, "tokens");
  assertEquals(labelByTokens(examples, { lift: 2, occurrences: 3 })[0].words, ["kettle"]);
  // Where nothing passes, the token with the most activation stands.
  assertEquals(labelByTokens(examples, { lift: 1e9 })[1].words, ["lamp"]);
});
