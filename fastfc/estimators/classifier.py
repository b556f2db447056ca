"""MLPClassifier, as scikit-learn has it."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array, csr_matrix, issparse
from sklearn import get_config
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from fastfc.errors import invalid
from fastfc.estimators import conversion
from fastfc.estimators.base import BasePerceptron
from fastfc.estimators.options import is_stochastic
from fastfc.network import Network


class MLPClassifier(ClassifierMixin, BasePerceptron):
    """A network that tells classes, fitted to the log-loss: scikit-learn's, with the same numbers for the same random_state.

    The parameters up to max_fun are those of sklearn.neural_network.MLPClassifier, and mean the same. Those after it default to
    what scikit-learn does:

    activation       may also be one name for each hidden layer, and any that fastfc has: identity, logistic, tanh, relu,
                     leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, softplus
    class_weight     {class: weight}, "balanced", or for several labels a sample a list of dicts: factors of sample_weight
    dropout          share of each hidden layer's outputs that is dropped in training: one for all layers, or one for each
    label_smoothing  e: targets become (1 - e) * target + e / classes (with two classes and for labels e / 2)
    optimizer        of `fastfc.train`, in the place of the solver's own: sgd, adam, adamw, rmsprop, adagrad. adamw takes alpha as
                     its decoupled decay, rmsprop beta_2 as its rho
    schedule         of `fastfc.train`, or a function (step, steps) -> factor of learning_rate_init
    scoring          by which epochs are judged: a name of scikit-learn's scorers, or a function (estimator, X, y); None: accuracy.
                     Used with early_stopping or with validation_data of `fit`
    backend          "numba" or "numpy"
    threads          None: as many as are worth it, and one in a worker of joblib or Dask
    max_seconds      after which training ends with what it has
    """

    loss = "log_loss"
    classes_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BasePerceptron._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
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
        class_weight: Any = None,
        dropout: Any = 0.0,
        label_smoothing: float = 0.0,
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch more on X (n, features) and y (n,) or (n, labels), with sample_weight (n,) or None.

        classes  (classes,) all that may ever come, at the first call
        """
        if _check_partial_fit_first_call(self, classes):
            self._learn_classes(y if type_of_target(y).startswith("multilabel") else classes)
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(n,) the class of each sample, or (n, labels) of 0 and 1 for several labels a sample; X (n, features)."""
        p = self._outputs(X)
        if self._has_labels:
            chosen = (p > 0.5).astype(np.int64)
            if not self._has_sparse_labels:
                return chosen
            return (csr_array if get_config().get("sparse_interface") == "sparray" else csr_matrix)(chosen)
        if self.out_activation_ == "softmax":
            return self.classes_[p.argmax(axis=1)]
        return self.classes_[(p[:, 0] > 0.5).astype(np.intp) * (len(self.classes_) > 1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, classes) probabilities, in the order of classes_; X (n, features)."""
        p = self._outputs(X)
        if self.n_outputs_ > 1:
            return p
        both = np.empty((len(p), 2), p.dtype)
        both[:, 1] = p[:, 0]
        np.subtract(1, p[:, 0], out=both[:, 0])
        return both

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """(n, classes) their logarithms."""
        p = self.predict_proba(X)
        return np.log(p, out=p)

    @classmethod
    def from_network(cls, network: Network, classes: Any = None, **parameters: Any) -> MLPClassifier:
        """An estimator that is fitted as the network is, whose loss is softmax_ce, or sigmoid_bce: with more than one output these
        are then labels that may come together.

        classes     (classes,) sorted; None: 0, 1, ...
        parameters  of the estimator, beside those that the network has
        """
        own, out_activation = conversion.parameters_of(network, regression=False)
        made = cls(**{**conversion.arguments_of(network), **parameters})
        conversion.fill(made, own, out_activation)
        made._has_labels, made._has_sparse_labels = out_activation == "logistic" and made.n_outputs_ > 1, False
        count = max(made.n_outputs_, 2)
        made.classes_ = np.arange(count) if classes is None else np.asarray(classes)
        if len(made.classes_) != count or not np.array_equal(np.unique(made.classes_), made.classes_):
            raise invalid("classes", made.classes_.tolist(), f"{count} different ones, sorted")
        return made

    def _learn_classes(self, y: Any) -> None:
        if type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biu":  # what scikit-learn finds out of these too
            classes = np.unique(y)
            if len(classes) <= max(2, len(y) // 2):
                self.classes_, self._has_labels, self._has_sparse_labels = classes, False, False
                return
        kind = type_of_target(y, input_name="y")
        if "multioutput" in kind:
            raise ValueError("Multioutput target data is not supported with label binarization")
        self.classes_, self._has_labels = unique_labels(y), kind == "multilabel-indicator"
        self._has_sparse_labels = issparse(y)

    def _encoded(self, y: Any, incremental: bool) -> np.ndarray:
        if "classes_" not in vars(self) or not (self.warm_start or incremental):
            self._learn_classes(y)
        else:
            self._check_classes(unique_labels(y))
        targets = self._encoded_apart(y)
        self.n_outputs_ = len(self.classes_) if targets.ndim == 1 else targets.shape[1]
        return targets

    def _check_classes(self, classes: np.ndarray) -> None:
        """Those of a fit that goes on with an earlier one."""
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if not self.warm_start and len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _encoded_apart(self, y: Any) -> np.ndarray:
        if self._has_labels:
            return y.toarray() if issparse(y) else y
        labels = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        is_unseen = self.classes_[labels] != y
        if is_unseen.any():
            raise invalid("y", f"the class {y[is_unseen][0]!r}", f"one of the {len(self.classes_)} that are trained on")
        return labels if len(self.classes_) > 2 else labels[:, None]

    def _out_activation(self) -> str:
        return "logistic" if self._has_labels or len(self.classes_) <= 2 else "softmax"

    def _weights(self, y: Any, sample_weight: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        if incremental and isinstance(self.class_weight, str):
            raise invalid("class_weight", repr(self.class_weight), "weights by class with partial_fit, which sees some only")
        of_classes = compute_sample_weight(self.class_weight, y)
        return of_classes if sample_weight is None else sample_weight * of_classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
