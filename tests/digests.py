"""SHA-256 of the parameters of a dozen trainings: python -m tests.digests, before and after a change that should move no bit.

Bits depend on the CPU, so the lines are compared on one machine. Only `fastfc.train` is used, so that the file runs
beside any version of the kernels.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

import fastfc

THREADS = (1, 2, 3, 4)


def mostly_zero(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """(n, height, width) uint8, four out of five 0, in runs as in images."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 256, (n, height, width), np.uint8) * np.repeat(rng.random((n, height, width // 4)) < 0.2, 4, 2)


def trainings() -> dict[str, tuple[Any, dict[str, Any]]]:
    """(data, settings) by name."""
    rng = np.random.default_rng(1)
    images, labels = mostly_zero(1500, 28, 28), rng.integers(0, 10, 1500)
    dense, targets = rng.standard_normal((700, 301)), rng.random((700, 7))
    few = mostly_zero(400, 8, 12, seed=2).reshape(400, 96)
    trainings: dict[str, tuple[Any, dict[str, Any]]] = {
        "sparse": ((images, labels), {"hidden": (200, 50)}),
        "standardised": (((images.reshape(1500, -1) / np.float32(255) - 0.13) / 0.3, labels), {"hidden": (100,)}),
        "dense": ((dense, labels[:700]), {"hidden": (130, 90), "activation": ("tanh", "sigmoid")}),
        "dense float64": ((dense, targets), {"hidden": (130,), "loss": "mse", "dtype": "float64"}),
        "sparse float64": ((images, labels), {"hidden": (70, 30), "dtype": "float64", "label_smoothing": 0.1}),
        "bce": ((few, labels[:400] % 2), {"hidden": (33,), "loss": "sigmoid_bce", "batch_size": 64}),
        "batch 1": ((few, labels[:400]), {"hidden": (40, 20), "batch_size": 1, "lr": 0.01}),
        "batch 1, online": (
            (few, labels[:400]),
            {"hidden": (40, 20), "batch_size": 1, "lr": 0.01, "momentum_kind": "none", "weight_decay": 0.0},
        ),
        "full batch": ((images, labels), {"hidden": (64, 32), "batch_size": None}),
        "batches in parts": ((dense, labels[:700]), {"hidden": (64, 32), "batch_size": 600, "momentum_kind": "none"}),
        "shifts": ((images, labels), {"hidden": (64, 32), "augment": 1, "grad_reduction": "mean"}),
        "adam, gelu": ((images, labels), {"hidden": (64, 32), "optimizer": "adam", "activation": "gelu"}),
        "dropout": ((images, labels), {"hidden": (64, 32), "dropout": 0.5, "input_dropout": 0.2}),
        "clipped, L1, averages": ((dense, labels[:700]), {"hidden": (64, 32), "clip_norm": 0.5, "l1": 1e-4, "ema": 0.99}),
        "huber, mish": ((dense, targets), {"hidden": (64,), "loss": "huber", "activation": "mish", "huber_delta": 0.3}),
        **{
            f"{kind}, L2 {decay}": ((images, labels), {"hidden": (64, 32), "momentum_kind": kind, "weight_decay": decay})
            for kind, decay in (("none", 0.0), ("none", 1e-3), ("ema", 1e-3), ("heavy_ball", 0.0))
        },
    }
    try:
        from scipy.sparse import csr_array
    except ImportError:
        return trainings
    return {**trainings, "CSR": ((csr_array(few), labels[:400]), {"hidden": (40, 20)})}


def digest(data: Any, settings: dict[str, Any], threads: int) -> str:
    model = fastfc.train(data, epochs=2, threads=threads, seed=3, **settings).model
    return hashlib.sha256(b"".join(p.tobytes() for p in (*model.weights, *model.biases))).hexdigest()


def main() -> None:
    os.sched_getaffinity = lambda pid: set(THREADS)  # type: ignore[attr-defined, assignment]  # else fewer threads than asked for
    for name, (data, settings) in trainings().items():
        found = {digest(data, settings, threads) for threads in THREADS}
        print(f"{name:20}", *sorted(found), flush=True)


if __name__ == "__main__":
    main()
