"""Dropout: masks to the bit, their rate and their independence, and that nothing but training has any."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import chi2

import fastfc
from fastfc.backend import load_backend
from fastfc.training.sampling import dropout_key
from tests.kernel_cases import BACKENDS as KERNELS
from tests.kernel_cases import backend_module
from tests.masks import mask
from tests.small import BACKENDS, SMALL, blobs, digest
from tests.trainers import COMPUTATIONS, Training, assert_same

KEY = 0xFEDCBA9876543210
computations = pytest.mark.parametrize("computation", COMPUTATIONS)
kernels = pytest.mark.parametrize("backend", KERNELS)


def masks(backend: str, samples: np.ndarray, units: int, key: int = KEY, layer: int = 1, rate: float = 0.5) -> np.ndarray:
    """(samples, units) what a kernel makes of ones, one sample after the other as in a batch."""
    from tests.kernel_cases import pad

    a = np.ones((len(samples), units), np.float32)
    own = pad(a) if backend == "fused" else a
    backend_module(backend, "dropout").drop(own, own[:0], samples, key, layer, rate)
    return own[:, :units]


@kernels
@pytest.mark.parametrize(("units", "rate"), [(1, 0.5), (2, 0.1), (7, 0.999), (50, 0.25), (33, 1 - 2**-15), (9, 1e-9)])
@pytest.mark.parametrize("key", [0, KEY, 2**64 - 1])
def test_a_mask_is_what_its_definition_gives(backend: str, units: int, rate: float, key: int) -> None:
    samples = np.array([0, 5, 1, 2**40, 2**62 + 3])
    for layer in (0, 1, 7):
        expected = mask(key, layer, samples, units, rate).astype(np.float32)
        np.testing.assert_array_equal(masks(backend, samples, units, key, layer, rate), expected)


@kernels
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_the_share_that_is_dropped_is_the_rate(backend: str, rate: float) -> None:
    """Within 4 standard deviations, of 500,000 units; and what is left has the mean of what there was."""
    found = masks(backend, np.arange(5000), 100, rate=rate)
    assert abs((found == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / found.size)
    assert found.mean() == pytest.approx(1, abs=4 * np.sqrt(rate / (1 - rate) / found.size))
    assert set(np.unique(found)) == {0, np.float32(65536 / (65536 - round(65536 * rate)))}


def independent(a: np.ndarray, b: np.ndarray) -> bool:
    """A chi-square test of two sequences of yes and no, at one in a hundred thousand."""
    table = np.array([[(x & y).sum() for y in (b, ~b)] for x in (a, ~a)], float)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return bool(((table - expected) ** 2 / expected).sum() < chi2.isf(1e-5, 1))


@kernels
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_units_samples_layers_and_epochs_are_independent(backend: str, rate: float) -> None:
    many = np.arange(6000)
    found = masks(backend, many, 12, rate=rate) == 0
    pairs = combinations(range(12), 2)
    assert all(independent(found[:, i], found[:, j]) for i, j in pairs)  # units, among them those of one word
    for distance in (1, 2, 64, 1000):
        assert independent(found[:-distance].ravel(), found[distance:].ravel())  # samples
    wide = masks(backend, many[:50], 3000, rate=rate) == 0
    for distance in (1, 2, 3, 4, 32):
        assert independent(wide[:, :-distance].ravel(), wide[:, distance:].ravel())  # units of a layer
    for layer in (0, 2, 3):
        assert independent(found.ravel(), (masks(backend, many, 12, layer=layer, rate=rate) == 0).ravel())
    keys = [dropout_key(seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)]
    of_keys = [(masks(backend, many, 12, key=key, rate=rate) == 0).ravel() for key in keys]
    assert all(independent(a, b) for a, b in combinations(of_keys, 2))


def test_the_test_of_independence_sees_dependence() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 6000)) < 0.5
    assert independent(a, b) and not independent(a, a) and not independent(a, np.where(rng.random(6000) < 0.9, b, a))


@kernels
def test_a_mask_knows_the_sample_and_not_its_place(backend: str) -> None:
    samples = np.random.default_rng(0).permutation(40)
    whole = masks(backend, np.arange(40), 19)
    np.testing.assert_array_equal(masks(backend, samples, 19), whole[samples])
    for k in range(0, 40, 7):
        np.testing.assert_array_equal(masks(backend, samples[k : k + 1], 19), whole[samples[k : k + 1]])


X, Y = blobs(60, features=9)
DROPS: dict[str, Any] = {"hidden": (8, 6), "dropout": (0.5, 0.25), "input_dropout": 0.2}


def trained(computation: str, batch_size: int, given: Any = X, threads: int = 1) -> list[np.ndarray]:
    """Parameters after an epoch in another order than the file's."""
    network = fastfc.Network((9, 8, 6, 3), activation=("relu", "gelu"), dtype="float64", seed=1)
    one = Training(computation, network, given, Y, batch_size, threads, weight_decay=0.0, **DROPS)
    order = np.random.default_rng(3).permutation(60)
    one.trainer.run(one.epoch(0.1, order)._replace(dropout_key=KEY), 0, one.steps)
    parameters = one.parameters()
    one.trainer.close()
    return parameters


@computations
def test_every_computation_has_the_same_masks(computation: str) -> None:
    """In batches of one sample, of some, and of all; and of the input as an array or CSR."""
    for batch_size in (1, 13, 60):
        assert_same(trained(computation, batch_size), trained("numpy", batch_size), 1e-11)
    assert_same(trained(computation, 13, csr_array(X)), trained("numpy", 13), 1e-11)


@computations
def test_a_step_of_samples_in_another_order_is_the_same_step(computation: str) -> None:
    """Of the whole set: a sum of the same terms. Masks that followed the place in the batch would be others."""
    network = fastfc.Network((9, 8, 6, 3), dtype="float64", seed=1)
    found = []
    for order in (np.arange(60), np.random.default_rng(3).permutation(60)):
        one = Training(computation, network, X, Y, 60, **DROPS)
        one.trainer.run(one.epoch(0.1, order)._replace(dropout_key=KEY), 0, 1)
        found.append((one.parameters(), one.losses[np.argsort(order)]))
        one.trainer.close()
    assert_same(found[0][0], found[1][0], 1e-13)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_change_from_epoch_to_epoch_and_follow_the_seed(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = load_backend(backend)
    run, keys = trainer.run, []

    def recorded(self: Any, epoch: Any, start: int, stop: int) -> None:
        if start < stop:
            keys.append(epoch.dropout_key)
        run(self, epoch, start, stop)

    monkeypatch.setattr(trainer, "run", recorded)
    options: dict[str, Any] = {**SMALL, "epochs": 3, "backend": backend, "steps_per_call": 9}
    for seed in (0, 1):
        fastfc.train((X, Y), seed=seed, dropout=0.5, **options)
    assert len(set(keys)) == 6 and keys == [dropout_key(seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)]
    assert all(0 <= key < 2**64 for key in keys)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_training_drops(backend: str) -> None:
    """A network that was trained with dropout predicts as one with its parameters that was not; so are epochs evaluated."""
    options: dict[str, Any] = {**SMALL, "hidden": (8, 6), "backend": backend}
    result = fastfc.train((X, Y), (X, Y), validation=0.2, dropout=0.9, input_dropout=0.5, **options)
    model = result.model
    plain = fastfc.Network(
        model.layers, weights=model.weights, biases=model.biases, dtype="float64", backend=backend, input_kind="float"
    )
    for _ in range(2):
        assert np.array_equal(model.outputs(X), plain.outputs(X)) and np.array_equal(model.predict(X), plain.predict(X))
    assert (result.history[-1].test_loss, result.history[-1].test_accuracy) == plain.loss_and_accuracy(X, Y)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"input_dropout": 0.5}, {"dropout": (0.0, 0.5)}], ids=str)
def test_dropout_changes_training_and_0_does_not(backend: str, rates: dict[str, Any]) -> None:
    options: dict[str, Any] = {**SMALL, "hidden": (8, 6), "backend": backend}
    plain = fastfc.train((X, Y), **options)
    assert digest(fastfc.train((X, Y), dropout=(0.0, 0), input_dropout=0.0, **options).model) == digest(plain.model)
    dropped = fastfc.train((X, Y), **rates, **options)
    assert digest(dropped.model) != digest(plain.model) and dropped.history[0].loss != plain.history[0].loss
    assert digest(fastfc.train((X, Y), **rates, **options).model) == digest(dropped.model)


@computations
@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_images_are_shifted_and_then_dropped(kind: str, computation: str) -> None:
    """As images that were shifted before, whose samples have the same numbers."""
    images = (np.random.default_rng(0).integers(-255, 256, (20, 5, 5)).clip(0)).astype(kind)  # half of them 0, the background
    order, shifts = np.random.default_rng(1).permutation(20), np.random.default_rng(2).integers(-2, 3, (20, 2), np.int8)
    before = np.empty_like(images)
    for i, (dy, dx) in zip(order, shifts.tolist(), strict=True):
        before[i] = np.pad(images[i], 2)[2 - dy : 7 - dy, 2 - dx : 7 - dx]
    network = fastfc.Network((25, 8, 3), dtype="float64", seed=1, image_shape=(5, 5))
    found = []
    for X, moved in ((images, shifts), (before, shifts[:0])):
        one = Training(computation, network, X.reshape(20, 25), Y[:20], 7, input_dropout=0.5, dropout=0.5)
        one.trainer.run(one.epoch(0.1, order, moved)._replace(dropout_key=KEY), 0, 3)
        found.append(one.parameters())
        one.trainer.close()
    assert_same(*found, 1e-13)
