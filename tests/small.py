"""Small data, and Python in a process of its own: what the tests of behaviour share."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from fastfc.network import Network

ROOT = Path(__file__).parents[1]
BACKENDS = ("numpy", "numba")
SMALL: dict[str, Any] = {"hidden": (8,), "batch_size": 32, "epochs": 2, "dtype": "float64"}
# Of which the kernels compile soonest, with uint8 that is mostly 0.
ONLINE: dict[str, Any] = {
    "hidden": (8,), "batch_size": 1, "epochs": 2, "momentum_kind": "none", "weight_decay": 0.0, "input_kernel": "sparse",
}  # fmt: skip
# Enough work in a step that several threads are used.
BUSY: dict[str, Any] = {"hidden": (64, 40), "batch_size": 96, "epochs": 2, "dtype": "float64", "momentum": 0.8}
# A network as model files and checkpoints describe it.
DESCRIBED: dict[str, Any] = {
    "layers": (3, 2, 4),
    "activations": ("tanh",),
    "loss": "mse",
    "output_activation": "sigmoid",
    "scale": 0.25,
    "dtype": "float32",
    "image_shape": (1, 3),
    "regression": False,
    "input_kind": "uint8",
}


def blobs(n: int = 100, features: int = 20, classes: int = 3, dtype: str = "float64", seed: int = 0) -> tuple[Any, Any]:
    """(X, y): points (n, features) around one centre for each class, and their labels (n,)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((classes, features))
    y = np.arange(n) % classes
    return (centres[y] + 0.5 * rng.standard_normal((n, features))).astype(dtype), y


def images(n: int = 90, side: int = 6, seed: int = 0) -> tuple[Any, Any]:
    """(X, y): images (n, side, side) uint8, mostly black, that are bright in one of three rows, which is the label."""
    rng = np.random.default_rng(seed)
    X, y = np.zeros((n, side, side), np.uint8), np.arange(n) % 3
    X[np.arange(n), y + 1] = rng.integers(1, 256, (n, side))
    return X, y


def parameters(layers: tuple[int, ...], dtype: str, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random weights (fan_in, fan_out) and biases (fan_out,)."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal(shape).astype(dtype) for shape in pairwise(layers)]
    return weights, [rng.standard_normal(size).astype(dtype) for size in layers[1:]]


def digest(model: Network) -> str:
    """SHA-256 of all parameters."""
    return hashlib.sha256(b"".join(p.tobytes() for p in (*model.weights, *model.biases))).hexdigest()


def blas_now() -> int:
    """Threads of NumPy's BLAS; SciPy brings one of its own."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    own = [pool for pool in pools if "numpy" in pool["filepath"]] or pools
    return own[0]["num_threads"]


def python(code: str, *, timeout: float = 600, **environment: str | None) -> str:
    """What `code` prints, run by a new Python with these environment variables; None removes one."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={name: value for name, value in env.items() if value is not None},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_privileges() -> None:
    """What root may write although its mode says no, it may not after this: the capability is gone at the next exec."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
