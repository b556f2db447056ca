"""What the tests of the command line share."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SMALL = ["--hidden", "8", "--backend", "numpy", "--epochs", "3", "--batch-size", "16"]


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastfc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


class Terminal:
    """A command in a terminal of its own: what it has shown, piece by piece, and its exit code."""

    def __init__(self, number: int, process: subprocess.Popen[bytes]) -> None:
        self.number, self.process, self.shown = number, process, ""

    def pieces(self) -> Iterator[str]:
        """What is shown next, until the command ends."""
        while True:
            try:
                piece = os.read(self.number, 2**16)
            except OSError:  # how Linux says that nobody writes any more
                piece = b""
            if not piece:
                return
            self.shown += piece.decode(errors="replace")
            yield self.shown

    def end(self) -> int:
        """The exit code, once all is in `shown`."""
        for _ in self.pieces():
            pass
        return self.process.wait()


@contextmanager
def terminal(columns: int, *arguments: str, **environment: str) -> Iterator[Terminal]:
    """`fastfc` with these arguments in a terminal of 24 lines, which has colours unless the environment says otherwise."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    unset = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONIOENCODING")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**inherited, "TERM": "xterm", "PYTHONUTF8": "1", **environment}
    command = [sys.executable, "-m", "fastfc", *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            os.close(ours)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error, without the program's name."""
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("fastfc: error: ")
    return line.removeprefix("fastfc: error: ")
