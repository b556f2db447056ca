"""Networks of PyTorch and of scikit-learn as the arguments of a `Network`, and a Network as a module of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfc.errors import FastFCError, InvalidType, invalid
from fastfc.kernels.plan import FROM_LOGITS
from fastfc.settings import DTYPES
from fastfc.validation import one_of

LOSSES = {"softmax": "softmax_ce", "logistic": "sigmoid_bce", "identity": "mse", "exp": "poisson"}  # by out_activation_
MODULES: dict[str, tuple[str, dict[str, Any]]] = {  # of torch.nn, and what its attributes are where they may differ
    "relu": ("ReLU", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "identity": ("Identity", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "elu": ("ELU", {"alpha": 1.0}),
    "selu": ("SELU", {}),
    "gelu": ("GELU", {"approximate": "none"}),
    "gelu_tanh": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
    "mish": ("Mish", {}),
    "softplus": ("Softplus", {"beta": 1.0}),
}
IN_THE_LOSS = {"Softmax": "softmax_ce", "Sigmoid": "sigmoid_bce"}
LINEAR_FROM = 50.0  # where softplus(z) is z to the last bit of a float64; PyTorch takes 20


def to_torch(network: Any) -> Any:
    """torch.nn.Sequential of Linear and activations, which gives what `Network.outputs` gives for floats."""
    try:
        import torch
    except ImportError:
        raise FastFCError("to_torch needs PyTorch: pip install torch") from None
    layers: list[Any] = []
    names = (*network.activations, network.output_activation)
    for w, b, name in zip(network.weights, network.biases, names, strict=True):
        linear = torch.nn.Linear(*w.shape, dtype=getattr(torch, network.dtype.name))
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(w.T))
            linear.bias.copy_(torch.tensor(b))
        module, options = MODULES[name]
        options = {**options, "threshold": LINEAR_FROM} if name == "softplus" else options
        layers += [linear, getattr(torch.nn, module)(**options)]
    return torch.nn.Sequential(*(layers[:-1] if network.output_activation == "identity" else layers))


def of_torch(module: Any, loss: str) -> dict[str, Any]:
    """The arguments of a Network that gives what `module` gives, a torch.nn.Sequential as `Network.from_torch` says."""
    names: list[str] = []
    linear: list[Any] = []
    last, parts = None, _parts(module)
    for part in parts:
        kind = type(part).__name__
        if kind == "Linear":
            linear.append(part)
            names.append("identity")
        elif linear and names[-1] == "identity" and last is None:
            if IN_THE_LOSS.get(kind) == loss and getattr(part, "dim", 1) in (1, -1) and part is parts[-1]:
                last = kind
            else:
                names[-1] = _activation(part)
        elif kind != "Identity":
            raise invalid(
                "module", f"{kind} after {names[-1] if names else 'nothing'}", "Linear and activations in turn"
            )
    if not linear:
        raise invalid("module", "no torch.nn.Linear", "one or more")
    if loss in FROM_LOGITS and names[-1] != "identity":
        raise invalid("module", f"{names[-1]} as the last activation", f"none, as the loss {loss!r} has its own")
    one_of("dtype", str(linear[0].weight.dtype).removeprefix("torch."), DTYPES)
    arrays = [part.weight.detach().cpu().numpy().T for part in linear]
    biases = [np.zeros(part.out_features) if part.bias is None else part.bias.detach().cpu().numpy() for part in linear]
    return {
        "layers": [arrays[0].shape[0], *(part.out_features for part in linear)],
        "activation": names[:-1],
        "loss": loss,
        "output_activation": names[-1],
        "weights": arrays,
        "biases": biases,
        "dtype": arrays[0].dtype.name,
    }


def _parts(module: Any) -> list[Any]:
    """What counts in a prediction, in order: those of nested Sequentials too, without dropout and flattening."""
    if type(module).__name__ != "Sequential":
        raise InvalidType(f"module: given {type(module).__name__}, expected a torch.nn.Sequential")
    parts: list[Any] = []
    for part in module:
        parts += _parts(part) if type(part).__name__ == "Sequential" else [part]
    return [part for part in parts if type(part).__name__ not in ("Dropout", "Flatten")]


def _activation(part: Any) -> str:
    for name, (module, options) in MODULES.items():
        if type(part).__name__ == module and all(getattr(part, key) == value for key, value in options.items()):
            return name
    known = sorted({module for module, _ in MODULES.values()})
    raise invalid("module", repr(part), f"Linear, Dropout, Flatten, or with its defaults one of {', '.join(known)}")


def of_sklearn(estimator: Any) -> dict[str, Any]:
    """The arguments of a Network that gives what a fitted MLPClassifier or MLPRegressor of scikit-learn gives."""
    if not hasattr(estimator, "coefs_") or not hasattr(estimator, "out_activation_"):
        raise InvalidType(
            f"estimator: given {type(estimator).__name__}, expected a fitted MLPClassifier or MLPRegressor"
        )
    weights = estimator.coefs_
    return {
        "layers": [weights[0].shape[0], *(w.shape[1] for w in weights)],
        "activation": activations_of(estimator.activation, len(weights) - 1),
        "loss": LOSSES[estimator.out_activation_],
        "weights": weights,
        "biases": estimator.intercepts_,
        "dtype": weights[0].dtype.name,
        "scale": 1.0,
        "regression": not hasattr(estimator, "classes_"),
    }


def activations_of(given: str | Sequence[str], hidden: int) -> tuple[str, ...]:
    """The kernels' names, one for each of the hidden layers, of scikit-learn's: one for all or one for each."""
    names = (given,) * hidden if isinstance(given, str) else tuple(given)
    return tuple("sigmoid" if name == "logistic" else name for name in names)
