"""Estimators become networks of fastfc, and networks estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastfc import Network
from fastfc.errors import InvalidArgument, InvalidType
from fastfc.estimators import MLPClassifier, MLPRegressor
from tests.estimators import BACKENDS, is_class, ours, task

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.parametrize("backend", BACKENDS),
]
SMOOTH = {"max_iter": 20, "batch_size": 32, "learning_rate_init": 0.01}


@pytest.mark.parametrize("name", ["multiclass", "binary", "multilabel", "regression", "outputs", "counts", "csr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_to_a_network_and_back(name: str, dtype: str, backend: str) -> None:
    X, y = task(name, dtype=dtype)
    own = ours(name, backend, **{**SMOOTH, "hidden_layer_sizes": (5, 4), "activation": ("logistic", "relu")}).fit(X, y)
    network = own.to_network()
    assert (network.backend, network.activations, network.dtype) == (backend, ("sigmoid", "relu"), dtype)
    tolerance = {"rtol": 1e-6 if dtype == "float32" else 1e-12, "atol": 1e-6 if dtype == "float32" else 1e-12}
    if is_class(name):
        p = network.predict_proba(X)
        np.testing.assert_allclose(own.predict_proba(X)[:, -p.shape[1] :], p, **tolerance)
        back = MLPClassifier.from_network(network, classes=own.classes_, random_state=0)
        np.testing.assert_allclose(own.predict_proba(X), back.predict_proba(X), **tolerance)
    else:
        back = MLPRegressor.from_network(network, random_state=0)
    assert (own.predict(X) == back.predict(X)).all() and own.predict(X).dtype == back.predict(X).dtype
    assert back.activation == ("logistic", "relu") and back.hidden_layer_sizes == (5, 4) and back.n_iter_ == 0
    back.partial_fit(X, y)
    assert back.n_iter_ == 1 and back.score(X, y) > -1


def test_networks_that_fastfc_trains(backend: str) -> None:
    X = np.random.default_rng(0).integers(0, 256, (20, 6), dtype=np.uint8)
    two = Network([6, 4, 2], seed=1, dtype="float64", backend=backend, input_kind="uint8")
    own = MLPClassifier.from_network(two, classes=["no", "yes"])
    np.testing.assert_allclose(own.predict_proba(X), two.predict_proba(X), rtol=1e-9)
    assert (own.predict(X) == np.array(["no", "yes"])[two.predict(X)]).all()
    assert own.n_outputs_ == 1 and own.out_activation_ == "logistic" and two.layers[-1] == 2
    linear = Network([6, 1], loss="mse", backend=backend)
    assert MLPRegressor.from_network(linear).hidden_layer_sizes == ()
    np.testing.assert_allclose(MLPRegressor.from_network(linear).predict(X / 255.0), linear.predict(X / 255.0), rtol=1e-5)


@pytest.mark.parametrize("make, message", [
    (lambda: MLPClassifier.from_network(3), "network: given int, expected a fastfc.Network"),
    (lambda: MLPClassifier.from_network(Network([3, 2], loss="mse")), "network: given loss 'mse', .* expected loss 'softmax_ce' or"),
    (lambda: MLPRegressor.from_network(Network([3, 2])), "network: given loss 'softmax_ce', .* expected loss 'mse' or 'poisson'"),
    (lambda: MLPRegressor.from_network(Network([3, 2], loss="mse", output_activation="tanh")), "output_activation 'tanh'"),
    (lambda: MLPClassifier.from_network(Network([3, 1])), "one output with loss 'softmax_ce', expected at least two"),
    (lambda: MLPClassifier.from_network(Network([3, 3]), classes=[1, 0, 2]), r"classes: given \[1, 0, 2\], expected 3"),
])  # fmt: skip
def test_networks_that_are_none_of_scikit_learns(make: Any, message: str, backend: str) -> None:
    with pytest.raises((InvalidArgument, InvalidType), match=message):
        make()
