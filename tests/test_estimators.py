"""fastfc.estimators give the numbers of scikit-learn's MLP, which is the oracle here."""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.estimators import BACKENDS, assert_same_fit, both, has_weights, ours, quietly, task, theirs

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.parametrize("backend", BACKENDS),
]

SMOOTH = {"activation": "tanh", "hidden_layer_sizes": (5,), "max_iter": 50, "batch_size": 32}
SGD = {"solver": "sgd", "learning_rate_init": 0.05}
# Each is set against scikit-learn, on the task that it names or on "multiclass".
CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {**SGD, "momentum": 0},
    "heavy ball": {**SGD, "nesterovs_momentum": False, "momentum": 0.7},
    "nesterov": SGD,
    "identity": {"activation": "identity"},
    "logistic": {"activation": "logistic", "learning_rate_init": 0.01},
    "relu": {"activation": "relu"},
    "relu, sgd, 5 epochs": {**SGD, "activation": "relu", "max_iter": 5},
    "betas and epsilon": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3, "learning_rate_init": 0.02},
    "invscaling": {**SGD, "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {**SGD, "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2, "max_iter": 200},
    "adaptive with adam": {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "one number": {"hidden_layer_sizes": 4},
    "three hidden layers": {"hidden_layer_sizes": [6, 5, 4]},
    "batch 1": {"batch_size": 1, "max_iter": 5},
    "batch 7": {"batch_size": 7},
    "batch auto": {"batch_size": "auto"},
    "not shuffled": {"shuffle": False},
    "alpha 0": {"alpha": 0},
    "alpha 1": {"alpha": 1.0},
    "stops": {"tol": 0.01, "n_iter_no_change": 3, "max_iter": 300},
    "tol 0": {"tol": 0.0, "n_iter_no_change": 1, "learning_rate_init": 0.1},
    "never stops": {"tol": 1e9, "n_iter_no_change": np.inf},
    "early stopping": {"early_stopping": True, "learning_rate_init": 0.02},
    "early stopping, fraction": {"early_stopping": True, "validation_fraction": 0.4, "n_iter_no_change": 2},
    "early stopping, adaptive": {**SGD, "early_stopping": True, "learning_rate": "adaptive", "n_iter_no_change": 1},
    "early stopping, binary": {"task": "binary", "early_stopping": True, "n_iter_no_change": 4},
    "early stopping, multilabel": {"task": "multilabel", "early_stopping": True},
    "early stopping, regression": {"task": "regression", "early_stopping": True},
    "early stopping, outputs": {"task": "outputs", "early_stopping": True},
    "early stopping, counts": {"task": "counts", "early_stopping": True},
    "early stopping, csr": {"task": "csr", "early_stopping": True},
    "binary": {"task": "binary"},
    "strings": {"task": "strings"},
    "multilabel": {"task": "multilabel"},
    "multilabel, sgd": {"task": "multilabel", **SGD},
    "regression": {"task": "regression"},
    "outputs": {"task": "outputs"},
    "counts": {"task": "counts"},
    "counts, sgd": {"task": "counts", "solver": "sgd", "learning_rate_init": 0.01},
    "csr": {"task": "csr"},
    "csr matrix": {"task": "csr matrix", **SGD},
}  # fmt: skip
# L-BFGS makes much of little: where two computations differ in the last bit, they are apart by 1e-7 after 50 iterations.
LBFGS: dict[str, dict[str, Any]] = {
    "multiclass": {},
    "binary": {"task": "binary", "activation": "logistic"},
    "multilabel": {"task": "multilabel"},
    "outputs": {"task": "outputs", "alpha": 0.1},
    "counts": {"task": "counts"},
    "csr": {"task": "csr"},
    "relu": {"activation": "relu"},
    "max_fun": {"max_fun": 7},
    "converged": {"tol": 0.05},
}  # fmt: skip


@cache
def fitted(case: str) -> tuple[str, dict[str, Any], Any]:
    """The task, the parameters and scikit-learn's fit of a case, which is made once for all backends."""
    parameters = {**SMOOTH, **({} if {"tol", "early_stopping"} & CASES[case].keys() else {"max_iter": 20}), **CASES[case]}
    name = parameters.pop("task", "multiclass")
    return name, parameters, theirs(name, **parameters).fit(*task(name))


@pytest.mark.parametrize("case", CASES)
def test_a_fit_has_the_numbers_of_scikit_learn(case: str, backend: str) -> None:
    name, parameters, other = fitted(case)
    X, y = task(name)
    own = ours(name, backend, **parameters).fit(X, y)
    assert_same_fit(own, other, X)
    assert (own.predict(X) == other.predict(X)).all() or not hasattr(other, "classes_")
    assert abs(own.score(X, y) - other.score(X, y)) < 1e-9


@pytest.mark.parametrize("case", LBFGS)
def test_lbfgs_goes_the_same_way(case: str, backend: str) -> None:
    parameters = {**SMOOTH, "solver": "lbfgs", "max_iter": 15, **LBFGS[case]}
    name = parameters.pop("task", "multiclass")
    X, y = task(name)
    own, other = both(name, backend, **parameters)
    assert_same_fit(own.fit(X, y), other.fit(X, y), X, rtol=1e-8, atol=1e-9)


@has_weights
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name, early", [
    *((name, False) for name in ("multiclass", "binary", "multilabel", "regression", "counts", "csr")),
    ("multiclass", True), ("regression", True),
])  # fmt: skip
def test_sample_weights(name: str, solver: str, early: bool, backend: str) -> None:
    X, y = task(name)
    weights = np.random.default_rng(5).integers(0, 4, len(y)) * 0.7
    own, other = both(name, backend, **{**SMOOTH, "solver": solver, "max_iter": 8, "early_stopping": early})
    assert_same_fit(own.fit(X, y, weights), other.fit(X, y, sample_weight=weights), X, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name, solver", [
    ("multiclass", "adam"), ("binary", "sgd"), ("multilabel", "sgd"), ("regression", "adam"), ("counts", "sgd"), ("csr", "adam"),
    *(pytest.param(name, solver, marks=pytest.mark.slow) for name, solver in (
        ("multiclass", "sgd"), ("binary", "adam"), ("multilabel", "adam"), ("regression", "sgd"), ("counts", "adam"), ("csr", "sgd"),
    )),
])  # fmt: skip
def test_float32(name: str, solver: str, backend: str) -> None:
    X, y = task(name, dtype="float32")
    own, other = both(name, backend, **{**SMOOTH, "solver": solver, "learning_rate_init": 0.01})
    assert_same_fit(own.fit(X, y), other.fit(X, y), X, rtol=1e-3, atol=1e-4)
    assert own.coefs_[0].dtype == np.float32


def test_lbfgs_of_float32_ends_in_float64_as_scipy_does(backend: str) -> None:
    X, y = task("multiclass", dtype="float32")
    own, other = both("multiclass", backend, **{**SMOOTH, "solver": "lbfgs", "max_iter": 8})
    assert_same_fit(own.fit(X, y), other.fit(X, y), X, rtol=1e-3, atol=1e-3)
    assert own.coefs_[0].dtype == np.float64


@pytest.mark.parametrize("convert", [
    lambda X: (10 * X).astype(int), lambda X: (10 * abs(X)).astype(np.uint8), lambda X: X.astype(np.float16), lambda X: X > 0,
    lambda X: X.astype(object), lambda X: X.tolist(), np.asfortranarray, lambda X: X[::-1, ::-1], lambda X: X.astype(">f8"),
], ids=["int", "uint8", "float16", "bool", "object", "list", "fortran", "strided", "big-endian"])  # fmt: skip
def test_input_of_any_kind(convert: Any, backend: str) -> None:
    X, y = task("multiclass")
    X = convert(X)
    before = np.array(X)
    own, other = both("multiclass", backend, **{**SMOOTH, "max_iter": 20})
    assert_same_fit(own.fit(X, y), other.fit(X, y), X)
    assert (before == np.array(X)).all()


@pytest.mark.parametrize("trained, asked", [("float32", "float64"), ("float64", "float32"), ("float32", "int8")])
def test_predictions_have_the_dtype_of_scikit_learn(trained: str, asked: str, backend: str) -> None:
    X, y = task("regression", dtype=trained)
    own, other = both("regression", backend, **{**SMOOTH, "max_iter": 3})
    a, b = own.fit(X, y).predict((4 * X).astype(asked)), other.fit(X, y).predict((4 * X).astype(asked))
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("name", ["multiclass", "binary", "multilabel", "regression", "counts", "csr"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_keeps_the_optimizer(name: str, solver: str, backend: str) -> None:
    X, y = task(name)
    own, other = both(name, backend, **{**SMOOTH, "solver": solver, "learning_rate": "invscaling"})
    more = {"classes": np.arange(3) if name == "multilabel" else np.unique(y)} if hasattr(own, "predict_proba") else {}
    for k in range(8):
        half = slice(k % 2 * 40, k % 2 * 40 + 50)
        own.partial_fit(X[half], y[half], **more)
        other.partial_fit(X[half], y[half], **more)
    assert_same_fit(own, other, X)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_after_fit_and_fit_after_partial_fit(solver: str, backend: str) -> None:
    X, y = task("multiclass")
    for estimator in (pair := both("multiclass", backend, **{**SMOOTH, "solver": solver, "max_iter": 4})):
        estimator.fit(X, y).partial_fit(X[:60], y[:60]).partial_fit(X, y)
    assert_same_fit(*pair, X)
    for estimator in pair:
        estimator.fit(X[:80], y[:80])
    assert_same_fit(*pair, X)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early", [False, True])
def test_warm_start_keeps_the_weights_and_makes_the_optimizer_anew(solver: str, early: bool, backend: str) -> None:
    X, y = task("multiclass")
    parameters = {**SMOOTH, "solver": solver, "max_iter": 5, "warm_start": True, "early_stopping": early}
    for estimator in (pair := both("multiclass", backend, learning_rate="invscaling", **parameters)):
        for _ in range(4):
            estimator.fit(X, y)
    assert_same_fit(*pair, X, rtol=1e-8)


def test_warm_start_where_early_stopping_finds_nothing_better(backend: str) -> None:
    """The weights of the last epoch stay then, in scikit-learn, because the best ones were the very same arrays."""
    X, y = task("multiclass")
    parameters = {**SMOOTH, "solver": "sgd", "warm_start": True, "early_stopping": True, "learning_rate_init": 0.5, "max_iter": 9}
    for estimator in (pair := both("multiclass", backend, **parameters)):
        estimator.fit(X, y)
        estimator.set_params(learning_rate_init=3.0, n_iter_no_change=1).fit(X, y)
    assert_same_fit(*pair, X)


@pytest.mark.parametrize("seed", [None, 7, np.random.RandomState(3)])
def test_random_state(seed: Any, backend: str) -> None:
    X, y = task("binary")
    fits = []
    for make in (lambda **p: ours("binary", backend, **p), lambda **p: theirs("binary", **p)):
        if seed is None:
            np.random.seed(11)  # noqa: NPY002  what scikit-learn draws from without a seed
        given = np.random.RandomState(3) if isinstance(seed, np.random.RandomState) else seed
        fits.append(make(**{**SMOOTH, "max_iter": 3, "random_state": given}).fit(X, y))
    assert_same_fit(*fits, X)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("early", [False, True])
def test_verbose_prints_what_scikit_learn_prints(solver: str, early: bool, backend: str, capsys: Any) -> None:
    X, y = task("multiclass")
    parameters = {"learning_rate": "adaptive", "verbose": True, "early_stopping": early, "tol": 0.1, "n_iter_no_change": 1}
    printed = []
    for estimator in both("multiclass", backend, **{**SMOOTH, "solver": solver, "max_iter": 60, **parameters}):
        estimator.fit(X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "Stopping." in printed[0]


def test_diverging_losses_end_as_in_scikit_learn(backend: str) -> None:
    X, y = task("regression")
    parameters = {**SMOOTH, "activation": "identity", **SGD, "learning_rate_init": 50.0}
    for estimator in both("regression", backend, **parameters):
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            quietly(estimator.fit, X, y)
    own, other = both("regression", backend, **{**parameters, "early_stopping": True, "n_iter_no_change": 60})
    quietly(own.fit, X, y), quietly(other.fit, X, y)
    np.testing.assert_allclose(own.validation_scores_[:5], other.validation_scores_[:5], rtol=1e-6)
    assert np.isnan(own.validation_scores_[-1]) and isinstance(own.validation_scores_[-1], float)
    np.testing.assert_allclose(own.coefs_[0], other.coefs_[0], rtol=1e-9)


def test_saturated_probabilities_cost_what_they_cost_in_scikit_learn(backend: str) -> None:
    """Its cross-entropies hold probabilities an epsilon away from 0 and 1."""
    for name in ("multiclass", "binary"):
        X, y = task(name)
        own, other = both(name, backend, **{**SMOOTH, **SGD, "activation": "identity", "max_iter": 4})
        quietly(assert_same_fit, own.fit(300 * X, y), other.fit(300 * X, y), X)
        assert max(own.loss_curve_) > 10


@pytest.mark.parametrize("bad", [
    {"hidden_layer_sizes": -1}, {"hidden_layer_sizes": (4, 0)}, {"activation": "step"}, {"solver": "newton"}, {"alpha": -1},
    {"batch_size": 0}, {"learning_rate": "fast"}, {"learning_rate_init": 0}, {"max_iter": 0}, {"shuffle": "yes"}, {"tol": -1},
    {"momentum": 2}, {"beta_1": 1.0}, {"epsilon": 0}, {"n_iter_no_change": 0}, {"early_stopping": "true"}, {"max_fun": 0},
    {"validation_fraction": 1.0}, {"power_t": -0.1}, {"beta_2": -1}, {"random_state": "a"}, {"warm_start": 3.5},
], ids=str)  # fmt: skip
def test_bad_parameters_have_scikit_learns_messages(bad: dict[str, Any], backend: str) -> None:
    X, y = task("binary")
    own, other = both("binary", backend, **bad)
    messages = []
    for estimator in (own, other):
        with pytest.raises(ValueError) as caught:
            estimator.fit(X, y)
        messages.append(re.sub(r"{(.*)}", lambda found: str(sorted(found[1].split(", "))), str(caught.value)))
    if bad == {"activation": "step"}:  # there are more to choose from
        messages = [message.split("must be")[0] for message in messages]
    assert messages[0] == messages[1]


@pytest.mark.parametrize("case", [
    "nan", "empty", "no features", "one dimension", "lengths", "labels of floats", "fewer features", "other classes",
    "several outputs of classes", "nan in y", pytest.param("too few to hold out", marks=has_weights),
    pytest.param("weights", marks=has_weights),
])  # fmt: skip
def test_bad_data_has_scikit_learns_messages(case: str, backend: str) -> None:
    X, y = task("multiclass")
    messages = []
    for estimator in both("multiclass", backend, **{**SMOOTH, "max_iter": 2}):
        with pytest.raises(ValueError) as caught:
            _do_wrong(case, estimator, X, y)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def _do_wrong(case: str, estimator: Any, X: np.ndarray, y: np.ndarray) -> None:
    if case == "fewer features":
        estimator.fit(X, y).predict(X[:, 1:])
    elif case == "other classes":
        estimator.set_params(warm_start=True).fit(X, y).fit(X, y + 1)
    elif case == "too few to hold out":
        estimator.set_params(early_stopping=True, validation_fraction=0.01).fit(X, y)
    else:
        X, y, weights = {
            "nan": (np.where(X > 2, np.nan, X), y, None),
            "empty": (X[:0], y[:0], None),
            "no features": (X[:, :0], y, None),
            "one dimension": (X[:, 0], y, None),
            "lengths": (X, y[1:], None),
            "labels of floats": (X, X[:, 0], None),
            "weights": (X, y, np.ones(3)),
            "several outputs of classes": (X, np.stack([y, y], axis=1), None),
            "nan in y": (X, np.where(y == 1, np.nan, y), None),
        }[case]
        estimator.fit(X, y, **({} if weights is None else {"sample_weight": weights}))


def test_weights_that_are_all_0(backend: str) -> None:
    X, y = task("binary")
    with pytest.raises(ValueError, match=r"all 0|at least one non-zero"):  # by us, and by scikit-learn since 1.9
        ours("binary", backend).fit(X, y, np.zeros(len(y)))


def test_warnings_have_scikit_learns_words(backend: str) -> None:
    X, y = task("binary")
    for solver in ("adam", "lbfgs"):
        told = []
        for estimator in both("binary", backend, **{**SMOOTH, "max_iter": 2, "solver": solver, "batch_size": 1000}):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                estimator.fit(X, y[:, None])
            told.append([(w.category, re.sub(r"status=\d+", "", str(w.message))) for w in caught])
        assert told[0] == told[1]
        assert told[0][-1][0] is ConvergenceWarning


def test_a_warning_that_is_made_an_error_leaves_what_there_is(backend: str) -> None:
    X, y = task("multiclass")
    own, other = both("multiclass", backend, **{**SMOOTH, "max_iter": 6})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for estimator in (own, other):
            with pytest.raises(ConvergenceWarning):
                estimator.fit(X, y)
    assert_same_fit(own, other, X)


def test_a_difference_is_seen(backend: str) -> None:
    """The comparison is not one that cannot fail."""
    X, y = task("multiclass")
    other = theirs("multiclass", **SMOOTH).fit(X, y)
    for change in ({"alpha": 1.0001e-4}, {"random_state": 1}, {"max_iter": 49}, {"epsilon": 1.001e-8}):
        own = ours("multiclass", backend, **{**SMOOTH, **change}).fit(X, y)
        with pytest.raises(AssertionError):
            assert_same_fit(own, other, X)
