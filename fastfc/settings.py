"""Every training option, its default and its check, in one place."""

from __future__ import annotations

import math
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
    "lbfgs": (1.0, 1e-4),
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
MOST_DROPPED = 1 - 2**-16  # of which the masks, of 16 bits a unit, can still tell some that stay
NUMBERS: dict[str, dict[str, float]] = {  # and their bounds; those that may be None are checked where they are not
    "huber_delta": {"above": 0},
    "lr": {"above": 0},
    "epsilon": {"above": 0},
    "rho": {"at_least": 0, "below": 1},
    "bias_rate": {"at_least": 0},
    "momentum": {"at_least": 0, "below": 1},
    "warmup": {"at_least": 0},
    "plateau_factor": {"above": 0, "below": 1},
    "ema": {"above": 0, "below": 1},
    "weight_decay": {"at_least": 0},
    "l1": {"at_least": 0},
    "label_smoothing": {"at_least": 0, "below": 1},
    "input_dropout": {"at_least": 0, "below": 1},
    "clip_norm": {"above": 0},
    "top_loss_fraction": {"above": 0, "below": 1},
    "scale": {"above": 0},
    "tolerance": {"at_least": 0},
}
WHOLE = {"epochs": 1, "plateau_patience": 1, "outputs": 1, "batch_size": 1, "augment": 0}  # and the least of each
SWITCHES = ("velocity_has_rate", "decay_per_batch", "shuffle")
# What lbfgs, which takes the whole set and finds the length of its steps, has no use for.
NOT_OF_LBFGS = (
    "lr", "betas", "epsilon", "rho", "layer_rates", "bias_rate", "momentum", "momentum_kind", "velocity_has_rate", "schedule",
    "warmup", "plateau_patience", "plateau_factor", "ema", "l1", "dropout", "input_dropout", "clip_norm", "batch_size", "augment",
    "top_loss_fraction",
)  # fmt: skip
OF_LBFGS: dict[str, Any] = {"lr": 1.0, "batch_size": None, "schedule": "constant"}  # what it has in their place

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
    velocity_has_rate: bool
    schedule: Schedule
    warmup: float
    plateau_patience: int
    plateau_factor: float
    ema: float | None
    weight_decay: float | None
    decay_per_batch: bool
    l1: float
    label_smoothing: float
    dropout: float | Sequence[float]
    input_dropout: float
    clip_norm: float | None
    grad_reduction: str
    batch_size: int | None
    epochs: int
    shuffle: bool
    augment: int | None
    top_loss_fraction: float | None
    scale: float | None
    tolerance: float
    dtype: str
    input_kernel: str


@old_fields
@dataclass(frozen=True)
class Settings:
    """How to train. The defaults are a recipe for MNIST, tuned for time to accuracy.

    hidden            sizes of the hidden layers; () makes a linear model
    activation        of the hidden layers, one name for all or one for each: relu, tanh, sigmoid, identity, leaky_relu, elu,
                      selu, gelu (exact), gelu_tanh, silu, mish, softplus; formulas and sources are in
                      `fastfc.kernels.reference.activations`
    loss              softmax_ce (softmax + cross-entropy), sigmoid_bce (sigmoid + binary cross-entropy), mse (squared error), mae
                      (absolute error), huber, or poisson (of counts, whose expectation is exp of the output);
                      `fastfc.kernels.reference.losses` has them
    output_activation of the last layer, with mse, mae and huber only
    outputs           number of outputs; None takes it from the targets, which are numbers with the last four losses. With mse,
                      mae or huber and more than one, integers (n,) are classes
    huber_delta       with huber: the difference up to which it is the squared error
    init              "he" N(0, 2/fan_in), "glorot" U(±sqrt(6/(fan_in + fan_out))), ("normal", sigma), ("uniform", a)
    optimizer         sgd, adam, adamw (decoupled decay), rmsprop, adagrad; `fastfc.kernels.optimizers` has their formulas and
                      sources. Or lbfgs, scipy's L-BFGS-B on the whole set, where an epoch is an iteration
    lr                learning rate, times what `schedule` gives; None: what is usual for the optimiser, in OPTIMIZERS
    betas, epsilon    of adam and adamw: shares of the averages of the gradient and of its square that are kept each step; epsilon
                      also of rmsprop and adagrad
    rho               of rmsprop: share of the average of the squared gradient that is kept each step
    layer_rates       factors of the learning rate, one for each layer of weights, or () for 1
    bias_rate         factor of the learning rate of the biases
    momentum          of sgd: b in: ema v = (1-b)g + bv; heavy_ball and nesterov v = g + bv
    velocity_has_rate of sgd: the learning rate is a factor in the velocity, v = bv - lr g, as in scikit-learn, and not of it,
                      as in PyTorch: they differ where the rate changes
    schedule          "constant", "step" (x 0.1 after 1/2 and 3/4 of the steps), "cosine", "one_cycle", "cosine_restarts",
                      "coslog4", "inverse_scaling", "plateau", or a callable (step, steps) -> factor; their formulas and
                      sources are in `fastfc.training.schedules`
    warmup            how long the rate goes up in a straight line before the schedule begins: whole epochs, or below 1 a
                      share of all steps; 0: it does not
    plateau_patience, plateau_factor   with the schedule "plateau": the rate is multiplied by the factor each time the
                      validation loss, or without a validation set the training loss, has not fallen for so many epochs
    ema               d: an exponential moving average of the weights and biases, with the decay d a step, is what is evaluated
                      and what results (`Optimizer.averaged` in `fastfc.kernels.optimizers`). None: the parameters themselves
    weight_decay      lambda of the penalty lambda/2 * sum(w²), on weights, not on biases; with adamw the share of the weights that goes
                      each step, times the learning rate; None: what is usual for the optimiser, in OPTIMIZERS
    decay_per_batch   weight_decay and l1 are of the sum of the losses, not of their mean: each step divides them by the number
                      of samples in its batch, or the sum of their weights, as scikit-learn counts its alpha
    l1                lambda of the penalty lambda * sum(|w|), on weights, not on biases
    label_smoothing   e: targets of classes become (1-e) * target + e / classes (sigmoid_bce: e / 2)
    dropout           share of what the hidden layers give that is dropped in training, and the others made larger for it: one
                      for all, or one for each (Srivastava et al. 2014). `fastfc.kernels.reference.dropout` has the masks,
                      which follow from the seed, the epoch and the sample
    input_dropout     the same of the inputs
    clip_norm         largest norm of a step's gradient, of all parameters together and without the penalties: a longer one is
                      shortened to it (Pascanu et al. 2013); None: as it is
    grad_reduction    "mean" or "sum" over the batch
    batch_size        samples a step; None takes the whole set
    augment           shift each image by up to k pixels in both directions, anew in every epoch: in (2k + 1)² epochs it is
                      trained on with each shift once
    top_loss_fraction train in each epoch after the first on this share of the samples only: on those whose loss was the
                      largest when they were last trained on (Jiang et al. 2019); None trains on all
    scale             factor for uint8 input; None is 1/255. Input of any other dtype is used as it is, so that a model
                      trained on uint8 refuses other integers
    tolerance         of lbfgs: training ends when no element of the gradient is larger (scipy's gtol)
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
    velocity_has_rate: bool = False
    schedule: Schedule = "one_cycle"
    warmup: float = 0.0
    plateau_patience: int = 3
    plateau_factor: float = 0.1
    ema: float | None = None
    weight_decay: Any = None
    decay_per_batch: bool = False
    l1: float = 0.0
    label_smoothing: float = 0.0
    dropout: float | Sequence[float] = 0.0
    input_dropout: float = 0.0
    clip_norm: float | None = None
    grad_reduction: str = "mean"
    batch_size: int | None = 128
    epochs: int = 10
    shuffle: bool = True
    augment: int | None = None
    top_loss_fraction: float | None = None
    scale: float | None = None
    tolerance: float = 1e-5
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
        self._check_dropout()
        if self.optimizer == "lbfgs":
            self._check_lbfgs()

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
        may_be_none = {field.name for field in fields(self) if field.default is None}
        may_be_none |= {"batch_size"}
        for name, bounds in NUMBERS.items():
            value = getattr(self, name)
            if value is not None or name not in may_be_none:
                number(name, value, **bounds)
        for name, least in WHOLE.items():
            value = getattr(self, name)
            if value is not None or name not in may_be_none:
                whole(name, value, least)
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise InvalidType(f"{name}: given {getattr(self, name)!r}, expected True or False")
        if self.loss != "huber" and self.huber_delta != 1:
            raise invalid("huber_delta", self.huber_delta, f"1 with loss {self.loss!r}, which has no use for it")
        if self.loss == "poisson" and self.label_smoothing:
            raise invalid("label_smoothing", self.label_smoothing, "0 with loss 'poisson', whose targets are numbers")
        if self.warmup >= 1 and (self.warmup != int(self.warmup) or self.warmup >= self.epochs):
            raise invalid("warmup", self.warmup, f"whole epochs, fewer than {self.epochs}, or a share below 1")

    def _check_optimizer(self) -> None:
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise InvalidType(f"betas: given {self.betas!r}, expected two numbers")
        for beta in self.betas:
            number("betas", beta, at_least=0, below=1)
        if not isinstance(self.layer_rates, tuple):
            raise InvalidType(f"layer_rates: given {self.layer_rates!r}, expected a number for each layer of weights")
        for rate in self.layer_rates:
            number("layer_rates", rate, at_least=0)
        if self.layer_rates and len(self.layer_rates) != len(self.hidden) + 1:
            raise invalid("layer_rates", f"{len(self.layer_rates)} numbers", f"{len(self.hidden) + 1}, one a layer")
        if self.velocity_has_rate and (self.optimizer != "sgd" or self.momentum_kind == "none"):
            raise invalid("velocity_has_rate", True, "False without a velocity, which sgd with momentum has")
        if self.decay_per_batch and (self.optimizer == "adamw" or self.grad_reduction == "sum"):
            other = "optimizer 'adamw'" if self.optimizer == "adamw" else "grad_reduction 'sum'"
            raise invalid("decay_per_batch", True, f"False with {other}")
        if self.optimizer != "lbfgs" and self.tolerance != 1e-5:
            raise invalid("tolerance", self.tolerance, f"1e-05 with optimizer {self.optimizer!r}, which has none")

    def _check_lbfgs(self) -> None:
        """Raise for what is not as it is by default, and put in place of the defaults what a whole set and no rate are."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in NOT_OF_LBFGS and value not in (field.default, OF_LBFGS.get(field.name, field.default)):
                expected = OF_LBFGS.get(field.name, field.default)
                raise invalid(field.name, repr(value), f"{expected!r} with optimizer 'lbfgs'")
        for name, value in OF_LBFGS.items():
            object.__setattr__(self, name, value)

    def _check_dropout(self) -> None:
        given, layers = self.dropout, len(self.hidden)
        rates: Sequence[Any] = (given,) if not isinstance(given, tuple) else given
        for name, rate in (*(("dropout", rate) for rate in rates), ("input_dropout", self.input_dropout)):
            number(name, rate, at_least=0, below=1)
            if rate >= MOST_DROPPED:
                raise invalid(name, rate, "a share below 1 - 1/65536")
        if isinstance(given, tuple) and len(given) != layers:
            raise invalid("dropout", f"{len(given)} rates", f"one, or one for each of {layers} hidden layers")
        if given and not layers:
            raise invalid("dropout", given, "0 without hidden layers; `input_dropout` drops inputs")

    def make_optimizer(self) -> optimizers.Optimizer:
        """As the kernels take it; for lbfgs, whose steps are not theirs, one that keeps nothing."""
        decay, epsilon = self.weight_decay, self.epsilon
        if self.optimizer in ("adam", "adamw"):
            made = optimizers.of_adam(*self.betas, epsilon, decay, decoupled=self.optimizer == "adamw")
        elif self.optimizer == "rmsprop":
            made = optimizers.of_squares(self.rho, 1 - self.rho, epsilon, decay)
        elif self.optimizer == "adagrad":
            made = optimizers.of_squares(1.0, 1.0, epsilon, decay)
        elif self.optimizer == "lbfgs":
            made = optimizers.of_momentum("none", 0.0, decay)
        else:
            of_sgd = optimizers.of_velocity if self.velocity_has_rate else optimizers.of_momentum
            made = of_sgd(self.momentum_kind, self.momentum, decay)
        made = replace(made, rate_factors=self.layer_rates, bias_factor=self.bias_rate)
        made = made.with_l1(self.l1) if self.l1 else made
        return made if self.ema is None else made.averaged(self.ema)

    def later_size(self, samples: int) -> int:
        """How many of the samples an epoch after the first trains on."""
        return samples if self.top_loss_fraction is None else math.ceil(self.top_loss_fraction * samples)

    @property
    def dropout_rates(self) -> tuple[float, ...]:
        """One for the input and one for each hidden layer; () where nothing is dropped."""
        hidden = self.dropout if isinstance(self.dropout, tuple) else (self.dropout,) * len(self.hidden)
        rates = (self.input_dropout, *hidden)
        return rates if any(rates) else ()

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
