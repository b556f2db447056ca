"""The switch between the two computations, and how many threads they may use."""

from __future__ import annotations

import importlib
from typing import Any

from fastfc.validation import one_of

BACKENDS = {"numba": "fastfc.kernels.fused", "numpy": "fastfc.kernels.reference"}


def load_backend(name: str) -> tuple[Any, Any]:
    """The classes (Trainer, Predictor) of a backend, which is imported only now."""
    one_of("backend", name, tuple(BACKENDS))
    package = BACKENDS[name]
    return importlib.import_module(f"{package}.epoch").Trainer, importlib.import_module(f"{package}.predict").Predictor


