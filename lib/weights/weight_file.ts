/**
 * What a file of weights is to its reader, whichever format it has.
 *
 * @module
 */

/** Weights on disk, whichever format they have; close them when done. */
export interface WeightFile extends Disposable {
  /** File, index file or folder that was opened, for messages. */
  readonly path: string;
  /** Files that hold the weights, absolute paths, sorted. */
  readonly files: readonly string[];
  /** Names of the tensors. */
  names(): string[];
  /** True if there is the tensor. */
  has(name: string): boolean;
  /**
   * Shape of a tensor, rows first.
   *
   * @throws {Error} If there is no such tensor.
   */
  shape(name: string): readonly number[];
  /**
   * A tensor as float32, row-major. Nothing else is read, and beside the result at most a few
   * megabytes are held.
   *
   * @param into Where to put it, of its length. Default: a new array.
   * @throws {Error} If there is no such tensor, or one of another shape or of a number format that
   * is not read.
   */
  read(
    name: string,
    shape: readonly number[],
    into?: Float32Array<ArrayBuffer>,
  ): Promise<Float32Array<ArrayBuffer>>;
  /**
   * Rows of a matrix, so that a large one can be read piece by piece.
   *
   * @param name Name of the tensor.
   * @param start First row.
   * @param count Number of rows.
   * @returns Elements of the rows, `[count, columns]`.
   * @throws {RangeError} If the rows reach beyond the tensor.
   * @throws {Error} If there is no such tensor, or it is no matrix or of a number format that is
   * not read.
   */
  readRows(name: string, start: number, count: number): Promise<Float32Array<ArrayBuffer>>;
}
