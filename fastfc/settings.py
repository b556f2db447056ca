"""Every training option, its default and its check, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.kernels import optimizers
from fastfc.kernels.plan import ACTIVATIONS, FROM_LOGITS, LOSSES
from fastfc.renamed import old_fields
from fastfc.validation import number, one_of, sizes, whole

OPTIMIZERS = {  # learning rate and weight decay where none are given: those of PyTorch, but for sgd
    "sgd": (0.15, 1e-4),
    "adam": (1e-3, 0.0),
    "adamw": (1e-3, 1e-2),
    "rmsprop": (1e-2, 0.0),
    "adagrad": (1e-2, 0.0),
}
MOMENTUM_KINDS = ("none", "ema", "heavy_ball", "nesterov")
SCHEDULES = (
    "constant",
    "step",
    "cosine",
    "one_cycle",
    "cosine_restarts",
    "coslog4",
    "inverse_scaling",
    "plateau",
)
REDUCTIONS = ("mean", "sum")
DTYPES = ("float32", "float64")
INPUT_KERNELS = ("auto", "sparse", "dense")

Schedule = str | Callable[[int, int], float]
Init = str | tuple[str, float]


class SettingsDict(TypedDict, total=False):
    """The keyword settings of `fastfc.train`; `Settings` says what they mean."""

    hidden: Sequence[int]
    activation: str | Sequence[str]
    loss: str
    output_activation: str
    outputs: int | None
    huber_delta: float
    init: Init
    optimizer: str
    lr: float | None
    betas: tuple[float, float]
    epsilon: float
    rho: float
    layer_rates: Sequence[float]
    bias_rate: float
    momentum: float
    momentum_kind: str
    schedule: Schedule
    warmup: float
    plateau_patience: int
    plateau_factor: float
    ema: float | None
    weight_decay: float | None
    label_smoothing: float
    grad_reduction: str
    batch_size: int | None
    epochs: int
    shuffle: bool
    augment: int | None
    top_loss_fraction: float | None
    scale: float | None
    dtype: str
    input_kernel: str


@old_fields
@dataclass(frozen=True)
class Settings:
    """How to train. The defaults are a recipe for MNIST, tuned for time to accuracy.

    hidden            sizes of the hidden layers; () makes a linear model
    activation        of the hidden layers, one name for all or one for each: relu, tanh, sigmoid, identity
    loss              softmax_ce (softmax + cross-entropy), sigmoid_bce (sigmoid + binary cross-entropy), mse
    output_activation of the last layer, with mse only
    outputs           number of outputs; None takes it from the targets, which are numbers with mse. With mse and more than
                      one, integers (n,) are classes
    init              "he" N(0, 2/fan_in), "glorot" U(±sqrt(6/(fan_in + fan_out))), ("normal", sigma), ("uniform", a)
    optimizer         sgd, adam, adamw (decoupled decay), rmsprop, adagrad; `fastfc.kernels.optimizers` has their formulas and sources
    lr                learning rate, times what `schedule` gives; None: what is usual for the optimiser, in OPTIMIZERS
    betas, epsilon    of adam and adamw: shares of the averages of the gradient and of its square that are kept each step; epsilon
                      also of rmsprop and adagrad
    rho               of rmsprop: share of the average of the squared gradient that is kept each step
    layer_rates       factors of the learning rate, one for each layer of weights, or () for 1
    bias_rate         factor of the learning rate of the biases
    momentum          of sgd: b in: ema v = (1-b)g + bv; heavy_ball and nesterov v = g + bv
    schedule          "constant", "step" (x 0.1 after 1/2 and 3/4 of the steps), "cosine", "one_cycle", "cosine_restarts",
                      "coslog4", "inverse_scaling", "plateau", or a callable (step, steps) -> factor; their formulas and
                      sources are in `fastfc.training.schedules`
    warmup            how long the rate goes up in a straight line before the schedule begins: whole epochs, or below 1 a
                      share of all steps; 0: it does not
    plateau_patience, plateau_factor   with the schedule "plateau": the rate is multiplied by the factor each time the
                      validation loss, or without a validation set the training loss, has not fallen for so many epochs
    ema               d: an exponential moving average of the weights and biases, a step at a time, with the decay d, is
                      what is evaluated and what results (`fastfc.training.average`). Each step is then a call of its own,
                      and one more pass over all parameters. None: the parameters themselves
    weight_decay      lambda of the penalty lambda/2 * sum(w²), on weights, not on biases; with adamw the share of the weights that goes
                      each step, times the learning rate; None: what is usual for the optimiser, in OPTIMIZERS
    label_smoothing   e: targets become (1-e) * target + e / classes (sigmoid_bce: e / 2)
    grad_reduction    "mean" or "sum" over the batch
    batch_size        samples a step; None takes the whole set
    augment           shift each image by up to k pixels in both directions, anew in every epoch: in (2k + 1)² epochs it is
                      trained on with each shift once
    top_loss_fraction train in each epoch after the first on this share of the samples only: on those whose loss was the
                      largest when they were last trained on (Jiang et al. 2019); None trains on all
    scale             factor for uint8 input; None is 1/255. Input of any other dtype is used as it is, so that a model
                      trained on uint8 refuses other integers
    input_kernel      how the first layer is multiplied: "sparse", "dense", or "auto" by measured density
    """

    hidden: tuple[int, ...] = (200, 50)
    activation: str | Sequence[str] = "relu"
    loss: str = "softmax_ce"
    output_activation: str = "identity"
    outputs: int | None = None
    huber_delta: float = 1.0
    init: Init = "he"
    optimizer: str = "sgd"
    lr: Any = None  # a float once made, as is weight_decay
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    rho: float = 0.99
    layer_rates: tuple[float, ...] = ()
    bias_rate: float = 1.0
    momentum: float = 0.9
    momentum_kind: str = "nesterov"
    schedule: Schedule = "one_cycle"
    warmup: float = 0.0
    plateau_patience: int = 3
    plateau_factor: float = 0.1
    ema: float | None = None
    weight_decay: Any = None
    label_smoothing: float = 0.0
    grad_reduction: str = "mean"
    batch_size: int | None = 128
    epochs: int = 10
    shuffle: bool = True
    augment: int | None = None
    top_loss_fraction: float | None = None
    scale: float | None = None
    dtype: str = "float32"
    input_kernel: str = "auto"

    def __post_init__(self) -> None:
        hidden = (self.hidden,) if isinstance(self.hidden, (int, np.integer)) else self.hidden
        object.__setattr__(self, "hidden", sizes("hidden", hidden))
        object.__setattr__(self, "dtype", _dtype_name(self.dtype))
        for name in self.names():
            object.__setattr__(self, name, _plain(getattr(self, name)))
        self._check_names()
        lr, decay = OPTIMIZERS[self.optimizer]
        object.__setattr__(self, "lr", lr if self.lr is None else self.lr)
        object.__setattr__(self, "weight_decay", decay if self.weight_decay is None else self.weight_decay)
        self._check_numbers()
        self._check_optimizer()

    def _check_names(self) -> None:
        if not isinstance(self.activation, (str, tuple)):
            raise InvalidType(f"activation: given {self.activation!r}, expected a name, or one for each hidden layer")
        for name in self.activations:
            one_of("activation", name, ACTIVATIONS)
        if not isinstance(self.activation, str) and len(self.activation) != len(self.hidden):
            raise invalid(
                "activation",
                f"{len(self.activation)} names",
                f"one, or one for each of {len(self.hidden)} hidden layers",
            )
        one_of("loss", self.loss, LOSSES)
        one_of("output_activation", self.output_activation, ACTIVATIONS)
        if self.loss in FROM_LOGITS and self.output_activation != "identity":
            raise invalid(
                "output_activation",
                repr(self.output_activation),
                f"'identity' with loss {self.loss!r}, which has its own",
            )
        one_of("optimizer", self.optimizer, tuple(OPTIMIZERS))
        one_of("momentum_kind", self.momentum_kind, MOMENTUM_KINDS)
        if not callable(self.schedule):
            one_of("schedule", self.schedule, SCHEDULES)
        one_of("grad_reduction", self.grad_reduction, REDUCTIONS)
        one_of("input_kernel", self.input_kernel, INPUT_KERNELS)

    def _check_numbers(self) -> None:
        number("huber_delta", self.huber_delta, above=0)
        number("lr", self.lr, above=0)
        number("momentum", self.momentum, at_least=0, below=1)
        number("weight_decay", self.weight_decay, at_least=0)
        number("label_smoothing", self.label_smoothing, at_least=0, below=1)
        if self.loss == "mse" and self.label_smoothing:
            raise invalid("label_smoothing", self.label_smoothing, "0 with loss 'mse'")
        if self.scale is not None:
            number("scale", self.scale, above=0)
        whole("epochs", self.epochs, 1)
        number("warmup", self.warmup, at_least=0)
        if self.warmup >= 1 and (self.warmup != int(self.warmup) or self.warmup >= self.epochs):
            raise invalid("warmup", self.warmup, f"whole epochs, fewer than {self.epochs}, or a share below 1")
        whole("plateau_patience", self.plateau_patience, 1)
        number("plateau_factor", self.plateau_factor, above=0, below=1)
        if self.ema is not None:
            number("ema", self.ema, above=0, below=1)
        if self.outputs is not None:
            whole("outputs", self.outputs, 1)
        if self.batch_size is not None:
            whole("batch_size", self.batch_size, 1)
        if self.augment is not None:
            whole("augment", self.augment, 0)
        if self.top_loss_fraction is not None:
            number("top_loss_fraction", self.top_loss_fraction, above=0, below=1)
        if not isinstance(self.shuffle, bool):
            raise InvalidType(f"shuffle: given {self.shuffle!r}, expected True or False")

    def _check_optimizer(self) -> None:
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise InvalidType(f"betas: given {self.betas!r}, expected two numbers")
        for beta in self.betas:
            number("betas", beta, at_least=0, below=1)
        number("epsilon", self.epsilon, above=0)
        number("rho", self.rho, at_least=0, below=1)
        number("bias_rate", self.bias_rate, at_least=0)
        if not isinstance(self.layer_rates, tuple):
            raise InvalidType(f"layer_rates: given {self.layer_rates!r}, expected a number for each layer of weights")
        for rate in self.layer_rates:
            number("layer_rates", rate, at_least=0)
        if self.layer_rates and len(self.layer_rates) != len(self.hidden) + 1:
            raise invalid("layer_rates", f"{len(self.layer_rates)} numbers", f"{len(self.hidden) + 1}, one a layer")

    def make_optimizer(self) -> optimizers.Optimizer:
        """As the kernels take it."""
        decay, epsilon = self.weight_decay, self.epsilon
        if self.optimizer in ("adam", "adamw"):
            made = optimizers.of_adam(*self.betas, epsilon, decay, decoupled=self.optimizer == "adamw")
        elif self.optimizer == "rmsprop":
            made = optimizers.of_squares(self.rho, 1 - self.rho, epsilon, decay)
        elif self.optimizer == "adagrad":
            made = optimizers.of_squares(1.0, 1.0, epsilon, decay)
        else:
            made = optimizers.of_momentum(self.momentum_kind, self.momentum, decay)
        return replace(made, rate_factors=self.layer_rates, bias_factor=self.bias_rate)

    @property
    def activations(self) -> tuple[str, ...]:
        """One name for each hidden layer."""
        return (self.activation,) * len(self.hidden) if isinstance(self.activation, str) else tuple(self.activation)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, and lists as tuples, so that settings can be compared, and written as JSON."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, (np.bool_, np.integer, np.floating)) else value


def _dtype_name(dtype: Any) -> str:
    try:
        name = repr(None) if dtype is None else np.dtype(dtype).name  # None would be float64
    except (TypeError, ValueError):
        name = repr(dtype)
    one_of("dtype", name, DTYPES)
    return name
