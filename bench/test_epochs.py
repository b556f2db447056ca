"""One epoch of 784-200-50-10 on 60,000 rows, by backend, dtype and kind of input."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
import pytest

import fastfc

SETTINGS: dict[str, Any] = {
    "epochs": 1,
    "lr": 0.05,
    "schedule": "constant",
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
}


@pytest.mark.parametrize("data", ["images", "normal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_epoch(
    benchmark: Any, inputs: dict[str, tuple[np.ndarray, np.ndarray]], threads: int, backend: str, dtype: str, data: str
) -> None:
    """The whole call is timed; the time of the epoch alone is in extra_info. The first call, which compiles, is not."""
    epochs = []

    def run() -> None:
        result = fastfc.train(inputs[data], backend=backend, dtype=dtype, threads=threads, **SETTINGS)
        epochs.append(result.history[0].seconds)

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    benchmark.extra_info["epoch_seconds"] = median(epochs[1:])
