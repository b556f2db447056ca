"""An estimator as its user has it: all defaults of scikit-learn but the hidden layers and the epochs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor

from bench.peers.job import Job

GRID = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2], "learning_rate_init": [5e-4, 1e-3, 2e-3]}
EPOCHS, FITS = 50, 5  # by which an epoch is told from what a fit costs once; fits of which the quickest counts


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    return prepare_with(job, MLPClassifier, MLPRegressor)


def prepare_with(job: Job, classifier: Any, regressor: Any) -> Callable[[], dict[str, Any]]:
    """The task for two classes that are called as scikit-learn's. What must be the same for all is in "curve"."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    w, (X, y) = job.workload, job.inputs()

    def make(epochs: int) -> Any:
        kind = regressor if w.loss == "mse" else classifier
        return kind(hidden_layer_sizes=w.layers[1:-1], max_iter=epochs, random_state=0)

    def fit() -> dict[str, Any]:
        begin = time.perf_counter()
        model = make(w.epochs).fit(X, y)
        return {"seconds": time.perf_counter() - begin, "curve": model.loss_curve_}

    def fixed() -> dict[str, Any]:
        """A fit of one epoch, less an epoch."""
        best = {}
        for epochs in (1, 1 + EPOCHS) * FITS:
            begin = time.perf_counter()
            make(epochs).fit(X, y)
            best[epochs] = min(best.get(epochs, np.inf), time.perf_counter() - begin)
        return {"seconds": best[1] - (best[1 + EPOCHS] - best[1]) / EPOCHS}

    def search() -> dict[str, Any]:
        begin = time.perf_counter()
        with parallel_config("loky", inner_max_num_threads=1):  # as joblib does where no variable says how many threads
            found = GridSearchCV(make(w.epochs), GRID, cv=5, n_jobs=2).fit(X, y)
        return {"seconds": time.perf_counter() - begin, "curve": found.cv_results_["mean_test_score"].tolist()}

    if w.task != "predict_proba":
        return {"fit": fit, "fixed": fixed, "search": search}[w.task]
    few = np.random.default_rng(0).random((200, w.layers[0])).astype(job.dtype)
    model = make(1).fit(few, np.arange(len(few)) % w.layers[-1])

    def predict_proba() -> dict[str, Any]:
        begin = time.perf_counter()
        for _ in range(w.calls):
            found = model.predict_proba(X)
        return {"seconds": (time.perf_counter() - begin) / w.calls, "curve": found[0].tolist()}

    return predict_proba
