"""One training in several processes: the same as in one, and no rank waits for one that has failed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.distributed.peers import world
from fastfc.errors import InvalidArgument, InvalidType
from tests.mpi_program import ALONE, CASES, CUTS, LONG, NUMPY_ONLY, X, Y, flat, trained
from tests.promises import HANGS, Cases
from tests.small import BACKENDS, ROOT, SMALL

BESIDE = str(Path(sys.executable).parent)
MPIEXEC = shutil.which("mpiexec", path=BESIDE) or shutil.which("mpiexec")
IS_MPICH = MPIEXEC is not None and os.path.dirname(MPIEXEC) == BESIDE  # as its wheel brings it
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec"
)
TOGETHER = 10.0  # s, in which all have ended after one has failed


def command(ranks: int, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
    assert MPIEXEC
    return [MPIEXEC, *flags, "-n", str(ranks), sys.executable, "-W", "error", "-m", *arguments]


def mpi(ranks: int, *arguments: str, flags: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """`tests.mpi_program` in so many ranks."""
    called = command(ranks, "mpi4py", "-m", "tests.mpi_program", *arguments, flags=flags)
    return subprocess.run(called, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)


def lines(ranks: int, *arguments: str) -> list[str]:
    done = mpi(ranks, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_mpi
@pytest.mark.parametrize("ranks", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_the_same_as_one_process(ranks: int, data: Path, tmp_path: Path) -> None:
    """Of uneven parts, of which one may be empty, and with a last batch that is not full."""
    lines(ranks, "equal", str(tmp_path / "found.npz"))
    found = np.load(tmp_path / "found.npz")
    for backend in BACKENDS:
        for name in CASES:
            if backend == "numpy" or name not in NUMPY_ONLY:
                expected, tolerance = flat(trained(name, backend)), 1e-9 if name == "lbfgs" else 1e-12
                np.testing.assert_allclose(found[f"{backend}: {name}"], expected, tolerance, tolerance, err_msg=name)
    for name, settings in {"named": {}, "shifts": {"augment": 1}}.items():
        one = flat(fastfc.train(data, backend="numpy", **{**SMALL, **settings}))
        np.testing.assert_allclose(found[name], one, 1e-12, 1e-12)
    expected = averaged(CUTS[ranks])
    np.testing.assert_allclose(found["alone"][: len(expected)], expected, 1e-12, 1e-12)


def averaged(cuts: tuple[int, ...]) -> np.ndarray:
    """The parameters after two epochs of four steps, where ranks average after the third, and at the end of the epoch: each
    step alone is a training of its own."""
    network = fastfc.train((X, Y), epochs=1, **{**ALONE, "lr": 1e-300}).model  # the initial one
    parameters, step = parameters_of(network), {**ALONE, "batch_size": None, "epochs": 1}
    for batches in 2 * [[(0, 32), (32, 64), (64, 96)], [(96, 100)]]:
        mean = np.zeros_like(parameters)
        for begin, end in pairwise(cuts):
            alone, parts = network, [slice(max(lo, begin), min(hi, end)) for lo, hi in batches]
            for part in (part for part in parts if part.start < part.stop):
                alone = fastfc.train((X[part], Y[part]), network=alone, **step).model
            passed = sum(max(part.stop - part.start, 0) for part in parts)
            mean += passed / (batches[-1][1] - batches[0][0]) * parameters_of(alone)
        parameters = mean
        ends = np.cumsum([p.size for p in (*network.weights, *network.biases)])[:-1]
        shaped = [a.reshape(b.shape) for a, b in zip(np.split(mean, ends), (*network.weights, *network.biases), strict=True)]
        network = copy(network)
        network.weights, network.biases = shaped[: len(network.weights)], shaped[len(network.weights) :]
    return parameters


def parameters_of(network: fastfc.Network) -> np.ndarray:
    return np.concatenate([p.ravel() for p in (*network.weights, *network.biases)])


@needs_mpi
def test_what_is_wrong_in_one_rank_is_raised_in_all() -> None:
    found = {name: messages for name, *messages in (line.split(" | ") for line in lines(3, "errors"))}
    assert all(len(messages) == 3 for messages in found.values()) and len(found) == 8
    assert found["nan"][0] == "InvalidArgument rank 2 of 3: X: given nan at (0, 0), expected finite numbers"
    assert found["nan"][2] == "InvalidArgument X: given nan at (0, 0), expected finite numbers"
    assert found["seed"][0].startswith("InvalidArgument train: given 1 as seed on rank 1, and 0 on rank 0, expected")
    assert found["none"][1] == "InvalidArgument X: given no samples on any rank, expected at least one sample"
    assert "whether there are any" in found["weights"][0] and "features" in found["features"][0]
    assert found["network"][1].startswith("DistributedError weights: given other bits on rank 2 than on rank 0 before")
    assert "with optimizer 'lbfgs'" in found["lbfgs"][0]
    assert {message.split()[0] for message in found["diverges"]} == {"DivergenceError"}


@needs_mpi
def test_a_checkpoint_is_gone_on_from_by_as_many_ranks_alone(tmp_path: Path) -> None:
    assert lines(2, "checkpoint", str(tmp_path)) == ["same 5"] * 2
    expected = "checkpoint: given one of a training in 2 processes, expected one of {}, as there are now"
    told = lines(3, "refused", str(tmp_path))
    assert sorted(told) == [expected.format(3), *[f"rank 0 of 3: {expected.format(3)}"] * 2]
    with pytest.raises(InvalidArgument) as refused:
        fastfc.train((X, Y), checkpoint=tmp_path, **{**LONG, "epochs": 5})
    assert str(refused.value) == expected.format(1)


@needs_mpi
@pytest.mark.promise(15)
@pytest.mark.parametrize("how", ["raise", *(pytest.param(how, marks=pytest.mark.slow) for how in ("kill", "callback"))])
def test_a_rank_that_fails_ends_all(how: str, tmp_path: Path, cases: Cases) -> None:
    flags = ["-print-all-exitcodes"] if IS_MPICH else []  # in the order of the ranks
    for k in range(cases(1, 10)):
        start = time.monotonic()
        done = mpi(2 + k % 2, "fail", how, str(tmp_path / str(k)), flags=flags)
        cases.within("all ended after one failed", time.monotonic() - start, TOGETHER)
        assert done.returncode != 0 and "returned" not in done.stdout
        said = {
            "kill": r"Exit codes: \[.+\] (\d+,)+9\n" if IS_MPICH else "rank|signal",
            "raise": f"fastfc: rank {1 + k % 2} of {2 + k % 2}: ValueError: broken",
            "callback": "raised on rank 0 of",
        }
        assert re.search(said[how], done.stdout + done.stderr)


@needs_mpi
@pytest.mark.promise(15)
@pytest.mark.parametrize("how", [pytest.param("interrupt", marks=pytest.mark.slow), "ctrl-c"])
def test_ctrl_c_ends_all_and_leaves_a_checkpoint(how: str, tmp_path: Path, cases: Cases) -> None:
    """That comes in one rank only; or to mpiexec, which passes it on."""
    for k in range(cases(1, 10)):
        called = command(2, "mpi4py", "-m", "tests.mpi_program", "fail", how, str(tmp_path / str(k)))
        with subprocess.Popen(called, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            if how == "ctrl-c":
                assert process.stdout is not None and process.stdout.readline() == "begun\n"
                process.send_signal(signal.SIGINT)
            start = time.monotonic()
            out, _ = process.communicate(timeout=HANGS)
            cases.within("all ended after Ctrl-C", time.monotonic() - start, TOGETHER)
        assert out.count("returned True") == 2
        assert os.path.exists(tmp_path / str(k) / "checkpoint.safetensors")


@needs_mpi
def test_the_command_line(data: Path, tmp_path: Path) -> None:
    """Rank 0 prints, and writes."""
    options = ["fastfc", "train", "--mpi", "--data", str(data), "--test-data", str(data), "--backend", "numpy", "--hidden", "8"]
    called = command(2, *options, "--epochs", "2", "--average-every", "2", "--json", str(tmp_path / "run.json"))
    done = subprocess.run(called, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0 and done.stdout.count("epoch 2/2") == 1, done
    assert re.search(r"fastfc: rank 0 is process \d+ on \S+,\s+rank 1 is process \d+", done.stderr)
    assert len(json.loads((tmp_path / "run.json").read_text())["history"]) == 2
    failed = subprocess.run(command(2, *options, "--lr", "-1"), cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
    assert failed.returncode != 0 and failed.stderr.count("fastfc: error: lr: given -1") == 1


def test_without_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(InvalidArgument, match=r"^mpi: given no MPI .*, expected pip install 'fastfc\[mpi\]'"):
        world()
    given: Any
    for given, error in ((3, InvalidType), (None, InvalidArgument)):
        with pytest.raises(error, match=r"^comm: given 3, expected a communicator|^average_every: given 2, expected None"):
            fastfc.train((X, Y), backend="numpy", comm=given, average_every=2, **SMALL)
