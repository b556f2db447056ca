"""Samples that an estimator is judged by, not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastfc.estimators.prediction import Form, Parameters


@dataclass
class HeldOut:
    """X, targets as in `fitting.Samples`, y as it was given, all of (n,) samples; weights (n,) or None.

    scorer  function of (estimator, X, y), as scikit-learn makes them; None: accuracy, or R²
    """

    X: Any
    targets: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    form: Form
    threads: int
    scorer: Any = None

    def score(self, estimator: Any, parameters: Parameters) -> float:
        """What the estimator reaches with these parameters; NaN where its outputs are not finite numbers."""
        if self.scorer is not None:
            return self._by_scorer(estimator, parameters)
        outputs, _ = parameters.outputs(self.X, self.form, parameters.dtype, self.threads)
        if self.form.out_activation in ("identity", "exp"):
            return r2(self.targets, outputs, self.weights) if np.isfinite(outputs).all() else float("nan")
        if self.form.out_activation == "softmax":
            right = outputs.argmax(axis=1) == self.targets
        else:
            right = ((outputs > 0.5) == (self.targets > 0.5)).all(axis=1)
        return float(np.average(right, weights=self.weights))

    def _by_scorer(self, estimator: Any, parameters: Parameters) -> float:
        before = estimator._parameters
        estimator._parameters, estimator._is_checked = parameters, True  # X is: it has lost its names of features
        try:
            if self.weights is None:
                return float(self.scorer(estimator, self.X, self.y))
            return float(self.scorer(estimator, self.X, self.y, sample_weight=self.weights))
        finally:
            estimator._parameters = before
            del estimator._is_checked


def r2(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> float:
    """Mean over the columns of R² = 1 - sum w (t - y)² / sum w (t - mean)²; of targets that are all the same, 1 where
    each output is exactly right, else 0. targets, outputs (n, outputs), weights (n,)."""
    targets, outputs = targets.astype(np.float64), outputs.astype(np.float64)
    w = np.ones((1, 1)) if weights is None else weights[:, None]
    residuals = (w * np.square(targets - outputs)).sum(axis=0)
    deviations = (w * np.square(targets - np.average(targets, axis=0, weights=weights))).sum(axis=0)
    ratio = np.divide(residuals, deviations, out=np.where(residuals == 0, 0.0, 1.0), where=deviations != 0)
    return float(1 - ratio.mean())
