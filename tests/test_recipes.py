"""The named recipes: valid, as the reports have them, and trained in a shortened form on both backends."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc.data import Dataset, load_data
from fastfc.errors import InvalidArgument
from fastfc.recipes import RECIPES, get_recipe
from fastfc.settings import Settings

REPORTED = (
    *("000", "001-momentum", "001-plain", "001-full-batch", "002"),
    *("003", "003-own-image", "004-neuron", "004-hidden", "004-multiclass"),
)
NETWORKS = {
    "000": (784, 200, 50, 10),
    "001": (784, 200, 50, 10),
    "002": (784, 200, 10),
    "003": (784, 100, 50, 10),
    "004-neuron": (784, 1),
    "004-hidden": (784, 64, 1),
    "004-multiclass": (784, 64, 10),
}


def blobs(n: int = 400) -> Dataset:
    """Images of 28x28, each digit a bright bar in a row of its own, with noise: what any network here can learn."""
    rng = np.random.default_rng(0)
    y = np.arange(n, dtype=np.int64) % 10
    X = rng.integers(0, 40, (n, 28, 28))
    X[np.arange(n), 4 + 2 * y, 4:24] += 200
    X = X.reshape(n, 784).astype(np.uint8)
    return Dataset(X[50:], y[50:], X[:50], y[:50], image_shape=(28, 28))


def test_every_report_has_its_recipes() -> None:
    assert set(REPORTED) <= set(RECIPES)
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert get_recipe(name) is recipe


@pytest.mark.parametrize("name", REPORTED)
def test_a_recipe_is_readable_and_valid(name: str) -> None:
    recipe = RECIPES[name]
    assert isinstance(recipe.settings, Settings)
    assert recipe.settings == dataclasses.replace(recipe.settings)  # passes the checks again
    assert recipe.title and recipe.source and recipe.assumptions
    for sentence in recipe.assumptions:
        assert sentence[0].isupper() and sentence.endswith(".") and "\n" not in sentence
    for key in ("train_accuracy", "test_accuracy"):
        assert 0.5 < recipe.reported.get(key, 0.9) < 1
    for key in ("loss", "accuracy"):
        epochs = [epoch for epoch, _ in recipe.reported.get(key, [])]
        assert epochs == sorted(set(epochs))
        assert all(1 <= epoch <= recipe.settings.epochs for epoch in epochs)


def test_what_the_reports_give_is_taken_as_given() -> None:
    settings = {name: RECIPES[name].settings for name in REPORTED}
    for name in ("000", "001-momentum", "001-plain"):
        assert (settings[name].batch_size, settings[name].lr, settings[name].epochs) == (128, 0.01, 10)
    assert (settings["001-momentum"].momentum_kind, settings["001-momentum"].momentum) == ("ema", 0.9)
    assert all(settings[name].weight_decay == 1e-3 for name in REPORTED if name.startswith("001"))
    assert (settings["001-full-batch"].batch_size, settings["001-full-batch"].epochs) == (None, 500)
    assert settings["002"].epochs == 400
    assert (settings["003"].batch_size, settings["003"].lr, settings["003"].epochs) == (1, 0.1, 50)
    assert RECIPES["003"].rows == 2000
    for name in ("004-neuron", "004-hidden", "004-multiclass"):
        assert (settings[name].lr, settings[name].epochs, settings[name].init) == (0.25, 500, ("uniform", 0.005))
    assert RECIPES["000"].reported["train_accuracy"] == pytest.approx(0.98368, abs=5e-6)
    assert len(RECIPES["001-momentum"].reported["loss"]) == 10
    assert (261, 0.8998) in RECIPES["002"].reported["accuracy"]
    assert (391, 0.9117) in RECIPES["002"].reported["accuracy"]


def test_select_takes_rows_and_maps_labels_of_both_sets() -> None:
    data = blobs()
    before = data.y.copy()
    binary = RECIPES["004-hidden"].select(data)
    np.testing.assert_array_equal(binary.y, np.where(data.y == 0, 1, 0))
    np.testing.assert_array_equal(binary.y_test, np.where(data.y_test == 0, 1, 0))
    assert binary.y.dtype == np.int64
    np.testing.assert_array_equal(data.y, before)

    few = dataclasses.replace(RECIPES["003"], rows=30).select(data)
    np.testing.assert_array_equal(few.X, data.X[:30])
    np.testing.assert_array_equal(few.y, data.y[:30])
    np.testing.assert_array_equal(few.X_test, data.X_test)
    assert RECIPES["003"].select(data).X.shape == data.X.shape  # there are fewer than 2,000
    assert RECIPES["004-neuron"].select(dataclasses.replace(data, X_test=None, y_test=None)).y_test is None


def test_select_refuses_labels_that_it_cannot_map() -> None:
    data = dataclasses.replace(blobs(), y=np.eye(10)[blobs().y])
    with pytest.raises(InvalidArgument, match=r"^y: given float64 of shape \(350, 10\), expected integer labels"):
        RECIPES["004-neuron"].select(data)


@pytest.mark.parametrize("name", ["001", "", None, 1])
def test_an_unknown_name_is_refused_with_the_names_there_are(name: object) -> None:
    with pytest.raises(InvalidArgument, match=r"recipe: given .*, expected one of 000, 001-momentum,") as caught:
        get_recipe(name)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", REPORTED)
def test_a_recipe_trains_alike_on_both_backends(name: str) -> None:
    epochs = 2 if RECIPES[name].settings.batch_size else 12
    results = [
        fastfc.train(blobs(), recipe=name, backend=backend, epochs=epochs, dtype="float64", threads=1)
        for backend in ("numpy", "numba")
    ]
    reference, fused = ([record.loss for record in result.history] for result in results)
    assert len(fused) == epochs
    np.testing.assert_allclose(fused, reference, rtol=1e-9)
    layers = NETWORKS.get(name) or NETWORKS[name[:3]]
    assert results[0].model.layers == layers
    assert results[0].settings.epochs == epochs


@pytest.mark.parametrize("name", ["000", "003", "001-plain"])
def test_a_recipe_learns(name: str) -> None:
    result = fastfc.train(blobs(2000), recipe=name, backend="numba", threads=1, epochs=5)
    assert result.history[-1].loss < 0.5 * result.history[0].loss


def test_a_setting_given_beside_a_recipe_goes_first() -> None:
    result = fastfc.train(blobs(), recipe="001-plain", backend="numpy", epochs=1, lr=0.002, hidden=(7,))
    assert result.model.layers == (784, 7, 10)
    assert (result.settings.lr, result.settings.weight_decay) == (0.002, 1e-3)


@pytest.mark.mnist
def test_001_follows_the_reported_losses_on_mnist(mnist_dir: Path) -> None:
    data = load_data(mnist_dir)
    for name in ("001-momentum", "001-plain"):
        recipe = RECIPES[name]
        result = fastfc.train(data, recipe=name, backend="numba", threads=1)
        ours = [record.loss + record.penalty for record in result.history]
        reported = [value for _, value in recipe.reported["loss"]]
        assert all(a <= b for a, b in zip(ours, reported, strict=True))
        assert all(a > b / 2 for a, b in zip(ours, reported, strict=True))
        part = recipe.select(data)
        assert result.model.score(part.X, part.y) >= recipe.reported["train_accuracy"]
