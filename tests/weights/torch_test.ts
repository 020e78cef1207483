import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { bytesSource } from "../../lib/weights/byte_source.ts";
import { openWeights } from "../../lib/weights/mod.ts";
import { StoredWeights } from "../../lib/weights/stored_weights.ts";
import { torchPlaces } from "../../lib/weights/torch.ts";
import { assertRecorded, recorded, recordedPath } from "./recorded.ts";
import { dict, op, storage, tensor, torchFile, zip } from "./torch_writer.ts";

for (const name of ["torch", "torch_module", "torch_shards", "torch_views"]) {
  Deno.test(`the weights in "${name}" are what PyTorch reads in them`, async () => {
    using weights = await openWeights(recordedPath(name));
    for (const tensor of Object.keys(recorded(name))) assert(weights.has(tensor), tensor);
    await assertRecorded(weights, name);
  });
}

Deno.test("integers are named but not read, and what is no tensor is left out", async () => {
  using weights = await openWeights(recordedPath("torch"));
  const more = ["mask", "position_ids"];
  assertEquals(weights.names().sort(), [...Object.keys(recorded("torch")), ...more].sort());
  assertEquals(weights.shape("position_ids"), [6]);
  await assertRejects(() => weights.read("position_ids", [6]), Error, "its number format is I64");
  await assertRejects(() => weights.read("mask", [2, 2]), Error, "its number format is BOOL");
});

Deno.test("what is no plain state dict is refused by name, and runs no code", async () => {
  const refused: Record<string, string> = {
    legacy: "a file of PyTorch before 1.6",
    protocol_3: "of protocol 3, expected 2",
    protocol_4: "of protocol 4, expected 2",
    protocol_5: "of protocol 5, expected 2",
    compressed: 'its entry "small/data.pkl" is compressed',
    tensor: "describes no dict",
    nested: "holds no tensor",
    module: 'mentions "torch.nn.modules.linear.Linear"',
    expanded: "uses values of its storage more than once",
    overlapping: "uses values of its storage more than once",
    sparse: 'mentions "torch._utils._rebuild_sparse_tensor"',
    numpy: 'mentions "numpy',
    system: 'mentions "posix.system"',
    eval: 'mentions "__builtin__.eval"',
    exec: 'mentions "__builtin__.exec"',
    getattr: 'mentions "__builtin__.getattr"',
    import: 'mentions "__builtin__.__import__"',
    open: 'mentions "',
    load: 'mentions "torch.serialization.load"',
    counter: 'mentions "collections.Counter"',
    ordered_dict: 'calls "collections.OrderedDict"',
    storage: 'calls "torch.FloatStorage"',
  };
  const files = [...Deno.readDirSync(recordedPath("torch_refused"))].map(({ name }) => name);
  assertEquals(files.sort(), Object.keys(refused).map((name) => `${name}.bin`).sort());
  for (const [name, message] of Object.entries(refused)) {
    const path = recordedPath(`torch_refused/${name}.bin`);
    const source = bytesSource(path, await Deno.readFile(path));
    const error = assertThrows(() => torchPlaces(source), Error, message);
    assert(error.message.startsWith(`Cannot read "${path}"`), error.message);
  }
});

function open(bytes: Uint8Array): StoredWeights {
  const source = bytesSource("file.bin", bytes);
  return new StoredWeights("file.bin", torchPlaces(source), [source]);
}

function assertRefused(bytes: Uint8Array, message: string): void {
  const error = assertThrows(() => open(bytes), Error, message);
  assert(error.message.includes('"file.bin"'), error.message);
}

const FOUR = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);

Deno.test("a file made opcode by opcode is read", async () => {
  const x = tensor(storage("0", 4), { shape: [2, 2], strides: [1, 2] });
  using weights = open(torchFile(dict({ x }), { 0: FOUR }));
  assertEquals(await weights.read("x", [2, 2]), new Float32Array([1, 3, 2, 4]));
});

Deno.test("sizes and positions in the fields of ZIP64 are read", async () => {
  const x = tensor(storage("0", 4), { shape: [4], strides: [1] });
  const entries: Parameters<typeof zip>[0] = [["a/data.pkl", dict({ x })], ["a/data/0", FOUR]];
  using weights = open(zip(entries, { zip64: true }));
  assertEquals(await weights.read("x", [4]), new Float32Array([1, 2, 3, 4]));
});

Deno.test("a tensor that leaves its storage, or whose storage leaves its entry, is refused", () => {
  const cases: [Parameters<typeof tensor>[1], string][] = [
    [{ shape: [5], strides: [1] }, "leaves its storage of 4 values"],
    [{ shape: [2], strides: [1], offset: 3 }, "leaves its storage of 4 values"],
    [{ shape: [2], strides: [4] }, "leaves its storage of 4 values"],
    [{ shape: [2n ** 50n, 2n ** 50n], strides: [2n ** 50n, 1] }, "leaves its storage"],
    [{ shape: [], strides: [], offset: 4 }, "leaves its storage of 4 values"],
    [{ shape: [2], strides: [0] }, "more than once"],
    [{ shape: [-1], strides: [1] }, "in a way that torch.save does not"],
    [{ shape: [1], strides: [-1] }, "in a way that torch.save does not"],
    [{ shape: [1], strides: [1], offset: -1 }, "in a way that torch.save does not"],
    [{ shape: [1], strides: [] }, "in a way that torch.save does not"],
    [{ shape: [0], strides: [] }, "in a way that torch.save does not"],
    [{ shape: Array(65).fill(1), strides: Array(65).fill(1) }, "in a way that torch.save does not"],
  ];
  for (const [view, message] of cases) {
    assertRefused(torchFile(dict({ x: tensor(storage("0", 4), view) }), { 0: FOUR }), message);
  }
  const whole = { shape: [4], strides: [1] };
  const file = (of: number[]) => torchFile(dict({ x: tensor(of, whole) }), { 0: FOUR });
  assertRefused(file(storage("0", 5)), "has 16 bytes, expected 20");
  assertRefused(file(storage("0", 2n ** 52n)), "has 16 bytes, expected 18014398509481984");
  assertRefused(file(storage("0", -4)), "names a storage");
  assertRefused(file(storage("1", 4)), 'no entry "archive/data/1"');
  assertRefused(file(storage("../data.pkl", 4)), 'no entry "archive/data/../data.pkl"');
  assertRefused(file(storage("0", 4, "Size")), "names a storage");
  assertRefused(file(op.none), "in a way that torch.save does not");
});

Deno.test("a damaged or hostile pickle is refused at its byte", () => {
  const times = (count: number, ...bytes: number[]) => Array(count).fill(bytes).flat();
  const laughs = [...op.emptyList, ...op.put(0)];
  for (let i = 0; i < 200; i++) {
    laughs.push(...op.emptyList, ...times(9, ...op.get(i), 0x61), ...op.put(i + 1));
  }
  const cases: [number[], string][] = [
    [[...op.proto], "its pickle ends at byte 2"],
    [[0x80, 2, 0x93], "the opcode 0x93 (STACK_GLOBAL)"],
    [[0x80, 2, 0x81], "the opcode 0x81 (NEWOBJ)"],
    [[0x80, 2, 0x69], "the opcode 0x69 (INST)"],
    [[0x80, 2, 0x6f], "the opcode 0x6f (OBJ)"],
    [[0x80, 2, 0x50], "the opcode 0x50 (PERSID)"],
    [[0x80, 2, 0x82, 1], "the opcode 0x82 (EXT1)"],
    [[0x80, 2, 0xff], "the opcode 0xff (unknown)"],
    [[0x80, 2, 0x8b, 255, 255, 255, 127], "the opcode 0x8b (LONG4)"],
    [[0x80, 2, 0x8a, 200, ...times(200, 1), 0x2e], "an integer of 200 bytes"],
    [[0x80, 2, 0x8a, 200, 1], "inside an opcode that takes 200 bytes"],
    [[0x80, 2, 0x58, 255, 255, 255, 255], "inside an opcode that takes 4294967295 bytes"],
    [[0x80, 2, 0x58, 1, 0, 0, 0, 0xff], "a text of 1 bytes that is not UTF-8"],
    [[0x80, 2, 0x63, 65, 66], "ends inside a name"],
    [[...op.proto, ...op.stop], "empty stack"],
    [[...op.proto, ...op.none, ...op.mark, ...op.tuple1], "empty stack"],
    [[...op.proto, ...op.tuple], "ends a list that it did not begin"],
    [[...op.proto, ...op.get(3)], "takes value 3 from its memo"],
    [[...op.proto, ...op.none, ...op.none, ...op.append], "appends to what is no list"],
    [[...op.proto, ...op.none, ...op.none, ...op.none, ...op.setItem], "of what is no dict"],
    [[...op.proto, ...op.emptyDict, ...op.mark, ...op.none, ...op.setItems], "of what is no dict"],
    [[...op.proto, ...op.emptyDict, ...op.none, ...op.none, ...op.setItem], "neither text nor"],
    [[...op.proto, ...op.none, ...op.emptyTuple, ...op.reduce], "calls what is no function"],
    [[...op.proto, ...op.emptyList, ...op.none, ...op.build], "attributes of what is no dict"],
    [[...op.proto, ...op.none, ...op.persistent], "names a storage"],
    [[...op.proto, ...op.none, ...op.stop], "describes no dict"],
    [[...op.proto, ...times(200_000, 0x28)], "values on its stack"],
    [[...op.proto, ...times(200_000, 0x5d)], "values on its stack"],
    [[...op.proto, 0x5d, ...times(200_000, 0x85), 0x2e], "describes no dict"],
    [[...op.proto, ...laughs, ...op.stop], "describes no dict"],
  ];
  for (const [pickle, message] of cases) assertRefused(torchFile(pickle), message);

  const x = tensor(storage("0", 4), { shape: [4], strides: [1] });
  const twice = [...op.proto, ...op.emptyDict, ...op.mark, ...op.text("x"), ...x, ...op.text("x")];
  assertRefused(
    torchFile([...twice, ...op.none, ...op.setItems, ...op.stop], { 0: FOUR }),
    'the key "x" twice (byte ',
  );
  assertRefused(torchFile(times((8 << 20) + 1, 0x28)), "has 8388609 bytes, expected at most");
});

Deno.test("a damaged archive is refused, naming the byte or the entry", () => {
  const pickle = dict({ x: tensor(storage("0", 4), { shape: [4], strides: [1] }) });
  const good = torchFile(pickle, { 0: FOUR });
  for (let length = 0; length < good.length; length++) {
    assertRefused(good.subarray(0, length), "");
  }
  assertRefused(new TextEncoder().encode("version https://"), "does not begin a zip archive");
  assertRefused(new Uint8Array([...good, 0]), "table of contents does not end at byte");
  assertRefused(zip([["a/data.pkl", pickle], ["a/data.pkl", pickle]]), '"a/data.pkl" twice');
  assertRefused(zip([["a/data.pkl", pickle], ["b/data.pkl", pickle]]), '2 entries "…/data.pkl"');
  assertRefused(zip([["data.pkl", pickle]]), '0 entries "…/data.pkl"');
  assertRefused(
    zip([["a/data.pkl", pickle], ["a/byteorder", new TextEncoder().encode("big")]]),
    'its entry "a/byteorder" is not "little"',
  );

  /** The file with a 32-bit number of an entry of its table of contents changed. */
  const changed = (entry: number, field: number, value: number) => {
    const bytes = good.slice();
    const view = new DataView(bytes.buffer);
    let at = view.getUint32(bytes.length - 6, true);
    for (let i = 0; i < entry; i++) at += 46 + view.getUint16(at + 28, true);
    view.setUint32(at + field, value, true);
    return bytes;
  };
  assertRefused(changed(0, 0, 7), "entry 0 of its table of contents is not at byte");
  assertRefused(changed(0, 8, 1), 'the entry "archive/data.pkl" is encrypted');
  assertRefused(changed(0, 10, 8), 'its entry "archive/data.pkl" is compressed');
  assertRefused(changed(0, 20, 8), 'its entry "archive/data.pkl" is compressed');
  assertRefused(changed(0, 24, 0xffffffff), 'the ZIP64 field of entry "archive/data.pkl"');
  assertRefused(changed(0, 28, 0xffff), "leaves its table of contents");
  assertRefused(changed(1, 42, 3), 'the header of entry "archive/data/0" is not at byte 3');
  assertRefused(changed(1, 42, 0), 'the entry "archive/data.pkl" overlaps');
  assertRefused(changed(1, 42, 1 << 30), "should lie at bytes");
});
