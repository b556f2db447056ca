"""Checks of parameters that scikit-learn's constraints, which look at one at a time, cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfc.errors import invalid
from fastfc.kernels.plan import ACTIVATIONS
from fastfc.validation import number, one_of, sizes


def is_stochastic(estimator: Any) -> bool:
    """Whether it has partial_fit. Raises AttributeError, in scikit-learn's words, where it has not."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


def hidden_sizes(given: Any) -> tuple[int, ...]:
    """One number for each hidden layer. Raises ValueError, in scikit-learn's words, for what is not above 0."""
    listed = list(given) if hasattr(given, "__iter__") else [given]
    if np.any(np.array(listed) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {listed}.")
    return sizes("hidden_layer_sizes", listed)


def activation_of(given: Any) -> str | tuple[str, ...]:
    """One name, or one for each hidden layer."""
    return given if isinstance(given, str) else tuple(given)


def dropout_of(given: Any, hidden: int) -> tuple[float, ...]:
    """Rates of the input, which is 0, and of each hidden layer; () where nothing is dropped."""
    rates = tuple(given) if hasattr(given, "__iter__") else (given,) * hidden
    return (0.0, *map(float, rates)) if any(rates) else ()


def check_combination(estimator: Any, hidden: int, incremental: bool, validation_data: Any) -> None:
    """Raise InvalidArgument or InvalidType for what does not go together, before anything is computed."""
    if not isinstance(estimator.activation, str):
        _check_each("activation", list(estimator.activation), max(hidden, 1))
        for name in estimator.activation:
            one_of("activation", name, ("logistic", *ACTIVATIONS))
    if hasattr(estimator.dropout, "__iter__"):
        _check_each("dropout", list(estimator.dropout), hidden)
        for rate in estimator.dropout:
            number("dropout", rate, at_least=0, below=1)
    if incremental and estimator.early_stopping:
        raise ValueError("partial_fit does not support early_stopping=True")
    if incremental and estimator.schedule is not None:
        raise invalid("schedule", repr(estimator.schedule), "None with partial_fit, whose end is not known")
    if estimator.schedule is not None and estimator.learning_rate != "constant":
        raise invalid("learning_rate", repr(estimator.learning_rate), "'constant' with a schedule, which is another")
    if estimator.solver == "lbfgs":
        for name in ("optimizer", "schedule"):
            if getattr(estimator, name) is not None:
                raise invalid(name, repr(getattr(estimator, name)), "None with solver 'lbfgs', which is one by itself")
        if dropout_of(estimator.dropout, hidden):
            raise invalid("dropout", estimator.dropout, "0 with solver 'lbfgs', whose loss must stay the same function")
        if validation_data is not None:
            raise invalid("validation_data", "samples", "None with solver 'lbfgs', which has no epochs")


def _check_each(what: str, given: Sequence[object], hidden: int) -> None:
    if len(given) != hidden:
        raise invalid(what, f"{len(given)} for {hidden} hidden layers", "one for all, or one for each")
