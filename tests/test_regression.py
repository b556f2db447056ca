"""Regressions: what makes a network one, the numbers that it predicts, its R², and what its file says of it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import Network
from tests.small import BACKENDS, SMALL, blobs, digest
from tests.test_network import expected_outputs, net

X, Y = blobs(100)
# Files of fastfc 0.1.0, by the number of outputs: mse, scale 0.5, weights 0, 1, ... of shape (2, outputs).
OLD_FILES = {
    1: (
        "uAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmYXN0ZmMiOiJ7XCJmb3JtYXRcIjogXCJmYXN0ZmNcIiwgXCJ2ZXJzaW9uXCI6IFwi"
        "MVwiLCBcInNoYTI1NlwiOiBcIjcyNzg3ZWYwYzNmYTQ5YTNkZWM5ZTdlNzM4ODU3MzBlNzg1MTJlMzYzNmI0ZjBkMWRiNWU2NjMz"
        "ZmZjMWUyNTFcIiwgXCJsYXllcnNcIjogWzIsIDFdLCBcImFjdGl2YXRpb25zXCI6IFtdLCBcImxvc3NcIjogXCJtc2VcIiwgXCJv"
        "dXRwdXRfYWN0aXZhdGlvblwiOiBcImlkZW50aXR5XCIsIFwic2NhbGVcIjogMC41LCBcImR0eXBlXCI6IFwiZmxvYXQzMlwiLCBc"
        "ImltYWdlX3NoYXBlXCI6IG51bGx9In0sImJpYXNlcy4wIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsxXSwiZGF0YV9vZmZzZXRz"
        "IjpbMCw0XX0sIndlaWdodHMuMCI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMiwxXSwiZGF0YV9vZmZzZXRzIjpbNCwxMl19fQAA"
        "AAAAAAAAAACAPw=="
    ),
    2: (
        "uAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmYXN0ZmMiOiJ7XCJmb3JtYXRcIjogXCJmYXN0ZmNcIiwgXCJ2ZXJzaW9uXCI6IFwi"
        "MVwiLCBcInNoYTI1NlwiOiBcIjFlZjE0NDBmNmMzYWM2ZjUwZjcyYmMyYTY5MjM3NmMwZWE4NDZkNjU3YjlhMTg0MDJjM2QxZGYw"
        "NjMwMGVhNzRcIiwgXCJsYXllcnNcIjogWzIsIDJdLCBcImFjdGl2YXRpb25zXCI6IFtdLCBcImxvc3NcIjogXCJtc2VcIiwgXCJv"
        "dXRwdXRfYWN0aXZhdGlvblwiOiBcImlkZW50aXR5XCIsIFwic2NhbGVcIjogMC41LCBcImR0eXBlXCI6IFwiZmxvYXQzMlwiLCBc"
        "ImltYWdlX3NoYXBlXCI6IG51bGx9In0sImJpYXNlcy4wIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsyXSwiZGF0YV9vZmZzZXRz"
        "IjpbMCw4XX0sIndlaWdodHMuMCI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMiwyXSwiZGF0YV9vZmZzZXRzIjpbOCwyNF19fQAA"
        "AAAAAAAAAAAAAAAAgD8AAABAAABAQA=="
    ),
}


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """As scikit-learn has it: the mean over outputs; where y is constant 1 if it is predicted, else 0."""
    scores = []
    for target, value in zip(y.reshape(len(y), -1).T, predicted.reshape(len(y), -1).T, strict=True):
        residual = ((target - value) ** 2).sum()
        spread = ((target - target.mean()) ** 2).sum()
        scores.append(float(residual == 0) if np.ptp(target) == 0 else 1 - residual / spread)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_regression_gives_numbers_and_their_r2(backend: str, outputs: int) -> None:
    network, (X, _) = net(20, 8, outputs, loss="mse", backend=backend), blobs(1100)
    expected = expected_outputs(network, X)
    assert network.regression
    for n in (1100, 1):
        predicted = network.predict(X[:n])
        assert predicted.shape == ((n,) if outputs == 1 else (n, 3)) and predicted.dtype == "float64"
        np.testing.assert_allclose(predicted, expected[:n, 0] if outputs == 1 else expected[:n], rtol=1e-12, atol=1e-14)
    y = expected + np.random.default_rng(0).standard_normal(expected.shape)
    loss, score = network.loss_and_accuracy(X, y)
    assert loss == pytest.approx(np.square(expected - y).mean()) and score == network.score(X, y)
    assert score == pytest.approx(r2(y, expected)) and 0 < score < 1
    assert network.score(X, network.outputs(X)) == 1 and network.score(X, -y) < 0
    whole = np.rint(10 * y).astype(np.int64)
    given = whole[:, 0] if outputs == 1 else whole
    assert network.score(X, given) == pytest.approx(r2(whole, expected))


@pytest.mark.parametrize("value", [0.1, 7.0])
def test_the_r2_of_constant_targets(value: float) -> None:
    """0.1 cannot be summed without rounding."""
    X = np.ones((30, 2))
    network = Network([2, 2], loss="mse", weights=[np.zeros((2, 2))], biases=[[value, 3.0]], dtype="float64")
    same, other = np.full(30, value), np.linspace(0, 1, 30)
    assert network.score(X, np.c_[same, same]) == 0.5
    assert network.score(X, np.c_[same, other]) == pytest.approx((1 + r2(other, np.full(30, 3.0))) / 2)
    assert np.isfinite(network.score(X, np.c_[same, 1e-200 * other])) and network.score(X, np.c_[same, -other]) < 0


@pytest.mark.parametrize(("outputs", "regression"), [(1, True), (2, False)])
def test_a_file_of_version_0_1_0_can_be_read(outputs: int, regression: bool, tmp_path: Any) -> None:
    """mse with one output was of numbers, with more of classes; what it was trained on is not in the file."""
    (tmp_path / "m").write_bytes(base64.b64decode(OLD_FILES[outputs]))
    network = fastfc.load(tmp_path / "m")
    assert (network.layers, network.regression, network.input_kind) == ((2, outputs), regression, None)
    x = np.array([[3, 4]])
    assert network.outputs(x).tolist() == {1: [[4]], 2: [[8, 15]]}[outputs]
    assert np.array_equal(network.outputs(x.astype(np.uint8)), network.outputs(x) / 2)
    network.save(tmp_path / "new")
    assert fastfc.load(tmp_path / "new").regression == regression


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_whole_numbers_are_learnt_as_numbers(backend: str, dtype: str) -> None:
    """Prices of 50,000 to 90,000: not as many classes, and not an output each."""
    prices = np.rint(70_000 + 20_000 * np.sin(X[:, 0])).astype(dtype)
    assert prices.min() < 52_000 and prices.max() > 88_000
    options: dict[str, Any] = {**SMALL, "hidden": (), "epochs": 100, "lr": 0.003, "backend": backend}
    r = fastfc.train((X, prices), (X, prices), loss="mse", **options)
    model = r.model
    assert model.regression and model.layers == (20, 1)
    predicted = model.predict(X)
    assert predicted.shape == (100,) and predicted.dtype == "float64"
    assert r.test_r2 == model.score(X, prices) == r.history[-1].test_r2 > 0.3
    residual, spread = np.square(prices - predicted).sum(), np.square(prices - prices.mean()).sum()
    assert r.test_r2 == pytest.approx(1 - residual / spread)
    assert r.test_accuracy is None and r.to_dict()["test_r2"] == r.test_r2 and r.to_dict()["test_accuracy"] is None


def test_with_mse_integers_are_classes_only_where_outputs_says_so() -> None:
    options: dict[str, Any] = {**SMALL, "loss": "mse", "lr": 0.05, "backend": "numpy"}
    classes = fastfc.train((X, Y), (X, Y), outputs=3, **options)
    assert not classes.model.regression and classes.model.layers[-1] == 3 and classes.test_r2 is None
    assert classes.test_accuracy == (classes.model.predict(X) == Y).mean()
    one_hot = fastfc.train((X, np.eye(3)[Y]), (X, np.eye(3)[Y]), **options)
    assert one_hot.model.regression and digest(one_hot.model) == digest(classes.model)
    assert one_hot.model.predict(X).shape == (100, 3) and one_hot.test_accuracy is None
    again = fastfc.train((X, Y), network=one_hot.model, epochs=1, backend="numpy")  # the targets decide
    assert not again.model.regression
    for y in (Y, Y[:, None]):
        with pytest.raises(fastfc.InvalidArgument, match=r"^y of test_data: given 1 targets a sample, expected 3"):
            fastfc.train((X, np.eye(3)[Y]), (X, y), **options)


@pytest.mark.parametrize("loss", ["softmax_ce", "sigmoid_bce"])
def test_more_classes_than_samples_have_to_be_asked_for(loss: str) -> None:
    y = 900 * Y
    message = "^y: given label 1800 in 100 samples, expected no more classes than samples, or `outputs` to say how many;"
    with pytest.raises(fastfc.InvalidArgument, match=message):
        fastfc.train((X, y), loss=loss, **SMALL)
    assert fastfc.train((X, y), loss=loss, outputs=1801, **SMALL).model.layers[-1] == 1801
