/**
 * The K-quants of ggml: blocks of 256 values in 8 or 16 groups, whose scales are quantised too.
 *
 * @module
 */
import { float16 } from "./floats.ts";

/** 2 bits a value: 16 groups of 16, each with a 4-bit scale and a 4-bit minimum. */
export function readQ2K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 84) {
    const d = float16(bytes, at + 80);
    const dMin = float16(bytes, at + 82);
    for (let group = 0; group < 16; group++) {
      const scale = d * (bytes[at + group] & 15);
      const minimum = dMin * (bytes[at + group] >> 4);
      const { from, shift } = twoBits(at + 16, group);
      for (let l = 0; l < 16; l++) out[y++] = scale * (bytes[from + l] >> shift & 3) - minimum;
    }
  }
}

/** 3 bits a value: 16 groups of 16, each with a signed 6-bit scale. */
export function readQ3K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 110) {
    const d = float16(bytes, at + 108);
    for (let group = 0; group < 16; group++) {
      const packed = at + 96;
      const low = bytes[packed + group % 8] >> 4 * (group >> 3) & 15;
      const high = bytes[packed + 8 + group % 4] >> 2 * (group >> 2) & 3;
      const scale = d * ((low | high << 4) - 32);
      const { from, shift } = twoBits(at + 32, group);
      // The third bits lie in planes of their own: bit `group / 2` of the mask.
      const mask = at + 16 * (group & 1);
      const plane = group >> 1;
      for (let l = 0; l < 16; l++) {
        const third = (bytes[mask + l] >> plane & 1) << 2;
        out[y++] = scale * ((bytes[from + l] >> shift & 3 | third) - 4);
      }
    }
  }
}

/** 4 bits a value: 8 groups of 32, each with a 6-bit scale and a 6-bit minimum. */
export function readQ4K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 144) {
    for (let group = 0; group < 8; group++) {
      const { scale, minimum } = scaleAndMinimum(bytes, at, group);
      const from = at + 16 + 32 * (group >> 1);
      const shift = 4 * (group & 1);
      for (let l = 0; l < 32; l++) out[y++] = scale * (bytes[from + l] >> shift & 15) - minimum;
    }
  }
}

/** 5 bits a value: as 4 bits, with the fifth ones in a plane of their own. */
export function readQ5K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 176) {
    for (let group = 0; group < 8; group++) {
      const { scale, minimum } = scaleAndMinimum(bytes, at, group);
      const from = at + 48 + 32 * (group >> 1);
      const shift = 4 * (group & 1);
      for (let l = 0; l < 32; l++) {
        const fifth = (bytes[at + 16 + l] >> group & 1) << 4;
        out[y++] = scale * (bytes[from + l] >> shift & 15 | fifth) - minimum;
      }
    }
  }
}

/** 6 bits a value: 16 groups of 16, each with a signed 8-bit scale. */
export function readQ6K(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 210) {
    const d = float16(bytes, at + 208);
    for (let group = 0; group < 16; group++) {
      const scale = d * (bytes[at + 192 + group] << 24 >> 24);
      // Eight groups share 64 low bytes and 32 high ones; a quarter is 32 values.
      const half = group >> 3;
      const quarter = group >> 1 & 3;
      const within = 16 * (group & 1);
      const low = at + 64 * half + 32 * (quarter & 1) + within;
      const high = at + 128 + 32 * half + within;
      const lowShift = 4 * (quarter >> 1);
      for (let l = 0; l < 16; l++) {
        const q = bytes[low + l] >> lowShift & 15 | (bytes[high + l] >> 2 * quarter & 3) << 4;
        out[y++] = scale * (q - 32);
      }
    }
  }
}

/** Where the 2-bit values of a group of 16 lie: 8 groups share 32 bytes, two groups a bit pair. */
function twoBits(start: number, group: number): { from: number; shift: number } {
  return { from: start + 32 * (group >> 3) + 16 * (group & 1), shift: 2 * (group >> 1 & 3) };
}

/** Scale and minimum of a group of 32, packed in 6 bits each at byte 4 of the block. */
function scaleAndMinimum(
  bytes: Uint8Array,
  at: number,
  group: number,
): { scale: number; minimum: number } {
  const packed = at + 4 + group;
  const [scale, minimum] = group < 4 ? [bytes[packed] & 63, bytes[packed + 4] & 63] : [
    bytes[packed + 4] & 15 | bytes[packed - 4] >> 6 << 4,
    bytes[packed + 4] >> 4 | bytes[packed] >> 6 << 4,
  ];
  return { scale: float16(bytes, at) * scale, minimum: float16(bytes, at + 2) * minimum };
}
