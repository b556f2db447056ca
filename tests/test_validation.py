"""Bad input: one line that names it, says what was given and what is expected, before any kernel runs; divergence."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastfc
from fastfc import Network
from fastfc.errors import DataError, DivergenceError, FastFCError, InvalidArgument, InvalidType
from tests.small import BACKENDS, SMALL, blobs, images

X, Y = blobs(60)
NAN, INF = X.copy(), X.copy()
NAN[7, 3], INF[59, 19] = np.nan, -np.inf
CSR = scipy.sparse.csr_array(X)
Bad = tuple[dict[str, Any], type[FastFCError], str]


def csr(**parts: Any) -> Any:
    """A CSR array of which parts were exchanged after its making, when SciPy no longer checks them."""
    matrix = CSR.copy()
    for name, part in parts.items():
        setattr(matrix, name, part)
    return matrix


INPUTS: list[tuple[Any, type[FastFCError], str]] = [
    (NAN, InvalidArgument, r"X.*: given nan at \(7, 3\), expected finite numbers"),
    (INF, InvalidArgument, r"X.*: given -inf at \(59, 19\), expected finite numbers"),
    (X[0], InvalidArgument, r"X.*: given shape \(20,\), expected \((n|samples), features\)"),
    (X[None, None], InvalidArgument, r"X.*: given shape \(1, 1, 60, 20\), expected \((n|samples), features\)"),
    (X[:0], InvalidArgument, r"X.*: given shape \(0, 20\), expected at least one sample and one feature"),
    (X[:, :0], InvalidArgument, r"X.*: given shape \(60, 0\), expected at least one sample and one feature"),
    (np.zeros((60, 0, 5)), InvalidArgument, r"X.*: given shape \(60, 0(, 5)?\), expected"),
    (X + 0j, InvalidType, "X.*: given .*complex128, expected numbers"),
    (X.astype(str), InvalidType, "X.*: given .*<U32, expected numbers"),
    (X.astype(object), InvalidType, "X.*: given .*object, expected numbers"),
    (X.astype("M8[s]"), InvalidType, r"X.*: given .*datetime64\[s\], expected numbers"),
    (None, InvalidType, "X.*: given .*object, expected numbers"),
    ([[1, 2], [3]], InvalidArgument, "X.*: given list that is no array .*, expected .*rows of equal length"),
    (CSR.tocsc(), InvalidType, "X.*: given .*object, expected numbers"),
    (CSR * 1j, InvalidType, "X.*: given an array of complex128, expected numbers"),
    (csr(data=CSR.data + np.nan), InvalidArgument, r"X.*: given nan at \(0,\), expected finite numbers"),
    (csr(indices=CSR.indices + 1), InvalidArgument, "X.*: given a CSR matrix whose indices point outside of it, exp"),
    (csr(indices=CSR.indices - 1), InvalidArgument, "X.*: given a CSR matrix whose indices point outside of it, exp"),
    (csr(indptr=CSR.indptr[::-1].copy()), InvalidArgument, "X.*: given a CSR matrix whose indices point outside of"),
    (csr(indptr=CSR.indptr + 1), InvalidArgument, "X.*: given a CSR matrix whose indices point outside of it"),
    (csr(data=CSR.data[:-1]), InvalidArgument, "X.*: given a CSR matrix whose indices point outside of it"),
]
TARGETS: list[tuple[Any, dict[str, Any], type[FastFCError], str]] = [
    (Y[:-1], {}, InvalidArgument, "y.*: given 59 targets, expected 60, as many as samples"),
    (Y[:0], {}, InvalidArgument, r"y.*: given shape \(0,\), expected \(samples,\) or \(samples, outputs\)"),
    (np.zeros((60, 0)), {}, InvalidArgument, r"y.*: given shape \(60, 0\), expected \(samples,\) or"),
    (np.zeros((60, 3, 1)), {}, InvalidArgument, r"y.*: given shape \(60, 3, 1\), expected \(samples,\) or"),
    (3, {}, InvalidArgument, r"y.*: given shape \(\), expected \(samples,\) or \(samples, outputs\)"),
    (Y - 1, {}, InvalidArgument, "y.*: given label -1, expected labels from 0 on"),
    (Y * 1.0, {}, InvalidArgument, "y.*: given an array of float64, expected integer labels, or targets"),
    (Y, {"outputs": 2}, InvalidArgument, "y.*: given label 2, expected labels from 0 to 1, with 2 outputs"),
    (Y, {"outputs": 1, "loss": "sigmoid_bce"}, InvalidArgument, "y.*: given label 2, expected labels 0 and 1, with o"),
    (Y * 10**9, {}, InvalidArgument, "y.*: given label 2000000000 in 60 samples, expected no more classes than"),
    (np.eye(3)[Y] * 2, {}, InvalidArgument, "y.*: given targets from 0.0 to 2.0, expected 0 to 1 with loss 'softmax"),
    (np.eye(3)[Y] / 2, {}, InvalidArgument, "y.*: given targets of a sample that do not add up to 1, expected sh"),
    (Y - 0.5, {"loss": "sigmoid_bce"}, InvalidArgument, "y.*: given targets from -0.5 to 1.5, expected 0 to 1 with"),
    (X[:, :2], {"loss": "mse", "outputs": 3}, InvalidArgument, "y.*: given 2 targets a sample, expected 3, as many as"),
    (NAN[:, :5], {"loss": "mse"}, InvalidArgument, r"y.*: given nan at \(7, 3\), expected finite numbers"),
    (Y.astype(str), {}, InvalidType, "y.*: given .*<U21, expected numbers"),
    ([None] * 60, {}, InvalidType, "y.*: given .*object, expected numbers"),
    ([[1], [2, 3]] * 30, {}, InvalidArgument, "y.*: given list that is no array"),
]
NETWORK = Network([20, 8, 3], dtype="float64")
ARGUMENTS: list[Bad] = [
    ({"data": 5}, InvalidType, "data: given int, expected "),
    ({"data": (X, Y, X)}, InvalidType, "data: given tuple of length 3, expected "),
    ({"data": "no-such-file.npz"}, DataError, "data: given 'no-such-file.npz', which does not exist"),
    ({"test_data": X}, InvalidType, "test_data: given ndarray, expected arrays"),
    ({"test_data": (X[:, 1:], Y)}, InvalidArgument, "X of test_data: given 19 features, expected 20"),
    ({"test_data": (NAN, Y)}, InvalidArgument, r"X of test_data: given nan at \(7, 3\), expected finite"),
    ({"test_data": (X, Y + 1)}, InvalidArgument, "y of test_data: given label 3, expected labels from 0 to 2"),
    ({"test_data": (X, Y[1:])}, InvalidArgument, "y of test_data: given 59 targets, expected 60"),
    ({"threads": 0}, InvalidArgument, "threads: given 0, expected a whole number >= 1"),
    ({"threads": 10**6}, InvalidArgument, "threads: given 1000000, expected at most 1024"),
    ({"threads": 1.5}, InvalidType, "threads: given 1.5, expected a whole number >= 1"),
    ({"seed": -1}, InvalidArgument, "seed: given -1, expected a whole number >= 0"),
    ({"seed": None}, InvalidType, "seed: given None, expected a whole number >= 0"),
    ({"max_seconds": 0}, InvalidArgument, "max_seconds: given 0, expected a finite number > 0"),
    ({"max_seconds": "1 h"}, InvalidType, "max_seconds: given '1 h', expected a number"),
    ({"on_interrupt": "stop"}, InvalidArgument, "on_interrupt: given 'stop', expected one of return, raise"),
    ({"on_epoch": 5}, InvalidType, "on_epoch: given 5, expected a function"),
    ({"on_steps": "print"}, InvalidType, "on_steps: given 'print', expected a function"),
    ({"steps_per_call": 0}, InvalidArgument, "steps_per_call: given 0, expected a whole number >= 1"),
    ({"checkpoint": 5}, InvalidType, "checkpoint: given 5, expected the name of a folder"),
    ({"checkpoint_every": 0}, InvalidArgument, "checkpoint_every: given 0, expected a whole number >= 1"),
    ({"learning_rate": 0.1}, InvalidType, "train: given unknown learning_rate, expected settings among hidden, act"),
    ({"lr": -1}, InvalidArgument, "lr: given -1, expected a finite number > 0"),
    ({"init": "zeros"}, InvalidArgument, "init: given 'zeros', expected one of he, glorot"),
    ({"schedule": lambda s, n: "fast"}, InvalidType, "schedule: given 'fast' at step 0, expected a number"),
    ({"augment": 1}, InvalidArgument, "augment: given 1, expected None for data that are not images"),
    (
        {"augment": 6, "data": images()},
        InvalidArgument,
        "augment: given 6, expected shifts smaller than the image, 6x6",
    ),
    ({"augment": 200, "data": (np.zeros((2, 300, 300)), [0, 1])}, InvalidArgument, "augment: given 200, expected at"),
    ({"network": [20, 3]}, InvalidType, "network: given list, expected a Network"),
    ({"network": NETWORK, "hidden": (9,)}, InvalidArgument, r"hidden: given \(9,\), expected \(8,\), as network has"),
    ({"network": NETWORK, "activation": "tanh"}, InvalidArgument, r"activation: given 'tanh', expected \('relu',\), a"),
    ({"network": NETWORK, "loss": "mse"}, InvalidArgument, "loss: given 'mse', expected 'softmax_ce', as network has"),
    ({"network": NETWORK, "dtype": "float32"}, InvalidArgument, "dtype: given 'float32', expected 'float64', as netw"),
    ({"network": NETWORK, "outputs": 4}, InvalidArgument, "outputs: given 4, expected 3, as network has"),
    ({"network": Network([19, 8, 3], dtype="float64")}, InvalidArgument, "network: given 19 inputs, expected 20, as "),
    (
        {"network": Network([20, 8, 2], dtype="float64")},
        InvalidArgument,
        "y: given label 2, expected labels from 0 to 1",
    ),
]
CASES: list[Bad] = [
    *[({"data": (x, Y)}, error, message) for x, error, message in INPUTS],
    *[({"data": (X, y), **options}, error, message) for y, options, error, message in TARGETS],
    *ARGUMENTS,
]


class Started(Exception):
    """A kernel would have run."""


def start(*arguments: object) -> None:
    raise Started


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", range(len(CASES)))
def test_train_refuses_bad_input_before_any_kernel_runs(
    case: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, error, message = CASES[case]
    monkeypatch.setattr(import_module("fastfc.training.run"), "load_backend", lambda name: (start, start))
    arguments = {"data": (X, Y), "test_data": None, **SMALL, **given}
    if "network" in given:
        arguments = {key: arguments[key] for key in arguments if key not in SMALL or key in given}
    with pytest.raises(error, match=f"^{message}") as caught:
        fastfc.train(arguments.pop("data"), arguments.pop("test_data"), backend=backend, **arguments)
    assert "\n" not in str(caught.value) and isinstance(caught.value, ValueError | TypeError)


def test_good_input_would_have_started_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fastfc.training.run"), "load_backend", lambda name: (start, start))
    with pytest.raises(Started):
        fastfc.train((X, Y), (X, Y), **SMALL)


@pytest.mark.parametrize("name", ["cuda", "", None, 3])
def test_an_unknown_backend_is_named_with_the_choices(name: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^backend: given {name!r}, expected one of numba, numpy$"):
        fastfc.train((X, Y), backend=name, **SMALL)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", range(len(INPUTS)))
def test_predict_refuses_bad_input(case: int, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, error, message = INPUTS[case]
    monkeypatch.setattr("fastfc.network.load_backend", lambda name: (start, start))
    network = Network([20, 8, 3], dtype="float64", backend=backend)
    for call in (network.predict, network.predict_proba, network.outputs, lambda x: network.score(x, Y)):
        with pytest.raises(error, match=f"^{message}") as caught:
            call(x)
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidArgument, match=r"^X: given 19 features, expected 20$"):
        network.predict(X[:, 1:])
    with pytest.raises(Started):
        network.predict(X)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kind", "message"), [("input", "X as float32: given inf at"), ("target", "y as float32: giv")]
)
def test_what_float32_cannot_hold_is_refused(backend: str, kind: str, message: str) -> None:
    large = np.abs(X) * 1e39
    data = (large, Y) if kind == "input" else (X, large[:, :2])
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        fastfc.train(data, backend=backend, loss="mse", epochs=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_ce", "sigmoid_bce", "mse"])
def test_divergence_names_the_epoch_and_the_rate(backend: str, dtype: str, loss: str) -> None:
    """The rate grows without bound; within an epoch of the first loss that is not finite there is an error."""
    x, y = X.astype(dtype), Y
    epochs: list[int] = []
    options: dict[str, Any] = {"hidden": (8,), "batch_size": 10, "epochs": 500, "activation": "identity"}
    with pytest.raises(DivergenceError) as caught:
        fastfc.train(
            (x, y), backend=backend, dtype=dtype, loss=loss, lr=1.0, schedule=lambda step, steps: 3.0 ** min(step, 70),
            on_epoch=lambda record: epochs.append(record.loss), **options,
        )  # fmt: skip
    assert np.isfinite(epochs).all() and isinstance(caught.value, ArithmeticError)
    pattern = rf"(loss: given (inf|nan) in|weights: given not finite at the end of) epoch {len(epochs) + 1}, .*learning rate of \d"
    assert caught.match(pattern) and "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": (np.ones((4, 1)), [[0.0]] * 4), "lr": 1e200}, "weights: given not finite at the end of epoch 1"),
        ({"data": (np.zeros((4, 1)), [[1e150]] * 4), "lr": 1e200}, "weights: given not finite at the end of epoch 1"),
        (
            {"test_data": (np.full((4, 1), 1e200), [[0.0]] * 4)},
            "test loss: given inf at the end of epoch 1, with a learn",
        ),
    ],
    ids=["weights", "biases", "test loss"],
)
def test_what_the_last_step_ruined_is_found(backend: str, given: dict[str, Any], message: str) -> None:
    """One step: its loss is of before it."""
    arguments = {"data": (np.ones((4, 1)), [[1.0]] * 4), "test_data": None, "lr": 0.1, **given}
    options: dict[str, Any] = {"hidden": (), "loss": "mse", "epochs": 1, "dtype": "float64", "schedule": "constant"}
    network = Network([1, 1], loss="mse", weights=[[[1e120]]] if given.get("lr") else [[[2.0]]], dtype="float64")
    with pytest.raises(DivergenceError, match=f"^{message}"):
        fastfc.train(
            arguments["data"], arguments["test_data"], network=network, lr=arguments["lr"], backend=backend, **options
        )
