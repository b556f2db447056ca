"""ONNX: standard operators of opset 17 alone, which the runtimes of 2022 and later have.

    X             (n, inputs): uint8 where the network was trained on uint8, else of its dtype
    label         (n,): int64, or what `classes` says; with it probabilities (n, outputs), as `predict_proba` gives them
    prediction    of a regression, instead of both: (n,), or (n, outputs) where there are several

n is free. What runtimes have for float32 alone, such as Elu, is said in operators that they have for float64 too; Erf is
the exception, which float64 takes in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastfc.errors import FastFCError, invalid
from fastfc.export.names import Names
from fastfc.kernels.plan import FROM_LOGITS
from fastfc.kernels.reference.activations import ALPHA, LEAK, SCALE
from fastfc.network import UINT8, Network

OPSET, IR_VERSION = 17, 8
MOST_BYTES = 2**31 - 2**20  # of parameters: a file of protobuf has at most 2 GiB
SAMPLES = "n"  # the name of the free dimension


def check_available() -> None:
    """Raise FastFCError where the package onnx is missing."""
    if find_spec("onnx") is None:
        raise FastFCError("ONNX files need the package onnx: pip install 'fastfc[onnx]'")


class Graph:
    """The nodes and the constants of a model. What a node gives has the node's name."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A tensor, of the network's dtype unless another is given."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype or self.dtype), name))
        return name

    def __call__(self, operator: str, *inputs: str | float, name: str = "", **attributes: Any) -> str:
        """What `operator` makes of the inputs, which are names, or numbers."""
        from onnx import helper

        name = name or f"{operator.lower()}_{len(self.nodes)}"
        names = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        self.nodes.append(helper.make_node(operator, names, [name], name, **attributes))
        return name

    def cast(self, z: str, dtype: Any) -> str:
        return self("Cast", z, to=tensor_type(dtype))


def tensor_type(dtype: Any) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _elu(g: Graph, z: str) -> str:
    return g("Add", g("Relu", z), g("Sub", g("Exp", g("Min", z, 0.0)), 1.0))


def _selu(g: Graph, z: str) -> str:
    below = g("Mul", g("Sub", g("Exp", g("Min", z, 0.0)), 1.0), SCALE * ALPHA)
    return g("Add", g("Mul", g("Relu", z), SCALE), below)


def _softplus(g: Graph, z: str) -> str:
    return g("Add", g("Relu", z), g("Log", g("Add", g("Exp", g("Neg", g("Abs", z))), 1.0)))


def _gelu(g: Graph, z: str) -> str:
    erf = g.cast(g("Erf", g.cast(g("Mul", z, math.sqrt(0.5)), np.float32)), g.dtype)
    return g("Mul", g("Mul", z, 0.5), g("Add", erf, 1.0))


def _gelu_tanh(g: Graph, z: str) -> str:
    cube = g("Mul", g("Mul", z, z), g("Mul", z, 0.044715))
    return g("Mul", z, g("Sigmoid", g("Mul", g("Add", z, cube), 2 * math.sqrt(2 / math.pi))))


ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "relu": lambda g, z: g("Relu", z),
    "tanh": lambda g, z: g("Tanh", z),
    "sigmoid": lambda g, z: g("Sigmoid", z),
    "identity": lambda g, z: z,
    "leaky_relu": lambda g, z: g("Max", z, g("Mul", z, LEAK)),
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda g, z: g("Mul", z, g("Sigmoid", z)),
    "mish": lambda g, z: g("Mul", z, g("Tanh", _softplus(g, z))),
    "softplus": _softplus,
}


def encode(network: Network, names: Names) -> bytes:
    """The model as a file. Raises InvalidArgument for more parameters than one can hold."""
    import onnx
    from onnx import helper

    size = sum(array.nbytes for array in (*network.weights, *network.biases))
    if size > MOST_BYTES:
        raise invalid("network", f"{size:,} bytes of parameters", f"at most {MOST_BYTES:,} in an ONNX file")
    g = Graph(network.dtype)
    scaled = network.input_kind == "uint8"
    z = g("Mul", g.cast("X", network.dtype), network.scale) if scaled else "X"
    for w, b, activation in zip(network.weights, network.biases, (*network.activations, "identity"), strict=True):
        z = ACTIVATIONS[activation](g, g("Gemm", z, g.constant(w), g.constant(b)))
    outputs = _regression(g, z, network) if network.regression else _classes(g, z, network, names)
    inputs = helper.make_tensor_value_info(
        "X", tensor_type(UINT8 if scaled else network.dtype), [SAMPLES, network.layers[0]]
    )
    graph = helper.make_graph(g.nodes, names.identifier, [inputs], outputs, g.constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="fastfc"
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _regression(g: Graph, z: str, network: Network) -> list[Any]:
    one = network.layers[-1] == 1
    z = g("Exp", z) if network.loss == "poisson" else ACTIVATIONS[network.output_activation](g, z)
    shape = [SAMPLES] if one else [SAMPLES, network.layers[-1]]
    g("Reshape", z, g.constant([-1] if one else [-1, network.layers[-1]], np.int64), name="prediction")
    return [_described("prediction", network.dtype, shape)]


def _classes(g: Graph, z: str, network: Network, names: Names) -> list[Any]:
    z = ACTIVATIONS[network.output_activation](g, z)
    last = {"softmax_ce": "Softmax", "sigmoid_bce": "Sigmoid"}.get(network.loss, "Identity")
    g(last, z, name="probabilities")
    if network.by_largest:
        label = g("ArgMax", z, axis=1, keepdims=0)
    else:
        above = g("Greater", z, 0.0 if network.loss in FROM_LOGITS else 0.5)
        label = g("Reshape", g.cast(above, np.int64), g.constant([-1], np.int64))
    kind = object if names.classes and isinstance(names.classes[0], str) else np.int64
    if names.classes:
        g("Gather", g.constant(names.classes, kind), label, name="label")
    else:
        g("Identity", label, name="label")
    shape = [SAMPLES, network.layers[-1]]
    return [_described("label", kind, [SAMPLES]), _described("probabilities", network.dtype, shape)]


def _described(name: str, dtype: Any, shape: list[Any]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, tensor_type(dtype), shape)
