"""fastfc: train a fully connected network on a CPU, fast and readable.

`train` trains, `Network` holds the result, `load` reads it back, `compare` sets the backends against each other,
`info` tells what this machine has.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastfc.about import info
    from fastfc.data import Dataset, load_data
    from fastfc.errors import (
        CompilationWarning,
        DataError,
        DistributedError,
        DivergenceError,
        DownloadError,
        FastFCError,
        InvalidArgument,
        InvalidType,
        ModelFileError,
    )
    from fastfc.network import Network, load
    from fastfc.reports.compare import Comparison, compare
    from fastfc.results import EpochRecord, TrainResult
    from fastfc.settings import Settings
    from fastfc.train import train
    from fastfc.training.callbacks import BestCheckpoint, CSVLog, EarlyStopping
    from fastfc.training.progress import ProgressBar

__version__ = "0.1.0"

_HOMES = {
    "fastfc.about": ("info",),
    "fastfc.reports.compare": ("Comparison", "compare"),
    "fastfc.data": ("Dataset", "load_data"),
    "fastfc.errors": (
        "CompilationWarning",
        "DataError",
        "DistributedError",
        "DivergenceError",
        "DownloadError",
        "FastFCError",
        "InvalidArgument",
        "InvalidType",
        "ModelFileError",
    ),
    "fastfc.network": ("Network", "load"),
    "fastfc.results": ("EpochRecord", "TrainResult"),
    "fastfc.settings": ("Settings",),
    "fastfc.train": ("train",),
    "fastfc.training.callbacks": ("BestCheckpoint", "CSVLog", "EarlyStopping"),
    "fastfc.training.progress": ("ProgressBar",),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BestCheckpoint",
    "CSVLog",
    "Comparison",
    "CompilationWarning",
    "DataError",
    "Dataset",
    "DistributedError",
    "DivergenceError",
    "DownloadError",
    "EarlyStopping",
    "EpochRecord",
    "FastFCError",
    "InvalidArgument",
    "InvalidType",
    "ModelFileError",
    "Network",
    "ProgressBar",
    "Settings",
    "TrainResult",
    "compare",
    "info",
    "load",
    "load_data",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'fastfc' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """Importing the module fastfc.train makes Python put it where the function is: `train` and `compare` stay functions."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
