"""Networks: predictions against plain NumPy, and parameters that cannot go stale, be shared or be changed unnoticed."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import Network
from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.initializers import initialize
from tests.small import BACKENDS, SMALL, blobs

FUNCTIONS = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}


def net(*layers: int, dtype: str = "float64", **options: Any) -> Network:
    """With random biases too."""
    rng = np.random.default_rng(5)
    biases = [rng.standard_normal(size) for size in layers[1:]]
    return Network(layers, dtype=dtype, biases=biases, seed=3, **options)


def expected_outputs(network: Network, X: np.ndarray) -> np.ndarray:
    last = network.output_activation if network.loss == "mse" else "identity"
    a = X * network.scale if X.dtype == np.uint8 else X
    for w, b, name in zip(network.weights, network.biases, (*network.activations, last), strict=True):
        a = FUNCTIONS[name](np.float64(a) @ w + b)
    return a


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layers", [(20, 3), (20, 1), (1, 1, 1), (20, 7, 5, 4), (17, 33, 2)], ids=str)
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_outputs_are_those_of_plain_numpy(backend: str, layers: tuple[int, ...], activation: str) -> None:
    network = net(*layers, activation=activation, loss="mse", output_activation=activation, backend=backend)
    X = np.random.default_rng(0).standard_normal((70, layers[0]))
    np.testing.assert_allclose(network.outputs(X), expected_outputs(network, X), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_layer_has_its_own_activation_and_uint8_is_scaled(backend: str) -> None:
    network = net(20, 9, 8, 3, activation=("tanh", "sigmoid"), scale=0.01, backend=backend)
    X = np.random.default_rng(0).integers(0, 256, (5, 20), dtype=np.uint8)
    np.testing.assert_allclose(network.outputs(X), expected_outputs(network, X), rtol=1e-12)
    np.testing.assert_allclose(network.outputs(X * 0.01), network.outputs(X), rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_probabilities_and_labels_are_those_of_the_head(backend: str) -> None:
    X, y = blobs(30)
    softmax = net(20, 8, 3, backend=backend)
    z = expected_outputs(softmax, X)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax.predict_proba(X), p, rtol=1e-12)
    assert np.array_equal(softmax.predict(X), p.argmax(axis=1)) and softmax.predict(X).dtype == np.int64
    loss, accuracy = softmax.loss_and_accuracy(X, y)
    assert loss == pytest.approx(-np.log(p[np.arange(30), y]).mean())
    assert accuracy == softmax.score(X, y) == (p.argmax(axis=1) == y).mean()

    sigmoid = net(20, 8, 1, loss="sigmoid_bce", backend=backend)
    s = 1 / (1 + np.exp(-expected_outputs(sigmoid, X)))
    np.testing.assert_allclose(sigmoid.predict_proba(X), s, rtol=1e-12)
    assert np.array_equal(sigmoid.predict(X), s[:, 0] > 0.5) and sigmoid.predict(X).dtype == np.int64
    loss, accuracy = sigmoid.loss_and_accuracy(X, y % 2)
    assert loss == pytest.approx(-np.log(np.where(y % 2 == 1, s[:, 0], 1 - s[:, 0])).mean())
    assert accuracy == ((s[:, 0] > 0.5) == y % 2).mean()

    squared = net(20, 8, 3, loss="mse", regression=False, backend=backend)
    out = expected_outputs(squared, X)
    np.testing.assert_allclose(squared.predict_proba(X), out, rtol=1e-12)
    assert np.array_equal(squared.predict(X), out.argmax(axis=1)) and len(squared.predict(X[:1])) == 1
    loss, accuracy = squared.loss_and_accuracy(X, y)
    assert loss == pytest.approx(np.square(out - np.eye(3)[y]).mean()) and accuracy == (out.argmax(axis=1) == y).mean()

    one = net(20, 8, 1, loss="mse", regression=False, backend=backend)
    out = expected_outputs(one, X)[:, 0]
    assert np.array_equal(one.predict(X), out > 0.5) and one.predict(X).dtype == np.int64
    assert one.score(X, y % 2) == ((out > 0.5) == y % 2).mean()


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_class_is_always_predicted(backend: str) -> None:
    network = Network([20, 1], biases=[[9.0]], dtype="float64", backend=backend)
    X, _ = blobs(30)
    assert (expected_outputs(network, X) > 0).any() and not network.predict(X).any()
    assert network.score(X, np.zeros(30, int)) == 1 and (network.predict_proba(X) == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("features", [1, 3, 15, 16, 17, 20])
@pytest.mark.parametrize("dtype", ["float64", "uint8"])
def test_a_sample_alone_is_predicted_as_in_a_batch(backend: str, features: int, dtype: str) -> None:
    network = net(features, 30, 10, scale=0.01, backend=backend)
    X = np.random.default_rng(0).integers(0, 256, (1300, features)).astype(dtype)  # so many are given several threads
    some = (0, 1, 2, 3, 64, 1299)
    labels = [network.predict(X[i : i + 1]) for i in some]
    together = network.outputs(X)
    assert np.array_equal(labels, together[some, :].argmax(axis=1)[:, None])
    for i in some:
        np.testing.assert_allclose(network.outputs(X[i : i + 1])[0], together[i], rtol=1e-12)


def test_images_are_predicted_as_they_were_trained_on() -> None:
    network = net(12, 2, image_shape=(3, 4))
    X = np.random.default_rng(0).random((5, 3, 4))
    assert np.array_equal(network.predict(X), network.predict(X.reshape(5, 12)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_assigned_parameters_are_used_at_once(backend: str) -> None:
    """Also where a new array lies at the address of an old one."""
    network, X = net(2, 2, backend=backend), np.array([[1.0, 2.0]])
    for k in range(20):
        network.weights = [np.eye(2) * k]
        network.biases[0] = np.array([0.0, k])
        assert network.outputs(X).tolist() == [[k, 3 * k]]
    network.scale = 0.5
    assert network.outputs(X.astype(np.uint8)).tolist() == [[9.5, 38]]


def test_parameters_in_use_cannot_be_changed_in_place() -> None:
    network, X = net(2, 2), np.ones((1, 2))
    mine = np.eye(2)
    network.weights[:] = [mine]
    before = network.outputs(X)
    with pytest.raises(ValueError, match="read-only"):
        network.weights[0][0, 0] = 5
    mine[0, 0] = 5
    assert np.array_equal(network.outputs(X), before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([np.ones((2, 3))], r"weights\[0\]: given shape \(2, 3\), expected \(2, 2\)"),
        ([np.full((2, 2), np.nan)], r"weights\[0\]: given nan at \(0, 0\), expected finite numbers"),
        ([], r"weights: given 0 arrays, expected 1"),
    ],
    ids=["shape", "NaN", "none"],
)
def test_assigned_parameters_are_checked(given: list[np.ndarray], message: str) -> None:
    network, X = net(2, 2), np.ones((1, 2))
    before = network.outputs(X)
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        network.weights = given
    if given:
        with pytest.raises(InvalidArgument, match=f"^{message}"):
            network.weights[0] = given[0]
    with pytest.raises(InvalidArgument, match=r"^weights: given \d arrays, expected \d$"):
        network.weights[:1] = given * 2
    for change in (lambda w: w.append(w[0]), lambda w: w.pop(), lambda w: w.__delitem__(0), lambda w: w.reverse()):
        with pytest.raises(InvalidType, match=r"^weights: given another number or order of arrays, expected"):
            change(network.weights)
    assert np.array_equal(network.outputs(X), before)


def test_given_arrays_are_copied() -> None:
    weights, biases = [np.ones((2, 3), np.float32)], [np.ones(3, np.float32)]
    network = Network([2, 3], weights=weights, biases=biases)
    weights[0][:] = biases[0][:] = 7
    assert (network.weights[0] == 1).all() and (network.biases[0] == 1).all()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_are_independent(copied: Any) -> None:
    network, (X, _) = net(20, 8, 3), blobs(10)
    before = network.outputs(X)
    other = copied(network)
    assert np.array_equal(other.outputs(X), before)
    other.weights[0] = other.weights[0] * 2
    assert not np.array_equal(other.outputs(X), before) and np.array_equal(network.outputs(X), before)


def test_a_file_keeps_the_network(tmp_path: Any) -> None:
    network, (X, _) = net(20, 8, 3, activation="tanh", loss="mse", output_activation="sigmoid"), blobs(10)
    network.save(tmp_path / "m.safetensors")
    loaded = fastfc.load(tmp_path / "m.safetensors")
    assert repr(loaded) == repr(network) and loaded.output_activation == "sigmoid"
    assert np.array_equal(loaded.outputs(X), network.outputs(X))


@pytest.mark.parametrize("init", ["he", "glorot", ("normal", 0.3), ("uniform", 0.3)], ids=str)
def test_initial_weights_have_the_named_distribution(init: Any) -> None:
    layers = (300, 200, 100)
    weights, biases = initialize(layers, init, np.dtype("float64"), np.random.default_rng(1))
    assert not any(b.any() for b in biases) and [b.size for b in biases] == [200, 100]
    for w, (fan_in, fan_out) in zip(weights, pairwise(layers), strict=True):
        limit = {"glorot": (6 / (fan_in + fan_out)) ** 0.5}.get(init, 0.3)
        sigma = {"he": (2 / fan_in) ** 0.5}.get(init, 0.3)
        uniform = init == "glorot" or init[0] == "uniform"
        assert w.shape == (fan_in, fan_out) and abs(w.mean()) < 0.01
        assert w.std() == pytest.approx(limit / 3**0.5 if uniform else sigma, rel=0.02)
        assert np.abs(w).max() <= limit if uniform else np.abs(w).max() > 3 * sigma


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first, same, other = (Network([20, 8, 3], seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first.weights, same.weights, strict=True))
    assert not np.array_equal(first.weights[0], other.weights[0])
    wide = Network([20, 8, 3], seed=1, dtype="float64")
    assert np.array_equal(wide.weights[0].astype(np.float32), first.weights[0])


REFUSED: list[tuple[Any, dict[str, Any], type[FastFCError], str]] = [
    ([4], {}, InvalidArgument, r"layers: given \(4,\), expected at least the numbers of inputs and outputs"),
    ([4, 0], {}, InvalidArgument, "layers: given 0, expected a whole number >= 1"),
    ([4, 2.5], {}, InvalidType, "layers: given 2.5, expected a whole number >= 1"),
    (4, {}, InvalidType, r"layers: given 4, expected sizes, such as \(200, 50\)"),
    ([4, 3, 2], {"activation": ["relu", "relu"]}, InvalidArgument, "activation: given 2 names, expected one, or one"),
    ([4, 3, 2], {"activation": None}, InvalidType, "activation: given None, expected a name"),
    ([4, 2], {"loss": "ce"}, InvalidArgument, "loss: given 'ce', expected one of softmax_ce"),
    ([4, 2], {"backend": "cuda"}, InvalidArgument, "backend: given 'cuda', expected one of numba, numpy"),
    ([4, 2], {"dtype": "int8"}, InvalidArgument, "dtype: given 'int8', expected one of float32, float64"),
    ([4, 2], {"scale": -1}, InvalidArgument, "scale: given -1, expected a finite number > 0"),
    ([4, 2], {"regression": True}, InvalidArgument, "regression: given True, expected False with loss 'softmax_ce', wh"),
    ([4, 2], {"regression": 1}, InvalidType, "regression: given 1, expected True, False or None"),
    ([4, 2], {"input_kind": "int8"}, InvalidArgument, "input_kind: given 'int8', expected one of uint8, integer, float"),
    ([4, 2], {"threads": 0}, InvalidArgument, "threads: given 0, expected a whole number >= 1"),
    ([4, 2], {"threads": 1.5}, InvalidType, "threads: given 1.5, expected a whole number >= 1"),
    ([4, 2], {"seed": -1}, InvalidArgument, "seed: given -1, expected a whole number >= 0"),
    ([4, 2], {"init": "xavier"}, InvalidArgument, "init: given 'xavier', expected one of he, glorot"),
    (
        [4, 2],
        {"init": ("normal",)},
        InvalidType,
        r"init: given \('normal',\), expected 'he', 'glorot', \('normal', sig",
    ),
    ([4, 2], {"init": ("cauchy", 1)}, InvalidArgument, r"init: given \('cauchy', 1\), expected 'he', 'glorot'"),
    ([4, 2], {"init": ("normal", -1)}, InvalidArgument, "init normal: given -1, expected a finite number >= 0"),
    (
        [4, 2],
        {"image_shape": (3, 3)},
        InvalidArgument,
        r"image_shape: given \(3, 3\), expected height and width of 4 p",
    ),
    ([4, 2], {"image_shape": (4,)}, InvalidArgument, r"image_shape: given \(4,\), expected height and width of 4 pix"),
    ([4, 2], {"image_shape": 4}, InvalidType, r"image_shape: given 4, expected sizes"),
    ([4, 2], {"weights": np.ones((4, 2))}, InvalidType, "weights: given ndarray, expected a list of arrays"),
    ([4, 2], {"weights": [[["a", "b"]]]}, InvalidType, r"weights\[0\]: given an array of <U1, expected numbers"),
    ([4, 2], {"weights": [[[1, 2], [3]]]}, InvalidArgument, r"weights\[0\]: given list that is no array"),
    ([4, 2], {"biases": [[1e39, 0]]}, InvalidArgument, r"biases\[0\] as float32: given inf at \(0,\), expected fin"),
    (
        [4, 2],
        {"biases": [np.zeros((1, 2))]},
        InvalidArgument,
        r"biases\[0\]: given shape \(1, 2\), expected \(2,\)",
    ),
]


@pytest.mark.parametrize(("layers", "options", "error", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_makes_no_network_is_refused(layers: Any, options: Any, error: type[FastFCError], message: str) -> None:
    with pytest.raises(error, match=f"^{message}") as caught:
        Network(layers, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_that_overflow_are_refused(backend: str) -> None:
    network = Network([2, 2], weights=[[[3e38, 3e38], [3e38, 3e38]]], backend=backend)
    X = np.full((2, 2), 1e10, np.float32)
    calls = [network.predict, network.predict_proba, network.outputs, lambda X: network.score(X, [0, 1][: len(X)])]
    for x in (X[:1], X):
        for call in calls:
            with pytest.raises(
                InvalidArgument, match=r"^X: given values whose (outputs|loss) .* not finite in float32"
            ):
                call(x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trained_network_predicts_from_its_last_parameters(backend: str) -> None:
    X, y = blobs(100)
    result = fastfc.train((X, y), (X, y), backend=backend, **SMALL)  # has predicted after each epoch
    model = result.model
    np.testing.assert_allclose(model.outputs(X), expected_outputs(model, X), rtol=1e-11)
    assert model.score(X, y) == result.test_accuracy
