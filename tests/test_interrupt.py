"""Ctrl-C and time budgets: training ends at once, and what it has is usable."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np
import pytest

import fastfc
from fastfc.errors import DivergenceError
from tests.promises import HANGS, Cases
from tests.small import BACKENDS, BUSY, SMALL, blobs, digest, python

X, Y = blobs(200)
COMPILED = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
LONG: dict[str, Any] = {**SMALL, "epochs": 100_000, "lr": 0.01, "schedule": "constant"}

# Trains for ever, as often as it is told; says when it has begun, and after Ctrl-C what it has. An epoch takes seconds.
PROGRAM = """
import signal, sys
import numpy as np
import fastfc
backend, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
X, y = rng.standard_normal((100_000, 64)), rng.integers(0, 10, 100_000)
for _ in range(rounds):
    begun = []
    def say(*_):
        if not begun:
            begun.append(print("begun", flush=True))
    r = fastfc.train((X, y), (X[:5000], y[:5000]), backend=backend, threads=threads, on_steps=say, hidden=(256, 50),
                     batch_size=128, epochs=1000, lr=1e-3, dtype="float64")
    finite = all(np.isfinite(p).all() for p in r.model.weights + r.model.biases)
    restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("returned", r.interrupted, finite, len(r.model.predict(X[:9])), restored, flush=True)
"""


def interrupted_trainings(backend: str, threads: int, rounds: int, longest: float) -> list[float]:
    """Seconds from Ctrl-C to the model, in each of `rounds` trainings, at up to `longest` seconds after its begin."""
    wait, seconds = random.Random(f"{backend} {threads}"), []
    command = [sys.executable, "-c", PROGRAM, backend, str(threads), str(rounds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(rounds):
            assert process.stdout.readline() == "begun\n"
            time.sleep(wait.uniform(0, longest))
            start = time.perf_counter()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "returned True True 9 True\n"
            seconds.append(time.perf_counter() - start)
        assert process.wait(HANGS) == 0
    return seconds


pytestmark = [pytest.mark.promise(6), pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")]


@pytest.mark.parametrize(
    ("backend", "threads"),
    [pytest.param("numba", 1, marks=pytest.mark.slow), ("numba", 2), pytest.param("numba", 4, marks=pytest.mark.slow), ("numpy", 1)],
)
def test_ctrl_c_at_random_moments(backend: str, threads: int, cases: Cases) -> None:
    longest = max(interrupted_trainings(backend, threads, cases(2, 20), 1.5 if cases.soak else 0.5))
    cases.within("back from Ctrl-C", longest, 0.5)


def press(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", ["on_steps", "on_epoch"])
def test_ctrl_c_in_a_callback_ends_it_and_the_training(backend: str, where: str) -> None:
    left: list[object] = []

    def long(*_: object) -> None:
        press()
        left.append("came this far")

    r = fastfc.train((X, Y), backend=backend, **{where: long}, **LONG)
    assert r.interrupted and not r.out_of_time and not left and len(r.history) == (where == "on_epoch")
    with pytest.raises(KeyboardInterrupt):
        fastfc.train((X, Y), backend=backend, on_interrupt="raise", **{where: long}, **LONG)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("on_interrupt", ["return", "raise"])
def test_ctrl_c_after_the_last_step_is_not_lost(on_interrupt: str) -> None:
    def last(record: Any) -> None:
        if record.epoch == 2:
            press()

    if on_interrupt == "raise":
        with pytest.raises(KeyboardInterrupt):
            fastfc.train((X, Y), backend="numpy", on_epoch=last, on_interrupt="raise", **SMALL)
    else:
        r = fastfc.train((X, Y), backend="numpy", on_epoch=last, **SMALL)
        assert r.interrupted and len(r.history) == 2


LINE = 'fastfc: training was interrupted; the model so far is returned (on_interrupt="raise" ends a loop too)\n'


def test_a_loop_that_goes_on_after_ctrl_c_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    """Three trainings, Ctrl-C in the second: one line."""
    interrupted = [
        fastfc.train((X, Y), backend="numpy", on_steps=press if k == 1 else None, **SMALL).interrupted for k in range(3)
    ]
    assert interrupted == [False, True, False] and capfd.readouterr() == ("", LINE)


@pytest.mark.parametrize("how", ["raise", "progress", "max_seconds"])
def test_nothing_is_said_of_an_interruption_that_is_known(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What is raised, what stands below the progress of a training, and a limit that was asked for."""
    if how == "raise":
        with pytest.raises(KeyboardInterrupt):
            fastfc.train((X, Y), backend="numpy", on_steps=press, on_interrupt="raise", **SMALL)
    elif how == "progress":
        assert fastfc.train((X, Y), backend="numpy", on_steps=press, progress=True, **SMALL).interrupted
    else:
        assert fastfc.train((X, Y), backend="numpy", max_seconds=1e-9, **LONG).out_of_time
    assert capfd.readouterr().err == ""


# Compiles from nothing. Each number of helpers that begin to compile is followed by Ctrl-C, then trains to the end.
COMPILES = """
import os, signal, sys, threading
from numba.core import event
import fastfc
from tests.small import BUSY, blobs, digest

class Helpers(event.Listener):
    left = 0
    def on_start(self, event):
        begun.set()
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
    def on_end(self, event):
        pass

def train():
    return fastfc.train(blobs(), blobs(), threads=2, **BUSY)

def press_after(helpers):
    listener.left = helpers
    try:
        train()
    except KeyboardInterrupt:
        from fastfc.kernels.fused.compiler import beside, entry
        print("epoch.run" in entry._compiled, threading.active_count(), beside._is_there(), flush=True)
    else:
        sys.exit("not interrupted")

begun, listener = threading.Event(), Helpers()
event.register("numba:compile", listener)
press_after(2)
press_after(20)
begun.clear()
other = threading.Thread(target=train)
other.start()
begun.wait()
press_after(10)
other.join()
print(digest(train().model), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.slow
@COMPILED
def test_ctrl_c_while_kernels_compile(tmp_path: Path) -> None:
    """Back before the epoch is compiled, also when another thread compiles it; the next training begins where it was."""
    found = python(COMPILES, FASTFC_CACHE_DIR=str(tmp_path), timeout=600).splitlines()
    expected = digest(fastfc.train(blobs(), blobs(), threads=2, **BUSY).model)
    assert found == ["False 1 False", "False 1 False", "False 2 False", f"{expected} True"]
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {".o"}


@COMPILED
@pytest.mark.parametrize("seconds", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_ctrl_c_while_the_command_compiles(seconds: float, tmp_path: Path) -> None:
    """From when the folder of kernels is there, which is while they are imported."""
    command = [sys.executable, "-W", "error", "-m", "fastfc", "warmup"]
    environment = {**os.environ, "FASTFC_CACHE_DIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while not list(tmp_path.iterdir()) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "fastfc: interrupted\n")
    assert all(file.suffix == ".o" or file.name.startswith("cpu-") for file in tmp_path.rglob("*") if file.is_file())


def test_someone_elses_handler_is_left_alone() -> None:
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        r = fastfc.train((X, Y), backend="numpy", on_steps=press, **SMALL)
    finally:
        mine = signal.signal(signal.SIGINT, before)
    assert len(pressed) > 1 and not r.interrupted and len(r.history) == 2 and mine is not before


def test_training_in_another_thread_works() -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(fastfc.train((X, Y), **SMALL)))
    thread.start()
    thread.join(HANGS)
    assert len(results[0].history) == 2 and not results[0].interrupted


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seconds", [0.001, 0.15, 0.4])
def test_max_seconds_ends_training_in_time(backend: str, seconds: float, cases: Cases) -> None:
    fastfc.train((X, Y), backend=backend, **SMALL)  # compiled
    for _ in range(cases(1, 10)):
        start = time.perf_counter()
        r = fastfc.train((X, Y), backend=backend, max_seconds=seconds, **LONG)
        took = time.perf_counter() - start
        assert r.interrupted and r.out_of_time and took >= seconds
        cases.within("past max_seconds", took - seconds, 0.2)
        assert sum(record.seconds for record in r.history) <= r.train_seconds <= took
        assert len(r.model.predict(X)) == len(X) and np.isfinite(r.model.weights[0]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_max_seconds_may_end_in_the_middle_of_an_epoch(backend: str, cases: Cases) -> None:
    large = blobs(100_000, 64)
    r = fastfc.train(large, backend=backend, max_seconds=0.3, threads=1, **{**LONG, "hidden": (512, 300), "epochs": 9})
    assert r.out_of_time and not r.history and r.train_seconds >= 0.3
    cases.within("past max_seconds", r.train_seconds - 0.3, 0.2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_epoch_that_is_whole_when_time_is_up_is_kept(backend: str) -> None:
    """One step an epoch: every epoch is whole."""
    r = fastfc.train((X, Y), (X, Y), backend=backend, max_seconds=0.05, **{**LONG, "batch_size": None})
    assert r.out_of_time and r.test_accuracy == r.model.score(X, Y) and r.history[-1].epoch == len(r.history)
    done = fastfc.train((X, Y), backend=backend, max_seconds=1e-9, **{**LONG, "batch_size": None, "epochs": 1})
    assert not done.interrupted and len(done.history) == 1


def test_enough_time_changes_nothing() -> None:
    r, plain = (fastfc.train((X, Y), max_seconds=limit, **SMALL) for limit in (3600, None))
    assert not r.interrupted and len(r.history) == 2
    assert np.array_equal(r.model.weights[0], plain.model.weights[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_diverged_is_not_returned_by_an_interruption(backend: str) -> None:
    """The step before Ctrl-C had a finite loss, and ruined the weights."""
    ones = np.ones((4, 1))
    network = fastfc.Network([1, 1], loss="mse", weights=[[[1e80]]], dtype="float64")
    with pytest.raises(DivergenceError, match=r"^weights: given not finite at the end of epoch 1"):
        fastfc.train(
            (ones, ones), network=network, backend=backend, lr=1e250, schedule="constant", batch_size=1,
            on_steps=press, steps_per_call=1,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_listening_for_ctrl_c_costs(backend: str, monkeypatch: pytest.MonkeyPatch, cases: Cases) -> None:
    """Epochs in slices of 0.1 s against epochs in one piece, in turns. A figure to read, which other load would spoil."""
    pixels = np.random.default_rng(0).integers(0, 256, (20_000, 784), dtype=np.uint8)
    data, ratios = (pixels, np.arange(20_000) % 10), []
    for _ in range(cases(1, 15)):
        seconds, losses = {}, set()
        for slices in (0.1, 1e9):
            monkeypatch.setattr(import_module("fastfc.training.run"), "SLICE_SECONDS", slices)
            r = fastfc.train(data, backend=backend, epochs=3, threads=1, hidden=(300,))
            seconds[slices] = r.train_seconds
            losses.add(r.history[-1].loss)
        assert len(losses) == 1
        ratios.append(seconds[0.1] / seconds[1e9])
    cases.figure(f"price of listening, {backend} (%, promised 1)", 100 * (median(ratios) - 1))
