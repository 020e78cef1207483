/**
 * Adam (Kingma & Ba, 2015, algorithm 1), one fused pass over the parameters on
 * the native backend.
 *
 *     m ← β₁m + (1-β₁)g,  v ← β₂v + (1-β₂)g²
 *     θ ← θ - lr · m̂ / (√v̂ + ε),  m̂ = m/(1-β₁ᵗ),  v̂ = v/(1-β₂ᵗ)
 *
 * The same numbers as `torch.optim.Adam`: ε is added to √v̂, not to √v.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";
import type { StoredTensor } from "../files/mod.ts";
import { isNative, rawEffect, rawOp } from "./native.ts";

export type { StoredTensor };

/** Constants of Adam. */
export interface AdamOptions {
  /** Decay of the mean of gradients. Default 0.9. */
  beta1?: number;
  /** Decay of the mean of squared gradients. Default 0.999. */
  beta2?: number;
  /** Added to the root of the second moment. Default 1e-8. */
  epsilon?: number;
}

const FLOAT = { T: { dtype: "float32" } } as const;

/**
 * Parameters and their optimiser state in one object.
 *
 * It owns the tensors that it is given. Read the current ones from `values` at
 * every step: `apply` updates them in place where the backend can, so a tensor
 * read before `apply` is not valid after it.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { Adam, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const adam = new Adam({ w: tf.tensor1d([1]) });
 * adam.apply({ w: tf.tensor1d([10]) }, 0.1); // the first step moves by the learning rate
 * assertAlmostEquals((await adam.values.w.data())[0], 0.9, 1e-6);
 * adam.dispose();
 * ```
 */
export class Adam {
  /** Number of updates that were applied. */
  step = 0;
  readonly #options: Required<AdamOptions>;
  readonly #slots: Record<string, Slot> = {};

  /**
   * @param params Initial values by name, float32. Adam disposes of them.
   * @param options Constants.
   * @throws {TypeError} If a parameter is not float32.
   */
  constructor(params: Record<string, tf.Tensor>, options: AdamOptions = {}) {
    this.#options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, ...options };
    for (const [name, tensor] of Object.entries(params)) {
      if (tensor.dtype !== "float32") {
        throw new TypeError(
          `Cannot optimise "${name}" of type ${tensor.dtype}: expected float32`,
        );
      }
      const zeros = () => tf.zeros(tensor.shape);
      this.#slots[name] = isNative()
        ? new NativeSlot(tensor, zeros(), zeros())
        : new PortableSlot(tensor, zeros(), zeros());
    }
  }

  /** The current parameters. Do not dispose of them, do not keep them over an `apply`. */
  get values(): Record<string, tf.Tensor> {
    return Object.fromEntries(
      Object.entries(this.#slots).map(([name, slot]) => [name, slot.value]),
    );
  }

  /**
   * One update. Parameters without a gradient stay as they are.
   *
   * @param grads Gradients by name, of the parameters' shapes; they are disposed of.
   * @param learningRate Step size of this update.
   * @throws {RangeError} If a name is unknown or a shape differs.
   */
  apply(grads: Record<string, tf.Tensor>, learningRate: number): void {
    for (const [name, grad] of Object.entries(grads)) {
      const slot = this.#slots[name];
      if (!slot || `${slot.value.shape}` !== `${grad.shape}`) {
        const expected = slot ? `[${slot.value.shape}]` : Object.keys(this.#slots).join(", ");
        throw new RangeError(
          `Cannot apply a gradient of shape [${grad.shape}] to "${name}": expected ${expected}`,
        );
      }
    }
    this.step++;
    const { beta1, beta2 } = this.#options;
    const power1 = beta1 ** this.step;
    const power2 = beta2 ** this.step;
    // TensorFlow's kernel adds ε to √v before the bias correction: this moves it behind.
    const epsilon = this.#options.epsilon * Math.sqrt(1 - power2);
    const update = { learningRate, beta1, beta2, power1, power2, epsilon };
    for (const [name, grad] of Object.entries(grads)) {
      this.#slots[name].apply(grad, update);
      grad.dispose();
    }
  }

  /** Replaces a parameter's value and keeps its moments; disposes of `tensor`. */
  assign(name: string, tensor: tf.Tensor): void {
    this.#slots[name].assign(tensor);
  }

  /** Everything that a checkpoint needs beside `step`: `name`, `m/name`, `v/name`. */
  async state(): Promise<Record<string, StoredTensor>> {
    const stored: Record<string, StoredTensor> = {};
    for (const [name, slot] of Object.entries(this.#slots)) {
      const [value, m, v] = await slot.read();
      const shape = slot.value.shape.slice();
      stored[name] = { dtype: "F32", shape, data: value };
      stored[`m/${name}`] = { dtype: "F32", shape, data: m };
      stored[`v/${name}`] = { dtype: "F32", shape, data: v };
    }
    return stored;
  }

  /**
   * The inverse of `state`.
   *
   * @throws {RangeError} If a moment is missing.
   */
  static restore(
    state: Record<string, StoredTensor>,
    step: number,
    options: AdamOptions = {},
  ): Adam {
    const adam = new Adam({}, options);
    adam.step = step;
    const upload = ({ data, shape }: StoredTensor) => tf.tensor(data, shape, "float32");
    for (
      const name of Object.keys(state).filter((name) => !/^[mv]\//.test(name))
    ) {
      const m = state[`m/${name}`];
      const v = state[`v/${name}`];
      if (!m || !v) {
        throw new RangeError(
          `Cannot restore "${name}": its moments are missing`,
        );
      }
      const [value, mTensor, vTensor] = [state[name], m, v].map(upload);
      adam.#slots[name] = isNative()
        ? new NativeSlot(value, mTensor, vTensor)
        : new PortableSlot(value, mTensor, vTensor);
    }
    return adam;
  }

  /** Frees parameters and moments. */
  dispose(): void {
    for (const slot of Object.values(this.#slots)) slot.dispose();
  }
}

interface Update {
  learningRate: number;
  beta1: number;
  beta2: number;
  power1: number;
  power2: number;
  epsilon: number;
}

interface Slot {
  readonly value: tf.Tensor;
  apply(grad: tf.Tensor, update: Update): void;
  assign(tensor: tf.Tensor): void;
  read(): Promise<Float32Array[]>;
  dispose(): void;
}

/** Resource variables and `ResourceApplyAdam`: one pass over memory, in place. */
class NativeSlot implements Slot {
  readonly #handles: tf.Tensor[];
  #value: tf.Tensor | undefined;

  constructor(...initial: tf.Tensor[]) {
    this.#handles = initial.map((tensor) => {
      const handle = tf.keep(rawOp("VarHandleOp", {
        dtype: { dtype: "float32" },
        shape: tensor.shape,
        container: "",
        shared_name: crypto.randomUUID(),
      }, []));
      assignVariable(handle, tensor);
      return handle;
    });
  }

  get value(): tf.Tensor {
    return this.#value ??= readVariable(this.#handles[0]);
  }

  apply(grad: tf.Tensor, u: Update): void {
    // A reading shares the variable's buffer, and TensorFlow copies a shared buffer before it
    // writes to it: without readings the update is in place.
    this.#forget();
    const constants = [
      u.power1,
      u.power2,
      u.learningRate,
      u.beta1,
      u.beta2,
      u.epsilon,
    ]
      .map((constant) => tf.scalar(constant));
    rawEffect("ResourceApplyAdam", {
      ...FLOAT,
      use_locking: false,
      use_nesterov: false,
    }, [
      ...this.#handles,
      ...constants,
      grad,
    ]);
    tf.dispose(constants);
  }

  assign(tensor: tf.Tensor): void {
    this.#forget();
    assignVariable(this.#handles[0], tensor);
  }

  async read(): Promise<Float32Array[]> {
    const read: Float32Array[] = [];
    for (const handle of this.#handles) {
      const tensor = readVariable(handle);
      read.push(await tensor.data<"float32">());
      tensor.dispose();
    }
    return read;
  }

  dispose(): void {
    this.#forget();
    for (const handle of this.#handles) {
      rawEffect("DestroyResourceOp", { ignore_lookup_error: true }, [handle]);
      handle.dispose();
    }
  }

  #forget(): void {
    this.#value?.dispose();
    this.#value = undefined;
  }
}

function assignVariable(handle: tf.Tensor, tensor: tf.Tensor): void {
  rawEffect("AssignVariableOp", { dtype: { dtype: "float32" } }, [
    handle,
    tensor,
  ]);
  tensor.dispose();
}

function readVariable(handle: tf.Tensor): tf.Tensor {
  return tf.keep(
    rawOp("ReadVariableOp", { dtype: { dtype: "float32" } }, [handle]),
  );
}

/** The same arithmetic in tfjs ops, for every backend. */
class PortableSlot implements Slot {
  value: tf.Tensor;
  #m: tf.Tensor;
  #v: tf.Tensor;

  constructor(value: tf.Tensor, m: tf.Tensor, v: tf.Tensor) {
    this.value = tf.keep(value);
    this.#m = tf.keep(m);
    this.#v = tf.keep(v);
  }

  apply(grad: tf.Tensor, u: Update): void {
    const rate = u.learningRate * Math.sqrt(1 - u.power2) / (1 - u.power1);
    const next = tf.tidy(() => {
      const m = tf.add(tf.mul(this.#m, u.beta1), tf.mul(grad, 1 - u.beta1));
      const v = tf.add(
        tf.mul(this.#v, u.beta2),
        tf.mul(tf.square(grad), 1 - u.beta2),
      );
      const change = tf.div(tf.mul(m, rate), tf.add(tf.sqrt(v), u.epsilon));
      return [tf.sub(this.value, change), m, v];
    });
    this.dispose();
    [this.value, this.#m, this.#v] = next.map(tf.keep);
  }

  assign(tensor: tf.Tensor): void {
    this.value.dispose();
    this.value = tf.keep(tensor);
  }

  async read(): Promise<Float32Array[]> {
    return await Promise.all(
      [this.value, this.#m, this.#v].map((t) => t.data<"float32">()),
    );
  }

  dispose(): void {
    tf.dispose([this.value, this.#m, this.#v]);
  }
}
