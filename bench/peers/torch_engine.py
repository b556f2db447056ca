"""PyTorch on the CPU: an eager loop with fused optimisers, or (variant "compile") the forward pass and loss compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from bench.peers.job import Job
from bench.workloads import Workload

ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "identity": torch.nn.Identity,
}


def build(w: Workload, dtype: torch.dtype) -> torch.nn.Sequential:
    modules: list[torch.nn.Module] = []
    for m, n in pairwise(w.layers):
        last = len(modules) == 2 * (len(w.layers) - 2)
        modules += [torch.nn.Linear(m, n, dtype=dtype), ACTIVATIONS[w.output_activation if last else w.activation]()]
    return torch.nn.Sequential(*modules)


def reset(model: torch.nn.Sequential, job: Job) -> None:
    linear = [module for module in model if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for module, W, b in zip(linear, *job.parameters(), strict=True):
            module.weight.copy_(torch.from_numpy(W.T))
            module.bias.copy_(torch.from_numpy(b))


def optimizer(model: torch.nn.Sequential, w: Workload) -> torch.optim.Optimizer:
    weights = [p for p in model.parameters() if p.ndim == 2]
    biases = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": w.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    if w.optimizer == "adam":
        return torch.optim.Adam(groups, lr=w.lr, fused=True)
    return torch.optim.SGD(groups, lr=w.lr, momentum=w.momentum, nesterov=w.momentum > 0, fused=True)


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    torch.set_num_threads(job.threads)
    w, (inputs, targets) = job.workload, job.inputs()
    model = build(w, getattr(torch, job.dtype))
    reset(model, job)
    X, y = torch.from_numpy(inputs), torch.from_numpy(targets)
    if w.task == "predict":
        return predictor(model, X, w)

    def loss_of(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        out = model(x)
        return F.mse_loss(out, target) if w.loss == "mse" else F.cross_entropy(out, target)

    loss_fn = torch.compile(loss_of, dynamic=False) if job.variant == "compile" else loss_of
    batch = w.batch or w.rows

    def one_epoch(opt: torch.optim.Optimizer, rng: np.random.Generator) -> torch.Tensor:
        order, total = torch.from_numpy(rng.permutation(w.rows)), torch.zeros((), dtype=X.dtype)
        for i in range(0, w.rows, batch):
            x, target = (X, y) if w.batch is None else (X[order[i : i + batch]], y[order[i : i + batch]])
            opt.zero_grad(set_to_none=True)
            loss = loss_fn(x, target)
            loss.backward()
            opt.step()
            total += loss.detach() * len(x)
        return total / w.rows

    def run() -> dict[str, Any]:
        reset(model, job)
        opt, rng = optimizer(model, w), np.random.default_rng(0)
        begin = time.perf_counter()
        for _ in range(w.epochs):
            loss = one_epoch(opt, rng)
        return {"seconds": (time.perf_counter() - begin) / w.epochs, "loss": float(loss)}

    return run


def predictor(model: torch.nn.Sequential, X: torch.Tensor, w: Workload) -> Callable[[], dict[str, Any]]:
    def run() -> dict[str, Any]:
        with torch.inference_mode():
            begin = time.perf_counter()
            for _ in range(w.calls):
                model(X).argmax(1).numpy()
            return {"seconds": (time.perf_counter() - begin) / w.calls}

    return run
