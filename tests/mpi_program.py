"""What the tests of several ranks run in each: `mpiexec -n 2 python -m mpi4py -m tests.mpi_program WHAT ...`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastfc
from tests.small import BACKENDS, SMALL, blobs, digest

CUTS = {2: (0, 63, 100), 3: (0, 70, 70, 100)}  # where the samples of a rank begin: of three, the second has none
X, Y = blobs(100)
WEIGHTS = np.linspace(0.5, 2, 100)
STEPS: dict[str, Any] = {**SMALL, "epochs": 5}  # of 4 steps, the last of 4 samples
# Settings, and in capitals what is not a setting: weights of samples, test data, functions.
CASES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "velocity_has_rate": {"velocity_has_rate": True, "schedule": "cosine"},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "rmsprop": {"optimizer": "rmsprop"},
    "adagrad": {"optimizer": "adagrad"},
    "lbfgs": {"optimizer": "lbfgs", "batch_size": None},
    "whole set, sum": {"batch_size": None, "grad_reduction": "sum", "lr": 0.001, "momentum_kind": "none"},
    "dropout, clipping, weights": {"dropout": 0.5, "input_dropout": 0.2, "clip_norm": 0.5, "WEIGHTS": True},
    "penalties, average": {"l1": 1e-3, "ema": 0.9, "label_smoothing": 0.1, "decay_per_batch": True},
    "largest losses": {"top_loss_fraction": 0.5, "class_weight": "balanced"},
    "validation": {"validation": 0.2, "early_stopping": 1, "lr": 0.5, "WEIGHTS": True, "TEST": True, "METRICS": True},
    "averaged each step": {"average_every": 1, "WEIGHTS": True},
}
NUMPY_ONLY = ("velocity_has_rate", "adamw", "rmsprop", "adagrad", "penalties, average")  # of the numba backend, rules of their own
LONG: dict[str, Any] = {**SMALL, "epochs": 100_000, "lr": 0.01, "schedule": "constant", "backend": "numpy"}


ALONE: dict[str, Any] = {
    "hidden": (8,), "dtype": "float64", "backend": "numpy", "batch_size": 32, "shuffle": False, "lr": 0.1, "schedule": "constant",
    "momentum_kind": "none",
}  # fmt: skip


def trained(name: str, backend: str, own: slice = slice(None), comm: Any = None) -> fastfc.TrainResult:
    case = dict(CASES[name])
    if case.pop("WEIGHTS", False):
        case["sample_weight"] = WEIGHTS[own]
    if case.pop("METRICS", False):
        case["metrics"] = {"sum": lambda y, predicted: float((y * predicted).sum())}
    test = (X[own], Y[own]) if case.pop("TEST", False) else None
    if comm is None:
        case.pop("average_every", None)
    return fastfc.train((X[own], Y[own]), test, backend=backend, threads=1, comm=comm, **{**STEPS, **case})


def say(text: str) -> None:
    """In one piece: what others say comes before or after."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def flat(result: fastfc.TrainResult) -> np.ndarray:
    """All parameters, and what each epoch measured."""
    parameters = [p.ravel() for p in (*result.model.weights, *result.model.biases)]
    return np.concatenate([*parameters, *([[r.loss, r.penalty, *measured(r)] for r in result.history])])


def measured(record: Any) -> list[float]:
    found = (record.validation_loss, record.validation_accuracy, record.test_loss, record.test_accuracy)
    return [value for value in (*found, *record.metrics.values()) if value is not None]


def equal(comm: Any, own: slice, path: str) -> None:
    results = {}
    for backend in BACKENDS:
        for name in CASES:
            if backend == "numpy" or name not in NUMPY_ONLY:
                result = trained(name, backend, own, comm)
                results[f"{backend}: {name}"] = flat(result)
                assert len(set(comm.allgather(digest(result.model)))) == 1
    again = [digest(trained("adam", "numba", own, comm).model) for _ in range(2)]
    assert again[0] == again[1]
    alone = fastfc.train((X[own], Y[own]), comm=comm, average_every=3, epochs=2, **ALONE)
    assert len(set(comm.allgather(digest(alone.model)))) == 1
    results["alone"] = flat(alone)
    for name, settings in {"named": {}, "shifts": {"augment": 1}}.items():
        file = str(Path(path).with_name("small.npz"))
        results[name] = flat(fastfc.train(file, comm=comm, backend="numpy", **{**SMALL, **settings}))
    if comm.rank == 0:
        np.savez(path, **results)


def errors(comm: Any, own: slice) -> None:
    """Each is raised in all ranks."""
    bad = X[own].copy()
    if comm.rank == comm.size - 1:
        bad[0, 0] = np.nan
    last = comm.rank == comm.size - 1
    network = fastfc.Network((20, 8, 3), dtype="float64", seed=int(last))
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "seed": ((X[own], Y[own]), {"seed": comm.rank}),
        "nan": ((bad, Y[own]), {}),
        "none": ((X[:0], Y[:0]), {}),
        "weights": ((X[own], Y[own]), {"sample_weight": WEIGHTS[own] if last else None}),
        "features": ((X[own][:, : 20 - last], Y[own]), {}),
        "network": ((X[own], Y[own]), {"network": network}),
        "lbfgs": ((X[own], Y[own]), {"average_every": 2, "optimizer": "lbfgs", "batch_size": None}),
        "diverges": ((1e3 * X[own], Y[own]), {"loss": "mse", "outputs": 3, "lr": 1e5, "epochs": 20}),
    }
    for name, (data, settings) in calls.items():
        try:
            fastfc.train(data, comm=comm, backend="numpy", **{**SMALL, **settings})
        except fastfc.FastFCError as error:
            found = comm.gather(f"{type(error).__name__} {error}")
        if comm.rank == 0:
            print(name, *found, sep=" | ", flush=True)


def checkpoint(comm: Any, own: slice, folder: str) -> None:
    settings = {**LONG, "epochs": 5, "backend": "numba", "threads": 1, "dropout": 0.5, "input_dropout": 0.2, "clip_norm": 0.5}
    whole = fastfc.train((X[own], Y[own]), comm=comm, **settings)
    fastfc.train((X[own], Y[own]), comm=comm, checkpoint=folder, **{**settings, "epochs": 3})
    resumed = fastfc.train((X[own], Y[own]), comm=comm, checkpoint=folder, **settings)
    say(f"{'same' if digest(whole.model) == digest(resumed.model) else 'other'} {len(resumed.history)}")


def refused(comm: Any, own: slice, folder: str) -> None:
    try:
        fastfc.train((X[own], Y[own]), comm=comm, checkpoint=folder, **{**LONG, "epochs": 5})
    except fastfc.InvalidArgument as error:
        say(str(error))


def fail(comm: Any, own: slice, how: str, folder: str) -> None:
    """In the last rank alone, or by a callback, which rank 0 calls."""
    last, began = comm.rank == comm.size - 1, time.monotonic()

    def metric(y: np.ndarray, predicted: np.ndarray) -> float:
        if last and time.monotonic() > began + 0.3:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "raise":
                raise ValueError("broken")
            if how == "interrupt":
                signal.raise_signal(signal.SIGINT)
        return 0.0

    def on_steps(*_: Any) -> None:
        if how == "callback":
            raise ValueError("broken")
        if how == "ctrl-c" and not begun:
            begun.append(say("begun"))

    begun: list[None] = []
    held = (X[own], Y[own])
    more = {"metrics": {"m": metric}, "on_steps": on_steps, "checkpoint": folder, "checkpoint_every": 7}
    result = fastfc.train(held, held, comm=comm, **{**LONG, **more})
    say(f"returned {result.interrupted}")


if __name__ == "__main__":
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    cuts = CUTS[world.size]
    what: Any = {f.__name__: f for f in (equal, errors, checkpoint, refused, fail)}[sys.argv[1]]
    what(world, slice(cuts[world.rank], cuts[world.rank + 1]), *sys.argv[2:])
