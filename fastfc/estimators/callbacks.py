"""The tasks of a fit, as the callbacks of scikit-learn 1.9 see them: the fit, and in it each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastfc.estimators.prediction import Parameters

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """No callbacks: scikit-learn has none."""


class Tasks:
    """Tells the callbacks of an estimator of its epochs, with X, y and weights as they were given to fit."""

    def __init__(self, estimator: Any, data: dict[str, Any], most: int | None) -> None:
        self.estimator, self.data = estimator, data
        self.fit = estimator._init_callback_context(max_subtasks=most)
        self.fit.call_on_fit_task_begin(estimator=estimator, **data)
        self.epoch: Any = None

    def begin(self) -> None:
        self.epoch = self.fit.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, parameters: Callable[[], Parameters]) -> bool:
        """Whether a callback says that it is enough. One that asks for a fitted estimator gets one with these parameters."""
        now = lambda: {"_parameters": parameters()}  # noqa: E731
        return self.epoch.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes=now)

    def end_fit(self) -> None:
        self.fit.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes={})


def tasks_of(estimator: Any, X: Any, y: Any, sample_weight: Any) -> Tasks | None:
    """None where nobody listens."""
    if not (hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")):
        return None
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    most = None if estimator.solver == "lbfgs" else estimator.max_iter
    return Tasks(estimator, {"X": X, "y": y, "metadata": metadata}, most)
