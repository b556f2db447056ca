"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with the four true MNIST files."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("FASTFC_DATA_DIR") or beside)
    if not folder.is_dir():
        pytest.skip("needs MNIST: set FASTFC_DATA_DIR")
    return folder
