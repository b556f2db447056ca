"""MLPRegressor, as scikit-learn has it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from fastfc.errors import invalid
from fastfc.estimators import conversion
from fastfc.estimators.base import BasePerceptron
from fastfc.estimators.options import is_stochastic
from fastfc.network import Network


class MLPRegressor(RegressorMixin, BasePerceptron):
    """A network that gives numbers, fitted to the squared error or to counts: scikit-learn's, with the same numbers for the same
    random_state.

    The parameters up to max_fun are those of sklearn.neural_network.MLPRegressor, and mean the same. Those after it default to
    what scikit-learn does; they are those of `MLPClassifier` but for class_weight and label_smoothing, and scoring None is R².
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BasePerceptron._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        optimizer: str | None = None,
        schedule: Any = None,
        scoring: Any = None,
        backend: str = "numba",
        threads: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self._keep(locals())

    @available_if(is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch more on X (n, features) and y (n,) or (n, outputs), with sample_weight (n,) or None."""
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(n,) what the network gives for X (n, features); (n, outputs) where it was fitted to several outputs."""
        y = self._outputs(X)
        return y[:, 0] if self.n_outputs_ == 1 else y

    @classmethod
    def from_network(cls, network: Network, **parameters: Any) -> MLPRegressor:
        """An estimator that is fitted as the network is, whose loss is mse or poisson.

        parameters  of the estimator, beside those that the network has
        """
        own, out_activation = conversion.parameters_of(network, regression=True)
        loss = "poisson" if out_activation == "exp" else "squared_error"
        made = cls(**{"loss": loss, **conversion.arguments_of(network), **parameters})
        conversion.fill(made, own, out_activation)
        return made

    def _encoded(self, y: Any, incremental: bool) -> np.ndarray:
        targets = self._encoded_apart(y)
        self.n_outputs_ = targets.shape[1]
        return targets

    def _encoded_apart(self, y: Any) -> np.ndarray:
        if self.loss == "poisson" and y.min() < 0:
            raise invalid("y", f"{y.min()}", "numbers >= 0 with loss 'poisson'")
        return y.reshape(len(y), -1)

    def _out_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output, tags.target_tags.positive_only = True, self.loss == "poisson"
        return tags
