"""What the tests of the command line share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SMALL = ["--hidden", "8", "--backend", "numpy", "--epochs", "3", "--batch-size", "16"]


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastfc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error, without the program's name."""
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("fastfc: error: ")
    return line.removeprefix("fastfc: error: ")
