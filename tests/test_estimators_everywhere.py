"""Everything of scikit-learn that estimators pass through: its checks, pipelines, searches, pickles, routing of weights."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_param_validation,
    check_sample_weight_equivalence_on_dense_data,
    check_sample_weight_equivalence_on_sparse_data,
    parametrize_with_checks,
)

from fastfc.estimators import MLPClassifier, MLPRegressor
from tests.estimators import ONE, assert_same_fit, both, has_weights, ours, task, theirs
from tests.small import python

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUICK = {"hidden_layer_sizes": (5,), "max_iter": 15, "activation": "tanh", "learning_rate_init": 0.01}
each_backend = pytest.mark.parametrize("backend", ONE)
CHECKED = [made(backend=backend, max_iter=100) for backend in ONE for made in (MLPClassifier, MLPRegressor)]
checks = parametrize_with_checks(CHECKED).mark


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(checks.args[0], list(checks.args[1]), **checks.kwargs)  # a list: before 1.9 they are an iterator
def test_checks_of_estimators(estimator: Any, check: Any) -> None:
    check(estimator)


@each_backend
@pytest.mark.parametrize("made", [MLPClassifier, MLPRegressor])
def test_weights_are_repetitions_unless_rows_share_a_batch_with_others(made: Any, backend: str) -> None:
    """In batches of all rows, as they are by default up to 200; with mini-batches, rows that are repeated fall into others."""
    for check in (check_sample_weight_equivalence_on_dense_data, check_sample_weight_equivalence_on_sparse_data):
        check("whole", made(backend=backend, max_iter=30))
        with pytest.raises(AssertionError, match="not equivalent"):
            check("batches", made(backend=backend, max_iter=30, batch_size=4))


@pytest.mark.parametrize("estimator", [MLPClassifier(backend="numpy"), MLPRegressor(backend="numpy")])
def test_every_parameter_is_validated(estimator: Any) -> None:
    check_param_validation(type(estimator).__name__, estimator)


@each_backend
def test_clone_has_the_parameters_and_nothing_else(backend: str) -> None:
    X, y = task("binary")
    own = ours("binary", backend, **QUICK, dropout=[0.2], class_weight={0: 2.0}).fit(X, y)
    copied = clone(own)
    assert copied.get_params() == own.get_params() and not hasattr(copied, "coefs_")
    assert "dropout=[0.2]" in repr(own) and "alpha" not in repr(own)
    assert set(vars(copied)) == set(own.get_params())


@each_backend
@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy", "memmap"])
def test_copies_predict_and_train_on_alike(backend: str, how: str, tmp_path: Any) -> None:
    X, y = task("multiclass")
    own = ours("multiclass", backend, **QUICK).fit(X, y)
    if how in ("joblib", "memmap"):
        joblib.dump(own, tmp_path / "own.joblib")
        copied = joblib.load(tmp_path / "own.joblib", mmap_mode="r" if how == "memmap" else None)
    else:
        copied = pickle.loads(pickle.dumps(own)) if how == "pickle" else copy.deepcopy(own)
    assert (copied.predict_proba(X) == own.predict_proba(X)).all()
    for estimator in (own, copied):
        estimator.partial_fit(X, y).partial_fit(X, y)
    assert_same_fit(own, copied, X, rtol=0, atol=0)


@each_backend
def test_a_pickle_is_not_larger_than_what_was_learnt(backend: str) -> None:
    X, y = task("multiclass")
    own = ours("multiclass", backend, **{**QUICK, "hidden_layer_sizes": (300,)}).fit(X, y)
    own.predict(X)
    numbers = 3 * sum(p.nbytes for p in (*own.coefs_, *own.intercepts_))  # with the two averages of Adam
    assert len(pickle.dumps(own)) < numbers + 10_000


@each_backend
def test_parameters_may_be_changed_in_place_and_assigned(backend: str) -> None:
    X, y = task("multiclass")
    own, other = (estimator.fit(X, y) for estimator in both("multiclass", backend, **QUICK))
    first = own.predict_proba(X)
    for estimator in (own, other):
        estimator.coefs_[0][0] *= 2
    assert not np.allclose(first, own.predict_proba(X))
    np.testing.assert_allclose(own.predict_proba(X), other.predict_proba(X), rtol=1e-9)
    held = [own.coefs_[1], other.coefs_[1]]
    own.predict_proba(X)
    for weights in held:  # through a name that was given away long ago
        weights[:] = 0
    np.testing.assert_allclose(own.predict_proba(X), other.predict_proba(X), rtol=1e-9)
    for estimator in (own, other):
        estimator.intercepts_ = [b + 1.0 for b in estimator.intercepts_]
        estimator.coefs_[1] = np.ones((5, 3)) * np.arange(3)
    np.testing.assert_allclose(own.predict_proba(X), other.predict_proba(X), rtol=1e-9)
    assert_same_fit(own.partial_fit(X, y), other.partial_fit(X, y), X)


@each_backend
def test_threads_of_python_may_predict_at_once(backend: str) -> None:
    X, y = task("multiclass")
    own = ours("multiclass", backend, **QUICK).fit(X, y)
    expected, wrong = own.predict_proba(X), []

    def predict() -> None:
        wrong.extend(k for k in range(50) if not np.array_equal(own.predict_proba(X), expected))

    threads = [threading.Thread(target=predict) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@each_backend
def test_pipelines_with_frames_and_columns(backend: str) -> None:
    X, y = task("binary")
    frame = pd.DataFrame(X, columns=[f"column {k}" for k in range(6)])
    frame["kind"], frame.iloc[3, 2] = np.where(X[:, 0] > 0, "a", "b"), np.nan
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    fits = []
    for make in (lambda: ours("binary", backend, **QUICK), lambda: theirs("binary", **QUICK)):
        columns = ColumnTransformer([("numbers", numbers, list(frame.columns[:6]))], verbose_feature_names_out=False)
        pipeline = make_pipeline(columns, SelectKBest(k=4), make()).set_output(transform="pandas")
        fits.append(pipeline.fit(frame, y))
        assert (fits[-1][-1].feature_names_in_ == fits[0][-1].feature_names_in_).all()
    assert len(fits[0][-1].feature_names_in_) == 4
    np.testing.assert_allclose(*(fit.predict_proba(frame) for fit in fits), rtol=1e-9)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fits[0][-1].predict(X[:, :4])
    with pytest.raises(ValueError, match="feature names should match"):
        fits[0][-1].predict(frame[frame.columns[:4]].rename(columns=str.upper).fillna(0))


@each_backend
def test_searches_and_cross_validation_find_the_same(backend: str) -> None:
    X, y = task("multiclass")
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(3,), (6,)], "solver": ["adam", "lbfgs"]}
    found = [GridSearchCV(made, grid, cv=3).fit(X, y) for made in both("multiclass", backend, **QUICK)]
    assert found[0].best_params_ == found[1].best_params_
    np.testing.assert_allclose(*(search.cv_results_["mean_test_score"] for search in found), rtol=1e-9)
    X, y = task("regression")
    scores = [cross_val_score(made, X, y, cv=3, scoring="r2") for made in both("regression", backend, **QUICK)]
    np.testing.assert_allclose(*scores, rtol=1e-9)


@each_backend
@pytest.mark.parametrize("wrap, name", [
    (lambda made: CalibratedClassifierCV(made, cv=2, method="sigmoid"), "binary"),
    (lambda made: BaggingClassifier(made, n_estimators=3, random_state=0, max_features=4), "multiclass"),
    (lambda made: TransformedTargetRegressor(made, func=np.arcsinh, inverse_func=np.sinh), "regression"),
], ids=["calibration", "bagging", "transformed target"])  # fmt: skip
def test_other_estimators_around_ours(wrap: Any, name: str, backend: str) -> None:
    X, y = task(name)
    fits = [wrap(made).fit(X, y) for made in both(name, backend, **QUICK)]
    method = "predict_proba" if hasattr(fits[0], "predict_proba") else "predict"
    np.testing.assert_allclose(*(getattr(fit, method)(X) for fit in fits), rtol=1e-7)


@has_weights
@each_backend
def test_weights_are_routed(backend: str) -> None:
    X, y = task("multiclass")
    weights = np.random.default_rng(0).uniform(size=len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        fits = []
        for made in both("multiclass", backend, **QUICK):
            made.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), made)
            search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-3, 1.0]}, cv=2)
            fits.append(search.fit(X, y, sample_weight=weights))
        np.testing.assert_allclose(*(fit.predict_proba(X) for fit in fits), rtol=1e-9)
        np.testing.assert_allclose(*(fit.cv_results_["mean_test_score"] for fit in fits), rtol=1e-9)


@each_backend
def test_html(backend: str) -> None:
    X, y = task("binary")
    own = ours("binary", backend, **QUICK)
    assert "MLPClassifier" in own._repr_html_()
    page = own.fit(X, y)._repr_html_()
    assert "fitted" in page and ("coefs_" in page) == (sklearn.__version__ >= "1.9")


def test_nothing_is_imported_that_is_not_needed() -> None:
    code = """
import sys, warnings, fastfc
warnings.simplefilter("ignore")
fastfc.train, fastfc.Network, fastfc.load
print([name for name in ("sklearn", "scipy", "joblib") if name in sys.modules])
from fastfc.estimators import MLPClassifier
MLPClassifier(backend="numpy", max_iter=2).fit([[0.0], [1.0]], [0, 1]).predict([[0.5]])
print("sklearn" in sys.modules, "numba" in sys.modules, "distributed" in sys.modules)
"""
    assert python(code).splitlines() == ["[]", "True False False"]


def test_without_scikit_learn_one_line_says_what_to_install() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
try:
    import fastfc.estimators
except ImportError as error:
    print(error)
"""
    assert python(code).strip() == "fastfc.estimators needs scikit-learn 1.6 or newer: pip install 'fastfc[sklearn]'"
