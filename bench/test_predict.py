"""Prediction of one sample and of 10,000."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastfc


@pytest.mark.parametrize("data", ["images", "normal"])
@pytest.mark.parametrize("rows", [1, 10_000])
def test_predict(benchmark: Any, inputs: dict[str, tuple[np.ndarray, np.ndarray]], rows: int, data: str) -> None:
    network = fastfc.Network((784, 200, 50, 10))
    X = np.ascontiguousarray(inputs[data][0][:rows])
    network.predict(X)  # compiles
    assert benchmark(network.predict, X).shape == (rows,)
