"""The training settings as command-line options: one table, from which help, parsing and defaults follow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from fastfc import settings
from fastfc.settings import Settings


class Option(NamedTuple):
    """How one setting is written on the command line. `parse` raises ValueError for what it cannot read."""

    parse: Callable[[str], Any]
    metavar: str
    help: str


def sizes(text: str) -> tuple[int, ...]:
    """'200,50' -> (200, 50); 'none' -> ()"""
    return () if text == "none" else tuple(int(part) for part in text.split(","))


def shares(text: str) -> tuple[float, ...]:
    """'0.9,0.999' -> (0.9, 0.999)"""
    return () if text == "all 1" else tuple(float(part) for part in text.split(","))


def one_or_more(text: str) -> float | tuple[float, ...]:
    """'0.5' -> 0.5; '0.2,0.5' -> (0.2, 0.5)"""
    parts = shares(text)
    return parts[0] if len(parts) == 1 else parts


def names(text: str) -> str | tuple[str, ...]:
    """'relu' -> 'relu'; 'tanh,relu' -> ('tanh', 'relu')"""
    parts = tuple(part.strip() for part in text.split(","))
    return parts[0] if len(parts) == 1 else parts


def init(text: str) -> str | tuple[str, float]:
    """'he' -> 'he'; 'normal:0.1' -> ('normal', 0.1)"""
    name, colon, value = text.partition(":")
    return (name, float(value)) if colon else name


def whole_or(word: str) -> Callable[[str], int | None]:
    """Reads a whole number, or `word` for None."""

    def parse(text: str) -> int | None:
        return None if text == word else int(text)

    return parse


def scale(text: str) -> float | None:
    """'0.01' -> 0.01; '1/255' -> None, the default"""
    return None if text == "1/255" else float(text)


def by_optimizer(text: str) -> float | None:
    """'0.1' -> 0.1; 'by optimizer' -> None"""
    return None if text == "by optimizer" else float(text)


def share(text: str) -> float | None:
    """'0.5' -> 0.5; 'all' -> None"""
    return None if text == "all" else float(text)


def or_none(text: str) -> float | None:
    """'0.999' -> 0.999; 'none' -> None"""
    return None if text == "none" else float(text)


OPTIONS = {
    "hidden": Option(sizes, "N,N,...", "sizes of the hidden layers; none for a linear model"),
    "activation": Option(
        names, "NAME[,...]", ", ".join(settings.ACTIVATIONS) + "; one for all hidden layers, or one for each"
    ),
    "loss": Option(str, "NAME", ", ".join(settings.LOSSES)),
    "output_activation": Option(str, "NAME", "activation of the last layer, where the loss is mse, mae or huber"),
    "outputs": Option(whole_or("auto"), "N", "number of outputs; auto: from the targets, which with mse are numbers"),
    "huber_delta": Option(float, "D", "difference up to which the loss huber is the squared error"),
    "init": Option(init, "NAME", "he, glorot, normal:SIGMA, uniform:LIMIT"),
    "optimizer": Option(str, "NAME", ", ".join(settings.OPTIMIZERS)),
    "lr": Option(by_optimizer, "RATE", "learning rate, times what the schedule gives"),
    "betas": Option(shares, "B1,B2", "shares of adam's averages that are kept each step"),
    "epsilon": Option(float, "E", "added to the root of averages of squares: adam, adamw, rmsprop, adagrad"),
    "rho": Option(float, "R", "share of the average of squares that is kept each step: rmsprop"),
    "layer_rates": Option(shares, "F,F,...", "factors of the learning rate, one for each layer of weights"),
    "bias_rate": Option(float, "F", "factor of the learning rate of the biases"),
    "momentum": Option(float, "B", "share of the velocity that is kept each step"),
    "momentum_kind": Option(str, "NAME", ", ".join(settings.MOMENTUM_KINDS)),
    "velocity_has_rate": Option(bool, "", "of sgd: the rate is a factor in the velocity, not of it, as in scikit-learn"),
    "schedule": Option(str, "NAME", ", ".join(settings.SCHEDULES)),
    "warmup": Option(float, "EPOCHS", "epochs, or below 1 a share of all steps, in which the rate first rises"),
    "plateau_patience": Option(int, "N", "epochs without a lower loss after which schedule plateau lowers the rate"),
    "plateau_factor": Option(float, "F", "what schedule plateau multiplies the rate by"),
    "ema": Option(or_none, "D", "evaluate and keep an average of the parameters that decays by D a step; none: it is not"),
    "weight_decay": Option(by_optimizer, "L", "factor of the L2 penalty L/2 sum(w^2) on weights"),
    "decay_per_batch": Option(bool, "", "each step divides weight_decay and l1 by the size of its batch, as scikit-learn does"),
    "l1": Option(float, "L", "factor of the L1 penalty L sum(|w|) on weights"),
    "label_smoothing": Option(float, "E", "share of each target that is spread over all classes"),
    "dropout": Option(one_or_more, "P[,P...]", "share of the hidden units dropped in training; one for all layers, or one each"),
    "input_dropout": Option(float, "P", "share of the inputs dropped in training"),
    "clip_norm": Option(or_none, "NORM", "largest norm of a step's gradient; none: any"),
    "grad_reduction": Option(str, "NAME", "of the gradients of a batch: " + ", ".join(settings.REDUCTIONS)),
    "batch_size": Option(whole_or("all"), "N", "samples a step; all: the whole set"),
    "epochs": Option(int, "N", "passes through the training set"),
    "shuffle": Option(bool, "", "a new order of the samples in each epoch"),
    "augment": Option(whole_or("none"), "PIXELS", "shift each image by up to PIXELS, anew in each epoch"),
    "top_loss_fraction": Option(
        share, "SHARE", "train after the first epoch on the samples of the largest losses only; all: on all"
    ),
    "scale": Option(scale, "FACTOR", "factor of uint8 input; other input is used as it is"),
    "tolerance": Option(float, "G", "of lbfgs: end when no element of the gradient is larger"),
    "dtype": Option(str, "NAME", ", ".join(settings.DTYPES)),
    "input_kernel": Option(str, "NAME", "kernel of the first layer: " + ", ".join(settings.INPUT_KERNELS)),
}
WORDS_FOR_NONE = {
    "lr": "by optimizer",
    "weight_decay": "by optimizer",
    "outputs": "auto",
    "batch_size": "all",
    "augment": "none",
    "ema": "none",
    "clip_norm": "none",
    "top_loss_fraction": "all",
    "scale": "1/255",
}


def add_settings(parser: argparse.ArgumentParser, **changed_defaults: Any) -> None:
    """One option for each field of `Settings`. What is not given is left out of the parsed namespace.

    changed_defaults: those that differ from `Settings` for this command, for the help text.
    """
    group = parser.add_argument_group("training settings")
    for field in fields(Settings):
        option = OPTIONS[field.name]
        default = changed_defaults.get(field.name, field.default)
        kind: dict[str, Any] = {"type": _reader(option), "metavar": option.metavar}
        if isinstance(default, bool):
            kind = {"action": argparse.BooleanOptionalAction}
        text = f"{option.help} (default: {_written(field.name, default)})"
        flag = "--" + field.name.replace("_", "-")
        group.add_argument(flag, default=argparse.SUPPRESS, help=text.replace("%", "%%"), **kind)


def given_settings(namespace: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {name: getattr(namespace, name) for name in Settings.names() if hasattr(namespace, name)}


def _reader(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return option.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"given {text!r}, expected {option.metavar}: {option.help}") from None

    return read


def _written(name: str, default: Any) -> str:
    """`default` as it would be written on the command line."""
    if default is None:
        return WORDS_FOR_NONE[name]
    if isinstance(default, bool):
        return "yes" if default else "no"
    return ",".join(map(str, default)) or "all 1" if isinstance(default, tuple) else str(default)
