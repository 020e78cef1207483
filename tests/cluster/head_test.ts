import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { EngineUnavailable } from "../../lib/cluster/engine.ts";
import { RayHead } from "../../lib/cluster/head.ts";

const SECRET = "Bearer 5ecret-t0ken";

/** What a head answers to everything, and the error that comes of it. */
async function errorOf(
  answer: (request: Request) => Response | Promise<Response>,
  headers: Record<string, string> = {},
  seconds?: number,
): Promise<Error> {
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, answer);
  using head = new RayHead(`http://127.0.0.1:${server.addr.port}`, { headers });
  return await assertRejects(() => head.json("GET", "/api/version", { seconds }), Error);
}

function isTransient(error: Error): boolean {
  return error instanceof EngineUnavailable;
}

Deno.test("what is no Ray head is said to be none, with what it answered", async () => {
  const page = await errorOf(() => new Response("<html>Welcome</html>"));
  assertStringIncludes(page.message, "is no dashboard of a Ray head");
  assert(!isTransient(page));
  const missing = await errorOf(() => new Response("Not Found", { status: 404 }));
  assertStringIncludes(missing.message, 'answers "/api/version" with 404');
  assertStringIncludes(missing.message, "with its path");
  assert(!isTransient(missing));
});

Deno.test("a refusal says whether headers were missing or wrong, and never what they are", async () => {
  // A server that repeats what it got must not bring it into a message either.
  const refuse = (request: Request) =>
    new Response(`No entry with ${request.headers.get("authorization")}`, { status: 401 });
  const without = await errorOf(refuse);
  assertStringIncludes(without.message, "refuses with 401");
  assertStringIncludes(without.message, 'authentication in "headers"');
  const wrong = await errorOf(refuse, { authorization: SECRET });
  assertStringIncludes(wrong.message, 'does not accept the headers "authorization"');
  for (const error of [without, wrong]) {
    assert(!isTransient(error));
    assert(!error.message.includes("5ecret"), error.message);
  }
});

Deno.test("a redirection, as to a page that asks for a login, is no answer, and no header follows it", async () => {
  let followed = false;
  await using elsewhere = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => {
    followed = true;
    return Response.json({});
  });
  const target = `http://127.0.0.1:${elsewhere.addr.port}/login?state=5ecret`;
  const error = await errorOf(() => Response.redirect(target, 302), { authorization: SECRET });
  assertStringIncludes(error.message, "/login");
  assert(!error.message.includes("5ecret"), error.message);
  assert(!followed);
});

Deno.test("a head that fails, is silent or away is one that may answer later", async () => {
  const traceback = "Traceback (most recent call last):\n  File x\nTimeoutError: no agent\n.";
  const failing = await errorOf(() => new Response(traceback, { status: 500 }));
  assertStringIncludes(failing.message, "with 500: TimeoutError: no agent");
  const { promise, resolve } = Promise.withResolvers<Response>();
  const silent = await errorOf(
    () => {
      setTimeout(() => resolve(new Response()), 200);
      return promise;
    },
    {},
    0.05,
  );
  assertStringIncludes(silent.message, "does not answer within 0.05 s");
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = listener.addr;
  listener.close();
  using head = new RayHead(`http://user:5ecret@127.0.0.1:${port}/ray/`);
  assertEquals(head.address, `http://127.0.0.1:${port}/ray`);
  const away = await assertRejects(() => head.request("GET", "/api/version"), Error);
  assertStringIncludes(away.message, `Cannot reach a Ray head at "http://127.0.0.1:${port}/ray"`);
  assertStringIncludes(away.message.toLowerCase(), "refused");
  for (const error of [failing, silent, away]) {
    assert(isTransient(error), error.message);
    assert(!Deno.inspect(error).includes("5ecret"), error.message);
  }
});

Deno.test("a path, a user and a password of the address are used", async () => {
  const seen: (string | null)[] = [];
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    (request) => {
      seen.push(new URL(request.url).pathname, request.headers.get("authorization"));
      return Response.json({});
    },
  );
  using head = new RayHead(`http://user:p%40ss@127.0.0.1:${server.addr.port}/ray/`);
  await head.json("GET", "/api/version");
  assertEquals(seen, ["/ray/api/version", `Basic ${btoa("user:p@ss")}`]);
});

Deno.test("an address that is none of HTTP is refused at once, without its password", () => {
  const python = assertThrows(() => new RayHead("ray://head:10001"), TypeError);
  assertStringIncludes(python.message, "Python clients");
  assertThrows(() => new RayHead("head:8265"), TypeError, "http://127.0.0.1:8265");
  for (
    const address of [
      ...["ftp://user:5ecret@head", "user:5ecret@head", "ftp://user:a/5ecret@b@head"],
      ...["http://user:1/5ecret@head", "http://user:a/b@5ecret@head", "http://user:1#5ecret@head"],
    ]
  ) {
    const bad = assertThrows(() => new RayHead(address), TypeError, 'head": give');
    assert(!bad.message.includes("5ecret"), bad.message);
  }
  const coded = assertThrows(() => new RayHead("http://user:%5ecret%@head"), TypeError, "%25");
  assert(!Deno.inspect(coded).includes("ecret"), coded.message);
  const header = assertThrows(() => new RayHead("http://head", { headers: { a: "5ecret\nb" } }));
  assert(!String(header).includes("5ecret"), String(header));
  assertThrows(() => new RayHead("https://head", { ca: "/nowhere.pem" }), Error, "/nowhere.pem");
});

Deno.test("of a long answer only the end is kept", async () => {
  const parts = Array.from({ length: 100 }, (_, i) => `${i}`.padStart(10, "-"));
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    () => new Response(ReadableStream.from(parts).pipeThrough(new TextEncoderStream())),
  );
  using head = new RayHead(`http://127.0.0.1:${server.addr.port}`);
  const { text } = await head.request("GET", "/", { last: 15 });
  assertEquals(text, "---98--------99");
});
