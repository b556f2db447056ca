"""train(): every option does what it says, on both backends alike; results, callbacks and what is left untouched."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import fastfc
from fastfc import Dataset, Network, Settings
from fastfc.backend import load_backend
from fastfc.kernels.plan import Epoch
from fastfc.settings import SCHEDULES
from tests.small import BACKENDS, BUSY, SMALL, blas_now, blobs, digest, images

X, Y = blobs(100)
TARGETS: dict[str, Any] = {
    "shares of classes": np.random.default_rng(0).dirichlet(np.ones(3), 100),
    "0 and 1": Y % 2,
    "booleans": Y == 1,
    "numbers": np.sin(X[:, 0]),
    "several numbers": np.sin(X[:, :4]),
    "several labels": (X[:, :4] > 0).astype(float),
}
# name: settings that are to work, with targets other than labels where the name says so
OPTIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "defaults": ({}, Y),
    "no hidden layer": ({"hidden": ()}, Y),
    "four hidden layers": ({"hidden": (17, 1, 9, 8)}, Y),
    "an activation each": ({"hidden": (9, 8, 7, 6), "activation": ["relu", "tanh", "sigmoid", "identity"]}, Y),
    **{name: ({"activation": name}, Y) for name in ("tanh", "sigmoid", "identity")},
    **{f"init {init}": ({"init": init}, Y) for init in ("glorot", ("normal", 0.1), ("uniform", 0.1))},
    **{f"momentum {kind}": ({"momentum_kind": kind}, Y) for kind in ("none", "ema", "heavy_ball", "nesterov")},
    **{f"schedule {name}": ({"schedule": name}, Y) for name in SCHEDULES},
    "schedule callable": ({"schedule": lambda step, steps: 1 / (1 + step)}, Y),
    "warm-up": ({"warmup": 1}, Y),
    "averages": ({"ema": 0.9}, Y),
    "the hardest": ({"top_loss_fraction": 0.4}, Y),
    "batch 1": ({"batch_size": 1, "lr": 0.01, "epochs": 1}, Y),
    "batch 33, the last one 1": ({"batch_size": 33}, Y),
    "batch of all": ({"batch_size": None}, Y),
    "batch larger than all": ({"batch_size": 1000}, Y),
    "summed gradient": ({"grad_reduction": "sum", "lr": 0.002}, Y),
    "weight decay": ({"weight_decay": 0.1}, Y),
    "label smoothing": ({"label_smoothing": 0.1}, Y),
    "in order": ({"shuffle": False}, Y),
    "more outputs than classes": ({"outputs": 5}, Y),
    "sparse first layer": ({"input_kernel": "sparse"}, Y),
    "softmax, shares of classes": ({}, TARGETS["shares of classes"]),
    "sigmoid, 0 and 1": ({"loss": "sigmoid_bce"}, TARGETS["0 and 1"]),
    "sigmoid, booleans": ({"loss": "sigmoid_bce", "label_smoothing": 0.1}, TARGETS["booleans"]),
    "sigmoid, an output each class": ({"loss": "sigmoid_bce"}, Y),
    "sigmoid, two outputs": ({"loss": "sigmoid_bce", "outputs": 2}, TARGETS["0 and 1"]),
    "sigmoid, several labels": ({"loss": "sigmoid_bce"}, TARGETS["several labels"]),
    "mse, labels": ({"loss": "mse", "outputs": 3, "lr": 0.05}, Y),
    "mse, labels as numbers": ({"loss": "mse", "outputs": 1, "lr": 0.01}, Y),
    "mse, numbers": ({"loss": "mse", "lr": 0.05}, TARGETS["numbers"]),
    "mse, several numbers": ({"loss": "mse", "output_activation": "tanh"}, TARGETS["several numbers"]),
    "mse of sigmoid": ({"loss": "mse", "outputs": 3, "output_activation": "sigmoid", "activation": "tanh"}, Y),
    "mse of relu": ({"loss": "mse", "output_activation": "relu", "lr": 0.01}, TARGETS["0 and 1"]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_both_backends_learn_the_same_with_every_option(name: str) -> None:
    options, y = OPTIONS[name]
    steps: dict[str, list[float]] = {}
    results = {}
    for backend in BACKENDS:
        losses = steps[backend] = []
        results[backend] = fastfc.train(
            (X, y),
            (X[:50], y[:50]),
            backend=backend,
            seed=7,
            on_steps=lambda epoch, done, n, some, losses=losses: losses.extend(some),
            **{**SMALL, **options},
        )
    reference, fused = (results[backend] for backend in BACKENDS)
    np.testing.assert_allclose(steps["numba"], steps["numpy"], rtol=1e-9)
    size = reference.settings.batch_size or 100
    later = math.ceil(100 * (reference.settings.top_loss_fraction or 1))
    assert len(steps["numpy"]) == math.ceil(100 / size) + math.ceil(later / size) * (len(reference.history) - 1)
    for a, b in zip(fused.history, reference.history, strict=True):
        assert (a.test_accuracy is None) == (b.test_accuracy is None) == (b.test_r2 is not None)
        found, expected = ([r.loss, r.penalty, r.test_loss, r.test_accuracy or r.test_r2, r.lr] for r in (a, b))
        assert found == pytest.approx(expected, rel=1e-9)
    found, expected = ([*r.model.weights, *r.model.biases] for r in (fused, reference))
    for p, q in zip(found, expected, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-7, atol=1e-10)
    before = Network(reference.model.layers, reference.model.activations, loss=reference.model.loss, dtype="float64")
    assert any(np.abs(w - v).max() > 1e-3 for w, v in zip(reference.model.weights, before.weights, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [6, 7, 8])
def test_a_linear_softmax_is_trained_as_by_hand(backend: str, n: int) -> None:
    """Twice through batches of 3, and what is left, each averaged over its own size; each step has its own rate."""
    x, y = X[:n], Y[:n]
    W, b = np.zeros((20, 3)), np.zeros(3)
    for step, start in enumerate([*range(0, n, 3)] * 2):
        part, labels, lr = x[start : start + 3], y[start : start + 3], 0.5 / (1 + step)
        z = np.exp(part @ W + b)
        delta = (z / z.sum(axis=1, keepdims=True) - np.eye(3)[labels]) / len(part)
        W, b = W - lr * (part.T @ delta + 0.01 * W), b - lr * delta.sum(axis=0)
    options: dict[str, Any] = {"hidden": (), "init": ("normal", 0), "momentum_kind": "none", "weight_decay": 0.01}
    options |= {"lr": 0.5, "schedule": lambda step, steps: 1 / (1 + step), "shuffle": False, "batch_size": 3}
    options |= {"epochs": 2, "dtype": "float64"}
    model = fastfc.train((x, y), backend=backend, outputs=3, **options).model
    np.testing.assert_allclose(model.weights[0], W, rtol=1e-12)
    np.testing.assert_allclose(model.biases[0], b, rtol=1e-12)


def test_the_seed_sets_order_weights_and_shifts_alike_on_both_backends() -> None:
    pictures = images()
    losses: dict[tuple[str, int], list[float]] = {}
    for backend in BACKENDS:
        for seed in (0, 1):
            losses[backend, seed] = seen = []
            on_steps = lambda epoch, done, n, some, seen=seen: seen.extend(some)  # noqa: E731
            fastfc.train(pictures, backend=backend, seed=seed, augment=2, on_steps=on_steps, **SMALL)
    for seed in (0, 1):
        np.testing.assert_allclose(losses["numba", seed], losses["numpy", seed], rtol=1e-10)
    assert abs(losses["numpy", 0][0] - losses["numpy", 1][0]) > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_augment_shifts_anew_in_every_epoch(backend: str) -> None:
    """With a rate of almost 0 the weights stay: epochs differ by their order and their shifts alone."""
    (pictures, y), seen = images(), []
    for augment in (None, 1):
        still = {**SMALL, "lr": 1e-12, "shuffle": False, "epochs": 3}
        r = fastfc.train((pictures, y), backend=backend, augment=augment, **still)
        seen.append([record.loss for record in r.history])
    plain, shifted = seen
    assert np.ptp(plain) < 1e-9 and len(set(np.round(shifted, 6))) == 3


def epochs_of(backend: str, monkeypatch: pytest.MonkeyPatch, data: Any, **settings: Any) -> tuple[list[Any], Any]:
    """The (order, shifts, losses) that each epoch was trained with, and the result."""
    trainer, _ = load_backend(backend)
    run, seen = trainer.run, []

    def recorded(self: Any, epoch: Epoch, *steps: int) -> None:
        run(self, epoch, *steps)
        if steps != (0, 0):
            seen.append((epoch.order, epoch.shifts, epoch.losses.copy()))

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "run", recorded)
        result = fastfc.train(data, data, backend=backend, **{**SMALL, **settings})
    return seen, result


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("augment", [1, 2])
def test_each_image_is_shifted_in_each_way_once(backend: str, augment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data, ways = images(), (2 * augment + 1) ** 2
    seen, _ = epochs_of(backend, monkeypatch, data, augment=augment, epochs=ways, steps_per_call=9)
    shifts = np.array([shifts[np.argsort(order)] for order, shifts, _ in seen])
    for own in shifts.transpose(1, 0, 2):
        assert len(np.unique(own, axis=0)) == ways and np.abs(own).max() == augment
    assert len(np.unique(shifts[0], axis=0)) > ways / 2  # in one epoch, other images are shifted otherwise


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_hardest_are_those_of_the_largest_loss_when_last_seen(
    backend: str, shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, result = epochs_of(
        backend, monkeypatch, blobs(90), top_loss_fraction=0.31, epochs=6, shuffle=shuffle, steps_per_call=9, lr=0.02
    )
    last = np.full(90, np.inf)
    for epoch, (order, _, losses) in enumerate(seen):
        n = 28 if epoch else 90
        assert len(order) == len(losses) == n
        assert set(order) == set(np.argsort(last)[-n:])
        assert shuffle or (np.diff(order) > 0).all()
        assert result.history[epoch].loss == pytest.approx(losses.mean())
        last[order] = losses
    assert len({tuple(np.sort(order)) for order, _, _ in seen}) > 3
    assert result.history[-1].lr == pytest.approx(0.02 / (8 - 0.3 * 8))  # of 3 + 5 * 1 steps


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_losses_choose_as_many_as_unequal_ones(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.ones((50, 4)), np.ones(50, int)
    seen, _ = epochs_of(backend, monkeypatch, data, top_loss_fraction=0.5, outputs=2, epochs=3, steps_per_call=9)
    assert [len(set(order)) for order, _, _ in seen] == [50, 25, 25]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_defaults_are_those_of_the_settings(backend: str) -> None:
    x, y = blobs(64, dtype="float32")
    r = fastfc.train((x, y), backend=backend, epochs=1)
    assert (
        r.settings == Settings(epochs=1) and r.model.layers == (20, 200, 50, 3) and r.model.activations == ("relu",) * 2
    )
    assert (r.backend, r.dtype, r.seed, r.data_name, r.interrupted) == (backend, "float32", 0, "arrays", False)
    assert fastfc.train((x, y), epochs=1).backend == "numba"


@pytest.mark.parametrize("backend", BACKENDS)
def test_history_holds_what_each_epoch_was(backend: str) -> None:
    steps: list[tuple[int, int, int, list[float]]] = []
    records: list[Any] = []
    start = time.perf_counter()
    r = fastfc.train(
        (X, Y), (X, Y), backend=backend, on_epoch=records.append, on_steps=lambda *a: steps.append(a), steps_per_call=2,
        schedule=lambda step, total: 1 / (1 + step), weight_decay=0.01, lr=0.4, **SMALL,
    )  # fmt: skip
    took = time.perf_counter() - start
    assert r.history == records and [record.epoch for record in records] == [1, 2]
    assert [(epoch, done, n, len(losses)) for epoch, done, n, losses in steps] == [
        (1, 64, 100, 2), (1, 100, 100, 2), (2, 64, 100, 2), (2, 100, 100, 2)
    ]  # fmt: skip
    for record in records:
        losses = [loss for epoch, _, _, some in steps if epoch == record.epoch for loss in some]
        assert record.loss == pytest.approx(np.average(losses, weights=[32, 32, 32, 4]))
    last = records[-1]
    assert last.lr == pytest.approx(0.4 / 8) and last.penalty == pytest.approx(
        0.005 * sum((w**2).sum() for w in r.model.weights)
    )
    assert (last.test_loss, last.test_accuracy) == pytest.approx(r.model.loss_and_accuracy(X, Y))
    assert last.test_accuracy == r.test_accuracy > 0.9 and last.loss < records[0].loss
    assert 0 < sum(record.seconds for record in records) <= r.train_seconds <= took - r.compile_seconds <= took


def test_without_test_data_there_is_no_accuracy() -> None:
    r = fastfc.train((X, Y), backend="numpy", **SMALL)
    assert r.test_accuracy is None and r.history[0].test_loss is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_result_is_json(backend: str) -> None:
    options = {**SMALL, "lr": np.float32(0.1), "epochs": np.int64(2), "init": ("normal", np.float32(0.1))}
    r = fastfc.train((X, Y), (X, Y), backend=backend, seed=np.int64(3), schedule=lambda s, n: 1.0, **options)
    d = json.loads(json.dumps(r.to_dict(), allow_nan=False))
    expected = {"backend": backend, "dtype": "float64", "layers": [20, 8, 3], "data": "arrays", "seed": 3}
    assert {key: d[key] for key in expected} == expected and d["interrupted"] is False
    assert d["test_accuracy"] == r.test_accuracy == d["history"][-1]["test_accuracy"] and len(d["history"]) == 2
    assert {"threads", "input_kernel", "train_seconds", "compile_seconds", "settings", "versions"} < d.keys()
    assert d["settings"]["schedule"] == "<lambda>" and d["settings"]["hidden"] == [8]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_is_where_training_starts_and_stays_as_it_was(backend: str) -> None:
    """It brings layers, activations, loss, dtype and scale."""
    network = Network([20, 7, 5, 3], ["tanh", "sigmoid"], "mse", "tanh", dtype="float64", seed=9, scale=0.5)
    before = digest(network)
    first = fastfc.train((X, Y), network=network, backend=backend, epochs=1, batch_size=32)
    assert digest(network) == before != digest(first.model)
    model = first.model
    assert (model.layers, model.activations, model.loss) == ((20, 7, 5, 3), ("tanh", "sigmoid"), "mse")
    assert (model.output_activation, model.dtype, model.scale) == ("tanh", "float64", 0.5)
    assert first.settings.hidden == (7, 5) and first.dtype == "float64"
    still = fastfc.train((X, Y), network=network, backend=backend, epochs=1, lr=1e-300, weight_decay=0.0)
    assert all(np.array_equal(w, v) for w, v in zip(still.model.weights, network.weights, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_trainings_can_be_strung_together(backend: str) -> None:
    plain: dict[str, Any] = {
        **SMALL,
        "shuffle": False,
        "schedule": "constant",
        "momentum_kind": "none",
        "backend": backend,
    }
    at_once = fastfc.train((X, Y), **{**plain, "epochs": 3})
    first = fastfc.train((X, Y), **{**plain, "epochs": 1})
    then = fastfc.train((X, Y), network=first.model, **{**plain, "epochs": 2})
    assert digest(then.model) == digest(at_once.model)


def fail(*_: object) -> None:
    raise ZeroDivisionError


@pytest.mark.promise(12)
@pytest.mark.parametrize("failing", ["", "on_epoch", "on_steps"])
@pytest.mark.parametrize(("backend", "threads", "inside"), [("numpy", 1, 1), ("numpy", 2, 2), ("numba", 2, None)])
def test_threads_are_honoured_and_restored(backend: str, threads: int, inside: int | None, failing: str) -> None:
    """Also after an exception. BLAS has `threads` in the numpy backend, and what it had beside our own."""
    seen: list[Any] = []
    here = threading.active_count()

    def look(*_: object) -> None:
        seen.append((blas_now(), threading.active_count() - here))

    calls: dict[str, Callable[..., object]] = {"on_steps": look} | ({failing: fail} if failing else {})
    data = blobs(192)
    for outside in (1, 2):
        begun = len(seen)
        with threadpool_limits(outside, user_api="blas"):
            if failing:
                with pytest.raises(ZeroDivisionError):
                    fastfc.train(data, data, backend=backend, threads=threads, **calls, **BUSY)
            else:
                assert fastfc.train(data, data, backend=backend, threads=threads, **calls, **BUSY).threads == threads
            assert blas_now() == outside and threading.active_count() == here
            own = threads - 1 if backend == "numba" else 0  # the caller computes too
            assert all(pair == (inside or outside, own) for pair in seen[begun:])
    assert bool(seen) == (failing != "on_steps")


@pytest.mark.promise(12)
@pytest.mark.parametrize("backend", BACKENDS)
def test_predicting_inside_a_training_leaves_its_threads_alone(backend: str) -> None:
    seen, before = [], blas_now()
    network = Network([20, 3], backend="numpy")

    def look(*_: object) -> None:
        network.predict(X)
        seen.append(blas_now())

    fastfc.train((X, Y), backend=backend, threads=2, on_steps=look, **SMALL)
    assert seen and all(number == (2 if backend == "numpy" else before) for number in seen)


def test_little_work_is_done_by_one_thread_unless_told() -> None:
    assert [fastfc.train((X, Y), threads=threads, **SMALL).threads for threads in (None, 2)] == [1, 2]


@pytest.mark.promise(10)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["float64", "uint8", "float32 as float64"])
def test_inputs_are_byte_identical_afterwards(backend: str, form: str) -> None:
    x, y = images() if form == "uint8" else blobs(90, dtype=form.split()[0])
    arrays = [x, y, x[:30].copy(), y[:30].copy()]
    before = [array.tobytes() for array in arrays]
    r = fastfc.train(arrays[:2], arrays[2:], backend=backend, augment=1 if form == "uint8" else None, **SMALL)
    r.model.predict_proba(x), r.model.score(x, y), r.model.predict(x[:1])
    assert [array.tobytes() for array in arrays] == before


def test_a_dataset_may_be_given_whole() -> None:
    data = Dataset(X, Y, X[:40], Y[:40], name="mine")
    r = fastfc.train(data, backend="numpy", **SMALL)
    assert r.data_name == "mine" and r.history[-1].test_accuracy == r.model.score(X[:40], Y[:40])


def test_progress_prints_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    fastfc.train((X, Y), (X, Y), backend="numpy", progress=True, **SMALL)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1/2"], ["epoch", "2/2"]]
    fastfc.train((X, Y), backend="numpy", **SMALL)
    assert capsys.readouterr().out == ""
