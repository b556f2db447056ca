"""Errors in the threads of a training: they reach the caller, and leave nobody waiting at a barrier."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from fastfc.network import Network
from tests.trainers import Training

THREADS = 3
HANG = 120  # seconds after which a test gives up: nothing here takes one


def training() -> Training:
    rng = np.random.default_rng(0)
    one = Training(
        "numba dense", Network((20, 64, 3), seed=1), rng.random((256, 20), np.float32), rng.integers(0, 3, 256),
        batch_size=64, threads=THREADS,
    )  # fmt: skip
    one.run(0.1)
    return one


def raised_by(function: Callable[[], object]) -> BaseException:
    """What a call raises, in a thread of its own that may hang without holding up the rest."""
    found: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(HANG)
    assert not thread.is_alive(), "the call hangs"
    return found[0]


@pytest.mark.parametrize("failing", range(THREADS))
def test_an_error_in_any_worker_reaches_the_caller(failing: int) -> None:
    one = training()
    call = one.trainer.calls["epoch.run", THREADS][0][failing]
    kernel = call.function

    def broken(table: int) -> None:
        raise MemoryError("no more")

    call.function = broken
    assert isinstance(raised_by(lambda: one.run(0.1)), MemoryError)
    call.function = kernel
    one.run(0.1)
    one.trainer.close()
    assert np.isfinite(one.losses).all()


@pytest.mark.parametrize("cpus", [1, 64])
def test_who_waits_for_a_thread_that_is_late_uses_no_core(cpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the threads begins 0.3 s after the others, which are at the first barrier: on a machine with cores for all they
    spin for a moment, then sleep."""
    monkeypatch.setattr("fastfc.kernels.fused.trainer.usable_cpus", lambda: cpus)
    one = training()
    call = one.trainer.calls["epoch.run", THREADS][0][0]
    kernel = call.function

    def late(table: int) -> None:
        time.sleep(0.3)
        kernel(table)

    call.function = late
    spent = time.process_time()
    one.run(0.1)
    spent = time.process_time() - spent
    one.trainer.close()
    assert np.isfinite(one.losses).all()
    assert spent < 0.3, f"CPU time: given {spent:.3f} s, expected far less than the 0.6 s of two threads that spin"


@pytest.mark.parametrize("refused", range(1, THREADS))
def test_a_thread_that_the_system_refuses_is_an_error(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, start, count = training(), threading.Thread.start, 0
    one.trainer.close()
    one.trainer.pool = type(one.trainer.pool)(THREADS)
    before = threading.active_count()

    def refuse(thread: threading.Thread) -> None:
        nonlocal count
        if thread.name.startswith("ThreadPool"):
            count += 1
            if count > refused:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert "can't start new thread" in str(raised_by(lambda: one.run(0.1)))
    assert isinstance(raised_by(lambda: (one.trainer.close(), 1 / 0)), ZeroDivisionError)
    assert threading.active_count() == before
