"""Prediction as a user writes it by hand in NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.peers.job import Job


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    w, (X, _) = job.workload, job.inputs()
    if w.task != "predict" or w.activation != "relu":
        raise ValueError("only prediction with relu is written by hand here")
    weights, biases = job.parameters()

    def predict(x: np.ndarray) -> np.ndarray:
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            x = np.maximum(x @ W + b, 0)
        return (x @ weights[-1] + biases[-1]).argmax(1)

    def run() -> dict[str, Any]:
        begin = time.perf_counter()
        for _ in range(w.calls):
            predict(X)
        return {"seconds": (time.perf_counter() - begin) / w.calls}

    return run
