"""Between an estimator and a Network, which has the same parameters and other manners."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.estimators import stochastic
from fastfc.estimators.prediction import Parameters
from fastfc.exchange import LOSSES, activations_of
from fastfc.network import Network

OUT_ACTIVATIONS = {loss: name for name, loss in LOSSES.items()}


def to_network(estimator: Any, parameters: Parameters, regression: bool) -> Network:
    """The Network that gives the same for any numbers; uint8 are not scaled."""
    layers = parameters.layers
    return Network(
        layers,
        activation=activations_of(estimator.activation, len(layers) - 2),
        loss=LOSSES[estimator.out_activation_],
        weights=parameters.weights,
        biases=parameters.biases,
        dtype=parameters.dtype.name,
        scale=1.0,
        backend=estimator.backend,
        regression=regression,
        threads=estimator.threads,
    )


def parameters_of(network: Any, regression: bool) -> tuple[Parameters, str]:
    """Those for an estimator, and its out_activation_. One output tells two classes, also where the network has two.

    A network that was trained on uint8 has its scale in the first weights then: an estimator takes all numbers as they are.
    """
    if not isinstance(network, Network):
        raise InvalidType(f"network: given {type(network).__name__}, expected a fastfc.Network")
    name = OUT_ACTIVATIONS.get(network.loss)
    fitting = ("identity", "exp") if regression else ("softmax", "logistic")
    if name not in fitting or network.output_activation != "identity" or network.regression != regression:
        losses = " or ".join(repr(LOSSES[name]) for name in fitting)
        given = f"loss {network.loss!r}, output_activation {network.output_activation!r}, regression={network.regression}"
        raise invalid("network", given, f"loss {losses} with output_activation 'identity' and regression={regression}")
    weights, biases = [w.copy() for w in network.weights], [b.copy() for b in network.biases]
    if network.input_kind == "uint8":
        weights[0] *= network.scale
    if name == "softmax" and network.layers[-1] <= 2:
        if network.layers[-1] == 1:
            raise invalid("network", "one output with loss 'softmax_ce'", "at least two classes")
        weights[-1], biases[-1] = np.diff(weights[-1]), np.diff(biases[-1])
        name = "logistic"
    return Parameters(weights, biases), name


def arguments_of(network: Network) -> dict[str, Any]:
    """For __init__ of an estimator."""
    names = tuple("logistic" if name == "sigmoid" else name for name in network.activations)
    activation = names if len(set(names)) > 1 else names[0] if names else "relu"
    return {
        "hidden_layer_sizes": network.layers[1:-1],
        "activation": activation,
        "backend": network.backend,
        "threads": network.threads,
    }


def fill(estimator: Any, parameters: Parameters, out_activation: str) -> None:
    """The estimator is as if it had been fitted, in no iterations."""
    layers = parameters.layers
    estimator.n_features_in_, estimator.n_outputs_, estimator.n_layers_ = layers[0], layers[-1], len(layers)
    estimator.out_activation_, estimator.n_iter_, estimator.t_ = out_activation, 0, 0
    estimator._parameters = parameters
    stochastic.begin_curves(estimator, anew=True)
