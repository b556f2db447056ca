"""Processes: the same bits in every one, and none that hangs or dies when it begins after fastfc was used."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import fastfc
from fastfc import Network
from fastfc.machine.blas import blas_threads
from fastfc.machine.threads import available_threads
from tests.promises import HANGS, Cases
from tests.small import BACKENDS, BUSY, ONLINE, SMALL, blas_now, blobs, digest, images, python

METHODS = [m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()]
pytestmark = [
    pytest.mark.promise(8),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of a process with threads: that is the test
]

SAME = """
import fastfc
from tests.small import BUSY, blobs, digest
print(digest(fastfc.train(blobs(192), seed=5, threads={}, **BUSY).model))
"""


@pytest.mark.promise(9)
def test_the_same_seed_gives_the_same_bits_in_other_processes(cases: Cases) -> None:
    """At full length ten for each of 1, 2, 3 and 4 threads."""
    here = digest(fastfc.train(blobs(192), seed=5, threads=1, **BUSY).model)
    found = [python(SAME.format(1 + k % 4), PYTHONHASHSEED=str(k)).strip() for k in range(cases(2, 40))]
    assert set(found) == {here}


def work(backend: str, seed: int = 0) -> tuple[str, bytes]:
    """A training with two threads and predictions, small and large."""
    data = blobs(192)
    r = fastfc.train(data, data, backend=backend, seed=seed, threads=2, **BUSY)
    X, _ = blobs(2000)
    return digest(r.model), b"".join(r.model.predict(x).tobytes() for x in (X[:1500], X[:1], X[:70]))


def predict(network: Network) -> str:
    return sha256(network.outputs(blobs(2000)[0]).tobytes()).hexdigest()


def answer(queue: Any, function: Any, *arguments: Any) -> None:
    queue.put(function(*arguments))


def in_process(method: str, function: Any, *arguments: Any) -> Any:
    """What `function` gives in a new process, which must end by itself in time."""
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=answer, args=(queue, function, *arguments))  # type: ignore[attr-defined]
    process.start()
    process.join(HANGS)
    if process.is_alive():
        process.kill()
        process.join()
        pytest.fail(f"hung after {method}")
    assert process.exitcode == 0
    return queue.get()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_process_begun_after_use_computes_the_same(method: str, backend: str, cases: Cases) -> None:
    for seed in range(cases(1, 10)):
        assert in_process(method, work, backend, seed) == work(backend, seed)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_network_goes_to_other_processes(method: str, backend: str, cases: Cases) -> None:
    for seed in range(cases(1, 5)):
        network = Network([20, 64, 3], dtype="float64", backend=backend, seed=seed)
        assert in_process(method, predict, network) == predict(network)


@pytest.mark.skipif("fork" not in METHODS, reason="no fork here")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fork_in_the_middle_of_a_training(backend: str, cases: Cases) -> None:
    """Its threads, and whoever holds a lock, do not exist in the child."""
    found: list[Any] = []
    expected, forks = work(backend), cases(3, 50)

    def fork(*_: object) -> None:
        if len(found) < forks:
            found.append(in_process("fork", work, backend))

    options = {**BUSY, "epochs": forks}
    result = fastfc.train(blobs(192), backend=backend, threads=2, on_steps=fork, steps_per_call=1, **options)
    assert found == [expected] * forks and len(result.history) == forks


@pytest.mark.skipif("fork" not in METHODS, reason="no fork here")
@pytest.mark.parametrize("backend", BACKENDS)
def test_forks_while_other_threads_compute(backend: str, cases: Cases) -> None:
    """Many calls enter and leave the limits of BLAS, and take and give back predictors, while the process is forked."""
    network, stop = Network([20, 64, 3], dtype="float64", backend=backend), threading.Event()
    expected = predict(network)

    def go_on(call: Any) -> None:
        while not stop.is_set():
            call()

    calls = [lambda: network.predict(blobs(30)[0]), lambda: fastfc.train(blobs(40), backend=backend, **SMALL)]
    threads = [threading.Thread(target=go_on, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        assert all(in_process("fork", predict, network) == expected for _ in range(cases(5, 50)))
    finally:
        stop.set()
        for thread in threads:
            thread.join(HANGS)


@pytest.mark.promise(12)
@pytest.mark.skipif("fork" not in METHODS or available_threads() < 2, reason="no fork here, or BLAS has one thread")
def test_limits_of_blas_are_lifted_in_a_forked_child(cases: Cases) -> None:
    """Forked in a training on one thread; and again and again while another thread enters and leaves a limit."""
    found: list[tuple[int, int]] = []
    before, stop = blas_now(), threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            with blas_threads("numba", 1):
                pass

    def fork(_: Any) -> None:
        found.append((in_process("fork", blas_now), blas_now()))

    fastfc.train(blobs(40), backend="numpy", threads=1, on_epoch=fork, **SMALL)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        children = {in_process("fork", blas_now) for _ in range(cases(6, 200))}
    finally:
        stop.set()
        thread.join()
    assert found == [(before, 1)] * 2 and children == {before} == {blas_now()}


# Forks while another thread imports Numba, compiles the very kernels that the child needs, and compiles something else.
# A child that hangs is ended by SIGALRM.
FORKS = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork of a process with threads: that is the test
os.sched_getaffinity = lambda pid: {{0}}  # as on one core, where no second process compiles
import fastfc
from fastfc.backend import load_backend
from tests.small import ONLINE, digest, images

def train():
    os.write(1, (digest(fastfc.train(images(), **ONLINE).model) + "\\n").encode())  # in one piece, beside others

def compile_another():
    import numba
    numba.njit(lambda x: x + 1)(1)

def compile_others():
    while not stop:
        compile_another()

def compile_and_train():
    compile_another()
    train()

def fork(work, *arguments):
    child = os.fork()
    if not child:
        signal.alarm(300)
        work(*arguments)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status

def until_compiling():
    from fastfc.kernels.fused.compiler import guard
    while guard._compiling.acquire(blocking=False):
        guard._compiling.release()
        time.sleep(0.001)

stop, thread = [], threading.Thread(target=train)
thread.start()
while "numba.core" not in sys.modules:
    time.sleep(0.001)
fork(load_backend, "numba")
until_compiling()
fork(train)
thread.join()
thread = threading.Thread(target=compile_others)
thread.start()
for _ in range({}):
    fork(compile_and_train)
stop.append(True)
thread.join()
"""


@pytest.mark.slow
@pytest.mark.skipif("fork" not in METHODS, reason="no fork here")
def test_forks_while_another_thread_compiles(tmp_path: Path, cases: Cases) -> None:
    forks = cases(5, 50)
    found = python(FORKS.format(forks), FASTFC_CACHE_DIR=str(tmp_path), timeout=1200).split()
    assert found == [digest(fastfc.train(images(), **ONLINE).model)] * (forks + 2)


def job(task: tuple[str, int]) -> tuple[str, bytes]:
    return work(*task)


@pytest.mark.parametrize("method", METHODS)
def test_a_pool(method: str, cases: Cases) -> None:
    """Of two, at full length of four; which exists already when its parent goes on to train."""
    tasks = [("numba", seed) for seed in range(cases(4, 40))] + [("numpy", 0)]
    expected = [work(*task) for task in tasks]
    with ProcessPoolExecutor(4 if cases.soak else 2, mp_context=multiprocessing.get_context(method)) as pool:
        futures = [pool.submit(job, task) for task in tasks]
        mine = work("numba")
        assert [future.result(HANGS) for future in futures] == expected and mine == expected[0]


def test_joblib(cases: Cases) -> None:
    """Trainings in two jobs, at full length in four; and predictions by networks that are sent to them, from data that joblib
    maps from a file."""
    import joblib
    from joblib.externals.loky import get_reusable_executor

    tasks, (X, _) = [(backend, seed) for backend in BACKENDS for seed in range(cases(4, 40))], blobs(10_000)
    networks = [Network([20, 64, 3], dtype="float64", backend=backend, seed=seed) for backend, seed in tasks]
    try:
        with joblib.Parallel(n_jobs=4 if cases.soak else 2, timeout=HANGS, max_nbytes=1_000_000) as pool:
            trained = pool(joblib.delayed(work)(*task) for task in tasks)
            predicted = pool(joblib.delayed(network.predict)(X) for network in networks)
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert trained == [work(*task) for task in tasks]
    assert [labels.tobytes() for labels in predicted] == [network.predict(X).tobytes() for network in networks]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_may_train_while_its_parent_does() -> None:
    """Two processes on the same cores, each with two threads that wait for each other."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=answer, args=(queue, work, "numba"))
    process.start()
    mine = [work("numba") for _ in range(3)]
    process.join(HANGS)
    assert process.exitcode == 0 and {*mine, queue.get()} == {mine[0]}
