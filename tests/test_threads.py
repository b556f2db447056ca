"""Threads: ours change no bit of a result, and Python's may train and predict side by side."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import Network
from fastfc.kernels.fused.predict import BLOCK
from fastfc.kernels.fused.predictor import choose_sort_features
from fastfc.machine.threads import available_threads
from fastfc.training.pace import Pace
from tests.promises import HANGS, Cases
from tests.small import BACKENDS, BUSY, SMALL, blas_now, blobs, digest, images, python

pytestmark = pytest.mark.promise(7)
same_bits = pytest.mark.promise(9)
LARGE = blobs(600)
WORK: dict[str, tuple[Any, dict[str, Any]]] = {
    "dense": (LARGE, {}),
    "sparse": (LARGE, {"input_kernel": "sparse"}),
    "batch in parts": (LARGE, {"batch_size": None, "epochs": 4}),
    "images, float32": (images(600), {"dtype": "float32", "augment": 1}),
    "the hardest": (LARGE, {"epochs": 4, "top_loss_fraction": 0.4}),
    "narrow layers": (blobs(600, 3), {"hidden": (3, 900, 2), "activation": "tanh", "loss": "mse"}),
}


@same_bits
@pytest.mark.parametrize("name", WORK)
def test_one_to_four_threads_give_the_same_bits(name: str, cases: Cases) -> None:
    data, options = WORK[name]
    for seed in range(cases(1, 10)):
        results = [fastfc.train(data, data, threads=t, seed=seed, **{**BUSY, **options}) for t in (1, 2, 3, 4)]
        assert [r.threads for r in results] == [1, 2, 3, 4]
        assert len({digest(r.model) for r in results}) == 1
        assert len({tuple(record.loss for record in r.history) for r in results}) == 1


@same_bits
def test_one_thread_makes_steps_of_one_sample_whatever_is_asked_for() -> None:
    """A kernel of its own, which is for one: neither a number nor a trial gives it more."""
    options: dict[str, Any] = {"hidden": (40, 20), "epochs": 2, "batch_size": 1, "lr": 0.01, "momentum_kind": "none", "weight_decay": 0.0}
    options |= {"input_kernel": "sparse"}
    results = [fastfc.train(images(60), threads=threads, **options) for threads in (1, 3)]
    assert digest(results[0].model) == digest(results[1].model)
    assert all(result.history[0].threads == 1 for result in results)


@same_bits
def test_numbers_that_are_given_stay() -> None:
    assert Pace(3, None).rungs == [3] and Pace(2, 3).rungs == [1, 2, 3]


@same_bits
def test_more_threads_than_work() -> None:
    data = blobs(600, 2)
    results = [fastfc.train(data, threads=threads, **{**BUSY, "hidden": (2000,)}) for threads in (1, 13)]
    assert results[1].threads == 13 and digest(results[0].model) == digest(results[1].model)


@pytest.mark.promise(14)
def test_sixty_four_threads_end_with_the_bits_of_one(cases: Cases) -> None:
    """On fewer cores: who waits sleeps. So do threads of which some are stopped again and again by others that spin."""
    for _ in range(cases(1, 20)):
        results = [fastfc.train(LARGE, threads=threads, **BUSY) for threads in (1, 64)]
        assert results[1].threads == 64 and digest(results[0].model) == digest(results[1].model)
        assert [record.threads for record in results[1].history] == [64] * len(results[1].history)


@pytest.mark.promise(14)
def test_the_number_of_threads_may_change_from_call_to_call(monkeypatch: pytest.MonkeyPatch, cases: Cases) -> None:
    """Every call with another number, as if each trial were won: bits are those of one thread."""
    cases(1)
    expected = digest(fastfc.train(LARGE, threads=1, **BUSY).model)
    seen: list[int] = []

    def note(pace: Pace, steps: int, seconds: float) -> None:
        pace.steps[pace.threads] += steps
        seen.append(pace.threads)
        pace.threads = 1 + len(seen) % 4

    monkeypatch.setattr("fastfc.training.run.threads_to_train", lambda most, layers, batch_size, steps: 2)
    monkeypatch.setattr("fastfc.training.run.check_threads", lambda given: 4)
    monkeypatch.setattr(Pace, "note", note)
    result = fastfc.train(LARGE, steps_per_call=3, **{**BUSY, "threads": None})
    assert digest(result.model) == expected and set(seen) == {1, 2, 3, 4}
    assert result.threads == result.history[-1].threads


@pytest.mark.promise(14)
@pytest.mark.parametrize(("step", "expected"), [({1: 1.0, 2: 0.5, 3: 0.7}, 2), ({1: 1.0, 2: 1.6, 3: 2.0}, 1), ({1: 9, 2: 5, 3: 3}, 3)])
def test_the_fastest_number_is_found_and_trials_cost_little(
    step: dict[int, float], expected: int, cases: Cases
) -> None:
    """A clock of its own: a step takes `step` seconds by threads, in thousandths."""
    cases(1)
    pace = Pace(2, 3)
    spent = fewest = 0.0
    for _ in range(400):
        a_step = step[pace.threads] / 1000
        steps = max(1, int((pace.seconds or 0.1) / a_step))
        spent, fewest = spent + steps * a_step, fewest + steps * step[expected] / 1000
        pace.note(steps, steps * a_step)
    assert pace.present == expected
    if expected == 2:
        assert spent < 1.03 * fewest


@same_bits
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_predictions_do_not_depend_on_threads(threads: int) -> None:
    model = Network([20, 50, 3], dtype="float64")
    X, _ = blobs(5000)
    expected = np.concatenate([model.outputs(X[i : i + 64]) for i in range(0, 5000, 64)])
    model.threads = threads
    assert np.array_equal(model.outputs(X), expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_samples_that_are_brought_together_go_back_to_their_places(threads: int, dtype: str) -> None:
    model, rng = Network([40, 9, 3]), np.random.default_rng(0)
    X = (rng.integers(1, 256, (BLOCK + 300, 40)) * (rng.random((BLOCK + 300, 40)) < 0.3)).astype(dtype)
    assert len(choose_sort_features(X[:64])) > 5
    expected = np.concatenate([model.outputs(X[i : i + 50]) for i in range(0, len(X), 50)])  # too few for that
    model.threads = threads
    assert np.array_equal(model.outputs(X), expected)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each gives, all begun at the same time in a thread of its own."""
    gate = threading.Barrier(len(calls))

    def begin(call: Callable[[], Any]) -> Any:
        gate.wait(HANGS)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(HANGS) for future in [pool.submit(begin, call) for call in calls]]


def eight_predict_and_two_train(backend: str, threads: int, rounds: int) -> None:
    """All predict from one network. NumPy's BLAS may round otherwise while another number of threads is in force."""
    X, y = blobs(1500)
    shared = Network([20, 64, 40, 3], dtype="float64", backend=backend)
    parts = [X[i * 50 : i * 50 + (1, 40, 700, 1100)[i % 4]] for i in range(8)]
    settings = {**BUSY, "epochs": 4, "backend": backend, "threads": threads}

    def predict(x: np.ndarray) -> list[np.ndarray]:
        return [np.c_[shared.outputs(x), shared.predict_proba(x), shared.predict(x)] for _ in range(12)]

    def train(seed: int) -> list[np.ndarray]:
        r = fastfc.train((X, y), (X, y), seed=seed, **settings)
        return [*r.model.weights, *r.model.biases, r.model.outputs(X)]

    calls = [*(lambda x=x: predict(x) for x in parts), *(lambda s=s: train(s) for s in (1, 2))]
    alone = [call() for call in calls]
    before = blas_now(), threading.active_count()
    for _ in range(rounds):
        together = at_once(*calls)
        assert (blas_now(), threading.active_count()) == before
        for found, expected in zip(together, alone, strict=True):
            for a, b in zip(found, expected, strict=True):
                if backend == "numba":
                    assert np.array_equal(a, b)
                else:
                    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_eight_predict_and_two_train_at_once(backend: str, threads: int, cases: Cases) -> None:
    eight_predict_and_two_train(backend, threads, cases(1, 50))


# Numba's own threads are in use, before, beside and after ours.
LAYER = """
import numba, numpy as np
from concurrent.futures import ThreadPoolExecutor
from tests.test_threads import eight_predict_and_two_train

@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for i in numba.prange(values.size):
        result += values[i]
    return result

ones, rounds = np.ones(1000), {}
try:
    total(ones)
except ValueError as error:
    print(error)
else:
    with ThreadPoolExecutor(1) as pool:
        sums = pool.submit(lambda: [total(ones) for _ in range(200 * rounds)])
        eight_predict_and_two_train("numba", 2, rounds)
        assert set(sums.result()) == {{1000}} and total(ones) == 1000
    print(numba.threading_layer())
"""


@pytest.mark.parametrize("layer", ["workqueue", *(pytest.param(name, marks=pytest.mark.slow) for name in ("omp", "tbb"))])
def test_beside_each_threading_layer_of_numba(layer: str, cases: Cases) -> None:
    found = python(LAYER.format(cases(1, 50)), NUMBA_THREADING_LAYER=layer, timeout=2 * HANGS).strip()
    if "No threading layer could be loaded" in found:
        pytest.skip(f"{layer} is not here")
    assert found == layer


@pytest.mark.promise(12)
@pytest.mark.skipif(available_threads() < 2, reason="BLAS uses as many threads as there are cores")
def test_limits_of_blas_are_kept_and_restored_when_calls_overlap() -> None:
    """The first to begin ends first: what it found is not what the second finds. Then in two threads that live on."""
    before, data, seen = blas_now(), blobs(40), []
    first_inside, second_inside, first_out = threading.Event(), threading.Event(), threading.Event()

    def inside(mine: threading.Event | None, other: threading.Event | None) -> Callable[[Any], None]:
        def on_epoch(record: Any) -> None:
            if mine and not mine.is_set():
                seen.append(blas_now())
                mine.set()
            assert other is None or other.wait(HANGS)
            seen.append(blas_now())

        return on_epoch

    def first() -> None:
        fastfc.train(data, backend="numpy", threads=1, on_epoch=inside(first_inside, second_inside), **SMALL)
        first_out.set()

    def second() -> None:
        assert first_inside.wait(HANGS)
        fastfc.train(data, backend="numpy", threads=2, on_epoch=inside(second_inside, first_out), **SMALL)

    at_once(first, second)
    assert blas_now() == before and seen[0] == 1 and seen[-2:] == [2, 2]
    with ThreadPoolExecutor(1) as pool:
        options = {"backend": "numpy", "threads": 1, "on_epoch": inside(None, None), **SMALL}
        pool.submit(fastfc.train, data, **options).result(HANGS)
        fastfc.train(data, **options)
        pool.submit(fastfc.train, data, **options).result(HANGS)
    assert blas_now() == before and seen[-6:] == [1] * 6


@pytest.mark.promise(12)
@pytest.mark.skipif(available_threads() < 2, reason="BLAS uses as many threads as there are cores")
def test_limits_of_blas_are_one_for_all_who_begin_at_once() -> None:
    """The first eight calls of a process find out about its BLAS together; then the first to enter is the first to leave."""
    code = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy
from fastfc.machine.blas import blas_threads
from tests.small import blas_now
before, gate, lock, inside, left = blas_now(), threading.Barrier(8), threading.Lock(), [], []
def call(k):
    gate.wait()
    with blas_threads("numba", 1):
        with lock:
            mine = len(inside)
            inside.append(blas_now())
        gate.wait()
        while len(left) < mine:
            time.sleep(0.001)
    left.append(mine)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(call, range(8)))
print(blas_now() - before, set(inside))
"""
    assert python(code).strip() == "0 {1}"


def test_parameters_may_be_exchanged_while_others_predict() -> None:
    """Each prediction is of some one assignment, never of a mixture."""
    X, network = np.ones((100, 1)), Network([1, 1], loss="mse", dtype="float64")
    done = threading.Event()

    def exchange() -> None:
        for k in range(300):
            network.weights = [np.array([[float(k)]])]
            network.outputs(X)
        done.set()

    def predict() -> list[np.ndarray]:
        seen = []
        while not done.is_set():
            seen.append(network.outputs(X)[:, 0])
        return seen

    network.weights = [np.array([[0.0]])]
    for seen in at_once(exchange, predict, predict, predict)[1:]:
        assert all(np.ptp(outputs) == 0 for outputs in seen)
        assert (np.diff([outputs[0] for outputs in seen]) >= 0).all()
    assert network.outputs(X)[0] == 299


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["list", "item"])
def test_no_assignment_is_lost_while_others_predict(way: str, backend: str, cases: Cases) -> None:
    """Large weights: to check and to copy them takes so long that others get their turn meanwhile."""
    size, x = 600, np.zeros((1, 600))
    x[0, 0] = 1
    zeros = [np.zeros((size, size))]
    network = Network([size, size], loss="mse", weights=zeros, dtype="float64", backend=backend)
    done, rounds = threading.Event(), cases(25, 600)

    def assign() -> list[float]:
        found = []
        for k in range(rounds):
            weights = np.full((size, size), float(k))
            if way == "list":
                network.weights = [weights]
            else:
                network.weights[0] = weights
            network.biases[0] = np.full(size, float(k))
            time.sleep(0.001)  # the others predict
            found.append([network.weights[0][0, 0], network.biases[0][0], network.outputs(x)[0, 0]])
        done.set()
        return found

    def predict() -> list[float]:
        seen = []
        while not done.is_set():
            seen.append(network.outputs(x)[0, 0])
        return seen

    found, *seen = at_once(assign, predict, predict, predict)
    assert found == [[k, k, 2 * k] for k in range(rounds)]
    assert all((np.diff(outputs) >= 0).all() for outputs in seen)


@pytest.mark.promise(12)
def test_few_copies_of_the_parameters_are_kept_for_those_who_predicted_at_once() -> None:
    network, X = Network([1000, 1000], dtype="float64", threads=1), np.ones((1000, 1000))
    network.outputs(X)
    gc.collect()
    tracemalloc.start()
    try:
        at_once(*[lambda: network.outputs(X)] * 16)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 8 * network.weights[0].nbytes


@pytest.mark.promise(12)
def test_as_many_threads_predict_as_the_network_says() -> None:
    """Counted from beside: those that compute, while the caller waits. The outputs are the same."""
    network, (X, _) = Network([20, 900, 900, 3], dtype="float64", threads=1), blobs(3000)
    expected, here = network.outputs(X), threading.active_count()

    def most() -> int:
        done, seen = threading.Event(), [0]

        def look() -> None:
            while not done.wait(0.0005):
                seen.append(threading.active_count() - here - 1)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            assert np.array_equal(network.outputs(X), expected)
        finally:
            done.set()
            watcher.join()
        return max(seen)

    found = []
    for network.threads in (1, 2, 5):
        found.append(most())
    assert found == [0, 2, 5] and threading.active_count() == here
    with pytest.raises(fastfc.InvalidArgument, match=r"^threads: given 0, expected a whole number >= 1"):
        network.threads = 0


def test_no_threading_layer_of_numba_is_used() -> None:
    """So none of its rules (no fork, no two threads under workqueue) is ours."""
    code = """
import numba, fastfc
from concurrent.futures import ThreadPoolExecutor
from tests.small import BUSY, blobs, digest
with ThreadPoolExecutor(3) as pool:
    data = blobs(192)
    found = list(pool.map(lambda _: digest(fastfc.train(data, data, threads=2, **BUSY).model), range(3)))
try:
    print(numba.threading_layer())
except ValueError as error:
    print(len(set(found)), error)
"""
    assert python(code, NUMBA_THREADING_LAYER="workqueue").strip() == "1 Threading layer is not initialized."
