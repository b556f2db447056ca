"""scikit-learn's MLPClassifier with solver "sgd", an epoch a `partial_fit`; variant "csr" gives it sparse input."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from bench.peers.job import Job


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    w, (X, y) = job.workload, job.inputs()
    if w.loss != "softmax_ce" or w.batch is None:
        raise ValueError("MLPClassifier trains softmax and cross-entropy in batches")
    model = MLPClassifier(
        w.layers[1:-1], activation=w.activation, solver="sgd", alpha=w.weight_decay, batch_size=w.batch,
        learning_rate_init=w.lr, momentum=w.momentum, nesterovs_momentum=True, shuffle=w.shuffle, random_state=0,
    )  # fmt: skip
    # The first call builds the parameters and the optimiser, which run() then resets in place.
    few = np.random.default_rng(0).random((w.batch, w.layers[0])).astype(job.dtype)
    model.partial_fit(few, np.arange(w.batch) % w.layers[-1], classes=np.arange(w.layers[-1]))
    weights, biases = job.parameters()
    inputs: Any = X
    if job.variant == "csr":
        from scipy.sparse import csr_matrix

        inputs = csr_matrix(X)

    def reset() -> None:
        for mine, given in zip(model.coefs_ + model.intercepts_, weights + biases, strict=True):
            mine[...] = given
        for velocity in model._optimizer.velocities:
            velocity[...] = 0

    def train() -> dict[str, Any]:
        reset()
        begin = time.perf_counter()
        for _ in range(w.epochs):
            model.partial_fit(inputs, y)
        return {"seconds": (time.perf_counter() - begin) / w.epochs, "loss": float(model.loss_)}

    def predict() -> dict[str, Any]:
        begin = time.perf_counter()
        for _ in range(w.calls):
            model.predict(inputs)
        return {"seconds": (time.perf_counter() - begin) / w.calls}

    reset()
    return predict if w.task == "predict" else train
