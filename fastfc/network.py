"""A fully connected network: its parameters, and what it says of data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastfc.backend import available_threads, blas_threads, load_backend
from fastfc.errors import InvalidType, invalid
from fastfc.initializers import initialize
from fastfc.kernels.plan import ACTIVATIONS, IDENTITY, LOSSES, SOFTMAX_CE, Plan, momentum_rule
from fastfc.settings import Init, Settings, number, whole
from fastfc.validation import check_inputs, check_targets

PIXEL = 1 / 255
SMALL = 1024  # samples up to which one thread predicts


class Network:
    """Weights and biases, and the functions between them.

    layers      (inputs, hidden ..., outputs)
    activation  of the hidden layers, one name for all or one for each: relu, tanh, sigmoid, identity
    loss        softmax_ce, sigmoid_bce or mse: with it goes the function of the last layer, softmax, sigmoid, or for mse
                `output_activation`
    weights     list of (fan_in, fan_out) arrays, and biases list of (fan_out,): copied. Without them they are drawn by
                `init` (see fastfc.initializers) from `seed`
    dtype       float32 or float64, of the parameters and of the computation
    scale       factor for input of uint8; input of any other dtype is used as it is
    image_shape (height, width) of a sample, where samples are images
    backend     "numba" or "numpy", for predictions; it is not saved

    Raises InvalidArgument or InvalidType for what does not fit together.
    """

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
    ) -> None:
        self.layers = tuple(layers)
        for size in self.layers:
            whole("layers", size, 1)
        if len(self.layers) < 2:
            raise invalid("layers", self.layers, "at least the numbers of inputs and outputs")
        settings = Settings(
            hidden=self.layers[1:-1],
            activation=activation if isinstance(activation, str) else tuple(activation),
            loss=loss,
            output_activation=output_activation,
            dtype=dtype,
        )
        number("scale", scale, above=0)
        self.activations, self.loss, self.output_activation = settings.activations, loss, output_activation
        self.dtype, self.scale, self.backend = np.dtype(settings.dtype), float(scale), backend
        self.image_shape = None if image_shape is None else (int(image_shape[0]), int(image_shape[1]))
        if self.image_shape and self.image_shape[0] * self.image_shape[1] != self.layers[0]:
            raise invalid("image_shape", self.image_shape, f"height and width of {self.layers[0]} pixels")
        self.weights, self.biases = initialize(self.layers, init, self.dtype, np.random.default_rng(seed))
        if weights is not None:
            self.weights = self._checked("weights", weights, [shape for shape in pairwise(self.layers)])
        if biases is not None:
            self.biases = self._checked("biases", biases, [(size,) for size in self.layers[1:]])
        self._predictor: tuple[Any, Any] | None = None

    def _checked(self, what: str, given: Sequence[npt.ArrayLike], shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
        if len(given) != len(shapes):
            raise invalid(what, f"{len(given)} arrays", f"{len(shapes)}, for layers {self.layers}")
        arrays = []
        for k, (array, shape) in enumerate(zip(given, shapes, strict=True)):
            values = np.asarray(array)
            if values.dtype.kind not in "biuf":
                raise InvalidType(f"{what}[{k}]: given an array of {values.dtype}, expected numbers")
            if values.shape != shape:
                raise invalid(f"{what}[{k}]", f"shape {values.shape}", f"{shape}, for layers {self.layers}")
            with np.errstate(over="ignore"):
                values = values.astype(self.dtype)
            if not np.isfinite(values).all():
                raise invalid(f"{what}[{k}]", "NaN or infinity", "finite numbers")
            arrays.append(np.ascontiguousarray(values))
        return arrays

    def __repr__(self) -> str:
        return f"Network(layers={list(self.layers)}, activations={list(self.activations)}, loss={self.loss!r}, dtype='{self.dtype}')"

    def plan(self, settings: Settings | None = None, batch_size: int = 1) -> Plan:
        """What the kernels are told: this network, and with `settings` how it is trained."""
        s = settings or Settings()
        return Plan(
            layers=self.layers,
            activations=(
                *(ACTIVATIONS[name] for name in self.activations),
                ACTIVATIONS[self.output_activation] if self.loss == "mse" else IDENTITY,
            ),
            loss=LOSSES[self.loss],
            rule=momentum_rule(s.momentum_kind, s.momentum, s.weight_decay),
            smoothing=s.label_smoothing,
            mean=s.grad_reduction == "mean",
            batch_size=batch_size,
            scale=self.scale,
            dtype=self.dtype,
            image_shape=self.image_shape,
        )

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """(n,) int64: the class of each sample; 0 or 1 where the network has one output. X (n, features), or CSR."""
        return self._labels(self.outputs(X))

    def _labels(self, outputs: np.ndarray) -> np.ndarray:
        if outputs.shape[1] > 1:
            return outputs.argmax(axis=1)
        return (outputs[:, 0] > (0.5 if self.loss == "mse" else 0)).astype(np.int64)

    def predict_proba(self, X: npt.ArrayLike) -> np.ndarray:
        """(n, outputs): the softmax or the sigmoid of the logits; with mse the outputs themselves. X (n, features), or CSR."""
        z = self.outputs(X)
        if self.loss == "mse":
            return z
        with np.errstate(over="ignore", under="ignore"):
            if LOSSES[self.loss] == SOFTMAX_CE:
                z -= z.max(axis=1, keepdims=True)
                np.exp(z, out=z)
                z /= z.sum(axis=1, keepdims=True)
                return z
            return 1 / (1 + np.exp(-z))

    def outputs(self, X: npt.ArrayLike) -> np.ndarray:
        """(n, outputs) what the last layer gives: logits, or with mse the outputs. X (n, features), or CSR.

        Raises InvalidArgument or InvalidType for X of another shape, without rows, or with NaN.
        """
        checked = check_inputs(X, self.dtype, "X", self.layers[0])
        return self._outputs(checked)

    def _outputs(self, X: Any) -> np.ndarray:
        threads = 1 if X.shape[0] <= SMALL else available_threads()
        with blas_threads(self.backend, threads):
            return self._current_predictor().outputs(X)

    def _current_predictor(self) -> Any:
        """Made once for these very arrays: assigning to weights or biases makes a new one. Changing them in place does not."""
        key = (self.backend, *map(id, self.weights), *map(id, self.biases))
        if self._predictor is None or self._predictor[0] != key:
            _, predictor = load_backend(self.backend)
            self._predictor = key, predictor(self.plan(), self.weights, self.biases, available_threads())
        return self._predictor[1]

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Share of samples whose class is predicted as y (n,) says; where y has (n, outputs) targets, as the largest of them."""
        return self.loss_and_accuracy(X, y)[1]

    def loss_and_accuracy(self, X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, float]:
        """Mean loss of a sample (nats, or squared error; without L2 and label smoothing) and share of right predictions."""
        from fastfc.kernels.reference import losses
        from fastfc.kernels.reference.batch import one_hot

        inputs = check_inputs(X, self.dtype, "X", self.layers[0])
        targets, _ = check_targets(y, inputs.shape[0], self.layers[-1], self.loss, self.dtype)
        z = self._outputs(inputs)
        target = targets if targets.ndim == 2 else np.empty_like(z)
        if targets.ndim == 1:
            one_hot(targets, np.arange(len(z)), 0, 1, target)
        delta, sample_losses = np.empty_like(z), np.empty(len(z), z.dtype)
        if self.loss == "softmax_ce":
            losses.softmax_cross_entropy(z, target, 1.0, delta, sample_losses)
        elif self.loss == "sigmoid_bce":
            losses.sigmoid_cross_entropy(z, target, 1.0, delta, sample_losses)
        else:
            losses.mean_squared_error(z, target, IDENTITY, 1.0, delta, sample_losses)
        right = self._labels(z) == (target.argmax(axis=1) if target.shape[1] > 1 else target[:, 0] > 0.5)
        return float(sample_losses.mean(dtype=np.float64)), float(right.mean())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, all or nothing. Raises OSError if that is not possible."""
        from fastfc.modelfile import save_parameters

        description = {
            "layers": list(self.layers),
            "activations": list(self.activations),
            "loss": self.loss,
            "output_activation": self.output_activation,
            "scale": self.scale,
            "dtype": self.dtype.name,
            "image_shape": None if self.image_shape is None else list(self.image_shape),
        }
        save_parameters(path, description, self.weights, self.biases)


def load(path: str | os.PathLike[str]) -> Network:
    """The network that `Network.save` wrote to `path`. Raises ModelFileError for any other file."""
    from fastfc.modelfile import read_parameters

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
    )
