"""scikit-learn's own MLP as the oracle of fastfc.estimators: small data, and what of two fitted estimators must be the same."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_array, csr_matrix, random
from sklearn import neural_network

from fastfc import estimators

BACKENDS = ("numpy", "numba")  # whose numbers are set against scikit-learn's
ONE = ("numba",)  # enough where it is about what is around the kernels
VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
has_weights = pytest.mark.skipif(VERSION < (1, 7), reason="scikit-learn's MLP has sample_weight, and more, since 1.7")
CURVES = ("loss_curve_", "validation_scores_")
NUMBERS = ("loss_", "best_loss_", "best_validation_score_")
COUNTS = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "_no_improvement_count")


def task(name: str, n: int = 90, dtype: str = "float64") -> tuple[Any, Any]:
    """(X, y) of a small task: binary, strings, multiclass, multilabel, regression, outputs (three), counts, csr."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, 6)).astype(dtype)
    z = X @ rng.standard_normal((6, 3)) + 0.3 * rng.standard_normal((n, 3))
    if name == "binary":
        return X, (z[:, 0] > 0).astype(int) * 5
    if name == "strings":
        return X, np.array(["one", "two", "three"])[z.argmax(axis=1)]
    if name == "multiclass":
        return X, z.argmax(axis=1)
    if name == "multilabel":
        return X, (z > 0).astype(int)
    if name == "regression":
        return X, z[:, 0]
    if name == "outputs":
        return X, z
    if name == "counts":
        return X, rng.poisson(np.exp(0.4 * z[:, 0])).astype(float)
    X = random(n, 40, density=0.1, random_state=3, format="csr", dtype=dtype)
    return (csr_array if name == "csr" else csr_matrix)(X), z.argmax(axis=1)


def is_class(name: str) -> bool:
    return name not in ("regression", "outputs", "counts")


def made(module: Any, name: str, **parameters: Any) -> Any:
    """An estimator of scikit-learn's module, or of ours, for a task."""
    if name == "counts":
        parameters = {"loss": "poisson", **parameters}
    return (module.MLPClassifier if is_class(name) else module.MLPRegressor)(**{"random_state": 0, **parameters})


def theirs(name: str, **parameters: Any) -> Any:
    if name == "counts" and VERSION < (1, 7):
        pytest.skip("scikit-learn's MLP has loss='poisson' since 1.7")
    return made(neural_network, name, **parameters)


def ours(name: str, backend: str, **parameters: Any) -> Any:
    return made(estimators, name, backend=backend, **parameters)


def both(name: str, backend: str, **parameters: Any) -> tuple[Any, Any]:
    """Ours and theirs, not fitted yet."""
    return ours(name, backend, **parameters), theirs(name, **parameters)


def quietly(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """What a call gives, whose warnings are of no interest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **keywords)


def assert_same_fit(own: Any, other: Any, X: Any, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    """All that a fit leaves: counts and types to be equal, numbers to the tolerance."""
    close = {"rtol": rtol, "atol": atol}
    for name in COUNTS:
        assert getattr(own, name, None) == getattr(other, name, None), name
    for name in (*CURVES, *NUMBERS):
        a, b = getattr(own, name, None), getattr(other, name, None)
        assert (a is None) == (b is None), name
        if b is not None:
            np.testing.assert_allclose(a, b, err_msg=name, **close)
    for name in ("coefs_", "intercepts_"):
        for k, (a, b) in enumerate(zip(getattr(own, name), getattr(other, name), strict=True)):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, err_msg=f"{name}[{k}]", **close)
    for method in ("predict_proba", "predict_log_proba") if hasattr(other, "predict_proba") else ("predict",):
        a, b = getattr(own, method)(X), getattr(other, method)(X)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, err_msg=method, **close)
