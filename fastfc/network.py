"""A fully connected network: its parameters, and what it says of data."""

from __future__ import annotations

import math
import os
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from fastfc import exchange
from fastfc.backend import BACKENDS, load_backend
from fastfc.errors import InvalidType, invalid
from fastfc.initializers import initialize
from fastfc.kernels.plan import FROM_LOGITS, Plan
from fastfc.machine.blas import blas_threads
from fastfc.machine.threads import check_threads, threads_to_predict
from fastfc.settings import Init, Settings
from fastfc.validation import (
    check_image_shape,
    check_init,
    check_input_kind,
    check_inputs,
    check_parameter,
    check_parameters,
    check_regression,
    check_targets,
    check_weights,
    number,
    one_of,
    sizes,
    whole,
)

PIXEL = 1 / 255
UINT8 = np.dtype(np.uint8)
SMALL = 1024  # samples up to which one thread predicts
LARGEST_RATIO = 1e300  # of squared residuals to squared deviations: R² stays finite
KEPT = 4  # predictors that wait for their next call: each may hold a copy of all parameters
# Version of weights and biases, both, predictors by their threads, and of which dtypes a sample goes to one of them as it is.
UNUSED: tuple[Any, ...] = (None, None, [], [], {}, ())


class Parameters(list[np.ndarray]):
    """The weights or the biases of a network: read-only arrays. What is assigned to an index is checked and copied.

    `version` is another object after each assignment.
    """

    def __init__(self, what: str, arrays: list[np.ndarray]) -> None:
        super().__init__(arrays)
        self.what, self.version = what, object()

    def __setitem__(self, index: Any, value: Any) -> None:
        old = self[index]
        if isinstance(index, slice):
            value = check_parameters(value, [array.shape for array in old], self[0].dtype, self.what)
        else:
            value = check_parameter(value, old.shape, old.dtype, f"{self.what}[{index}]")
        super().__setitem__(index, value)
        self.version = object()

    def _fixed(self, *_: object) -> NoReturn:
        raise InvalidType(f"{self.what}: given another number or order of arrays, expected an assignment to each")

    append = clear = extend = insert = pop = remove = reverse = sort = _fixed  # type: ignore[assignment]
    __delitem__ = __iadd__ = __imul__ = _fixed

    def __reduce__(self) -> tuple[type[list], tuple[list[np.ndarray]]]:
        """Copied and pickled it is a plain list."""
        return list, (list(self),)


class Network:
    """Weights and biases, and the functions between them.

    layers      (inputs, hidden ..., outputs)
    activation  of the hidden layers, one name for all or one for each: relu, tanh, sigmoid, identity, leaky_relu, elu, selu,
                gelu, gelu_tanh, silu, mish, softplus
    loss        softmax_ce, sigmoid_bce, mse, mae, huber or poisson: with it goes the function of the last layer, softmax,
                sigmoid, with poisson exp, and with the other three `output_activation`
    huber_delta with the loss huber: the difference up to which it is the squared error
    regression  whether the outputs are numbers to predict, as they are with the last four losses unless this is False, or
                tell classes; with poisson they are numbers
    weights     list of (fan_in, fan_out) arrays, and biases list of (fan_out,): checked and copied. Without them they are
                drawn by `init` (see fastfc.training.initializers) from `seed`
                Those of a Network are read-only: they can be replaced by assigning others, not changed in place
    dtype       float32 or float64, of the parameters and of the computation
    scale       factor for input of uint8; input of any other dtype is used as it is
    input_kind  what it was trained on: "uint8", "integer" (any other), "float", or None if that is not known. After uint8,
                other integers are refused: they would not be scaled. Make them uint8, or floats that are scaled alike.
                After other integers uint8 is refused, which would be scaled
    image_shape (height, width) of a sample, where samples are images
    backend     "numba" or "numpy", for predictions; it is not saved
    threads     that predict more than 1,024 samples; None: as many as pay. It is not saved

    Raises InvalidArgument or InvalidType for what does not fit together.
    """

    weights: list[np.ndarray]
    biases: list[np.ndarray]
    _used: tuple[Any, ...]

    def __init__(
        self,
        layers: Sequence[int],
        activation: str | Sequence[str] = "relu",
        loss: str = "softmax_ce",
        output_activation: str = "identity",
        weights: Sequence[npt.ArrayLike] | None = None,
        biases: Sequence[npt.ArrayLike] | None = None,
        dtype: str = "float32",
        scale: float = PIXEL,
        image_shape: tuple[int, int] | None = None,
        init: Init = "he",
        seed: int = 0,
        backend: str = "numba",
        *,
        regression: bool | None = None,
        input_kind: str | None = None,
        huber_delta: float = 1.0,
        threads: int | None = None,
    ) -> None:
        one_of("backend", backend, tuple(BACKENDS))
        self.layers = sizes("layers", layers)
        if len(self.layers) < 2:
            raise invalid("layers", self.layers, "at least the numbers of inputs and outputs")
        settings = Settings(
            hidden=self.layers[1:-1],
            activation=activation,
            loss=loss,
            output_activation=output_activation,
            huber_delta=huber_delta,
            dtype=dtype,
        )
        number("scale", scale, above=0)
        self.regression, self.input_kind = check_regression(regression, loss), check_input_kind(input_kind)
        self.activations, self.loss, self.output_activation = settings.activations, loss, output_activation
        self.huber_delta = settings.huber_delta
        self.dtype, self.scale, self.backend = np.dtype(settings.dtype), float(scale), backend
        self.threads = threads
        self.image_shape = check_image_shape(image_shape, self.layers[0])
        whole("seed", seed, 0)
        check_init(init)
        given: Any = weights, biases
        if weights is None:
            given = initialize(self.layers, init, self.dtype, np.random.default_rng(seed))[0], biases
        if biases is None:
            given = given[0], [np.zeros(size, self.dtype) for size in self.layers[1:]]
        self.weights, self.biases = given

    def __repr__(self) -> str:
        return f"Network(layers={list(self.layers)}, activations={list(self.activations)}, loss={self.loss!r}, dtype='{self.dtype}')"

    def plan(self, settings: Settings | None = None, batch_size: int = 1) -> Plan:
        """What the kernels are told: this network, and with `settings` how it is trained."""
        s = settings or Settings()
        return Plan(
            layers=self.layers,
            activations=(*self.activations, self.output_activation),
            loss=self.loss,
            optimizer=s.make_optimizer(),
            smoothing=s.label_smoothing,
            mean=s.grad_reduction == "mean",
            batch_size=batch_size,
            scale=self.scale,
            dtype=self.dtype,
            image_shape=self.image_shape,
            keeps_gradient=s.optimizer == "lbfgs",
            dropout=s.dropout_rates,
            huber_delta=self.huber_delta,
            clip_norm=s.clip_norm,
        )

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """(n,) int64: the class of each sample; 0 or 1 where the network has one output. X (n, features), or CSR.

        A regression gives its outputs: (n,) where it has one, else (n, outputs), of its dtype. Raises as `outputs` does.
        """
        used = self._present()
        if type(X) is np.ndarray and X.dtype in used[5] and X.shape == (1, self.layers[0]):
            predictor, idle = self._predictor(1, used)
            label: np.ndarray = predictor.label(X)
            idle.append(predictor)
            if label.item() >= 0:
                return label
        return self._finite(self._predicted(self.outputs(X)))

    def _predicted(self, z: np.ndarray) -> np.ndarray:
        """What `predict` gives for outputs z (n, outputs)."""
        if self.regression:
            numbers = self._numbers(z)
            return numbers[:, 0] if numbers.shape[1] == 1 else numbers
        return self._labels(z)

    def _numbers(self, z: np.ndarray) -> np.ndarray:
        """(n, outputs) what a regression predicts by outputs z: with poisson exp(z), which may be infinite."""
        with np.errstate(over="ignore"):
            return np.exp(z) if self.loss == "poisson" else z

    @property
    def by_largest(self) -> bool:
        """Whether the class is the largest output; else there is one output, and a threshold."""
        return self.layers[-1] > 1 or self.loss == "softmax_ce"

    def _labels(self, outputs: np.ndarray) -> np.ndarray:
        if self.by_largest:
            return outputs.argmax(axis=1)
        return (outputs[:, 0] > (0 if self.loss in FROM_LOGITS else 0.5)).astype(np.int64)

    def predict_proba(self, X: npt.ArrayLike) -> np.ndarray:
        """(n, outputs): the softmax or the sigmoid of the logits; with the other losses what is predicted. X (n, features), or CSR."""
        from fastfc.kernels.reference.activations import sigmoid, softmax

        z = self.outputs(X)
        if self.loss not in ("softmax_ce", "sigmoid_bce"):
            return self._finite(self._numbers(z))
        with np.errstate(over="ignore", under="ignore"):
            (softmax if self.loss == "softmax_ce" else sigmoid)(z)
        return z

    def outputs(self, X: npt.ArrayLike) -> np.ndarray:
        """(n, outputs) what the last layer gives: logits, with poisson logarithms, else numbers. X (n, features), or CSR.

        Raises InvalidArgument or InvalidType for X of another shape, without rows, with NaN, or so large that what it
        gives is not finite, and for integers of another kind than those trained on (see `input_kind`).
        """
        return self._finite(self._outputs(check_inputs(X, self.dtype, "X", self.layers[0], self.input_kind)))

    def _finite(self, out: np.ndarray) -> np.ndarray:
        if not np.isfinite(out).all():
            raise invalid("X", f"values whose outputs are not finite in {self.dtype}", "smaller ones")
        return out

    def _outputs(self, X: Any, threads: int | None = None) -> np.ndarray:
        """Of checked X, computed with `threads` threads, by default the network's; with one where X is small."""
        threads = 1 if X.shape[0] <= SMALL else check_threads(threads or self.threads)
        if self.threads is None and self.backend == "numba":
            threads = threads_to_predict(threads, self.layers, X.shape[0])
        predictor, idle = self._predictor(threads, self._present())
        limits = blas_threads(self.backend, threads) if self.backend == "numpy" else nullcontext()
        with limits, np.errstate(all="ignore"):
            out = predictor.outputs(X)
        idle.append(predictor)
        return out

    def _present(self) -> tuple[Any, ...]:
        """What is used of the present parameters, see UNUSED.

        Versions are read before the parameters: who assigns changes them in the other order, so that an assignment meanwhile is
        seen at the next call.
        """
        used = self._used
        w: Any = self.weights
        b: Any = self.biases
        if used[0] is not w.version or used[1] is not b.version:
            kinds = (self.dtype,) if self.input_kind == "integer" else (self.dtype, UINT8)
            direct = kinds if self.layers[-1] > 1 and not self.regression else ()
            idle: dict[int, deque[Any]] = defaultdict(lambda: deque(maxlen=KEPT))
            used = self._used = w.version, b.version, list(w), list(b), idle, direct
        return used

    def _predictor(self, threads: int, used: tuple[Any, ...]) -> tuple[Any, deque[Any]]:
        """A predictor that no other Python thread is using, and where to put it afterwards: each has scratch memory of its own."""
        idle = used[4][threads]
        try:
            return idle.pop(), idle
        except IndexError:
            return load_backend(self.backend)[1](self.plan(), used[2], used[3], threads), idle

    def __setattr__(self, name: str, value: Any) -> None:
        """Whatever is assigned, predictors are made anew."""
        if name in ("weights", "biases"):
            shapes = list(pairwise(self.layers)) if name == "weights" else [(size,) for size in self.layers[1:]]
            value = Parameters(name, check_parameters(value, shapes, self.dtype, name))
        elif name == "threads" and value is not None:
            check_threads(value)
        super().__setattr__(name, value)
        if name != "_used":
            super().__setattr__("_used", UNUSED)

    def __getstate__(self) -> dict[str, Any]:
        """Without the predictors: copies and other processes make their own."""
        return {name: value for name, value in self.__dict__.items() if name != "_used"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Share of samples whose class is predicted as y (n,) says; where y has (n, outputs) targets, as the largest of them.

        Of a regression R², the mean over outputs, of y (n,) or (n, outputs): 1 - sum (y - prediction)² / sum (y - mean)²;
        where the targets of an output are all the same, 1 if they are predicted exactly, else 0.
        Each sample counts as its weight (n,), by default 1.
        """
        return self.loss_and_accuracy(X, y, sample_weight)[1]

    def loss_and_accuracy(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[float, float]:
        """Mean loss of a sample (nats, or as the loss has it; without penalties and label smoothing), and what `score` gives."""
        inputs = check_inputs(X, self.dtype, "X", self.layers[0], self.input_kind)
        targets, _ = check_targets(
            y, inputs.shape[0], self.layers[-1], self.loss, self.dtype, regression=self.regression
        )
        weights = None if sample_weight is None else check_weights(sample_weight, inputs.shape[0])
        loss, score = self._judge(self._outputs(inputs), targets, weights)
        if not math.isfinite(loss):
            raise invalid("X", f"values whose loss is not finite in {self.dtype}", "smaller ones")
        return loss, score

    def _judge(self, z: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
        """Mean loss and score of outputs z (n, outputs) with checked targets and weights (n,); the loss may be infinite or NaN."""
        from fastfc.kernels.reference.batch import one_hot
        from fastfc.kernels.reference.epoch import HEADS

        target = targets if targets.ndim == 2 else np.empty_like(z)
        if targets.ndim == 1:
            one_hot(targets, np.arange(len(z)), 0, 1, target)
        delta, sample_losses, scale = np.empty_like(z), np.empty(len(z), z.dtype), np.ones(len(z), z.dtype)
        with np.errstate(all="ignore"):
            HEADS[self.loss](z, target, scale, delta, sample_losses, self.huber_delta)
            loss = float(np.average(sample_losses.astype(np.float64), weights=weights))
        if self.regression:
            return loss, r2_score(target, self._numbers(z), weights)
        right = self._labels(z) == (target.argmax(axis=1) if self.by_largest else target[:, 0] > 0.5)
        return loss, float(np.average(right, weights=weights))

    def to_torch(self) -> Any:
        """A torch.nn.Sequential of the same parameters, copied, which gives what `outputs` gives for floats."""
        return exchange.to_torch(self)

    @classmethod
    def from_torch(cls, module: Any, loss: str = "softmax_ce", **more: Any) -> Network:
        """Of a torch.nn.Sequential of Linear and activations; Dropout and Flatten are left out. Parameters are copied.

        A last Softmax or Sigmoid belongs to its loss; `more` is as for __init__, such as scale. Raises InvalidArgument or
        InvalidType for other modules, and activations with other numbers than here.
        """
        return cls(**{**exchange.of_torch(module, loss), **more})

    @classmethod
    def from_sklearn(cls, estimator: Any, **more: Any) -> Network:
        """Of a fitted MLPClassifier or MLPRegressor, of scikit-learn or fastfc.estimators; uint8 are not scaled.

        Where that tells classes, `predict` gives their indices in `classes_`. `more` is as for __init__.
        """
        return cls(**{**exchange.of_sklearn(estimator), **more})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, all or nothing. Raises OSError if that is not possible."""
        from fastfc.storage.modelfile import save_parameters

        description = {
            "layers": list(self.layers),
            "activations": list(self.activations),
            "loss": self.loss,
            "output_activation": self.output_activation,
            "scale": self.scale,
            "dtype": self.dtype.name,
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "regression": self.regression,
            "input_kind": self.input_kind,
            **({"huber_delta": self.huber_delta} if self.loss == "huber" else {}),
        }
        save_parameters(path, description, self.weights, self.biases)


def r2_score(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None) -> float:
    """R² of outputs (n, outputs), the mean over the columns, as `Network.score` says; finite where the numbers are."""
    if weights is not None:  # what does not count, and could be all that differs, goes
        targets, outputs, weights = (array[weights > 0] for array in (targets, outputs, weights))
    each = 1.0 if weights is None else weights[:, None]
    with np.errstate(all="ignore"):
        residuals = np.subtract(targets, outputs, dtype=np.float64)
        deviations = targets - np.average(targets.astype(np.float64), axis=0, weights=weights)
        largest = np.abs(deviations).max(axis=0)  # whose square may be too large or too small for a float
        left, whole = ((each * np.square(d / largest)).sum(axis=0) for d in (residuals, deviations))
        ratio = left / whole
        constant = (targets == targets[0]).all(axis=0)
        scores = np.where(constant, (residuals == 0).all(axis=0), 1 - np.minimum(ratio, LARGEST_RATIO))
    return float(scores.mean())


def load(path: str | os.PathLike[str]) -> Network:
    """The network that `Network.save` wrote to `path`. Raises ModelFileError for any other file."""
    from fastfc.storage.modelfile import read_parameters

    d, weights, biases = read_parameters(path)
    return Network(
        d["layers"],
        activation=d["activations"],
        loss=d["loss"],
        output_activation=d["output_activation"],
        weights=weights,
        biases=biases,
        dtype=d["dtype"],
        scale=d["scale"],
        image_shape=d["image_shape"],
        regression=d["regression"],
        input_kind=d["input_kind"],
        huber_delta=d.get("huber_delta", 1.0),
    )
