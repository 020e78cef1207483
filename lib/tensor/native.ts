/**
 * Raw TensorFlow ops, for what tfjs has no function for: updates in place and
 * sparse products. Everything here has a portable twin; a test compares them.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";

interface Attribute {
  name: string;
  type: number;
  value: unknown;
}

interface Binding {
  TF_FLOAT: number;
  TF_INT32: number;
  TF_INT64: number;
  TF_ATTR_TYPE: number;
  TF_ATTR_BOOL: number;
  TF_ATTR_SHAPE: number;
  TF_ATTR_STRING: number;
}

interface Backend {
  binding: Binding;
  isUsingGpuDevice: boolean;
  executeSingleOutput(
    name: string,
    attributes: Attribute[],
    inputs: tf.Tensor[],
  ): tf.Tensor;
  executeMultipleOutputs(
    name: string,
    attributes: Attribute[],
    inputs: tf.Tensor[],
    outputs: number,
  ): tf.Tensor[];
}

/** Attributes of an op by name: a number is a type enum, the rest is what it looks like. */
type Attributes = Record<
  string,
  { dtype: "float32" | "int32" | "int64" } | boolean | string | number[]
>;

/** True if tensors live in TensorFlow, where raw ops can reach them. */
export function isNative(): boolean {
  return tf.getBackend() === "tensorflow";
}

/** True if TensorFlow computes on a GPU. */
export function isOnGpu(): boolean {
  return isNative() && (tf.backend() as unknown as Backend).isUsingGpuDevice;
}

/** Runs one TensorFlow op that has one output. */
export function rawOp(
  name: string,
  attributes: Attributes,
  inputs: tf.Tensor[],
): tf.Tensor {
  const native = tf.backend() as unknown as Backend;
  return native.executeSingleOutput(
    name,
    encode(native.binding, attributes),
    inputs,
  );
}

/** Integers of 64 bits, which some ops want for shapes. Only raw ops take them. */
export function int64(values: number[]): tf.Tensor {
  const narrow = tf.tensor1d(values, "int32");
  const types = { SrcT: { dtype: "int32" }, DstT: { dtype: "int64" }, Truncate: false } as const;
  const { warn } = console;
  console.warn = () => {}; // tfjs says how they would be read back, and nobody does.
  try {
    return rawOp("Cast", types, [narrow]);
  } finally {
    console.warn = warn;
    narrow.dispose();
  }
}

/** Runs one TensorFlow op for its effect. */
export function rawEffect(
  name: string,
  attributes: Attributes,
  inputs: tf.Tensor[],
): void {
  const native = tf.backend() as unknown as Backend;
  native.executeMultipleOutputs(
    name,
    encode(native.binding, attributes),
    inputs,
    0,
  );
}

function encode(binding: Binding, attributes: Attributes): Attribute[] {
  const types = {
    float32: binding.TF_FLOAT,
    int32: binding.TF_INT32,
    int64: binding.TF_INT64,
  };
  return Object.entries(attributes).map(([name, value]) => {
    if (typeof value === "boolean") {
      return { name, type: binding.TF_ATTR_BOOL, value };
    }
    if (typeof value === "string") {
      return { name, type: binding.TF_ATTR_STRING, value };
    }
    if (Array.isArray(value)) {
      return { name, type: binding.TF_ATTR_SHAPE, value };
    }
    return { name, type: binding.TF_ATTR_TYPE, value: types[value.dtype] };
  });
}
