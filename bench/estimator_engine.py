"""fastfc.estimators in a worker, on what bench.peers.sklearn_estimator does with scikit-learn's classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.peers.job import Job
from bench.peers.sklearn_estimator import prepare_with
from fastfc.estimators import MLPClassifier, MLPRegressor


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    return prepare_with(job, MLPClassifier, MLPRegressor)
