/**
 * Tensors of a safetensors file as weights. The header is checked by `lib/files`.
 *
 * @module
 */
import { readHeader } from "../files/safetensors_header.ts";
import type { ByteSource } from "./byte_source.ts";
import { BF16, F16, F32, type NumberFormat } from "./floats.ts";
import type { TensorPlace } from "./stored_weights.ts";

const FORMATS: ReadonlyMap<string, NumberFormat> = new Map(
  [F32, F16, BF16].map((f) => [f.name, f]),
);

/**
 * Where the tensors of a safetensors file lie.
 *
 * @throws {Error} If the file is cut short, or its header does not describe it.
 */
export function safetensorsPlaces(source: ByteSource): Map<string, TensorPlace> {
  const { tensors } = readHeader(
    source.path,
    source.size,
    (position, length) => source.readNow(position, length),
  );
  return new Map(
    Object.entries(tensors).map(([name, { dtype, shape, begin }]) => [
      name,
      { source, dtype, format: FORMATS.get(dtype), shape, begin },
    ]),
  );
}
