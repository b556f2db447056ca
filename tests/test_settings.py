"""Settings: what is taken, in which form it is kept, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import numpy as np
import pytest

from fastfc import Settings
from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.settings import SettingsDict

TAKEN: dict[str, tuple[Any, Any]] = {  # name: (given, kept)
    "hidden": ([3, np.int32(2)], (3, 2)),
    "activation": (["tanh", "relu"], ("tanh", "relu")),
    "init": (["normal", np.float32(0.5)], ("normal", 0.5)),
    "lr": (np.float64(0.25), 0.25),
    "momentum": (0, 0),
    "warmup": (np.float32(0.5), 0.5),
    "ema": (np.float64(0.9), 0.9),
    "batch_size": (np.uint8(7), 7),
    "epochs": (np.int64(3), 3),
    "shuffle": (np.bool_(False), False),
    "augment": (0, 0),
    "top_loss_fraction": (np.float32(0.5), 0.5),
    "scale": (np.float32(2), 2.0),
    "dtype": (np.float64, "float64"),
    "outputs": (np.int16(4), 4),
    "dropout": ([np.float32(0.5), 0.25], (0.5, 0.25)),
    "input_dropout": (np.float64(0.2), 0.2),
    "clip_norm": (np.float32(0.5), 0.5),
    "l1": (np.float64(0.1), 0.1),
    "velocity_has_rate": (np.bool_(True), True),
    "decay_per_batch": (np.bool_(True), True),
}

REFUSED: list[tuple[dict[str, Any], type[FastFCError], str]] = [
    ({"hidden": (3, 0)}, InvalidArgument, "hidden: given 0, expected a whole number >= 1"),
    ({"hidden": (3, 2.0)}, InvalidType, "hidden: given 2.0, expected a whole number >= 1"),
    ({"hidden": True}, InvalidType, "hidden: given True, expected a whole number >= 1"),
    ({"hidden": None}, InvalidType, r"hidden: given None, expected sizes, such as \(200, 50\)"),
    ({"hidden": "12"}, InvalidType, "hidden: given '1', expected a whole number >= 1"),
    (
        {"activation": "swish"},
        InvalidArgument,
        "activation: given 'swish', expected one of relu, tanh, sigmoid, identity, leaky_relu, elu, selu, gelu, gelu_tanh, silu",
    ),
    (
        {"activation": ("relu",)},
        InvalidArgument,
        "activation: given 1 names, expected one, or one for each of 2 hidden",
    ),
    ({"activation": ("relu", 3)}, InvalidArgument, "activation: given 3, expected one of relu"),
    ({"activation": None}, InvalidType, "activation: given None, expected a name, or one for each hidden layer"),
    ({"loss": "hinge"}, InvalidArgument, "loss: given 'hinge', expected one of softmax_ce, sigmoid_bce, mse"),
    ({"output_activation": "tanh"}, InvalidArgument, "output_activation: given 'tanh', expected 'identity' with loss"),
    ({"output_activation": "softmax", "loss": "mse"}, InvalidArgument, "output_activation: given 'softmax', expected"),
    ({"optimizer": "lion"}, InvalidArgument, "optimizer: given 'lion', expected one of sgd"),
    ({"momentum_kind": "adam"}, InvalidArgument, "momentum_kind: given 'adam', expected one of none, ema, heavy_ball"),
    ({"schedule": "linear"}, InvalidArgument, "schedule: given 'linear', expected one of constant, step, cosine, one_"),
    ({"schedule": 3}, InvalidArgument, "schedule: given 3, expected one of constant"),
    ({"grad_reduction": "max"}, InvalidArgument, "grad_reduction: given 'max', expected one of mean, sum"),
    ({"input_kernel": "fast"}, InvalidArgument, "input_kernel: given 'fast', expected one of auto, sparse, dense"),
    ({"dtype": "float16"}, InvalidArgument, "dtype: given 'float16', expected one of float32, float64"),
    ({"dtype": None}, InvalidArgument, "dtype: given 'None', expected one of float32, float64"),
    ({"dtype": "single precision"}, InvalidArgument, "dtype: given .*single precision.*, expected one of float32"),
    ({"lr": 0}, InvalidArgument, "lr: given 0, expected a finite number > 0"),
    ({"lr": float("nan")}, InvalidArgument, "lr: given nan, expected a finite number > 0"),
    ({"lr": float("inf")}, InvalidArgument, "lr: given inf, expected a finite number > 0"),
    ({"lr": 10**400}, InvalidArgument, "lr: given 1000+, expected a finite number > 0"),
    ({"lr": "0.1"}, InvalidType, "lr: given '0.1', expected a number"),
    ({"lr": True}, InvalidType, "lr: given True, expected a number"),
    ({"lr": np.ones(2)}, InvalidType, r"lr: given array\(\[1., 1.\]\), expected a number"),
    ({"momentum": 1}, InvalidArgument, "momentum: given 1, expected a finite number >= 0 and < 1"),
    ({"momentum": -0.1}, InvalidArgument, "momentum: given -0.1, expected a finite number >= 0 and < 1"),
    ({"weight_decay": -1}, InvalidArgument, "weight_decay: given -1, expected a finite number >= 0"),
    ({"label_smoothing": 1.0}, InvalidArgument, "label_smoothing: given 1.0, expected a finite number >= 0 and < 1"),
    ({"label_smoothing": 0.1, "loss": "poisson"}, InvalidArgument, "label_smoothing: given 0.1, expected 0 with loss 'poisson'"),
    ({"output_activation": "tanh", "loss": "poisson"}, InvalidArgument, "output_activation: given 'tanh', expected 'identity'"),
    ({"huber_delta": 0, "loss": "huber"}, InvalidArgument, "huber_delta: given 0, expected a finite number > 0"),
    ({"huber_delta": "1", "loss": "huber"}, InvalidType, "huber_delta: given '1', expected a number"),
    ({"huber_delta": 2.0}, InvalidArgument, "huber_delta: given 2.0, expected 1 with loss 'softmax_ce'"),
    ({"dropout": 1.0}, InvalidArgument, "dropout: given 1.0, expected a finite number >= 0 and < 1"),
    ({"dropout": -0.1}, InvalidArgument, "dropout: given -0.1, expected a finite number >= 0 and < 1"),
    ({"dropout": "0.5"}, InvalidType, "dropout: given '0.5', expected a number"),
    ({"dropout": None}, InvalidType, "dropout: given None, expected a number"),
    ({"dropout": True}, InvalidType, "dropout: given True, expected a number"),
    ({"dropout": (0.1,)}, InvalidArgument, "dropout: given 1 rates, expected one, or one for each of 2 hidden layers"),
    ({"dropout": (0.1, 1)}, InvalidArgument, "dropout: given 1, expected a finite number >= 0 and < 1"),
    ({"dropout": 1 - 1e-6}, InvalidArgument, "dropout: given 0.999999, expected a share below 1 - 1/65536"),
    ({"dropout": 0.1, "hidden": ()}, InvalidArgument, "dropout: given 0.1, expected 0 without hidden layers"),
    ({"input_dropout": 1}, InvalidArgument, "input_dropout: given 1, expected a finite number >= 0 and < 1"),
    ({"input_dropout": (0.1,)}, InvalidType, r"input_dropout: given \(0.1,\), expected a number"),
    ({"clip_norm": 0}, InvalidArgument, "clip_norm: given 0, expected a finite number > 0"),
    ({"clip_norm": float("inf")}, InvalidArgument, "clip_norm: given inf, expected a finite number > 0"),
    ({"clip_norm": "1"}, InvalidType, "clip_norm: given '1', expected a number"),
    ({"l1": -1e-3}, InvalidArgument, "l1: given -0.001, expected a finite number >= 0"),
    ({"l1": None}, InvalidType, "l1: given None, expected a number"),
    ({"velocity_has_rate": 1}, InvalidType, "velocity_has_rate: given 1, expected True or False"),
    ({"velocity_has_rate": True, "optimizer": "adam"}, InvalidArgument, "velocity_has_rate: given True, expected False without"),
    ({"velocity_has_rate": True, "momentum_kind": "none"}, InvalidArgument, "velocity_has_rate: given True, expected False"),
    ({"decay_per_batch": "no"}, InvalidType, "decay_per_batch: given 'no', expected True or False"),
    ({"decay_per_batch": True, "optimizer": "adamw"}, InvalidArgument, "decay_per_batch: given True, expected False with opt"),
    ({"decay_per_batch": True, "grad_reduction": "sum"}, InvalidArgument, "decay_per_batch: given True, expected False with grad"),
    ({"tolerance": 1e-3}, InvalidArgument, "tolerance: given 0.001, expected 1e-05 with optimizer 'sgd'"),
    ({"tolerance": -1, "optimizer": "lbfgs"}, InvalidArgument, "tolerance: given -1, expected a finite number >= 0"),
    ({"tolerance": "0", "optimizer": "lbfgs"}, InvalidType, "tolerance: given '0', expected a number"),
    ({"betas": (0.9,)}, InvalidType, r"betas: given \(0.9,\), expected two numbers"),
    ({"betas": (0.9, 1)}, InvalidArgument, "betas: given 1, expected a finite number >= 0 and < 1"),
    ({"epsilon": 0}, InvalidArgument, "epsilon: given 0, expected a finite number > 0"),
    ({"rho": 1}, InvalidArgument, "rho: given 1, expected a finite number >= 0 and < 1"),
    ({"bias_rate": -1}, InvalidArgument, "bias_rate: given -1, expected a finite number >= 0"),
    ({"layer_rates": 1.0}, InvalidType, "layer_rates: given 1.0, expected a number for each layer of weights"),
    ({"layer_rates": (1, 1)}, InvalidArgument, "layer_rates: given 2 numbers, expected 3, one a layer"),
    ({"layer_rates": (1, 1, -1)}, InvalidArgument, "layer_rates: given -1, expected a finite number >= 0"),
    ({"scale": 0}, InvalidArgument, "scale: given 0, expected a finite number > 0"),
    ({"epochs": 0}, InvalidArgument, "epochs: given 0, expected a whole number >= 1"),
    ({"epochs": 1.0}, InvalidType, "epochs: given 1.0, expected a whole number >= 1"),
    ({"batch_size": 0}, InvalidArgument, "batch_size: given 0, expected a whole number >= 1"),
    ({"batch_size": "all"}, InvalidType, "batch_size: given 'all', expected a whole number >= 1"),
    ({"outputs": 0}, InvalidArgument, "outputs: given 0, expected a whole number >= 1"),
    ({"augment": -1}, InvalidArgument, "augment: given -1, expected a whole number >= 0"),
    ({"top_loss_fraction": 0}, InvalidArgument, "top_loss_fraction: given 0, expected a finite number > 0 and < 1"),
    ({"top_loss_fraction": 1.0}, InvalidArgument, "top_loss_fraction: given 1.0, expected a finite number > 0 and < 1"),
    ({"augment": True}, InvalidType, "augment: given True, expected a whole number >= 0"),
    ({"warmup": -0.1}, InvalidArgument, "warmup: given -0.1, expected a finite number >= 0"),
    ({"warmup": 1.5}, InvalidArgument, "warmup: given 1.5, expected whole epochs, fewer than 10, or a share below 1"),
    ({"warmup": 3, "epochs": 3}, InvalidArgument, "warmup: given 3, expected whole epochs, fewer than 3, or a share"),
    ({"warmup": "2"}, InvalidType, "warmup: given '2', expected a number"),
    ({"warmup": True}, InvalidType, "warmup: given True, expected a number"),
    ({"plateau_patience": 0}, InvalidArgument, "plateau_patience: given 0, expected a whole number >= 1"),
    ({"plateau_factor": 1}, InvalidArgument, "plateau_factor: given 1, expected a finite number > 0 and < 1"),
    ({"ema": 0}, InvalidArgument, "ema: given 0, expected a finite number > 0 and < 1"),
    ({"ema": 1.0}, InvalidArgument, "ema: given 1.0, expected a finite number > 0 and < 1"),
    ({"ema": "0.9"}, InvalidType, "ema: given '0.9', expected a number"),
    ({"shuffle": 1}, InvalidType, "shuffle: given 1, expected True or False"),
]


# What lbfgs has no use for.
LBFGS: dict[str, tuple[Any, str]] = {
    "lr": (0.1, "1.0"),
    "betas": ((0.8, 0.9), r"\(0.9, 0.999\)"),
    "epsilon": (1e-4, "1e-08"),
    "rho": (0.5, "0.99"),
    "layer_rates": ((1.0, 1.0, 2.0), r"\(\)"),
    "bias_rate": (0.5, "1.0"),
    "momentum": (0.5, "0.9"),
    "momentum_kind": ("ema", "'nesterov'"),
    "schedule": ("step", "'constant'"),
    "warmup": (1, "0.0"),
    "plateau_patience": (1, "3"),
    "plateau_factor": (0.5, "0.1"),
    "ema": (0.9, "None"),
    "l1": (0.1, "0.0"),
    "dropout": (0.1, "0.0"),
    "input_dropout": (0.1, "0.0"),
    "clip_norm": (1.0, "None"),
    "batch_size": (32, "None"),
    "augment": (1, "None"),
    "top_loss_fraction": (0.5, "None"),
}
REFUSED += [
    (
        {"optimizer": "lbfgs", name: value},
        InvalidArgument,
        f"{name}: given {re.escape(repr(value))}, expected {kept} with optimizer 'lbfgs'",
    )
    for name, (value, kept) in LBFGS.items()
]


@pytest.mark.parametrize("name", TAKEN)
def test_values_are_kept_in_plain_form(name: str) -> None:
    given, kept = TAKEN[name]
    settings = Settings(**{name: given})
    found = getattr(settings, name)
    assert found == kept and type(found) is type(kept)
    assert settings == Settings(**{name: kept}) == replace(settings)
    assert json.loads(json.dumps(asdict(settings)))[name] == (list(kept) if isinstance(kept, tuple) else kept)


@pytest.mark.parametrize(("given", "error", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_other_values_are_refused_in_one_line(given: dict[str, Any], error: type[FastFCError], message: str) -> None:
    with pytest.raises(error, match=f"^{message}") as caught:
        Settings(**given)
    assert "\n" not in str(caught.value)


def test_one_hidden_layer_may_be_a_number_and_none_a_tuple() -> None:
    assert Settings(hidden=5).hidden == (5,)  # type: ignore[arg-type]
    assert Settings(hidden=()).activations == ()
    assert Settings(hidden=(3, 2)).activations == ("relu", "relu")


def test_lbfgs_takes_the_whole_set_at_no_rate() -> None:
    settings = Settings(optimizer="lbfgs")
    assert (settings.batch_size, settings.schedule, settings.lr) == (None, "constant", 1.0)
    assert replace(settings, epochs=3) == Settings(optimizer="lbfgs", epochs=3, batch_size=None, lr=1.0, schedule="constant")
    assert Settings(optimizer="lbfgs", decay_per_batch=True, grad_reduction="mean", label_smoothing=0.1, tolerance=0.0)


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({}, ()),
        ({"dropout": 0.0, "input_dropout": 0}, ()),
        ({"dropout": 0.5}, (0.0, 0.5, 0.5)),
        ({"dropout": (0.5, 0.0)}, (0.0, 0.5, 0.0)),
        ({"input_dropout": 0.2}, (0.2, 0.0, 0.0)),
        ({"input_dropout": 0.2, "hidden": ()}, (0.2,)),
    ],
)
def test_dropout_has_a_rate_for_the_input_and_each_hidden_layer(given: dict[str, Any], rates: tuple[float, ...]) -> None:
    assert Settings(**given).dropout_rates == rates


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().lr = 1.0  # type: ignore[misc]


def test_every_setting_is_a_keyword_of_train() -> None:
    assert Settings.names() == tuple(SettingsDict.__annotations__)
