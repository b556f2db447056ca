"""kill -9 while a file is written: this module is run as a program, which forks writers, kills each, and reads what it left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfc.errors import ModelFileError
from fastfc.storage.checkpoint import read_checkpoint, write_checkpoint
from fastfc.storage.modelfile import read_parameters, save_parameters
from tests.promises import Cases
from tests.small import ROOT

pytestmark = pytest.mark.promise(4)
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
LAYERS = (200, 150, 10)


def write_number(kind: str, folder: Path, number: int) -> None:
    """Write a file in which every parameter is `number`."""
    weights = [np.full(shape, number, np.float32) for shape in pairwise(LAYERS)]
    biases = [np.full(size, number, np.float32) for size in LAYERS[1:]]
    if kind == "checkpoint":
        losses = [np.full(1000, number, np.float32)]
        state = {"weights": weights, "biases": biases, "velocity": weights + biases}
        state = {"state": state, "losses": losses, "epoch": number, "history": []}
        write_checkpoint(folder, {**state, "generator": np.random.default_rng(0).bit_generator.state, "settings": {}})
        return
    description: dict[str, Any] = {
        "layers": LAYERS,
        "activations": ["relu"],
        "loss": "mse",
        "output_activation": "tanh",
    }
    description |= {"scale": 0.5, "dtype": "float32", "image_shape": None}
    path = folder / "model"
    if kind == "model":
        save_parameters(path, description, weights, biases)
    else:  # a plain write in two pieces, which must be caught
        save_parameters(folder / "other", description, weights, biases)
        data = (folder / "other").read_bytes()
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(0.002)
            file.write(data[len(data) // 2 :])


def read_number(kind: str, folder: Path) -> int:
    """The number in the file; an error where the file is not one whole write."""
    if kind == "checkpoint":
        found = read_checkpoint(folder)
        arrays = [array for some in (*found["state"].values(), found["losses"]) for array in some]
    else:
        _, weights, biases = read_parameters(folder / "model")
        arrays = weights + biases
    (number,) = {float(value) for array in arrays for value in np.unique(array)}
    return int(number)


def slow_write(descriptor: int, data: memoryview, write: Callable[[int, memoryview], int] = os.write) -> int:
    """os.write as on a slow disk, so that most kills come in the midst of a write."""
    time.sleep(0.001)
    return write(descriptor, data[:30_000])


def kill_writers(kind: str, folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Fork `kills` writers one after the other, kill each at a random moment, and judge the file each time."""
    rng = random.Random(seed)
    write_number(kind, folder, 1)
    number, counts = 1, {"old": 0, "new": 0, "torn": 0, "wrong": 0, "in mid-write": 0}
    for _ in range(kills):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            report, os.write = os.write, slow_write  # type: ignore[assignment]
            while True:
                number += 1
                write_number(kind, folder, number)
                report(write_end, b".")
        os.close(write_end)
        number += len(os.read(read_end, 1))  # it has begun
        time.sleep(rng.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(read_end, "rb") as pipe:
            number += len(pipe.read())  # the last write that was reported as done
        left = list(folder.glob(".fastfc-*.tmp"))
        counts["in mid-write"] += bool(left)
        for temporary in left:
            temporary.unlink()
        try:
            found = read_number(kind, folder)
        except ModelFileError:
            counts["torn"] += 1
        else:
            counts["old" if found == number else "new" if found == number + 1 else "wrong"] += 1
            number = found
    return counts


def run_kills(kind: str, folder: Path, kills: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.test_kills", kind, str(folder), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_kill_9_leaves_the_old_file_or_the_new_one(tmp_path: Path, kind: str, cases: Cases) -> None:
    kills = cases(20, 200)
    counts = run_kills(kind, tmp_path, kills)
    assert counts["torn"] == counts["wrong"] == 0 and counts["old"] + counts["new"] == kills
    assert counts["in mid-write"] >= kills // 10  # else the kills proved nothing


@posix
@pytest.mark.slow  # by chance: a kill must fall into a write
def test_the_kill_test_sees_a_plain_write(tmp_path: Path) -> None:
    assert run_kills("plain", tmp_path, 20)["torn"] > 0


if __name__ == "__main__":
    print(json.dumps(kill_writers(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), seed=0)))
