"""fastfc itself in a worker: variant "numpy" for that backend, "uint8", "sparse"/"dense" for one input kernel; "auto" or
"threads N" for another number of threads than the job's, or "idle": CPU seconds a second while a callback sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastfc
from bench.peers.job import Job

IDLE_SECONDS = 0.5


def prepare(job: Job, comm: Any = None, own: slice = slice(None)) -> Callable[[], dict[str, Any]]:
    """With a communicator of MPI, for the rows that are this rank's own."""
    w, (X, y) = job.workload, job.raw()
    X, y = X[own], y[own]
    weights, biases = job.parameters()
    network = fastfc.Network(
        w.layers, activation=w.activation, loss=w.loss, output_activation=w.output_activation,
        weights=weights, biases=biases, dtype=job.dtype,
    )  # fmt: skip
    if w.task == "predict":
        return predictor(network, job)
    settings: dict[str, Any] = {
        "hidden": w.layers[1:-1], "activation": w.activation, "loss": w.loss, "output_activation": w.output_activation,
        "optimizer": w.optimizer, "weight_decay": w.weight_decay, "label_smoothing": 0.0, "batch_size": w.batch,
        "epochs": w.epochs, "shuffle": w.shuffle, "dtype": job.dtype,
        "input_kernel": job.variant if job.variant in ("sparse", "dense") else "auto",
    }  # fmt: skip
    if w.optimizer != "lbfgs":
        settings |= {"lr": w.lr, "schedule": "constant"}
    if w.optimizer == "sgd":
        settings |= {"momentum": w.momentum, "momentum_kind": "nesterov" if w.momentum else "none"}
    if w.dropout:
        settings |= {"input_dropout": w.dropout[0], "dropout": w.dropout[1]}
    if w.weighted:
        settings["sample_weight"] = np.random.default_rng(2).uniform(0.5, 1.5, len(X))
    if w.validation:
        settings["validation"] = w.validation
    backend = "numpy" if job.variant == "numpy" else "numba"
    kind, _, number = job.variant.partition(" ")
    threads = None if kind == "auto" else int(number) if kind == "threads" else job.threads
    if kind == "idle":
        return lambda: {"seconds": idle(X, y, network, threads, settings)}

    def run() -> dict[str, Any]:
        begin = time.perf_counter()
        result = fastfc.train((X, y), backend=backend, threads=threads, network=network, comm=comm, seed=0, **settings)
        called = time.perf_counter() - begin
        return {
            "seconds": called if w.task == "call" else sum(record.seconds for record in result.history) / w.epochs,
            "call_seconds": called,  # of the whole call: preparation of the data included
            "loss": result.history[-1].loss,
            "input_kernel": result.input_kernel,
        }

    return run


def idle(X: Any, y: Any, network: Any, threads: int | None, settings: dict[str, Any]) -> float:
    """CPU seconds of this process a second, while it sleeps in a callback between epochs."""
    used = []

    def sleep(record: Any) -> None:
        began, spent = time.perf_counter(), time.process_time()
        time.sleep(IDLE_SECONDS)
        used.append((time.process_time() - spent) / (time.perf_counter() - began))

    fastfc.train((X, y), threads=threads, network=network, seed=0, on_epoch=sleep, **settings)
    return sum(used) / len(used)


def predictor(network: Any, job: Job) -> Callable[[], dict[str, Any]]:
    """Images are predicted as they are stored; a single one as floats, like the peers', unless the variant is uint8."""
    w = job.workload
    X = job.raw()[0] if w.rows > 1 or job.variant == "uint8" else job.inputs()[0]

    def run() -> dict[str, Any]:
        begin = time.perf_counter()
        for _ in range(w.calls):
            network.predict(X)
        return {"seconds": (time.perf_counter() - begin) / w.calls}

    return run
