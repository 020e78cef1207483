/**
 * The wire format of protocol buffers: fields of a message, one after the other
 * (https://protobuf.dev/programming-guides/encoding/). Groups are refused; nobody writes them.
 *
 * @module
 */

/** A field of a message. */
export interface ProtoField {
  readonly number: number;
  /** Byte of the file at which it begins. */
  readonly at: number;
  /** Value of a varint; of a 4-byte field its bits, of any other 0. */
  readonly value: number;
  /** Contents of a field with a length: text, bytes, or a message. */
  readonly bytes?: Uint8Array;
  /** Byte of the file at which the contents begin. */
  readonly begin: number;
}

const VARINT = 0;
const EIGHT_BYTES = 1;
const LENGTH = 2;
const FOUR_BYTES = 5;

/**
 * Fields of a message in the order of the file.
 *
 * @param bytes The message.
 * @param begin Byte of the file at which it begins, for errors.
 * @param bad Makes an error of what is wrong and where.
 */
export function* protoFields(
  bytes: Uint8Array,
  begin: number,
  bad: (reason: string, at: number) => Error,
): Generator<ProtoField> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let position = 0;
  const varint = (what: string) => {
    const start = position;
    let value = 0;
    // Ten bytes hold 64 bits; the value of a negative number is not needed here.
    for (let i = 0; i < 10; i++) {
      if (position === bytes.length) throw bad(`${what} has no end`, begin + start);
      const byte = bytes[position++];
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return value;
    }
    throw bad(`${what} has more than 10 bytes`, begin + start);
  };
  const take = (length: number, at: number, what: string) => {
    if (length > bytes.length - position) {
      throw bad(`${what} has ${length} bytes, but ${bytes.length - position} are left`, at);
    }
    position += length;
    return position - length;
  };

  while (position < bytes.length) {
    const at = begin + position;
    const tag = varint("the number of a field");
    const number = Math.floor(tag / 8);
    const kind = tag % 8;
    const what = `field ${number}`;
    if (number < 1 || number >= 2 ** 29) throw bad(`${what} cannot be`, at);
    switch (kind) {
      case VARINT:
        yield { number, at, value: varint(what), begin: begin + position };
        break;
      case EIGHT_BYTES:
        take(8, at, what);
        yield { number, at, value: 0, begin: begin + position };
        break;
      case FOUR_BYTES: {
        const value = view.getUint32(take(4, at, what), true);
        yield { number, at, value, begin: begin + position };
        break;
      }
      case LENGTH: {
        const start = take(varint(`the length of ${what}`), at, what);
        const contents = bytes.subarray(start, position);
        yield { number, at, value: 0, bytes: contents, begin: begin + start };
        break;
      }
      default:
        throw bad(`${what} is of kind ${kind}, which is not in use`, at);
    }
  }
}
