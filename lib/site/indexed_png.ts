/**
 * PNGs with a palette: charts have few colours, and a third of the bytes holds them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { crc32, deflateSync } from "node:zlib";

/** Colours of a palette. */
const MOST = 256;
/** Of these, how many are there for being frequent; the others are those that are like none of them. */
const FREQUENT = 160;

/**
 * A PNG of at most 256 colours: the most frequent ones and those that differ most from them, such as
 * the rare end of a colour scale; every other colour becomes the nearest. A picture that has no more is
 * kept to the bit.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { indexedPng } from "./indexed_png.ts";
 *
 * const png = indexedPng(Uint8Array.of(255, 0, 0, 255, 0, 0, 255, 255), { width: 2, height: 1 });
 * assertEquals(new TextDecoder().decode(png.slice(1, 4)), "PNG");
 * ```
 *
 * @param rgba Four bytes a pixel, row by row.
 * @throws {RangeError} If there are more or fewer pixels than the size says.
 */
export function indexedPng(
  rgba: Uint8Array,
  { width, height }: { width: number; height: number },
): Uint8Array {
  if (rgba.length !== 4 * width * height) {
    throw new RangeError(
      `Cannot write ${rgba.length / 4} pixels as a picture of ${width} × ${height}`,
    );
  }
  const pixels = new Uint32Array(width * height);
  const counts = new Map<number, number>();
  for (let i = 0; i < pixels.length; i++) {
    const [r, g, b, a] = rgba.subarray(4 * i, 4 * i + 4);
    const color = ((r << 24) | (g << 16) | (b << 8) | a) >>> 0;
    pixels[i] = color;
    counts.set(color, (counts.get(color) ?? 0) + 1);
  }
  const palette = paletteOf([...counts].sort((a, b) => b[1] - a[1]).map(([color]) => color));
  const index = new Map(palette.map((color, i) => [color, i]));
  for (const color of counts.keys()) {
    if (!index.has(color)) index.set(color, nearest(palette, color));
  }
  // A byte in front of each row says that it is not filtered, which suits indices.
  const rows = new Uint8Array(height * (width + 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      rows[y * (width + 1) + 1 + x] = index.get(pixels[y * width + x])!;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3], 8); // 8 bits, indexed
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", header),
    chunk("PLTE", palette.flatMap((color) => channels(color).slice(0, 3))),
    chunk("tRNS", palette.map((color) => channels(color)[3])),
    chunk("IDAT", deflateSync(rows, { level: 9 })),
    chunk("IEND", []),
  ]);
}

const channels = (color: number) => [24, 16, 8, 0].map((shift) => (color >>> shift) & 255);

/** Colours that stand for all, given the most frequent first. */
function paletteOf(colors: readonly number[]): number[] {
  if (colors.length <= MOST) return [...colors];
  const palette = colors.slice(0, FREQUENT);
  const rest = colors.slice(FREQUENT);
  const far = rest.map((color) => distance(color, palette[nearest(palette, color)]));
  while (palette.length < MOST) {
    const farthest = far.reduce((best, value, i) => value > far[best] ? i : best, 0);
    palette.push(rest[farthest]);
    rest.forEach((color, i) => far[i] = Math.min(far[i], distance(color, rest[farthest])));
  }
  return palette;
}

function distance(a: number, b: number): number {
  let sum = 0;
  for (let shift = 0; shift < 32; shift += 8) {
    sum += (((a >>> shift) & 255) - ((b >>> shift) & 255)) ** 2;
  }
  return sum;
}

function nearest(palette: readonly number[], color: number): number {
  let [best, least] = [0, Infinity];
  for (const [i, other] of palette.entries()) {
    const apart = distance(color, other);
    if (apart < least) [best, least] = [i, apart];
  }
  return best;
}

function chunk(name: string, data: ArrayLike<number>): Buffer {
  const body = Buffer.concat([Buffer.from(name, "ascii"), Buffer.from(Array.from(data))]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(body.length - 4, 0);
  framed.set(body, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}
