"""scikit-learn's MLPClassifier, an epoch a `partial_fit`, or with lbfgs a `fit`; variant "csr" gives it sparse input."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from bench.peers.job import Job


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    w, (X, y) = job.workload, job.inputs()
    if w.loss != "softmax_ce" or (w.batch is None and w.optimizer != "lbfgs"):
        raise ValueError("MLPClassifier trains softmax and cross-entropy, with lbfgs or in batches")
    model = MLPClassifier(
        w.layers[1:-1], activation=w.activation, solver=w.optimizer, alpha=w.weight_decay, batch_size=w.batch or "auto",
        learning_rate_init=w.lr, momentum=w.momentum, nesterovs_momentum=True, shuffle=w.shuffle, random_state=0,
        max_iter=w.epochs, tol=1e-5, warm_start=True,
    )  # fmt: skip
    # The first call builds the parameters and the optimiser, which run() then resets in place.
    few = np.random.default_rng(0).random((w.batch or 128, w.layers[0])).astype(job.dtype)
    labels = np.arange(len(few)) % w.layers[-1]
    if w.optimizer == "lbfgs":
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(few, labels)
    else:
        model.partial_fit(few, labels, classes=np.arange(w.layers[-1]))
    weights, biases = job.parameters()
    inputs: Any = X
    if job.variant == "csr":
        from scipy.sparse import csr_matrix

        inputs = csr_matrix(X)

    def reset() -> None:
        for mine, given in zip(model.coefs_ + model.intercepts_, weights + biases, strict=True):
            mine[...] = given
        if w.optimizer == "adam":
            model._optimizer.t = 0
        for name in {"sgd": ("velocities",), "adam": ("ms", "vs"), "lbfgs": ()}[w.optimizer]:
            for state in getattr(model._optimizer, name):
                state[...] = 0

    def train() -> dict[str, Any]:
        reset()
        begin = time.perf_counter()
        if w.optimizer == "lbfgs":
            model.fit(inputs, y)
            return {"seconds": time.perf_counter() - begin, "loss": float(model.loss_)}
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
