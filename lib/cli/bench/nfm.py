"""Training steps of a factorization machine in eager PyTorch, to compare with: Adam included.

Answers requests, one JSON object a line: {"do": form, "threads": 2, "tokens": 1000, "features": 50000,
"active": 100, "K": 150, "width": 576} takes one step and answers {"seconds": ..., "result": bytes}, the
latter the most memory that the process has held. Forms of p = 1/2 ((f V)^2 - f^2 V^2), then p C + b
against a target: `gather` reads the rows of V in use, `dense` multiplies codes with zeros in them, and
`study` makes f_i v_ik for every feature, [tokens, features, K].
"""

import json
import os
import resource
import sys
import time

import torch


def trainer(form, tokens, features, active, K, width):
    torch.manual_seed(0)
    indices = torch.randint(0, features, (tokens, active))
    values = torch.rand(tokens, active)
    target = torch.randn(tokens, width)
    V = torch.nn.Parameter(0.05 * torch.randn(features, K))
    C = torch.nn.Parameter(torch.randn(K, width) / K**0.5)
    b = torch.nn.Parameter(torch.zeros(width))
    # The faster of the two kinds of torch.optim.Adam on a CPU.
    optimizer = torch.optim.Adam([V, C, b], lr=1e-3, fused=True)

    def codes():
        return torch.zeros(tokens, features).scatter_add_(1, indices, values)

    def gather():
        terms = torch.nn.functional.embedding(indices, V) * values[..., None]
        return 0.5 * (terms.sum(1).square() - terms.square().sum(1))

    def dense():
        f = codes()
        return 0.5 * ((f @ V).square() - f.square() @ V.square())

    def study():
        terms = codes()[..., None] * V
        return 0.5 * (terms.sum(1).square() - terms.square().sum(1))

    pool = {"gather": gather, "dense": dense, "study": study}[form]

    def step():
        optimizer.zero_grad()
        loss = (pool() @ C + b - target).square().mean()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


steps = {}
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # What libraries print is not an answer.
for line in sys.stdin:
    request = json.loads(line)
    torch.set_num_threads(request.pop("threads"))
    key = json.dumps(request)
    if key not in steps:
        steps = {}  # Weights of the form before are not needed any more.
        steps[key] = trainer(request.pop("do"), **request)
    start = time.perf_counter()
    steps[key]()
    seconds = time.perf_counter() - start
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.write(json.dumps({"seconds": seconds, "result": peak}) + "\n")
