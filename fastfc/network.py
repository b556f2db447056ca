"""A fully connected network: its parameters, and what it says of data."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from operator import is_
from typing import Any

import numpy as np
import numpy.typing as npt

from fastfc.backend import BACKENDS, load_backend
from fastfc.errors import InvalidType, invalid
from fastfc.initializers import check_init, initialize
from fastfc.kernels.optimizers import of_momentum
from fastfc.kernels.plan import ACTIVATIONS, IDENTITY, LOSSES, SOFTMAX_CE, Plan
from fastfc.machine.blas import blas_threads
from fastfc.machine.threads import available_threads
from fastfc.settings import Init, Settings
from fastfc.validation import as_array, check_inputs, check_targets, number, one_of, sizes, whole

PIXEL = 1 / 255
UINT8 = np.dtype(np.uint8)
SMALL = 1024  # samples up to which one thread predicts


class Network:
    """Weights and biases, and the functions between them.

    layers      (inputs, hidden ..., outputs)
    activation  of the hidden layers, one name for all or one for each: relu, tanh, sigmoid, identity
    loss        softmax_ce, sigmoid_bce or mse: with it goes the function of the last layer, softmax, sigmoid, or for mse
                `output_activation`
    weights     list of (fan_in, fan_out) arrays, and biases list of (fan_out,): copied. Without them they are drawn by
                `init` (see fastfc.initializers) from `seed`
                Those of a Network can be replaced by assigning others, but not changed in place once it has predicted
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
        one_of("backend", backend, tuple(BACKENDS))
        self.layers = sizes("layers", layers)
        if len(self.layers) < 2:
            raise invalid("layers", self.layers, "at least the numbers of inputs and outputs")
        settings = Settings(
            hidden=self.layers[1:-1],
            activation=activation,
            loss=loss,
            output_activation=output_activation,
            dtype=dtype,
        )
        number("scale", scale, above=0)
        self.activations, self.loss, self.output_activation = settings.activations, loss, output_activation
        self.dtype, self.scale, self.backend = np.dtype(settings.dtype), float(scale), backend
        self.image_shape = None if image_shape is None else self._checked_image_shape(image_shape)
        whole("seed", seed, 0)
        check_init(init)
        if weights is None:
            self.weights, self.biases = initialize(self.layers, init, self.dtype, np.random.default_rng(seed))
        else:
            self.weights = self._checked("weights", weights)
            self.biases = [np.zeros(size, self.dtype) for size in self.layers[1:]]
        if biases is not None:
            self.biases = self._checked("biases", biases)
        self._used: tuple[tuple[np.ndarray, ...], dict[int, list[Any]]]

    def _checked_image_shape(self, given: Sequence[int]) -> tuple[int, int]:
        shape = sizes("image_shape", given)
        if len(shape) != 2 or math.prod(shape) != self.layers[0]:
            raise invalid("image_shape", shape, f"height and width of {self.layers[0]} pixels")
        return shape[0], shape[1]

    def _checked(self, what: str, given: Sequence[npt.ArrayLike]) -> list[np.ndarray]:
        """Read-only copies of what is to be the weights or the biases."""
        shapes = list(pairwise(self.layers)) if what == "weights" else [(size,) for size in self.layers[1:]]
        if not isinstance(given, list | tuple):
            raise InvalidType(f"{what}: given {type(given).__name__}, expected a list of arrays")
        if len(given) != len(shapes):
            raise invalid(what, f"{len(given)} arrays", f"{len(shapes)}, for layers {self.layers}")
        arrays = []
        for k, (array, shape) in enumerate(zip(given, shapes, strict=True)):
            values = as_array(array, f"{what}[{k}]")
            if values.shape != shape:
                raise invalid(f"{what}[{k}]", f"shape {values.shape}", f"{shape}, for layers {self.layers}")
            with np.errstate(over="ignore"):
                values = values.astype(self.dtype, order="C")
            if not np.isfinite(values).all():
                raise invalid(f"{what}[{k}]", "NaN or infinity", "finite numbers")
            values.flags.writeable = False
            arrays.append(values)
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
            optimizer=of_momentum(s.momentum_kind, s.momentum, s.weight_decay),
            smoothing=s.label_smoothing,
            mean=s.grad_reduction == "mean",
            batch_size=batch_size,
            scale=self.scale,
            dtype=self.dtype,
            image_shape=self.image_shape,
        )

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """(n,) int64: the class of each sample; 0 or 1 where the network has one output. X (n, features), or CSR."""
        if type(X) is np.ndarray and X.shape == (1, self.layers[0]) and self.layers[-1] > 1:
            label = self._label(X)
            if label >= 0:
                return np.array([label])
        return self._labels(self.outputs(X))

    def _label(self, x: np.ndarray) -> int:
        """The class of one sample without a detour: a call of a compiled function. -1 where `outputs` must see to it."""
        if not x.flags.carray or (x.dtype != self.dtype and x.dtype != UINT8):
            return -1
        idle = self._idle_predictors(1)
        predictor = self._take(idle, 1)
        label = predictor.label(x)
        idle.append(predictor)
        return label

    @property
    def _by_largest(self) -> bool:
        """Whether the class is the largest output; else there is one output, and a threshold."""
        return self.layers[-1] > 1 or self.loss == "softmax_ce"

    def _labels(self, outputs: np.ndarray) -> np.ndarray:
        if self._by_largest:
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

        Raises InvalidArgument or InvalidType for X of another shape, without rows, with NaN, or so large that what it
        gives is not finite.
        """
        out = self._outputs(check_inputs(X, self.dtype, "X", self.layers[0]))
        if not np.isfinite(out).all():
            raise invalid("X", f"values whose outputs are not finite in {self.dtype}", "smaller ones")
        return out

    def _outputs(self, X: Any, threads: int | None = None) -> np.ndarray:
        """Of checked X, computed with `threads` threads, by default all that there are; with one where X is small."""
        threads = 1 if X.shape[0] <= SMALL else threads or available_threads()
        idle = self._idle_predictors(threads)
        predictor = self._take(idle, threads)
        limits = blas_threads(self.backend, threads) if self.backend == "numpy" else nullcontext()
        with limits, np.errstate(all="ignore"):
            out = predictor.outputs(X)
        idle.append(predictor)
        return out

    def _idle_predictors(self, threads: int) -> list[Any]:
        """Predictors of the present parameters that no Python thread is using: each has scratch memory of its own.

        Assigned parameters are checked when they are first used, and replaced by read-only copies: what a predictor
        was made of cannot change unnoticed.
        """
        assigned = (*self.weights, *self.biases)
        used, idle = self._used
        if len(used) != len(assigned) or not all(map(is_, used, assigned)):
            self.weights, self.biases = self._checked("weights", self.weights), self._checked("biases", self.biases)
            used, idle = self._used = (*self.weights, *self.biases), defaultdict(list)
        return idle[threads]

    def __setattr__(self, name: str, value: Any) -> None:
        """Whatever is assigned, predictors are made anew."""
        super().__setattr__(name, value)
        if name != "_used":
            super().__setattr__("_used", ((), {}))

    def _take(self, idle: list[Any], threads: int) -> Any:
        """One of the idle predictors, or a new one; it is given back by appending it."""
        try:
            return idle.pop()
        except IndexError:
            return load_backend(self.backend)[1](self.plan(), self.weights, self.biases, threads)

    def __getstate__(self) -> dict[str, Any]:
        """Without the predictors: copies and other processes make their own."""
        return {**self.__dict__, "_used": ((), {})}

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Share of samples whose class is predicted as y (n,) says; where y has (n, outputs) targets, as the largest of them."""
        return self.loss_and_accuracy(X, y)[1]

    def loss_and_accuracy(self, X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, float]:
        """Mean loss of a sample (nats, or squared error; without L2 and label smoothing) and share of right predictions."""
        inputs = check_inputs(X, self.dtype, "X", self.layers[0])
        targets, _ = check_targets(y, inputs.shape[0], self.layers[-1], self.loss, self.dtype)
        loss, accuracy = self._loss_and_accuracy(inputs, targets)
        if not math.isfinite(loss):
            raise invalid("X", f"values whose loss is not finite in {self.dtype}", "smaller ones")
        return loss, accuracy

    def _loss_and_accuracy(self, X: Any, targets: np.ndarray, threads: int | None = None) -> tuple[float, float]:
        """Of checked X and targets; the loss may be infinite or NaN."""
        from fastfc.kernels.reference import losses
        from fastfc.kernels.reference.batch import one_hot

        z = self._outputs(X, threads)
        target = targets if targets.ndim == 2 else np.empty_like(z)
        if targets.ndim == 1:
            one_hot(targets, np.arange(len(z)), 0, 1, target)
        delta, sample_losses, scale = np.empty_like(z), np.empty(len(z), z.dtype), np.ones(len(z), z.dtype)
        with np.errstate(all="ignore"):
            if self.loss == "softmax_ce":
                losses.softmax_cross_entropy(z, target, scale, delta, sample_losses)
            elif self.loss == "sigmoid_bce":
                losses.sigmoid_cross_entropy(z, target, scale, delta, sample_losses)
            else:
                losses.mean_squared_error(z, target, IDENTITY, scale, delta, sample_losses)
        right = self._labels(z) == (target.argmax(axis=1) if self._by_largest else target[:, 0] > 0.5)
        return float(sample_losses.mean(dtype=np.float64)), float(right.mean())

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
        }
        save_parameters(path, description, self.weights, self.biases)


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
    )
