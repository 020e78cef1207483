/**
 * Adam (Kingma & Ba, 2015, algorithm 1), one fused pass over the parameters on
 * the native backend.
 *
 *     m ← β₁m + (1-β₁)g,  v ← β₂v + (1-β₂)g²
 *     θ ← θ - lr · m̂ / (√v̂ + ε),  m̂ = m/(1-β₁ᵗ),  v̂ = v/(1-β₂ᵗ)
 *
 * The same numbers as `torch.optim.Adam`: ε is added to √v̂, not to √v.
 *
 * A gradient may also name the rows that it is of, as that of an embedding does. Then only
 * those rows are read and written, whatever the parameter's size. The step at which a row was last
 * updated is kept, and its moments decay by β^(steps since) when it is next: the moments of
 * a row in use are those of Adam, which sees a gradient of 0 in the steps between. What differs
 * is that Adam goes on moving a row by the momentum that is left in it, and here a row rests.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";
import type { StoredTensor } from "../files/mod.ts";
import { roundToFloat16 } from "./float16.ts";
import { halfUpdate } from "./half_adam.ts";
import { isNative, rawEffect, rawOp } from "./native.ts";

export type { StoredTensor };

/** The gradient of some rows of a matrix; that of the others is 0. */
export interface RowGradient {
  /** Numbers of the rows, each once, int32 `[n]`. */
  readonly rows: tf.Tensor1D;
  /** Their gradients, `[n, columns]`. */
  readonly values: tf.Tensor2D;
}

/** What a parameter is updated by: a gradient of its shape, or of some of its rows. */
export type Gradient = tf.Tensor | RowGradient;

/** Constants of Adam. */
export interface AdamOptions {
  /** Decay of the mean of gradients. Default 0.9. */
  beta1?: number;
  /** Decay of the mean of squared gradients. Default 0.999. */
  beta2?: number;
  /** Added to the root of the second moment. Default 1e-8; 1e-5 in float16, which has no 1e-8. */
  epsilon?: number;
  /**
   * `"float16"`: parameters, gradients and moments are rounded to numbers of float16 at each update, as
   * in a training in half precision without a copy in float32. Squares of gradients under 3·10⁻⁵ are
   * then 0 in the second moment, and an update of less than half a unit in the last place is lost.
   * Default `"float32"`.
   */
  precision?: "float32" | "float16";
}

const GATHER = Symbol("gather");

/**
 * Some rows of a parameter. Of an `Adam`'s `values`, the others are not read: a parameter that is
 * updated by rows is copied whenever it is read as a whole.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, rowsOf, tf } from "interlens";
 *
 * await openDevice();
 * const V = tf.tensor2d([[1, 2], [3, 4], [5, 6]]);
 * const rows = rowsOf({ V }, "V", tf.tensor1d([2, 0], "int32"));
 * assertEquals([...await rows.data()], [5, 6, 1, 2]);
 * ```
 *
 * @param params Parameters by name.
 * @param name Which.
 * @param rows Numbers of rows, int32 `[n]`.
 * @returns `[n, columns]`, the caller's.
 */
export function rowsOf(
  params: Readonly<Record<string, tf.Tensor>>,
  name: string,
  rows: tf.Tensor1D,
): tf.Tensor2D {
  const { [GATHER]: gather } = params as {
    [GATHER]?: (name: string, rows: tf.Tensor1D) => tf.Tensor2D;
  };
  return gather ? gather(name, rows) : tf.gather(params[name] as tf.Tensor2D, rows);
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
  #powers: tf.Tensor1D[] | undefined;

  /**
   * @param params Initial values by name, float32. Adam disposes of them.
   * @param options Constants.
   * @throws {TypeError} If a parameter is not float32.
   * @throws {RangeError} If ε is 0 in float16.
   */
  constructor(params: Record<string, tf.Tensor>, options: AdamOptions = {}) {
    const half = options.precision === "float16";
    const defaults = { beta1: 0.9, beta2: 0.999, epsilon: half ? 1e-5 : 1e-8 };
    this.#options = { ...defaults, precision: "float32", ...options };
    if (half && !(this.#options.epsilon >= 2 ** -24)) {
      throw new RangeError(
        `Cannot use ε = ${options.epsilon} in float16, where it is 0: expected at least 2⁻²⁴`,
      );
    }
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
      if (half) {
        this.#slots[name].replace((tensors) => tensors.map(roundToFloat16));
      }
    }
  }

  /**
   * The current parameters, each read when it is asked for; `rowsOf` reads some rows. Do not dispose
   * of them, do not keep them over an `apply`.
   */
  get values(): Record<string, tf.Tensor> {
    const values = {};
    for (const [name, slot] of Object.entries(this.#slots)) {
      Object.defineProperty(values, name, { get: () => slot.value, enumerable: true });
    }
    const gather = (name: string, rows: tf.Tensor1D) => this.#slots[name].gather(rows);
    return Object.defineProperty(values, GATHER, { value: gather });
  }

  /**
   * One update. Parameters without a gradient stay as they are, and so do rows without one.
   *
   * ```ts
   * import { assertAlmostEquals, assertEquals } from "@std/assert";
   * import { Adam, openDevice, tf } from "interlens";
   *
   * await openDevice();
   * const adam = new Adam({ V: tf.ones([3, 1]) });
   * adam.apply({ V: { rows: tf.tensor1d([2], "int32"), values: tf.tensor2d([[5]]) } }, 0.1);
   * const [first, , last] = await adam.values.V.data();
   * assertEquals(first, 1);
   * assertAlmostEquals(last, 0.9, 1e-6);
   * adam.dispose();
   * ```
   *
   * @param grads Gradients by name, of the parameters' shapes or of some rows; they are disposed of.
   * @param learningRate Step size of this update.
   * @throws {RangeError} If a name is unknown, a shape differs, or a parameter that had gradients of
   * rows is given a whole one.
   */
  apply(grads: Record<string, Gradient>, learningRate: number): void {
    for (const [name, grad] of Object.entries(grads)) this.#requireFit(name, grad);
    this.step++;
    const { beta1, beta2 } = this.#options;
    const power1 = beta1 ** this.step;
    const power2 = beta2 ** this.step;
    // TensorFlow's kernel adds ε to √v before the bias correction: this moves it behind.
    const epsilon = this.#options.epsilon * Math.sqrt(1 - power2);
    const { step } = this;
    if (Object.values(grads).some(isRows)) this.#powers ??= [beta1, beta2].map(powersOf);
    const update = {
      step,
      powers: this.#powers,
      learningRate,
      beta1,
      beta2,
      power1,
      power2,
      epsilon,
    };
    for (const [name, grad] of Object.entries(grads)) {
      const slot = this.#slots[name];
      if (isRows(grad)) {
        slot.startRows(step - 1);
        slot.applyRows(grad, update);
      } else if (this.#options.precision === "float16") {
        slot.replace((tensors) =>
          halfUpdate(tensors, grad, { ...update, epsilon: this.#options.epsilon })
        );
      } else slot.apply(grad, update);
      tf.dispose(grad as tf.TensorContainer);
    }
  }

  #requireFit(name: string, grad: Gradient): void {
    const slot = this.#slots[name];
    const given = isRows(grad) ? grad.values.shape : grad.shape;
    const rows = isRows(grad);
    const { shape } = slot ?? {};
    const fits = shape &&
      (rows
        ? shape.length === 2 && given[1] === shape[1] && grad.rows.shape[0] === given[0]
        : `${shape}` === `${given}`);
    if (!fits) {
      const expected = shape
        ? `[${rows ? `rows, ${shape.slice(1)}` : shape}]`
        : Object.keys(this.#slots).join(", ");
      throw new RangeError(
        `Cannot apply a gradient of shape [${given}] to "${name}": expected ${expected}`,
      );
    }
    if (rows && this.#options.precision === "float16") {
      throw new RangeError(
        `Cannot update rows of "${name}" in float16: expected gradients of whole parameters`,
      );
    }
    if (!rows && slot.byRows) {
      throw new RangeError(
        `Cannot apply a gradient of all of "${name}": it had gradients of rows before, go on with them`,
      );
    }
  }

  /** Replaces a parameter's value and keeps its moments; disposes of `tensor`. */
  assign(name: string, tensor: tf.Tensor): void {
    this.#slots[name].assign(tensor);
  }

  /**
   * Everything that a checkpoint needs beside `step`: `name`, `m/name`, `v/name`, and after gradients
   * of rows `t/name`, the step of each row's last update.
   */
  async state(): Promise<Record<string, StoredTensor>> {
    const stored: Record<string, StoredTensor> = {};
    for (const [name, slot] of Object.entries(this.#slots)) {
      const [value, m, v, last] = await slot.read();
      const shape = slot.shape.slice();
      stored[name] = { dtype: "F32", shape, data: value };
      stored[`m/${name}`] = { dtype: "F32", shape, data: m };
      stored[`v/${name}`] = { dtype: "F32", shape, data: v };
      if (last) stored[`t/${name}`] = { dtype: "F32", shape: [last.length], data: last };
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
      const name of Object.keys(state).filter((name) => !/^[mvt]\//.test(name))
    ) {
      const m = state[`m/${name}`];
      const v = state[`v/${name}`];
      if (!m || !v) {
        throw new RangeError(
          `Cannot restore "${name}": its moments are missing`,
        );
      }
      const last = state[`t/${name}`];
      const tensors = [state[name], m, v, ...last ? [last] : []].map(upload);
      adam.#slots[name] = isNative() ? new NativeSlot(...tensors) : new PortableSlot(...tensors);
    }
    return adam;
  }

  /** Frees parameters and moments. */
  dispose(): void {
    for (const slot of Object.values(this.#slots)) slot.dispose();
    tf.dispose(this.#powers);
    this.#powers = undefined;
  }
}

function isRows(grad: Gradient): grad is RowGradient {
  return !(grad instanceof tf.Tensor);
}

/**
 * β⁰, β¹, … until nothing is left, and 0. A table, since a device's own power would round in its way,
 * and a run that is resumed on it could end with other bytes.
 */
function powersOf(beta: number): tf.Tensor1D {
  const length = beta > 0 ? Math.ceil(Math.log(1e-12) / Math.log(beta)) : 1;
  const powers = Float32Array.from({ length: length + 1 }, (_, n) => n < length ? beta ** n : 0);
  return tf.keep(tf.tensor1d(powers));
}

interface Update {
  step: number;
  /** Tables of powers of β₁ and β₂, for gradients of rows. */
  powers: tf.Tensor1D[] | undefined;
  learningRate: number;
  beta1: number;
  beta2: number;
  power1: number;
  power2: number;
  epsilon: number;
}

interface Slot {
  readonly shape: number[];
  readonly value: tf.Tensor;
  /** True after the first gradient of rows. */
  readonly byRows: boolean;
  /** Some rows of the value. */
  gather(rows: tf.Tensor1D): tf.Tensor2D;
  /** Makes what gradients of rows need: all rows count as updated at `step`. */
  startRows(step: number): void;
  apply(grad: tf.Tensor, update: Update): void;
  applyRows(grad: RowGradient, update: Update): void;
  assign(tensor: tf.Tensor): void;
  /** Puts something else in the place of value and moments; what is given stays the slot's. */
  replace(next: (tensors: tf.Tensor[]) => tf.Tensor[]): void;
  /** Value, both moments, and the step of each row if there were gradients of rows. */
  read(): Promise<Float32Array[]>;
  dispose(): void;
}

/** Resource variables and `ResourceApplyAdam`: one pass over memory, in place. */
class NativeSlot implements Slot {
  readonly #handles: tf.Tensor[];
  readonly shape: number[];
  #value: tf.Tensor | undefined;

  constructor(...initial: tf.Tensor[]) {
    this.shape = initial[0].shape;
    this.#handles = initial.map(newVariable);
  }

  get value(): tf.Tensor {
    return this.#value ??= readVariable(this.#handles[0]);
  }

  get byRows(): boolean {
    return this.#handles.length > 3;
  }

  startRows(step: number): void {
    if (!this.byRows) this.#handles.push(newVariable(tf.fill([this.shape[0]], step)));
  }

  apply(grad: tf.Tensor, u: Update): void {
    // A reading shares the variable's buffer, and TensorFlow copies a shared buffer before it
    // writes to it: without readings the update is in place.
    this.#forget();
    applyFused(this.#handles.slice(0, 3), grad, u);
  }

  gather(rows: tf.Tensor1D): tf.Tensor2D {
    return gatherVariable(this.#handles[0], rows) as tf.Tensor2D;
  }

  applyRows({ rows, values }: RowGradient, u: Update): void {
    this.#forget();
    const [n, columns] = values.shape;
    // In parts, so that what is computed on the way does not take several times the gradient's memory.
    const part = Math.max(1, Math.floor(ROW_ELEMENTS / columns));
    for (let start = 0; start < n; start += part) {
      const count = Math.min(part, n - start);
      tf.tidy(() => {
        const some = count === n ? rows : tf.slice(rows, start, count);
        const grad = count === n ? values : tf.slice(values, [start, 0], [count, columns]);
        this.#updateRows(some, grad, u);
      });
    }
  }

  /** The fused update on variables of these rows alone: one pass where ops would take twelve. */
  #updateRows(rows: tf.Tensor1D, grad: tf.Tensor2D, u: Update): void {
    const [value, m, v, last] = this.#handles.map((handle) => gatherVariable(handle, rows));
    // The update itself multiplies by the last of the powers.
    const missed = tf.sub(u.step - 1, last);
    const [before1, before2] = decays(missed, u);
    const some = [value, tf.mul(m, before1), tf.mul(v, before2)].map(newVariable);
    tf.dispose([m, v]);
    applyFused(some, grad, u);
    const next = [...some.map(readVariable), tf.fill([grad.shape[0]], u.step)];
    this.#handles.forEach((handle, i) =>
      rawEffect("ResourceScatterUpdate", ROWS, [handle, rows, next[i]])
    );
    tf.dispose(next);
    some.forEach(destroyVariable);
  }

  assign(tensor: tf.Tensor): void {
    this.#forget();
    assignVariable(this.#handles[0], tensor);
  }

  replace(next: (tensors: tf.Tensor[]) => tf.Tensor[]): void {
    this.#forget();
    const tensors = this.#handles.map(readVariable);
    next(tensors).forEach((tensor, i) => assignVariable(this.#handles[i], tensor));
    tf.dispose(tensors);
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
    this.#handles.forEach(destroyVariable);
  }

  #forget(): void {
    this.#value?.dispose();
    this.#value = undefined;
  }
}

function newVariable(tensor: tf.Tensor): tf.Tensor {
  const handle = tf.keep(rawOp("VarHandleOp", {
    dtype: { dtype: "float32" },
    shape: tensor.shape,
    container: "",
    shared_name: crypto.randomUUID(),
  }, []));
  assignVariable(handle, tensor);
  return handle;
}

function destroyVariable(handle: tf.Tensor): void {
  rawEffect("DestroyResourceOp", { ignore_lookup_error: true }, [handle]);
  handle.dispose();
}

/** One update of variables that hold value and both moments. */
function applyFused(variables: tf.Tensor[], grad: tf.Tensor, u: Update): void {
  const constants = [u.power1, u.power2, u.learningRate, u.beta1, u.beta2, u.epsilon]
    .map((constant) => tf.scalar(constant));
  rawEffect("ResourceApplyAdam", { ...FLOAT, use_locking: false, use_nesterov: false }, [
    ...variables,
    ...constants,
    grad,
  ]);
  tf.dispose(constants);
}

function assignVariable(handle: tf.Tensor, tensor: tf.Tensor): void {
  rawEffect("AssignVariableOp", { dtype: { dtype: "float32" } }, [
    handle,
    tensor,
  ]);
  tensor.dispose();
}

/** Elements of the rows that are updated at a time. */
const ROW_ELEMENTS = 2 ** 22;

const ROWS = { dtype: { dtype: "float32" }, Tindices: { dtype: "int32" } } as const;

function gatherVariable(handle: tf.Tensor, rows: tf.Tensor1D): tf.Tensor {
  return rawOp("ResourceGather", { ...ROWS, validate_indices: true }, [handle, rows]);
}

function readVariable(handle: tf.Tensor): tf.Tensor {
  return tf.keep(
    rawOp("ReadVariableOp", { dtype: { dtype: "float32" } }, [handle]),
  );
}

/** The same arithmetic in tfjs ops, for every backend. */
class PortableSlot implements Slot {
  /** Value, both moments, steps of rows. */
  #tensors: tf.Tensor[];

  constructor(...tensors: tf.Tensor[]) {
    this.#tensors = tensors.map((tensor) => tf.keep(tensor));
  }

  get value(): tf.Tensor {
    return this.#tensors[0];
  }

  get shape(): number[] {
    return this.value.shape;
  }

  get byRows(): boolean {
    return this.#tensors.length > 3;
  }

  gather(rows: tf.Tensor1D): tf.Tensor2D {
    return tf.gather(this.value as tf.Tensor2D, rows);
  }

  startRows(step: number): void {
    if (!this.byRows) this.#tensors.push(tf.keep(tf.fill([this.value.shape[0]], step)));
  }

  apply(grad: tf.Tensor, u: Update): void {
    const rate = u.learningRate * Math.sqrt(1 - u.power2) / (1 - u.power1);
    const [value, mBefore, vBefore] = this.#tensors;
    this.#replace(tf.tidy(() => {
      const m = tf.add(tf.mul(mBefore, u.beta1), tf.mul(grad, 1 - u.beta1));
      const v = tf.add(
        tf.mul(vBefore, u.beta2),
        tf.mul(tf.square(grad), 1 - u.beta2),
      );
      const change = tf.div(tf.mul(m, rate), tf.add(tf.sqrt(v), u.epsilon));
      return [tf.sub(value, change), m, v];
    }));
  }

  applyRows({ rows, values }: RowGradient, u: Update): void {
    this.#replace(tf.tidy(() => {
      const n = rows.shape[0];
      const where = tf.reshape(rows, [n, 1]);
      const gathered = this.#tensors.map((tensor) => tf.gather(tensor, rows));
      const next = updateRows(gathered, values, u);
      // No backend but the native one writes in place, so this takes a pass over the whole parameter.
      const used = tf.scatterND(where, tf.ones([n]), [this.value.shape[0]]);
      return this.#tensors.map((tensor, i) => {
        const placed = tf.scatterND(where, next[i], tensor.shape);
        const mask = tensor.rank === 1 ? used : tf.expandDims(used, 1);
        return tf.where(tf.cast(tf.broadcastTo(mask, tensor.shape), "bool"), placed, tensor);
      });
    }));
  }

  assign(tensor: tf.Tensor): void {
    this.value.dispose();
    this.#tensors[0] = tf.keep(tensor);
  }

  replace(next: (tensors: tf.Tensor[]) => tf.Tensor[]): void {
    this.#replace(next(this.#tensors));
  }

  async read(): Promise<Float32Array[]> {
    return await Promise.all(this.#tensors.map((t) => t.data<"float32">()));
  }

  dispose(): void {
    tf.dispose(this.#tensors);
  }

  #replace(next: tf.Tensor[]): void {
    const rest = this.#tensors.slice(next.length);
    tf.dispose(this.#tensors.slice(0, next.length));
    this.#tensors = [...next.map((tensor) => tf.keep(tensor)), ...rest];
  }
}

/**
 * Some rows after an update.
 *
 * @param gathered Their value, moments `[n, columns]` and last steps `[n]`.
 * @param grad `[n, columns]`.
 * @returns The same four, new.
 */
function updateRows(gathered: tf.Tensor[], grad: tf.Tensor2D, u: Update): tf.Tensor[] {
  const [value, m, v, last] = gathered;
  const rate = u.learningRate * Math.sqrt(1 - u.power2) / (1 - u.power1);
  return tf.tidy(() => {
    const [decay1, decay2] = decays(tf.sub(u.step, last), u);
    const nextM = tf.add(tf.mul(m, decay1), tf.mul(grad, 1 - u.beta1));
    const nextV = tf.add(tf.mul(v, decay2), tf.mul(tf.square(grad), 1 - u.beta2));
    const change = tf.div(tf.mul(nextM, rate), tf.add(tf.sqrt(nextV), u.epsilon));
    return [tf.sub(value, change), nextM, nextV, tf.fill([grad.shape[0]], u.step)];
  });
}

/** β₁ and β₂ to the power of numbers of steps `[n]`, each `[n, 1]`. */
function decays(steps: tf.Tensor, { powers }: Update): tf.Tensor[] {
  return powers!.map((table) => {
    const at = tf.cast(tf.minimum(steps, table.shape[0] - 1), "int32");
    return tf.reshape(tf.gather(table, at), [-1, 1]);
  });
}
