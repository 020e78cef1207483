"""Executes one notebook and prints what happens, one JSON object a line.

Started by notebooks.ts with the Python of the environment. Events:

    {"event": "notebook", "cells": 12}
    {"event": "cell", "cell": 3, "title": "first line of its code"}
    {"event": "text", "cell": 3, "text": "what the cell shows just now"}
    {"event": "executed", "cell": 3, "seconds": 1.5}
    {"event": "retry", "reason": "..."}
    {"event": "failed", "cell": 3, "kind": "error", "message": "..."}
    {"event": "finished", "seconds": 40.2}

Cells are code cells, counted from 1, as a notebook numbers them when it is run from top to bottom.
The executed notebook is written when all cells have run; after an error nothing is written.
"""

import argparse
import json
import os
import re
import signal
import sys
import threading
import time
from queue import Empty

# An optional check of web addresses that takes 3 s to import and that notebooks do not need.
sys.modules["rfc3987_syntax"] = None

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import (
    CellExecutionComplete,
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)
from nbclient.util import ensure_async

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# What a viewer needs to colour the cells, without the version of the day.
LANGUAGE = {
    "file_extension": ".ts",
    "mimetype": "text/x.typescript",
    "name": "typescript",
    "nbconvert_exporter": "script",
    "pygments_lexer": "typescript",
}
KERNEL = {"display_name": "Deno", "language": "typescript", "name": "deno"}
KEPT = ("tags", "jupyter")
# How long to wait for output after the last cell has ended.
LATE_SECONDS = 1


abandoned = threading.Event()


def emit(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)


class Client(NotebookClient):
    """A client that tells what a cell shows while it runs, and that loses no output.

    The Deno kernel says that a cell has ended while the last of its output may still be on its way
    (in one of seven cells on a busy machine). nbclient would drop that output; here it goes to the
    cell that it belongs to, whichever cell runs by then.
    """

    def __init__(self, notebook, numbers, **options):
        super().__init__(notebook, **options)
        self.numbers = numbers
        self.requests = {}

    async def async_execute_cell(self, cell, cell_index, **options):
        result = await super().async_execute_cell(cell, cell_index, **options)
        if cell_index == max(self.numbers, default=None):
            while True:
                try:
                    message = self.kc.iopub_channel.get_msg(timeout=LATE_SECONDS)
                    self.receive(await ensure_async(message))
                except Empty:
                    break
        return result

    async def _async_poll_output_msg(self, parent_msg_id, cell, cell_index):
        self.requests[parent_msg_id] = (cell, cell_index)
        ended = None
        while ended != parent_msg_id:
            message = self.kc.iopub_channel.get_msg(timeout=None)
            ended = self.receive(await ensure_async(message))

    def receive(self, message):
        """Gives a message to its cell; returns the request that it ends, if it ends one."""
        request = message["parent_header"].get("msg_id")
        if request not in self.requests:
            return None
        try:
            self.process_message(message, *self.requests[request])
        except CellExecutionComplete:
            return request
        return None

    def process_message(self, msg, cell, cell_index):
        content = msg["content"]
        if msg["msg_type"] == "stream":
            self.show(cell_index, content["text"])
        elif msg["msg_type"] in ("display_data", "update_display_data"):
            self.show(cell_index, content["data"].get("text/plain", ""))
        return super().process_message(msg, cell, cell_index)

    def show(self, cell_index, text):
        lines = [line.strip() for line in ANSI.sub("", "".join(text)).splitlines()]
        lines = [line for line in lines if line]
        if lines:
            emit("text", cell=self.numbers[cell_index], text=lines[-1][:200])


def normalise(notebook, root):
    """Removes what differs from run to run and from machine to machine."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = relative(output["text"], root)
            for mime, value in output.get("data", {}).items():
                if mime.startswith("text/"):
                    output["data"][mime] = relative(value, root)
    return notebook


def joined(outputs):
    """Makes one of neighbouring pieces of one stream: late pieces come alone."""
    result = []
    for output in outputs:
        last = result[-1] if result else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            result.append(output)
    return result


def relative(text, root):
    return text.replace(f"file://{root}/", "").replace(f"{root}/", "")


def write_atomic(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = f"{path}.{os.getpid()}.tmp"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        if os.path.exists(partial):
            os.remove(partial)
        raise


def end_with_parent():
    """Stops the kernel when the parent is gone, however it went: its end closes our input."""

    def wait():
        # Not through sys.stdin, whose lock a thread must not hold when Python ends.
        while os.read(0, 1):
            pass
        abandoned.set()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def execute(arguments):
    notebook = nbformat.read(arguments.input, as_version=4)
    # Outputs of an earlier run must not pass for this one's.
    numbers = {}
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if cell.source.strip():
                numbers[index] = len(numbers) + 1
    started = {}

    def on_cell_execute(cell, cell_index):
        started[cell_index] = time.monotonic()
        title = cell.source.strip().splitlines()[0]
        emit("cell", cell=numbers[cell_index], title=title[:80])

    def on_cell_executed(cell, cell_index, execute_reply):
        # Called for a cell that failed, too.
        if execute_reply["content"]["status"] == "ok":
            seconds = time.monotonic() - started[cell_index]
            emit("executed", cell=numbers[cell_index], seconds=seconds)

    client = Client(
        notebook,
        numbers,
        kernel_name="deno",
        timeout=arguments.timeout or None,
        record_timing=False,
        # nbclient would join streams when a cell ends and so move outputs that a late update of a
        # display still counts by their places; normalise() joins them when all is over.
        coalesce_streams=False,
        resources={"metadata": {"path": arguments.cwd}},
        on_notebook_start=lambda notebook: ready.append(True),
        on_cell_execute=on_cell_execute,
        on_cell_executed=on_cell_executed,
    )
    emit("notebook", cells=len(numbers))
    begin = time.monotonic()
    current = lambda: max((numbers[index] for index in started), default=0)
    for attempt in (1, 2):
        ready = []
        try:
            client.execute()
            break
        except CellTimeoutError:
            message = f"The cell ran for more than {arguments.timeout} s"
            return fail(current(), "timeout", message)
        except CellExecutionError as error:
            text = ANSI.sub("", error.traceback or f"{error.ename}: {error.evalue}")
            return fail(current(), "error", relative(text, arguments.root))
        except (DeadKernelError, RuntimeError, OSError) as error:
            if attempt == 2 or ready or abandoned.is_set():
                return fail(current(), "kernel", f"The kernel ended: {error}")
            emit("retry", reason=str(error))
            client.km = client.kc = None
    text = nbformat.writes(normalise(notebook, arguments.root))
    write_atomic(arguments.output, text if text.endswith("\n") else text + "\n")
    emit("finished", seconds=time.monotonic() - begin)
    return 0


def fail(cell, kind, message):
    emit("failed", cell=cell, kind=kind, message=message)
    return 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--cwd", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--timeout", type=float, default=0)
    end_with_parent()
    sys.exit(execute(parser.parse_args()))
