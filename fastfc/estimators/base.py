"""What the classifier and the regressor share: parameters, the order of a fit, prediction."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from contextlib import nullcontext
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context, is_classifier, is_regressor
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastfc.backend import BACKENDS
from fastfc.errors import InvalidType, invalid
from fastfc.estimators import conversion, lbfgs, stochastic
from fastfc.estimators.callbacks import CallbackSupportMixin, Tasks, tasks_of
from fastfc.estimators.fitting import Fitting, Regularization, Samples
from fastfc.estimators.heldout import HeldOut
from fastfc.estimators.options import activation_of, check_combination, dropout_of, hidden_sizes
from fastfc.estimators.prediction import FLOATS, UINT8, Form, Parameters, activations_of, kernel_inputs, wider
from fastfc.estimators.solvers import Solver
from fastfc.estimators.workers import threads_for
from fastfc.kernels.plan import ACTIVATIONS
from fastfc.machine.blas import blas_threads
from fastfc.machine.threads import threads_to_predict, threads_to_train
from fastfc.network import Network
from fastfc.settings import OPTIMIZERS, SCHEDULES
from fastfc.training.schedules import learning_rates

SMALL = 1024  # samples up to which one thread predicts


class BasePerceptron(CallbackSupportMixin, BaseEstimator):
    """Base of MLPClassifier and MLPRegressor, not an estimator by itself.

    _parameters  of the last fit; coefs_ and intercepts_ are its lists
    _best        those of the best epoch, where that was looked for
    _optimizer   a Solver, with which `partial_fit` goes on
    """

    _parameters: Parameters
    _best: Parameters | None
    _optimizer: Solver
    _random_state: np.random.RandomState
    out_activation_: str
    n_outputs_: int
    n_layers_: int
    n_iter_: int
    t_: int

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"logistic", *ACTIVATIONS}), "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "optimizer": [StrOptions(set(OPTIMIZERS)), None],
        "schedule": [StrOptions(set(SCHEDULES) - {"plateau"}), callable, None],
        "scoring": [str, callable, None],
        "backend": [StrOptions(set(BACKENDS))],
        "threads": [Interval(Integral, 1, None, closed="left"), None],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
    }

    def _keep(self, arguments: dict[str, Any]) -> None:
        """The arguments of __init__ become attributes, and nothing else, as scikit-learn wants it."""
        self.__dict__.update({name: arguments[name] for name in self._get_param_names()})

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weights (fan_in, fan_out) of each layer. Others may be assigned, and numbers in them."""
        return self._fitted_parameters("coefs_").give_away().weights

    @coefs_.setter
    def coefs_(self, given: list[np.ndarray]) -> None:
        old = vars(self).get("_parameters")
        self._parameters = Parameters(given, old.biases if old else [])

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases (fan_out,) of each layer."""
        return self._fitted_parameters("intercepts_").give_away().biases

    @intercepts_.setter
    def intercepts_(self, given: list[np.ndarray]) -> None:
        old = vars(self).get("_parameters")
        self._parameters = Parameters(old.weights if old else [], given)

    def _fitted_parameters(self, name: str) -> Parameters:
        if "_parameters" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._parameters

    def to_network(self) -> Network:
        """The fitted network as a `fastfc.Network`: to be saved, or trained on with `fastfc.train`."""
        check_is_fitted(self)
        return conversion.to_network(self, self._parameters, is_regressor(self))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None) -> Any:
        """Fit the network to X (n, features), dense or sparse, and y (n,) or (n, outputs), with sample_weight (n,) or None.

        validation_data  (X, y) or (X, y, sample_weight) to judge each epoch by: with early_stopping instead of a share of X
        """
        return self._fit(X, y, sample_weight, validation_data=validation_data)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool = False, validation_data: Any = None
    ) -> BasePerceptron:
        as_given, sizes = (X, y, sample_weight), hidden_sizes(self.hidden_layer_sizes)
        check_combination(self, len(sizes), incremental, validation_data)
        first = "_parameters" not in vars(self) or not (self.warm_start or incremental)
        X, y = self._validated(X, y, first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        targets = self._encoded(y, incremental)
        weights = self._weights(y, sample_weight, incremental)
        if weights is not None and not weights.any():
            raise invalid("sample_weight", "weights that are all 0, with those of classes", "some that are not")
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize((X.shape[1], *sizes, self.n_outputs_), FLOATS[X.dtype != np.float32])
        elif self._parameters.layers[-1] != self.n_outputs_:
            raise invalid("y", f"{self.n_outputs_} outputs", f"{self._parameters.layers[-1]}, as in the fit before")
        samples = self._samples(X, targets, weights)
        held = self._hold_out(samples, y, validation_data)
        tasks = None if incremental else tasks_of(self, *as_given)
        self._train(samples, held, tasks, incremental)
        if not self._parameters.are_finite():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        if tasks:
            tasks.end_fit()
        return self

    @abstractmethod
    def _encoded(self, y: Any, incremental: bool) -> np.ndarray:
        """What the network is to give for validated y: labels (n,), or numbers (n, outputs). Sets n_outputs_, and of a classifier
        what it knows of classes."""

    @abstractmethod
    def _out_activation(self) -> str:
        """Of scikit-learn's names, for what `_encoded` has seen."""

    def _weights(self, y: Any, sample_weight: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        """(n,) what each sample counts for, or None for 1."""
        return sample_weight

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """X as uint8, float32, or else float64, dense or CSR; y (n,) or (n, outputs)."""
        kept = [*FLOATS[::-1], *([UINT8] if isinstance(X, np.ndarray) else [])]
        checks = {"accept_sparse": "csr", "multi_output": True, "y_numeric": is_regressor(self), "dtype": kept}
        X, y = validate_data(self, X, y, reset=reset, **checks)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _samples(self, X: Any, targets: np.ndarray, weights: np.ndarray | None) -> Samples:
        """All of them, as the kernels take them."""
        dtype = self._parameters.dtype
        if targets.ndim == 2:
            targets = np.ascontiguousarray(targets, dtype)
        weights = None if weights is None else weights.astype(np.float64, copy=False)
        return Samples(kernel_inputs(X, dtype), targets, weights, np.arange(X.shape[0]))

    def _initialize(self, layers: tuple[int, ...], dtype: np.dtype) -> None:
        """Weights and biases from a uniform distribution (Glorot and Bengio 2010), narrower for the logistic function."""
        self.n_layers_, self.out_activation_, self.t_ = len(layers), self._out_activation(), 0
        names, weights, biases = activations_of(self.activation, max(len(layers) - 2, 1)), [], []
        for l, (fan_in, fan_out) in enumerate(pairwise(layers)):
            name = names[min(l, len(names) - 1)]
            bound = np.sqrt((2 if name == "sigmoid" else 6) / (fan_in + fan_out))
            weights.append(self._random_state.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype, copy=False))
            biases.append(self._random_state.uniform(-bound, bound, fan_out).astype(dtype, copy=False))
        self._parameters = Parameters(weights, biases)
        if self.solver != "lbfgs":
            stochastic.begin_curves(self, anew=True)
            self._best = Parameters(list(weights), list(biases)) if self.early_stopping else None

    def _hold_out(self, samples: Samples, y: Any, validation_data: Any) -> HeldOut | None:
        """What epochs are judged by: validation_data, or a share of the samples, which are then trained on without it."""
        if self.solver == "lbfgs" or not (self.early_stopping or validation_data is not None):
            return None
        if validation_data is not None:
            given, y = self._given_apart(validation_data)
            rows = given.rows
        else:
            given, rows = samples, self._split(samples)
            y = y[rows]
        weights = None if given.weights is None else given.weights[rows]
        scorer = None if self.scoring is None else check_scoring(self, self.scoring)
        threads = self._threads_to_predict(len(rows))
        return HeldOut(given.X[rows], given.targets[rows], y, weights, self._form(), threads, scorer)

    def _split(self, samples: Samples) -> np.ndarray:
        """The rows to judge by; the others are left to train on. Two classes are divided alike."""
        stratify = samples.targets.astype(bool) if is_classifier(self) and self.n_outputs_ == 1 else None
        samples.rows, rows = train_test_split(
            samples.rows, random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if len(rows) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows

    def _given_apart(self, given: Any) -> tuple[Samples, Any]:
        """Samples of validation_data, and their y."""
        if not isinstance(given, tuple) or len(given) not in (2, 3):
            raise InvalidType(f"validation_data: given {type(given).__name__}, expected (X, y) or (X, y, sample_weight)")
        X, y = self._validated(given[0], given[1], reset=False)
        weights = _check_sample_weight(given[2], X) if len(given) == 3 else None
        return self._samples(X, self._encoded_apart(y), weights), y

    @abstractmethod
    def _encoded_apart(self, y: Any) -> np.ndarray:
        """As `_encoded`, of samples that are not trained on."""

    def _train(self, samples: Samples, held: HeldOut | None, tasks: Tasks | None, incremental: bool) -> None:
        n, whole = len(samples.rows), self.solver == "lbfgs"
        batch_size, solver = n if whole else self._batch_size(n), self._solver(incremental)
        if self.schedule is not None:
            steps = math.ceil(n / batch_size)
            rate, most = solver.learning_rate_init, self.max_iter * steps
            solver.rates = learning_rates(self.schedule, rate, most, FLOATS[1], epoch=steps)
        dropout = dropout_of(self.dropout, self.n_layers_ - 2)
        seed = self._random_state.randint(2**31 - 1) if dropout else 0
        terms = Regularization(float(self.alpha), dropout, getattr(self, "label_smoothing", 0.0), seed)
        layers, steps = self._parameters.layers, math.ceil(n / batch_size)  # of an epoch, which is a call
        threads = threads_for(self.threads, self.backend, lambda most: threads_to_train(most, layers, batch_size, steps))
        with blas_threads(self.backend, threads) if self.backend == "numpy" else nullcontext():
            fitting = Fitting(samples, self._parameters, self._form(), terms, solver, batch_size, threads, whole)
            try:
                if whole:
                    lbfgs.train(self, fitting, tasks)
                else:
                    stochastic.train(self, fitting, held, tasks, incremental)
            finally:
                fitting.close()

    def _batch_size(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            text = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warnings.warn(text, stacklevel=2)
        return min(int(self.batch_size), n)

    def _solver(self, incremental: bool) -> Solver:
        if self.solver == "lbfgs":
            return Solver(self)
        if not incremental or "_optimizer" not in vars(self):
            self._optimizer = Solver(self)
        return self._optimizer

    def _form(self) -> Form:
        return Form(activation_of(self.activation), self.out_activation_, self.backend)

    def _threads_to_predict(self, n: int) -> int:
        if n <= SMALL:
            return 1
        layers = self._parameters.layers
        return threads_for(self.threads, self.backend, lambda most: threads_to_predict(most, layers, n))

    def _outputs(self, X: Any) -> np.ndarray:
        """(n, outputs) what the network gives for X (n, features), dense or sparse."""
        if "_parameters" not in vars(self):
            check_is_fitted(self)
        X, parameters = self._checked(X), self._parameters
        dtype = wider(X.dtype, parameters.dtype)
        threads = self._threads_to_predict(X.shape[0])
        outputs, all_finite = parameters.outputs(kernel_inputs(X, dtype), self._form(), dtype, threads)
        if not all_finite and "_is_checked" not in vars(self):
            validate_data(self, X, reset=False)  # raises what scikit-learn says of it, if its configuration wants that
        return outputs

    def _checked(self, X: Any) -> Any:
        """X as scikit-learn takes it, which need not be asked about an array of floats: whether they are finite is seen later."""
        own = vars(self)
        is_plain = type(X) is np.ndarray and X.ndim == 2 and X.dtype in FLOATS and "feature_names_in_" not in own
        if "_is_checked" in own or (is_plain and len(X) and X.shape[1] == own.get("n_features_in_")):
            return X
        return validate_data(self, X, accept_sparse="csr", reset=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
