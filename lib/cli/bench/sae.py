"""Training steps of sparse autoencoders in eager PyTorch, to compare with: Adam included.

`dense` is the ReLU dictionary with an L1 penalty weighted by decoder norms; `topk` the TopK
dictionary, its decoder an embedding bag, so that only active rows are read. A function makes the
weights and returns a step.

As a program it answers requests, one JSON object a line: {"do": "dense", "threads": 2, "tokens": 2048,
"d_in": 576, "d_sae": 4096} takes one step and answers {"seconds": …, "result": loss}. The weights of
the first request of a kind go on to the next.
"""

import json
import os
import sys
import time

import torch
from torch.nn import functional as F


def parameters(d_in, d_sae):
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    torch.manual_seed(0)
    return {
        name: torch.nn.Parameter(torch.randn(shape) * (0.04 if name.startswith("W") else 0))
        for name, shape in shapes.items()
    }


def trainer(weights, loss_of, fused):
    optimizer = torch.optim.Adam(weights.values(), lr=1e-4, fused=fused)

    def step(x):
        optimizer.zero_grad()
        loss = loss_of(x)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def dense(d_in, d_sae, l1_coefficient=1.0, fused=False):
    p = parameters(d_in, d_sae)

    def loss_of(x):
        f = F.relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
        reconstruction = f @ p["W_dec"] + p["b_dec"]
        l1 = (f * p["W_dec"].norm(dim=1)).sum(dim=1).mean()
        return (reconstruction - x).square().sum(dim=1).mean() + l1_coefficient * l1

    return trainer(p, loss_of, fused)


def topk(d_in, d_sae, k, fused=False):
    p = parameters(d_in, d_sae)

    def loss_of(x):
        pre = (x - p["b_dec"]) @ p["W_enc"] + p["b_enc"]
        values, indices = pre.topk(k, dim=1, sorted=False)
        decoded = F.embedding_bag(
            indices, p["W_dec"], per_sample_weights=F.relu(values), mode="sum"
        )
        return (decoded + p["b_dec"] - x).square().sum(dim=1).mean()

    return trainer(p, loss_of, fused)


def serve(requests, answers):
    steps = {}
    for line in requests:
        request = json.loads(line)
        torch.set_num_threads(request.pop("threads"))
        key = json.dumps(request)
        tokens, kind = request.pop("tokens"), request.pop("do")
        if key not in steps:
            made = {"dense": dense, "topk": topk}[kind](**request)
            steps = {key: (made, torch.randn(tokens, request["d_in"]))}
        step, x = steps[key]
        start = time.perf_counter()
        loss = step(x)
        seconds = time.perf_counter() - start
        answers.write(json.dumps({"seconds": seconds, "result": loss}) + "\n")


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    serve(sys.stdin, out)
