"""Runs Hugging Face transformers for `deno task bench`: one JSON request a line, one answer a line.

A request is {"do": name, ...}; the answer has the seconds it took. The model is the GGUF file that
Interlens reads, in float32, on as many threads.
"""

import json
import os
import resource
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

transformers.logging.set_verbosity_error()
state = {}


def load(path, threads):
    torch.set_num_threads(threads)
    folder, file = os.path.split(path)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    state["model"] = model.eval()
    state["layers"] = list(model.model.layers)
    state["place"] = (folder, file)


def blocks(ids, count):
    """The residual stream after the first blocks."""
    base = state["model"].model
    base.layers = torch.nn.ModuleList(state["layers"][:count])
    norm, base.norm = base.norm, torch.nn.Identity()
    try:
        return base(torch.tensor(ids), use_cache=False).last_hidden_state
    finally:
        base.layers, base.norm = torch.nn.ModuleList(state["layers"]), norm


def generate(ids, tokens):
    state["model"].generate(
        torch.tensor([ids]), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
    )


def harvest(texts, length, batch, count):
    """Residuals of every token but BOS after the first blocks, from text to a file."""
    tokenizer = state.get("tokenizer")
    sequences = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), length - 1):
            sequences.append([tokenizer.bos_token_id, *ids[start : start + length - 1]])
    sequences.sort(key=len, reverse=True)
    kept, tokens = [], []
    for start in range(0, len(sequences), batch):
        rows = sequences[start : start + batch]
        longest = len(rows[0])
        x = blocks([row + [0] * (longest - len(row)) for row in rows], count)
        for values, row in zip(x, rows):
            kept.append(values[1 : len(row)])
            tokens.extend(row[1:])
    with tempfile.TemporaryDirectory() as folder:
        token = torch.tensor(tokens, dtype=torch.int32)
        save_file({"activations": torch.cat(kept), "token": token}, f"{folder}/0.safetensors")
    return len(tokens)


def prepare():
    folder, file = state["place"]
    state["tokenizer"] = AutoTokenizer.from_pretrained(folder, gguf_file=file)


def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


WORK = {f.__name__: f for f in (load, blocks, generate, prepare, harvest, peak)}

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # What libraries print is not an answer.
for line in sys.stdin:
    request = json.loads(line)
    work = WORK[request.pop("do")]
    start = time.perf_counter()
    with torch.inference_mode():
        result = work(**request)
    seconds = time.perf_counter() - start
    result = result if isinstance(result, int) else None
    answers.write(json.dumps({"seconds": seconds, "result": result}) + "\n")
