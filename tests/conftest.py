"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastfc.cli import main
from tests.command_line import SMALL


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with the four true MNIST files."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("FASTFC_DATA_DIR") or beside)
    if not folder.is_dir():
        pytest.skip("needs MNIST: set FASTFC_DATA_DIR")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell starts what it runs in the background deaf to SIGINT; the tests of Ctrl-C, and their children, are not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An .npz file of 8x8 images in three classes, told apart by the third of the rows that is bright."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 60, (240, 8, 8), dtype=np.uint8)
    y = rng.integers(0, 3, 240)
    for i, label in enumerate(y):
        X[i, 3 * label : 3 * label + 2] += 150
    file = tmp_path / "small.npz"
    np.savez(file, x_train=X[:200], y_train=y[:200], x_test=X[200:], y_test=y[200:])
    return file


@pytest.fixture
def run_folder(data: Path, tmp_path: Path) -> Path:
    """What `fastfc train --out` has written."""
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL]) == 0
    return tmp_path / "run"
