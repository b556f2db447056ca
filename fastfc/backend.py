"""The switch between the two computations, and how many threads they may use."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

from fastfc.settings import one_of, whole

BACKENDS = {"numba": "fastfc.kernels.fused", "numpy": "fastfc.kernels.reference"}


def load_backend(name: str) -> tuple[Any, Any]:
    """The classes (Trainer, Predictor) of a backend, which is imported only now."""
    one_of("backend", name, tuple(BACKENDS))
    package = BACKENDS[name]
    return importlib.import_module(f"{package}.epoch").Trainer, importlib.import_module(f"{package}.predict").Predictor


def available_threads() -> int:
    """Logical CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int | None) -> int:
    """`threads`, or all that there are if it is None."""
    if threads is None:
        return available_threads()
    whole("threads", threads, 1)
    return int(threads)


@contextlib.contextmanager
def blas_threads(backend: str, threads: int) -> Iterator[None]:
    """NumPy's BLAS computes with `threads` threads for the numpy backend, and with one beside our own; then as before."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads if backend == "numpy" else 1, user_api="blas"):
        yield
