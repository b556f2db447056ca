"""What the commands share: the names of their files, their data, and where their output goes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastfc.errors import invalid
from fastfc.machine.terminal import announce

if TYPE_CHECKING:
    from fastfc.data import Dataset

INTERRUPTED = 130
MODEL, HISTORY, CURVES = "model.safetensors", "history.json", "training.png"
RUNNING = "running.json"  # in place of HISTORY, until the training is over
REPORT = "report.html"
STANDARD_OUTPUT = Path("-")


def chosen(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}


def load(name: str | None) -> Dataset:
    from fastfc.data import load_data

    data = load_data(name)
    announce(data.notice)
    return data


def test_data(options: argparse.Namespace, comm: Any = None) -> tuple[Any, Any] | None:
    if not options.test_data:
        return None
    X, y = load(options.test_data).held_out()[:2]
    if comm is None:
        return X, y
    from fastfc.distributed import part

    own = part(len(y), comm)
    return X[own], y[own]


def check_outputs(options: argparse.Namespace) -> None:
    """Find out before a long training, not after it, that its result has nowhere to go."""
    folder, file = getattr(options, "out", None), options.json
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    if file and file != STANDARD_OUTPUT and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise invalid("--json", repr(str(file)), "a file in an existing folder, or -")


@contextmanager
def redirected(options: argparse.Namespace) -> Iterator[None]:
    """What is said goes nowhere with --quiet, and to standard error where standard output is for JSON alone."""
    with ExitStack() as stack:
        if getattr(options, "quiet", False):
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        elif options.json == STANDARD_OUTPUT:
            stack.enter_context(redirect_stdout(sys.stderr))
        yield


def write_json(path: Path, content: dict[str, Any]) -> None:
    from fastfc.storage.files import atomic_write

    text = json.dumps(content, indent=2)
    if path == STANDARD_OUTPUT:
        print(text)
    else:
        atomic_write(path, f"{text}\n".encode())
