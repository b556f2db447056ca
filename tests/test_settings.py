"""Settings: what is taken, in which form it is kept, and what is refused."""

from __future__ import annotations

import json
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
}

REFUSED: list[tuple[dict[str, Any], type[FastFCError], str]] = [
    ({"hidden": (3, 0)}, InvalidArgument, "hidden: given 0, expected a whole number >= 1"),
    ({"hidden": (3, 2.0)}, InvalidType, "hidden: given 2.0, expected a whole number >= 1"),
    ({"hidden": True}, InvalidType, "hidden: given True, expected a whole number >= 1"),
    ({"hidden": None}, InvalidType, r"hidden: given None, expected sizes, such as \(200, 50\)"),
    ({"hidden": "12"}, InvalidType, "hidden: given '1', expected a whole number >= 1"),
    (
        {"activation": "gelu"},
        InvalidArgument,
        "activation: given 'gelu', expected one of relu, tanh, sigmoid, identity",
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
    (
        {"label_smoothing": 0.1, "loss": "mse"},
        InvalidArgument,
        "label_smoothing: given 0.1, expected 0 with loss 'mse'",
    ),
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


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().lr = 1.0  # type: ignore[misc]


def test_every_setting_is_a_keyword_of_train() -> None:
    assert Settings.names() == tuple(SettingsDict.__annotations__)
