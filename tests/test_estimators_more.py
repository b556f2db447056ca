"""What fastfc.estimators have beyond scikit-learn's MLP."""

from __future__ import annotations

import os
import signal
import threading
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from fastfc.errors import InvalidArgument, InvalidType
from fastfc.estimators import fitting
from tests.estimators import BACKENDS, assert_same_fit, has_weights, ours, task, theirs

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.parametrize("backend", BACKENDS),
]
SMOOTH = {"activation": "tanh", "hidden_layer_sizes": (5,), "max_iter": 20, "batch_size": 32, "learning_rate_init": 0.01}
FULL = {**SMOOTH, "batch_size": 90, "shuffle": False}  # whole batches: the loss of an epoch is that of the weights before it


@has_weights
@pytest.mark.parametrize("name", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weights_are_weights_of_samples(name: str, solver: str, backend: str) -> None:
    X, y = task(name)
    own_weights = np.random.default_rng(0).uniform(size=len(y))
    given: list[Any] = ["balanced", [{0: 1, 1: 2.5}] * 3 if name == "multilabel" else {int(y.max()): 3.0}]
    for class_weight in given:
        weights = compute_sample_weight(class_weight, y)
        parameters = {**SMOOTH, "solver": solver, "max_iter": 8}
        own = ours(name, backend, class_weight=class_weight, **parameters)
        assert_same_fit(own.fit(X, y), theirs(name, **parameters).fit(X, y, weights), X, rtol=1e-8)
        other = theirs(name, **parameters).fit(X, y, weights * own_weights)
        assert_same_fit(own.fit(X, y, own_weights), other, X, rtol=1e-8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_in_any_row(bad: float, backend: str) -> None:
    """What scikit-learn is configured to take is taken."""
    X, y = task("multiclass")
    own = ours("multiclass", backend, **SMOOTH).fit(X, y)
    for rows in (1, 2, len(X)):
        changed = X[:rows].copy()
        changed[-1, 1] = bad
        for predict in (own.predict, own.predict_proba):
            with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
                predict(changed)
        with config_context(assume_finite=True), np.errstate(all="ignore"):
            assert own.predict_proba(changed).shape == (rows, 3)
        np.testing.assert_allclose(own.predict_proba(X[:rows]), own.predict_proba(X)[:rows], rtol=1e-12)


@has_weights
def test_class_weights_of_partial_fit(backend: str) -> None:
    X, y = task("multiclass")
    with pytest.raises(InvalidArgument, match="class_weight: given 'balanced', expected"):
        ours("multiclass", backend, class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    own, other = ours("multiclass", backend, class_weight={1: 4.0}, **SMOOTH), theirs("multiclass", **SMOOTH)
    own.partial_fit(X, y, classes=[0, 1, 2])
    assert_same_fit(own, other.partial_fit(X, y, np.where(y == 1, 4.0, 1.0), [0, 1, 2]), X)
    with pytest.raises(InvalidArgument, match="sample_weight: given weights that are all 0, with those of classes"):
        ours("multiclass", backend, class_weight={0: 0, 1: 0, 2: 0}).fit(X, y)


def test_dropout_is_for_training_only_and_follows_the_seed(backend: str) -> None:
    X, y = task("multiclass")
    fits = [ours("multiclass", backend, **SMOOTH, **more).fit(X, y) for more in ({"dropout": 0.5}, {"dropout": [0.5]}, {}, {"dropout": 0})]
    assert fits[0].loss_curve_ == fits[1].loss_curve_ != fits[2].loss_curve_ == fits[3].loss_curve_
    assert (fits[0].predict_proba(X) == fits[0].predict_proba(X)).all()
    assert fits[0].loss_curve_ != ours("multiclass", backend, **SMOOTH, dropout=0.5, random_state=1).fit(X, y).loss_curve_


def test_dropout_of_a_unit_is_seen_in_the_first_loss(backend: str) -> None:
    """With one hidden unit, dropped or doubled, each loss of the first epoch is one of two that can be had without dropout."""
    X, y = task("regression")
    parameters = {**FULL, "hidden_layer_sizes": (1,), "max_iter": 1, "alpha": 0.0}
    start = ours("regression", backend, **{**parameters, "learning_rate_init": 1e-12}).fit(X, y)
    h = np.tanh(X @ start.coefs_[0] + start.intercepts_[0])
    each = [((factor * h @ start.coefs_[1] + start.intercepts_[1])[:, 0] - y) ** 2 / 2 for factor in (0, 2)]
    loss = ours("regression", backend, **parameters, dropout=0.5).fit(X, y).loss_
    assert np.minimum(*each).mean() < loss < np.maximum(*each).mean()
    assert not np.isclose(loss, start.loss_)


def test_activations_by_layer(backend: str) -> None:
    X, y = task("regression")
    functions = {
        "logistic": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh, "identity": lambda z: z, "relu": lambda z: np.maximum(z, 0),
        "softplus": lambda z: np.log1p(np.exp(z)), "silu": lambda z: z / (1 + np.exp(-z)), "leaky_relu": lambda z: np.maximum(z, z / 100),
    }  # fmt: skip
    for names in (("logistic", "tanh"), ("softplus", "silu"), ("leaky_relu", "relu"), ("identity", "logistic")):
        own = ours("regression", backend, **{**SMOOTH, "hidden_layer_sizes": (4, 3), "activation": names}).fit(X, y)
        a = X
        for weights, biases, name in zip(own.coefs_, own.intercepts_, (*names, "identity"), strict=True):
            a = functions[name](a @ weights + biases)
        np.testing.assert_allclose(own.predict(X), a[:, 0], rtol=1e-9)
    same = {**SMOOTH, "hidden_layer_sizes": (4, 3)}
    own = ours("regression", backend, **{**same, "activation": ["logistic", "logistic"]}).fit(X, y)
    assert_same_fit(own, theirs("regression", **{**same, "activation": "logistic"}).fit(X, y), X)


def hand_made_step(kind: str, w: np.ndarray, g: np.ndarray, lr: float, alpha: float) -> np.ndarray:
    """The first step of an optimiser, by its formula, along the gradient g of the loss without penalty; of 90 samples."""
    if kind == "adamw":
        return w - lr * alpha * w - lr * g / (np.abs(g) + 1e-8)
    g = g + alpha / 90 * w
    if kind == "adam":
        return w - lr * g / (np.abs(g) + 1e-8)
    if kind == "rmsprop":
        return w - lr * g / (np.sqrt((1 - 0.999) * g * g) + 1e-8)
    return w - lr * g / (np.abs(g) + 1e-8) if kind == "adagrad" else w - lr * (g + 0.9 * g)  # sgd: Nesterov's


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_optimizers_make_the_step_of_their_formula(kind: str, backend: str) -> None:
    X, y = task("regression")
    first = {**FULL, "max_iter": 1}
    start, moved = (
        theirs("regression", **{**first, "solver": "sgd", "momentum": 0, "alpha": 0, "learning_rate_init": lr}).fit(X, y)
        for lr in (1e-300, 1.0)
    )
    w, g = start.coefs_[0], start.coefs_[0] - moved.coefs_[0]
    own = ours("regression", backend, **{**first, "optimizer": kind, "alpha": 0.3}).fit(X, y)
    np.testing.assert_allclose(own.coefs_[0], hand_made_step(kind, w, g, 0.01, 0.3), rtol=1e-6)
    penalty = 0 if kind == "adamw" else 0.15 / 90 * sum((c**2).sum() for c in start.coefs_)
    np.testing.assert_allclose(own.loss_, start.loss_ + penalty)


def test_schedules(backend: str) -> None:
    X, y = task("multiclass")
    parameters = {**SMOOTH, "solver": "sgd", "momentum": 0.5}
    plain = ours("multiclass", backend, **parameters).fit(X, y)
    seen: list[tuple[int, int]] = []

    def half(step: int, steps: int) -> float:
        seen.append((step, steps))
        return 0.5

    scheduled = ours("multiclass", backend, **parameters, schedule=half).fit(X, y)
    assert seen == [(step, 60) for step in range(60)]
    assert_same_fit(scheduled, ours("multiclass", backend, **{**parameters, "learning_rate_init": 0.005}).fit(X, y), X)
    for name in ("constant", "cosine", "one_cycle", "coslog4"):
        other = ours("multiclass", backend, **parameters, schedule=name).fit(X, y)
        assert (other.loss_curve_ == plain.loss_curve_) == (name == "constant")
    adam = ours("multiclass", backend, **SMOOTH, schedule=lambda step, steps: 1.0).fit(X, y)
    assert_same_fit(adam, theirs("multiclass", **SMOOTH).fit(X, y), X)


def test_label_smoothing_is_in_the_loss(backend: str) -> None:
    for name, classes in (("multiclass", 3), ("binary", 2), ("multilabel", 2)):
        X, y = task(name)
        parameters = {**FULL, "max_iter": 1, "alpha": 0.0}
        start = theirs(name, **{**parameters, "learning_rate_init": 1e-300}).fit(X, y)
        p = start.predict_proba(X)
        hard = y if name == "multilabel" else (y[:, None] == start.classes_).astype(float)
        soft = 0.8 * hard + 0.2 / classes
        losses = -(soft * np.log(p)).sum(axis=1) - ((1 - soft) * np.log(1 - p)).sum(axis=1) * (name == "multilabel")
        own = ours(name, backend, **parameters, label_smoothing=0.2).fit(X, y)
        np.testing.assert_allclose(own.loss_, losses.mean())


@pytest.mark.parametrize("name", ["multiclass", "binary", "strings", "multilabel", "regression", "csr"])
def test_validation_data_judges_and_leaves_all_samples_to_train_on(name: str, backend: str) -> None:
    X, y = task(name, 140)
    held = X[90:], y[90:]
    own = ours(name, backend, **SMOOTH, early_stopping=True).fit(X[:90], y[:90], validation_data=held)
    assert own.t_ == 90 * own.n_iter_
    assert own.best_validation_score_ == max(own.validation_scores_) and len(own.validation_scores_) == own.n_iter_
    np.testing.assert_allclose(own.score(*held), own.best_validation_score_)
    watched = ours(name, backend, **SMOOTH).fit(X[:90], y[:90], validation_data=held)
    other = theirs(name, **SMOOTH).fit(X[:90], y[:90])
    assert watched.loss_curve_ == pytest.approx(other.loss_curve_) and watched.best_loss_ == pytest.approx(other.best_loss_)
    np.testing.assert_allclose(watched.score(*held), watched.validation_scores_[-1])
    weights = np.arange(50.0)
    own.fit(X[:90], y[:90], validation_data=(*held, weights))
    np.testing.assert_allclose(own.score(*held, weights), own.best_validation_score_)


def test_an_own_score_stops_the_training(backend: str) -> None:
    X, y = task("strings", 140)
    seen = []

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        seen.append((X.shape, set(y)))
        return -log_loss(y, estimator.predict_proba(X), labels=estimator.classes_)

    fits = [
        ours("strings", backend, **SMOOTH, early_stopping=True, scoring=scoring).fit(X[:90], y[:90], validation_data=(X[90:], y[90:]))
        for scoring in (scorer, "neg_log_loss")
    ]
    assert fits[0].validation_scores_ == pytest.approx(fits[1].validation_scores_)
    assert seen == [((50, 6), {"one", "two", "three"})] * fits[0].n_iter_
    assert fits[0].best_validation_score_ == pytest.approx(scorer(fits[0], X[90:], y[90:]))
    assert ours("strings", backend, **SMOOTH, early_stopping=True, scoring="f1_macro").fit(X, y).best_validation_score_ > 0


def test_max_seconds_leaves_what_there_is(backend: str) -> None:
    X, y = task("multiclass")
    endless = {**SMOOTH, "max_iter": 10**9, "n_iter_no_change": np.inf, "tol": 0.0, "max_seconds": 0.2}
    own = ours("multiclass", backend, **endless).fit(X, y)
    assert 1 <= own.n_iter_ < 10**8 and len(own.loss_curve_) == own.n_iter_
    slow = {**SMOOTH, "solver": "lbfgs", "max_iter": 10**6, "max_fun": 10**9, "tol": 0.0, "max_seconds": 1e-6}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ours("multiclass", backend, **slow).fit(X, y).n_iter_ == 1


def test_ctrl_c_leaves_what_there_is(backend: str) -> None:
    X, y = task("multiclass")
    own = ours("multiclass", backend, **{**SMOOTH, "max_iter": 10**9, "n_iter_no_change": np.inf})
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        own.fit(X, y)
    timer.join()
    assert own.n_iter_ == len(own.loss_curve_) > 0 and own.score(X, y) > 0.3
    own.set_params(max_iter=3).fit(X, y)
    assert own.n_iter_ == 3


def test_an_interrupt_from_elsewhere_leaves_what_there_is(backend: str) -> None:
    X, y = task("multiclass")

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        if estimator.n_iter_ == 4:
            raise KeyboardInterrupt
        return 0.5

    own = ours("multiclass", backend, **SMOOTH, early_stopping=True, scoring=scorer)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        own.fit(X, y)
    assert own.n_iter_ == 4 and own.validation_scores_ == [0.5] * 3


def test_long_epochs_listen_for_the_clock(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "QUICK", 0)
    monkeypatch.setattr(fitting, "SLICE_SECONDS", 0.0)
    X, y = task("multiclass")
    assert_same_fit(ours("multiclass", backend, **SMOOTH).fit(X, y), theirs("multiclass", **SMOOTH).fit(X, y), X)
    own = ours("multiclass", backend, **{**SMOOTH, "batch_size": 1}, max_seconds=1e-9).fit(X, y)
    assert own.n_iter_ == 0 and own.loss_curve_ == []


def test_uint8_stays_uint8(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, load = [], fitting.load_backend
    monkeypatch.setattr(fitting, "load_backend", lambda name: (lambda plan, X, *rest: taken.append(X) or load(name)[0](plan, X, *rest),))
    X = np.random.default_rng(0).integers(0, 256, (90, 8), dtype=np.uint8)
    y = (X[:, 0] > 127).astype(int)
    own = ours("binary", backend, **SMOOTH, early_stopping=True).fit(X, y)
    assert taken[0] is X
    other = theirs("binary", **SMOOTH, early_stopping=True).fit(X, y)
    assert_same_fit(own, other, X)
    np.testing.assert_allclose(own.predict_proba(X), own.predict_proba(X.astype(float)), rtol=1e-12)


def test_csr_is_never_expanded_whole(backend: str) -> None:
    rng = np.random.default_rng(0)
    stored = rng.uniform(size=60_000), rng.integers(30_000, size=60_000), np.arange(0, 60_001, 30)
    X = csr_array(stored, shape=(2000, 30_000))
    y = np.arange(2000) % 2
    own = ours("binary", backend, hidden_layer_sizes=(2,), batch_size=50, max_iter=1, early_stopping=True)
    tracemalloc.start()
    own.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * 2000 * 30_000 * 8


class Recorder:
    """A callback of scikit-learn's protocol, which says that it is enough at an epoch."""

    def __init__(self, last: int = 10**9) -> None:
        self.last, self.seen = last, []

    def setup(self, estimator: Any, context: Any) -> None:
        self.seen.append("setup")

    def teardown(self, estimator: Any, context: Any) -> None:
        self.seen.append("teardown")

    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any = None, metadata: Any = None) -> None:
        self.seen.append((context.task_name, context.task_id, X.shape, metadata))

    def on_fit_task_end(self, estimator: Any, context: Any, *, X: Any = None, y: Any = None, fitted_estimator: Any = None) -> bool:
        self.seen.append(fitted_estimator.score(X, y))
        return context.task_id >= self.last


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_callbacks_of_scikit_learn(solver: str, backend: str) -> None:
    pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")
    X, y = task("multiclass")
    recorder, plain = Recorder(), ours("multiclass", backend, **{**SMOOTH, "solver": solver, "max_iter": 5})
    own = ours("multiclass", backend, **{**SMOOTH, "solver": solver, "max_iter": 5}).set_callbacks(recorder)
    assert_same_fit(own.fit(X, y), plain.fit(X, y), X, rtol=0, atol=0)
    begun = [seen[:2] for seen in recorder.seen if isinstance(seen, tuple)]
    assert begun[:6] == [("fit", 0), *(("epoch", k) for k in range(5))]
    assert recorder.seen[0] == "setup" and recorder.seen[-1] == "teardown"
    scores = [seen for seen in recorder.seen if isinstance(seen, float)]
    assert scores[-1] == own.score(X, y) and len(scores) == 6
    recorder = Recorder(last=2)
    own = ours("multiclass", backend, **{**SMOOTH, "solver": solver, "max_iter": 9}).set_callbacks(recorder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert own.fit(X, y, np.ones(len(y))).n_iter_ == 3
    assert set(recorder.seen[1][3]) == {"sample_weight"}


def test_monitors_of_scikit_learn(backend: str) -> None:
    callback = pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")
    X, y = task("multiclass")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    own = ours("multiclass", backend, **{**SMOOTH, "max_iter": 4}).set_callbacks(monitor).fit(X, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data]
    assert len(scores) == 5 and scores[-1] == own.score(X, y)


@pytest.mark.parametrize("bad, message", [
    ({"dropout": [0.1, 0.2]}, "dropout: given 2 for 1 hidden layers, expected one for all, or one for each"),
    ({"dropout": [1.0]}, "dropout: given 1.0, expected a finite number >= 0 and < 1"),
    ({"dropout": 1.0}, "The 'dropout' parameter of MLPClassifier must be"),
    ({"activation": ["tanh"] * 2}, "activation: given 2 for 1 hidden layers"),
    ({"activation": ["step"]}, "activation: given 'step', expected one of logistic, relu"),
    ({"schedule": "plateau"}, "The 'schedule' parameter of MLPClassifier must be"),
    ({"schedule": "cosine", "learning_rate": "adaptive"}, "learning_rate: given 'adaptive', expected 'constant' with a schedule"),
    ({"schedule": lambda step, steps: -1.0}, "schedule: given -1.0 at step 0, expected a finite number >= 0"),
    ({"optimizer": "newton"}, "The 'optimizer' parameter of MLPClassifier must be"),
    ({"optimizer": "adamw", "solver": "lbfgs"}, "optimizer: given 'adamw', expected None with solver 'lbfgs'"),
    ({"schedule": "cosine", "solver": "lbfgs"}, "schedule: given 'cosine', expected None with solver 'lbfgs'"),
    ({"dropout": 0.1, "solver": "lbfgs"}, "dropout: given 0.1, expected 0 with solver 'lbfgs'"),
    ({"label_smoothing": 1.0}, "The 'label_smoothing' parameter of MLPClassifier must be"),
    ({"class_weight": "even"}, "The 'class_weight' parameter of MLPClassifier must be"),
    ({"threads": 0}, "The 'threads' parameter of MLPClassifier must be"),
    ({"max_seconds": 0}, "The 'max_seconds' parameter of MLPClassifier must be"),
    ({"scoring": "best", "early_stopping": True}, "'best' is not a valid scoring value"),
], ids=lambda value: str(value)[:40])  # fmt: skip
def test_bad_options(bad: dict[str, Any], message: str, backend: str) -> None:
    X, y = task("binary")
    with pytest.raises((ValueError, TypeError), match=message):
        ours("binary", backend, **{"hidden_layer_sizes": (4,), **bad}).fit(X, y)


def test_bad_calls(backend: str) -> None:
    X, y = task("multiclass")
    own = ours("multiclass", backend, **SMOOTH)
    for given, error, message in (
        ((X, y, y, y), InvalidType, r"validation_data: given tuple, expected \(X, y\) or \(X, y, sample_weight\)"),
        (X, InvalidType, "validation_data: given ndarray, expected"),
        ((X[:, 1:], y), ValueError, "X has 5 features, but MLPClassifier is expecting 6"),
        ((X, y + 1), InvalidArgument, r"y: given the class np.int64\(3\), expected one of the 3 that are trained on"),
    ):
        with pytest.raises(error, match=message):
            own.fit(X, y, validation_data=given)
    with pytest.raises(InvalidArgument, match="validation_data: given samples, expected None with solver 'lbfgs'"):
        ours("multiclass", backend, solver="lbfgs").fit(X, y, validation_data=(X, y))
    with pytest.raises(InvalidArgument, match="schedule: given 'cosine', expected None with partial_fit"):
        ours("multiclass", backend, schedule="cosine").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(InvalidArgument, match="y: given -1, expected numbers >= 0 with loss 'poisson'"):
        ours("counts", backend).fit(X, y - 1)
    warm = ours("regression", backend, **SMOOTH, warm_start=True).fit(X, y)
    with pytest.raises(InvalidArgument, match="y: given 2 outputs, expected 1, as in the fit before"):
        warm.fit(X, np.stack([y, y], axis=1))


def test_a_fit_of_many_epochs_has_little_to_do_beside_its_steps(backend: str) -> None:
    """The trainer is made once, and called once an epoch."""
    made, load, calls = [], fitting.load_backend, []
    X, y = task("multiclass")

    class Counted:
        def __init__(self, *arguments: Any) -> None:
            made.append(load(backend)[0](*arguments))

        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return getattr(made[0], name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "load_backend", lambda name: (Counted,))
        ours("multiclass", backend, **SMOOTH).fit(X, y)
    assert len(made) == 1 and calls == [*["run"] * 20, "state", "close"]
