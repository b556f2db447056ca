"""What the pytest-benchmark cases share. Run: python -m pytest bench --benchmark-only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from bench import machine
from fastfc.data import load_data


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["fastfc"] = machine.describe() | {"libraries": threadpool_info()}


@pytest.fixture(scope="session")
def threads() -> int:
    return min(2, len(machine.cores()))


@pytest.fixture(scope="session")
def inputs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """60,000 x 784: images in uint8, and standard normal floats with the same labels."""
    images = load_data(None)
    normal = np.random.default_rng(0).standard_normal(images.X.shape, dtype=np.float32)
    return {"images": (images.X, images.y), "normal": (normal, images.y)}
