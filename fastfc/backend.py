"""The switch between the two computations, and how many threads they may use."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

from fastfc.machine.forks import hold_while_forking
from fastfc.machine.interrupts import deferred_interrupts
from fastfc.validation import one_of

BACKENDS = {
    "numba": ("fastfc.kernels.fused.trainer", "fastfc.kernels.fused.predictor"),
    "numpy": ("fastfc.kernels.reference.epoch", "fastfc.kernels.reference.predict"),
}

_importing = threading.RLock()
hold_while_forking(_importing)  # Python's own lock of a module that another thread imports stays locked in a child


def compile_seconds() -> float:
    """How long this process has waited for kernels so far: for their compilation, or until they were loaded."""
    entry = sys.modules.get("fastfc.kernels.fused.compiler.entry")
    return entry.spent if entry else 0.0


def load_backend(name: str) -> tuple[Any, Any]:
    """The classes (Trainer, Predictor) of a backend, which is imported only now; Ctrl-C waits for that second."""
    one_of("backend", name, tuple(BACKENDS))
    with deferred_interrupts() as interrupts, _importing:  # what was imported in part cannot be imported again
        trainer, predictor = map(importlib.import_module, BACKENDS[name])
    interrupts.check()
    return trainer.Trainer, predictor.Predictor
