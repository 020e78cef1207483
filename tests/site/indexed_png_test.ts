import { assert, assertEquals, assertThrows } from "@std/assert";
import { crc32, inflateSync } from "node:zlib";
import { indexedPng } from "../../lib/site/indexed_png.ts";

/** Colours of the pixels, by a decoder of indexed PNGs that knows nothing of the encoder. */
function decode(png: Uint8Array): { width: number; height: number; rgba: number[] } {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const chunks = new Map<string, Uint8Array>();
  for (let at = 8; at < png.length;) {
    const length = view.getUint32(at);
    const body = png.subarray(at + 4, at + 8 + length);
    assertEquals(crc32(body), view.getUint32(at + 8 + length));
    chunks.set(new TextDecoder().decode(body.subarray(0, 4)), body.subarray(4));
    at += 12 + length;
  }
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const rows = inflateSync(chunks.get("IDAT")!);
  const rgba: number[] = [];
  for (let y = 0; y < height; y++) {
    assertEquals(rows[y * (width + 1)], 0);
    for (let x = 0; x < width; x++) {
      const index = rows[y * (width + 1) + 1 + x];
      rgba.push(...chunks.get("PLTE")!.subarray(3 * index, 3 * index + 3));
      rgba.push(chunks.get("tRNS")![index]);
    }
  }
  return { width, height, rgba };
}

Deno.test("a picture of at most 256 colours is kept to the bit", () => {
  const rgba = Uint8Array.from({ length: 16 * 16 * 4 }, (_, i) => i % 4 === 3 ? 200 : i % 256);
  assertEquals(decode(indexedPng(rgba, { width: 16, height: 16 })), {
    width: 16,
    height: 16,
    rgba: [...rgba],
  });
});

Deno.test("rare colours become the nearest of the frequent ones", () => {
  // 300 greys and blues, each once, on a ground of black.
  const rare = Array.from({ length: 300 }, (_, i) => [i % 256, i % 256, i < 256 ? 0 : 255, 255]);
  const rgba = Uint8Array.from(
    [...rare, ...Array.from({ length: 300 }, () => [0, 0, 0, 255])].flat(),
  );
  const { rgba: got } = decode(indexedPng(rgba, { width: 30, height: 20 }));
  const far = rgba.filter((value, i) => Math.abs(value - got[i]) > 0).length;
  assert(far > 0 && far < 4 * 50, `${far} channels changed`);
  assertEquals(got.slice(1200), [...rgba.subarray(1200)]);
});

Deno.test("a size that is not that of the pixels is refused", () => {
  assertThrows(() => indexedPng(new Uint8Array(8), { width: 3, height: 1 }), RangeError, "3 × 1");
});

Deno.test("the rare end of a colour scale stays in the palette", () => {
  // 400 greys, ten pixels each, and one blue pixel.
  const greys = Array.from({ length: 400 }, (_, i) => {
    const v = 55 + i / 2;
    return [Math.floor(v), Math.ceil(v), Math.floor(v), 255];
  });
  const rgba = Uint8Array.from(
    [...greys.flatMap((grey) => Array.from({ length: 10 }, () => grey)), [33, 102, 172, 255]]
      .flat(),
  );
  const { rgba: got } = decode(indexedPng(rgba, { width: 4001, height: 1 }));
  assertEquals(got.slice(-4), [33, 102, 172, 255]);
  assert(rgba.every((value, i) => Math.abs(value - got[i]) <= 2));
});
