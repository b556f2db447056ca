"""mae, huber and poisson: what networks with them give, are judged by, are saved as, and refuse; and weighted judgements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import Network
from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.kernels.plan import REGRESSIONS
from tests.oracle import LOSSES, Function
from tests.small import BACKENDS, SMALL, blobs, digest

X, Y = blobs(100)
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(np.exp(np.clip(X[:, 0], -2, 2)))
backends = pytest.mark.parametrize("backend", BACKENDS)


def network(loss: str, outputs: int = 2, backend: str = "numpy", **options: Any) -> Network:
    return Network([20, 6, outputs], "tanh", loss, dtype="float64", seed=1, backend=backend, **options)


@backends
@pytest.mark.parametrize("loss", REGRESSIONS)
def test_a_network_gives_numbers_and_is_judged_by_its_loss_and_r2(loss: str, backend: str) -> None:
    options = {"huber_delta": 0.4} if loss == "huber" else {}
    net, y = network(loss, backend=backend, **options), RNG.random((100, 2))
    outputs = net.outputs(X)
    numbers = np.exp(outputs) if loss == "poisson" else outputs
    assert net.regression and np.array_equal(net.predict(X), numbers) and np.array_equal(net.predict_proba(X), numbers)
    f = Function(("tanh", "identity"), loss, np.full(100, 0.01), huber_delta=options.get("huber_delta", 1.0))
    r2 = 1 - ((y - numbers) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    found = net.loss_and_accuracy(X, y)
    assert found == pytest.approx((f.value([*net.weights, *net.biases], X, y), r2.mean()), rel=1e-12)
    assert net.score(X, y) == found[1]


@pytest.mark.parametrize("loss", REGRESSIONS)
def test_weights_count_in_the_loss_and_in_r2(loss: str) -> None:
    net, weights, y = network(loss), RNG.integers(0, 4, 100), RNG.random((100, 2))
    repeated = net.loss_and_accuracy(np.repeat(X, weights, axis=0), np.repeat(y, weights, axis=0))
    assert net.loss_and_accuracy(X, y, weights) == pytest.approx(repeated, rel=1e-12)
    assert net.score(X, y, sample_weight=weights) == pytest.approx(repeated[1], rel=1e-12)
    far = y.copy()
    far[weights == 0] = 1e6
    assert net.loss_and_accuracy(X, far, weights) == pytest.approx(repeated, rel=1e-12)


def test_weights_count_in_the_accuracy() -> None:
    net, weights = Network([20, 3], dtype="float64", seed=1, backend="numpy"), RNG.integers(0, 4, 100)
    repeated = net.loss_and_accuracy(np.repeat(X, weights, axis=0), np.repeat(Y, weights))
    assert net.loss_and_accuracy(X, Y, weights) == pytest.approx(repeated, rel=1e-12)
    for given, message in (
        (weights[:9], r"sample_weight: given shape \(9,\), expected \(100,\)"),
        (-weights, "sample_weight: given -3, expected numbers >= 0"),
        (0 * weights, "sample_weight: given weights that are all 0"),
    ):
        with pytest.raises(InvalidArgument, match=f"^{message}"):
            net.score(X, Y, given)


@backends
@pytest.mark.parametrize("loss", REGRESSIONS)
def test_training_finds_what_the_loss_asks_for(loss: str, backend: str) -> None:
    """Of numbers without inputs to tell them by: the mean, the median, something between, the mean of counts."""
    y = 5 + np.r_[np.zeros(60), np.ones(30), np.full(10, 20.0)]
    data, options = (np.zeros((100, 1)), y), {"hidden": (), "epochs": 300, "batch_size": None, "schedule": "constant"}
    options |= {"lr": 0.05, "momentum_kind": "none", "dtype": "float64", "backend": backend}
    value = fastfc.train(data, loss=loss, **options).model.predict(np.zeros((1, 1))).item()
    # huber: 60 v = 30 (1 - v) + 10 of v above 5, as slopes are held at 1
    expected = {"mse": 7.3, "mae": 5.0, "huber": 5 + 40 / 90, "poisson": 7.3}[loss]
    assert value == pytest.approx(expected, abs=0.06)


@backends
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_numbers_or_classes(loss: str, backend: str) -> None:
    """Integers are numbers with one output, and with several, given as such, classes."""
    options: dict[str, Any] = {**SMALL, "loss": loss, "lr": 0.05, "backend": backend, "epochs": 20}
    numbers = fastfc.train((X, Y), **options)
    classes = fastfc.train((X, Y), (X, Y), outputs=3, label_smoothing=0.1, **options)
    assert numbers.model.regression and numbers.model.layers[-1] == 1
    assert not classes.model.regression and set(classes.model.predict(X)) <= {0, 1, 2} and classes.test_accuracy > 0.8
    several = fastfc.train((X, X[:, :3]), (X, X[:, :3]), **{**options, "epochs": 60})
    assert several.model.layers[-1] == 3 and several.test_r2 is not None and several.test_r2 > 0.5


@backends
def test_counts_are_predicted_as_positive_numbers(backend: str) -> None:
    options: dict[str, Any] = {**SMALL, "loss": "poisson", "hidden": (), "epochs": 60, "lr": 0.02, "backend": backend}
    result = fastfc.train((X, COUNTS), (X, COUNTS), **options)
    predicted = result.model.predict(X)
    assert predicted.shape == (100,) and (predicted > 0).all() and result.test_r2 == result.model.score(X, COUNTS) > 0.3
    assert predicted.mean() == pytest.approx(COUNTS.mean(), rel=0.1)
    with pytest.raises(InvalidArgument, match=r"^X: given values whose outputs are not finite in float64"):
        result.model.predict(np.full((1, 20), 1e4) * np.sign(result.model.weights[0].T))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_of_any_loss_is_saved_and_loaded(loss: str, tmp_path: Path) -> None:
    options = {"huber_delta": 0.3} if loss == "huber" else {}
    net = network(loss, **options)
    net.save(tmp_path / "model")
    again = fastfc.load(tmp_path / "model")
    again.backend = "numpy"
    assert digest(again) == digest(net) and (again.loss, again.huber_delta) == (loss, options.get("huber_delta", 1.0))
    assert again.regression == net.regression == (loss in REGRESSIONS) and np.array_equal(again.predict(X), net.predict(X))


def test_a_training_takes_the_loss_of_its_network() -> None:
    net = network("huber", huber_delta=0.3)
    result = fastfc.train((X, X[:, :2]), network=net, backend="numpy", epochs=1)
    assert (result.settings.loss, result.settings.huber_delta, result.model.huber_delta) == ("huber", 0.3, 0.3)
    with pytest.raises(InvalidArgument, match=r"^huber_delta: given 0.5, expected 0.3, as network has$"):
        fastfc.train((X, X[:, :2]), network=net, huber_delta=0.5, backend="numpy")


BAD: list[tuple[dict[str, Any], Any, type[FastFCError], str]] = [
    ({"loss": "poisson"}, -COUNTS, InvalidArgument, r"y: given targets from -\d+.0 on, expected numbers >= 0 with loss 'poisson'"),
    ({"loss": "poisson"}, COUNTS - 1e-3, InvalidArgument, "y: given targets from -0.001 on, expected numbers >= 0"),
    ({"loss": "poisson", "outputs": 3}, COUNTS, InvalidArgument, "y: given 1 targets a sample, expected 3, as many as outputs"),
    ({"loss": "mse", "label_smoothing": 0.1}, COUNTS, InvalidArgument, "label_smoothing: given 0.1, expected 0 with loss 'mse' of num"),
    ({"loss": "mae", "label_smoothing": 0.1}, X[:, :2], InvalidArgument, "label_smoothing: given 0.1, expected 0 with loss 'mae'"),
    ({"loss": "mae"}, np.array(["a"] * 100), InvalidType, "y: given an array of <U1, expected numbers"),
    ({"loss": "huber", "huber_delta": -1}, COUNTS, InvalidArgument, "huber_delta: given -1, expected a finite number > 0"),
    ({"loss": "mse", "huber_delta": 0.5}, COUNTS, InvalidArgument, "huber_delta: given 0.5, expected 1 with loss 'mse'"),
    ({"loss": "mae", "class_weight": "balanced"}, X[:, 0], InvalidArgument, "class_weight: given targets of float64"),
]


@pytest.mark.parametrize(("options", "y", "error", "message"), BAD, ids=lambda value: str(value)[:30])
def test_what_a_loss_cannot_take_is_one_line_before_any_kernel(
    options: dict[str, Any], y: Any, error: type[FastFCError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastfc.training.run, "load_backend", None)
    with pytest.raises(error, match=f"^{message}") as caught:
        fastfc.train((X, y), backend="numpy", **{**SMALL, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "poisson", "regression": False}, "regression: given False, expected True with loss 'poisson'"),
        ({"loss": "sigmoid_bce", "regression": True}, "regression: given True, expected False with loss 'sigmoid_bce'"),
        ({"loss": "poisson", "output_activation": "relu"}, "output_activation: given 'relu', expected 'identity' with loss"),
        ({"loss": "mse", "huber_delta": 2.0}, "huber_delta: given 2.0, expected 1 with loss 'mse'"),
    ],
    ids=str,
)
def test_what_no_network_can_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        Network([3, 2], **options)
