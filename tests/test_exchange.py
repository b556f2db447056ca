"""Networks of scikit-learn and of PyTorch (`make test-peers`) as networks here, and back: the same outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.kernels.plan import ACTIVATIONS
from tests.small import blobs, parameters

X, Y = blobs(60, 7, 3)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["classes", "two classes", "several labels", "numbers", "counts"])
def test_from_sklearn(kind: str, activation: str) -> None:
    neural = pytest.importorskip("sklearn.neural_network")
    options: dict[str, Any] = {"hidden_layer_sizes": (5, 4), "activation": activation, "max_iter": 3, "random_state": 0}
    y = {"classes": Y + 5, "two classes": Y == 1, "several labels": np.eye(3, dtype=int)[Y]}.get(kind, X[:, :2])
    if kind == "counts":
        if "loss" not in neural.MLPRegressor().get_params():
            pytest.skip("MLPRegressor of this scikit-learn has no loss='poisson'")
        y, options["loss"] = np.abs(X[:, 0]), "poisson"
    made = (neural.MLPRegressor if kind in ("numbers", "counts") else neural.MLPClassifier)(**options)
    with pytest.warns(match="Maximum iterations"):
        made.fit(X, y)
    network = fastfc.Network.from_sklearn(made, backend="numpy")
    assert (network.dtype, network.regression, network.scale) == ("float64", kind in ("numbers", "counts"), 1.0)
    if network.regression:
        np.testing.assert_allclose(network.predict(X), made.predict(X), rtol=1e-12, atol=1e-12)
        return
    expected = made.predict_proba(X)
    np.testing.assert_allclose(
        network.predict_proba(X), expected[:, 1:] if kind == "two classes" else expected, rtol=1e-12
    )
    if kind != "several labels":
        np.testing.assert_array_equal(made.classes_[network.predict(X)], made.predict(X))


def test_from_an_estimator_of_our_own() -> None:
    estimators = pytest.importorskip("fastfc.estimators")
    made = estimators.MLPClassifier(
        (5, 4), activation=("logistic", "mish"), max_iter=3, random_state=0, backend="numpy"
    )
    with pytest.warns(match="Maximum iterations"):
        made.fit(X, Y)
    network = fastfc.Network.from_sklearn(made, backend="numpy")
    assert network.activations == ("sigmoid", "mish")
    np.testing.assert_allclose(network.predict_proba(X), made.predict_proba(X), rtol=1e-12)
    with pytest.raises(
        fastfc.InvalidType, match="estimator: given str, expected a fitted MLPClassifier or MLPRegressor"
    ):
        fastfc.Network.from_sklearn("tree")


@pytest.mark.peer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_to_torch_and_back(activation: str, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch (make test-peers)")
    weights, biases = parameters((7, 6, 5, 3), dtype)
    network = fastfc.Network(
        (7, 6, 5, 3), activation, "mse", activation, weights, biases, dtype, backend="numpy", regression=False
    )
    module = network.to_torch()
    x = X.astype(dtype)
    with torch.no_grad():
        outputs = module(torch.from_numpy(x)).numpy()
    expected, tolerance = network.outputs(x), 1e-6 if dtype == "float32" else 1e-14
    assert outputs.dtype == dtype
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    back = fastfc.Network.from_torch(module, "mse", regression=False, backend="numpy")
    assert (back.activations, back.output_activation, back.dtype) == (network.activations, activation, dtype)
    np.testing.assert_array_equal(back.outputs(x), network.outputs(x))
    with torch.no_grad():
        module[0].weight.zero_()
    assert back.weights[0].any() and network.weights[0].any()


@pytest.mark.peer
def test_from_a_module_as_people_write_them() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch (make test-peers)")
    nn = torch.nn
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(7, 6, bias=False), nn.Dropout(0.5), nn.ReLU())
    for last, loss in ((nn.Softmax(dim=1), "softmax_ce"), (nn.Sigmoid(), "sigmoid_bce"), (nn.Identity(), "mse")):
        module = nn.Sequential(nn.Flatten(), inner, nn.Linear(6, 5), nn.Linear(5, 3), last).eval()
        network = fastfc.Network.from_torch(module, loss, backend="numpy", scale=0.5)
        assert network.activations == ("relu", "identity") and network.output_activation == "identity"
        with torch.no_grad():
            outputs = module(torch.from_numpy(X.astype("float32"))).numpy()
        np.testing.assert_allclose(network.predict_proba(X), outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.peer
def test_what_is_no_such_module() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch (make test-peers)")
    nn, line = torch.nn, torch.nn.Linear(3, 2)
    for module, says in (
        (line, "module: given Linear, expected a torch.nn.Sequential"),
        (nn.Sequential(nn.ReLU(), line), "module: given ReLU after nothing, expected Linear and activations in turn"),
        (nn.Sequential(line, nn.ReLU(), nn.Tanh()), "module: given Tanh after relu"),
        (
            nn.Sequential(line, nn.LeakyReLU(0.2)),
            r"module: given LeakyReLU\(negative_slope=0.2\), expected Linear, Dropout",
        ),
        (nn.Sequential(line, nn.ReLU()), "module: given relu as the last activation, expected none, as the loss"),
        (nn.Sequential(line, nn.Softmax(dim=0)), "module: given Softmax"),
        (nn.Sequential(), "module: given no torch.nn.Linear"),
        (nn.Sequential(line.bfloat16()), "dtype"),
    ):
        with pytest.raises(fastfc.FastFCError, match=says):
            fastfc.Network.from_torch(module)
