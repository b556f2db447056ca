"""The threads of a training: where they come from, what happens if they do not, and when they end."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from fastfc.kernels.fused.compiler.entry import Entry
from fastfc.kernels.fused.crew import new_meeting
from fastfc.kernels.fused.records import OPENED, Team
from fastfc.kernels.fused.trainer import SPINS
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


@pytest.mark.parametrize("spins", [0, SPINS])
def test_who_waits_for_a_thread_that_is_late_uses_no_core(spins: int) -> None:
    """One of the threads comes to the first barrier 0.3 s after the others, which spin for a moment at most, then sleep."""
    meeting = new_meeting(THREADS)
    calls = [Entry("team.meet").bind(Team(thread, THREADS, spins, meeting), 3) for thread in range(THREADS)]
    others = [threading.Thread(target=call, daemon=True) for call in calls[1:]]
    spent = time.process_time()
    for other in others:
        other.start()
    time.sleep(0.3)
    calls[0]()
    for other in others:
        other.join(HANG)
        assert not other.is_alive(), "a thread hangs at the barrier"
    spent = time.process_time() - spent
    assert meeting[OPENED] == 3
    assert spent < 0.3, f"CPU time: given {spent:.3f} s, expected far less than the 0.6 s of two threads that spin"


@pytest.mark.parametrize("refused", range(THREADS - 1))
def test_a_thread_that_the_system_refuses_is_an_error(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After which the threads that began have ended, and the next call finds its own."""
    one, start, count = training(), threading.Thread.start, 0
    before, steps = threading.active_count(), len(one.losses)
    one.trainer.close()
    assert threading.active_count() == before - (THREADS - 1)

    def refuse(thread: threading.Thread) -> None:
        nonlocal count
        if thread.name == "fastfc":
            count += 1
            if count > refused:
                raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert "can't start new thread" in str(raised_by(lambda: one.run(0.1)))
    assert threading.active_count() == before - (THREADS - 1)
    one.run(0.1)
    assert threading.active_count() == before
    assert len(one.losses) == steps and np.isfinite(one.losses).all()
    one.trainer.close()


def test_threads_end_with_the_trainer_that_nobody_closed() -> None:
    before = threading.active_count()
    one = training()
    assert threading.active_count() == before + THREADS - 1
    del one
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    one = training()
    child = os.fork()
    if child == 0:
        try:
            one.run(0.1)
            one.trainer.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + HANG
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.01)
    assert ended[1] == 0
    one.run(0.1)
    one.trainer.close()
