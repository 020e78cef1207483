"""Runs cells in a Deno kernel and interrupts the second, as the Stop button does.

Prints one JSON line: what each cell printed, and whether the kernel is alive.
"""

import json
import queue
import sys
import time

from jupyter_client.manager import KernelManager

TRAIN = """
import { memoryStore, openDevice, Rng, stopSignal, trainSae } from "interlens";
await openDevice({ backend: "cpu" });
const split = { rows: new Rng(0).normals(2000 * 8, 1), document: new Int32Array(2000) };
const store = memoryStore(8, { train: split, validation: split, test: split });
console.log("ready");
const result = await trainSae(
  store,
  { architecture: "topk", dSae: 16, k: 2, steps: 1_000_000, batchSize: 64 },
  { signal: stopSignal(), cache: false },
);
console.log(`stopped ${result.stopped}`);
"""
NEXT = "console.log(`next ${result.sae.config.dSae} ${result.history.at(-1).step > 0}`);"


def main() -> None:
    manager = KernelManager(kernel_name="deno")
    manager.start_kernel(cwd=sys.argv[1])
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        printed = [run(client, manager, TRAIN, interrupt=True), run(client, manager, NEXT)]
        print(json.dumps({"printed": printed, "alive": manager.is_alive()}))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client, manager, code: str, interrupt: bool = False) -> str:
    request = client.execute(code)
    printed, idle = "", None
    # The kernel may report the end of a cell before its last output.
    while idle is None or time.monotonic() < idle + 0.5:
        try:
            message = client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != request:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            printed += content["text"]
        elif message["msg_type"] == "error":
            printed += f"error {content['evalue']}"
        elif message["msg_type"] == "update_display_data" and interrupt:
            interrupt = False
            manager.interrupt_kernel()
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            idle = time.monotonic()
    return printed


main()
