/**
 * TensorFlow graphs: many ops that run as one.
 *
 * An op that is called by itself costs about 15 µs in TensorFlow and twice that in JavaScript, and
 * a new buffer for its result. A graph costs that once; inside, element-wise ops write into
 * the buffers of their inputs, and TensorFlow merges some. Weights stay where they are:
 * they are inputs like any other, and inputs are not copied.
 *
 * The binding runs graphs of saved models only, so a graph is written as one, without variables.
 * Message and field numbers are those of `saved_model.proto`, `meta_graph.proto`, `graph.proto`,
 * `node_def.proto` and `attr_value.proto` of TensorFlow.
 *
 * Like every raw op, a graph has a portable twin where it is used, and a test compares the two.
 *
 * @module
 */
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { isNative } from "./native.ts";

/**
 * True if a graph can run here and now: on TensorFlow on a CPU, since on a GPU its inputs would pass
 * through the host; and while no gradient is recorded, since a graph has none.
 */
export function canRunGraphs(): boolean {
  return isNative() && !native().isUsingGpuDevice && tf.engine().state.gradientDepth === 0;
}

interface Native {
  isUsingGpuDevice: boolean;
  binding: {
    loadSavedModel(folder: string, tags: string): number;
    runSavedModel(id: number, tensors: number[], inputs: string, outputs: string): unknown[];
  };
  getInputTensorIds(tensors: tf.Tensor[]): number[];
  createOutputTensor(found: unknown): tf.Tensor;
}

const native = () => tf.backend() as unknown as Native;

/** Something that flows in a graph: the name of an op, or of one of its outputs. */
export type GraphTensor = string & { readonly graph?: never };

/** Attributes of an op: a type, a truth value or an integer. */
type Attribute = "float32" | "int32" | "int64" | boolean | number;

const TYPES = { float32: 1, int32: 3, int64: 9 };
const T = "float32";

/** Builds a graph. Its methods have the names and rules of TensorFlow's ops. */
export class Graph {
  readonly #nodes: Uint8Array[] = [];
  readonly #inputs: string[] = [];

  /** What {@link CompiledGraph.run} is given under this name. */
  input(name: string, dtype: "float32" | "int32" = T): GraphTensor {
    this.#inputs.push(name);
    return this.#node(name, "Placeholder", [], { dtype });
  }

  /** A float32 scalar. */
  scalar(value: number): GraphTensor {
    return this.#constant(T, Float32Array.of(value), []);
  }

  /** An int32 vector. */
  ints(...values: number[]): GraphTensor {
    return this.#constant("int32", Int32Array.from(values), [values.length]);
  }

  /** Any op; `T: "float32"` unless the attributes say otherwise. */
  op(
    name: string,
    inputs: GraphTensor[],
    attributes: Record<string, Attribute> = { T },
  ): GraphTensor {
    return this.#node(`op${this.#nodes.length}`, name, inputs, attributes);
  }

  /** `a b` of matrices. */
  matMul(a: GraphTensor, b: GraphTensor): GraphTensor {
    return this.op("MatMul", [a, b], { T, transpose_a: false, transpose_b: false });
  }

  /** `a b`, or `a bᵀ`, of the matrices in the last two axes. */
  batchMatMul(a: GraphTensor, b: GraphTensor, transposeB = false): GraphTensor {
    return this.op("BatchMatMulV2", [a, b], { T, adj_x: false, adj_y: transposeB });
  }

  /** The sum over the last axis, which is kept. */
  sumLast(x: GraphTensor): GraphTensor {
    return this.op("Sum", [x, this.ints(-1)], { T, Tidx: "int32", keep_dims: true });
  }

  /** Shape as an int32 vector. */
  shape(x: GraphTensor): GraphTensor {
    return this.op("Shape", [x], { T, out_type: "int32" });
  }

  /** Elements `begin … begin + size - 1` of an int32 vector. */
  slice(x: GraphTensor, begin: number, size: number): GraphTensor {
    const range = [this.ints(begin), this.ints(size)];
    return this.op("Slice", [x, ...range], { T: "int32", Index: "int32" });
  }

  /** One of the dimensions may be -1. */
  reshape(x: GraphTensor, shape: GraphTensor): GraphTensor {
    return this.op("Reshape", [x, shape], { T, Tshape: "int32" });
  }

  /** Its axes in another order. */
  transpose(x: GraphTensor, axes: number[]): GraphTensor {
    return this.op("Transpose", [x, this.ints(...axes)], { T, Tperm: "int32" });
  }

  /** Tensors joined along an axis. */
  concat(parts: GraphTensor[], axis: number, type: "float32" | "int32" = T): GraphTensor {
    const along = this.#constant("int32", Int32Array.of(axis), []);
    return this.op("ConcatV2", [...parts, along], { T: type, Tidx: "int32", N: parts.length });
  }

  /** Parts of these sizes along an axis. */
  split(x: GraphTensor, sizes: number[], axis: number): GraphTensor[] {
    const along = this.#constant("int32", Int32Array.of(axis), []);
    const inputs = [x, this.ints(...sizes), along];
    const op = this.op("SplitV", inputs, { T, Tlen: "int32", num_split: sizes.length });
    return sizes.map((_, i) => `${op}:${i}`);
  }

  /** Hands the graph to TensorFlow, for the life of the process. */
  compile(): CompiledGraph {
    const graph = field(2, ...this.#nodes, field(4, integer(1, PRODUCER)));
    const folder = Deno.makeTempDirSync({ prefix: "interlens-graph-" });
    try {
      const model = concatenate([integer(1, 1), field(2, field(1, text(4, "serve")), graph)]);
      Deno.writeFileSync(join(folder, "saved_model.pb"), model);
      return new CompiledGraph(native().binding.loadSavedModel(folder, "serve"), this.#inputs);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  }

  #constant(type: keyof typeof TYPES, values: ArrayBufferView, shape: number[]): GraphTensor {
    const bytes = new Uint8Array(values.buffer as ArrayBuffer);
    const sizes = shape.map((size) => field(2, integer(1, size)));
    const tensor = field(8, integer(1, TYPES[type]), field(2, ...sizes), field(4, bytes));
    const attributes = [attribute("dtype", integer(6, TYPES[type])), attribute("value", tensor)];
    return this.#add(`op${this.#nodes.length}`, "Const", [], attributes);
  }

  #node(
    name: string,
    op: string,
    inputs: GraphTensor[],
    attributes: Record<string, Attribute>,
  ): GraphTensor {
    const encoded = Object.entries(attributes).map(([key, value]) =>
      attribute(
        key,
        typeof value === "boolean"
          ? integer(5, Number(value))
          : typeof value === "number"
          ? integer(3, value)
          : integer(6, TYPES[value]),
      )
    );
    return this.#add(name, op, inputs, encoded);
  }

  #add(name: string, op: string, inputs: GraphTensor[], attributes: Uint8Array[]): GraphTensor {
    const from = inputs.map((input) => text(3, input));
    this.#nodes.push(field(1, text(1, name), text(2, op), ...from, ...attributes));
    return name;
  }
}

/** A graph that can run. */
export class CompiledGraph {
  readonly #id: number;
  readonly #inputs: readonly string[];

  /** @param id Number that the binding gave the graph. */
  constructor(id: number, inputs: readonly string[]) {
    this.#id = id;
    this.#inputs = inputs;
  }

  /**
   * Computes some of what the graph can compute, and nothing else.
   *
   * @param inputs One tensor for each input of the graph; what is undefined is not given.
   * @param outputs Tensors of the graph.
   * @returns Their values, owned by the caller.
   * @throws {Error} If an input is missing or not one of the graph's, or shapes do not fit together.
   */
  run(inputs: Record<string, tf.Tensor | undefined>, outputs: GraphTensor[]): tf.Tensor[] {
    const tensors = this.#inputs.map((name) => {
      const tensor = inputs[name];
      if (!tensor) throw new Error(`Cannot run a graph without its input "${name}"`);
      return tensor;
    });
    // What a graph does not read would be left out of the result without a word.
    for (const [name, tensor] of Object.entries(inputs)) {
      if (tensor && !this.#inputs.includes(name)) {
        throw new Error(`Cannot run a graph with "${name}": it has no such input`);
      }
    }
    const backend = native();
    const ids = backend.getInputTensorIds(tensors);
    return backend.binding.runSavedModel(this.#id, ids, this.#inputs.join(), outputs.join())
      .map((found) => backend.createOutputTensor(found));
  }
}

/** Version of the format of graphs, that of TensorFlow 2.15; later ones read it. */
const PRODUCER = 1645;

/** An entry of a map of attributes. */
const attribute = (name: string, value: Uint8Array) => field(5, text(1, name), field(2, value));

/** A protobuf field with a message or bytes. */
function field(number: number, ...parts: Uint8Array[]): Uint8Array {
  const body = concatenate(parts);
  return concatenate([varint(number << 3 | 2), varint(body.length), body]);
}

const text = (number: number, value: string) => field(number, new TextEncoder().encode(value));

const integer = (number: number, value: number) =>
  concatenate([varint(number << 3), varint(value)]);

/** Seven bits a byte, lowest first; negative numbers as 64 bits of two's complement. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Uint8Array.of(...bytes, Number(rest));
}

function concatenate(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
