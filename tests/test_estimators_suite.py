"""scikit-learn's own tests of its MLP, run on the estimators of fastfc: which of them would fail stands in docs/sklearn.md."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import sklearn.neural_network

from fastfc.estimators import MLPClassifier, MLPRegressor
from fastfc.estimators.fitting import Fitting, Regularization
from fastfc.estimators.lbfgs import Objective
from fastfc.estimators.solvers import Solver
from tests.estimators import ONE

pytestmark = pytest.mark.filterwarnings("ignore")


def their_tests() -> ModuleType:
    """The module of tests, which finds our classes in the place of scikit-learn's."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    if spec is None or spec.loader is None:
        pytest.skip("this scikit-learn has come without its tests", allow_module_level=True)
    module = importlib.util.module_from_spec(spec)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
    with patch.multiple(sklearn.neural_network, **ours):
        spec.loader.exec_module(module)
    assert module.MLPClassifier is MLPClassifier
    return module


# More than a second each: left to `make soak`.
LONG = {
    *("test_n_iter_no_change_inf", "test_lbfgs_regression", "test_partial_fit_classification", "test_multilabel_classification"),
    *("test_multioutput_regression", "test_lbfgs_classification", "test_lbfgs_classification_maxfun"),
}
TESTS = {
    name: pytest.mark.slow(value) if name in LONG else value
    for name, value in vars(their_tests()).items()
    if name.startswith("test_")
}
globals().update(TESTS)


def loss_and_gradient(self: MLPClassifier, packed: np.ndarray, X: Any, y: np.ndarray, *_: object) -> tuple[float, np.ndarray]:
    """What scikit-learn calls _loss_grad_lbfgs, of which it has a test, by what is `lbfgs.Objective` here."""
    if "objective" not in vars(self):
        samples, terms = self._samples(X, y.argmax(axis=1) if y.shape[1] > 1 else y, None), Regularization(self.alpha)
        fitting = Fitting(samples, self._parameters, self._form(), terms, Solver(self), len(X), 1, keeps_gradient=True)
        self.objective = Objective(fitting)
    return self.objective(packed)


@pytest.fixture
def global_random_seed() -> int:
    return 0


@pytest.fixture(autouse=True, params=ONE)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The backend that estimators have without being told."""
    for estimator in (MLPClassifier, MLPRegressor):
        monkeypatch.setitem(estimator.__init__.__kwdefaults__, "backend", request.param)
    monkeypatch.setattr(MLPClassifier, "_loss_grad_lbfgs", loss_and_gradient, raising=False)
    yield request.param


def test_there_are_as_many_as_one_expects() -> None:
    assert len(TESTS) > 35 and "test_gradient" in TESTS
