"""A header of C99 that needs nothing but <math.h>: the parameters as constants, and functions that predict."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from string import Template

import numpy as np

from fastfc.export.names import Names, labels
from fastfc.kernels.plan import FROM_LOGITS
from fastfc.network import Network

# f(z), where $f is the suffix of literals and functions of the type; in forms that do not overflow to NaN.
ACTIVATIONS = {
    "relu": "z > 0 ? z : 0",
    "tanh": "tanh$f(z)",
    "sigmoid": "1 / (1 + exp$f(-z))",
    "identity": "z",
    "leaky_relu": "z > 0 ? z : 0.01$f * z",
    "elu": "z > 0 ? z : expm1$f(z)",
    "selu": "1.0507009873554805$f * (z > 0 ? z : 1.6732632423543772$f * expm1$f(z))",
    "gelu": "z * erfc$f(-0.7071067811865476$f * z) / 2",
    "gelu_tanh": "z / (1 + exp$f(-1.5957691216057308$f * (z + 0.044715$f * z * z * z)))",
    "silu": "z / (1 + exp$f(-z))",
    "mish": "z * tanh$f((z > 0 ? z : 0) + log1p$f(exp$f(-fabs$f(z))))",
    "softplus": "(z > 0 ? z : 0) + log1p$f(exp$f(-fabs$f(z)))",
    "exp": "exp$f(z)",
}
OF_LOSS = {
    "softmax_ce": "softmax",
    "sigmoid_bce": "sigmoid",
    "poisson": "exp",
}  # what the last layer's activation is then
MEANINGS = {"softmax": "the probability of each class", "sigmoid": "a probability each"}
WIDTH = 110  # of a line of numbers

HEAD = Template("""\
/* $name.h: a fully connected network, $layers ($activations). C99.
 *
 * $returned ${name}_predict(const $real *x, $real *y)
 *     x  $inputs numbers$scaled
 *     y  $outputs numbers, which are written: $meaning
$returns * It keeps $scratch bytes on the stack, and may run in several threads at once.
 */
#ifndef ${upper}_H
#define ${upper}_H

#include <math.h>

enum { ${name}_inputs = $inputs, ${name}_outputs = $outputs };
""")
DENSE = Template("""
/* y (m) = x (n) w (n, m) + b (m) */
static inline void ${name}_dense(const $real *x, int n, const $real *w, const $real *b, $real *y, int m)
{
    for (int j = 0; j < m; j++) y[j] = b[j];
    for (int i = 0; i < n; i++, w += m)
        for (int j = 0; j < m; j++) y[j] += x[i] * w[j];
}
""")
LARGEST = Template("""\
    int label = 0;
    for (int j = 1; j < $outputs; j++)
        if (y[j] > y[label]) label = j;
""")
SOFTMAX = Template("""\
    const $real largest = y[label];
    $real sum = 0;
    for (int j = 0; j < $outputs; j++) sum += y[j] = exp$f(y[j] - largest);
    for (int j = 0; j < $outputs; j++) y[j] /= sum;
""")
UINT8 = Template("""
/* The same of $inputs pixels, 0 to 255. */
static inline $returned ${name}_predict_uint8(const unsigned char *pixels, $real *y)
{
    $real x[$inputs];
    for (int i = 0; i < $inputs; i++) x[i] = pixels[i] * $scale;
    $leave${name}_predict(x, y);
}
""")


def encode(network: Network, names: Names) -> bytes:
    """The header, in ASCII."""
    real, f = ("float", "f") if network.dtype == np.float32 else ("double", "")
    last = OF_LOSS.get(network.loss, network.output_activation)
    layers, scale = network.layers, str(network.dtype.type(network.scale)) + f
    words = {
        "name": names.identifier,
        "upper": names.identifier.upper(),
        "layers": "-".join(map(str, layers)),
        "activations": ", ".join((*network.activations, last)),
        "inputs": layers[0],
        "outputs": layers[-1],
        "real": real,
        "f": f,
        "meaning": MEANINGS.get(last, "what is predicted"),
        "returned": "void" if network.regression else "int",
        "leave": "" if network.regression else "return ",
        "returns": "" if network.regression else f" * returns the class, 0 to {labels(network) - 1}.\n",
        "scaled": f", pixels of 0 to 255 times {scale}" if network.input_kind == "uint8" else "",
        "scale": scale,
        "scratch": network.dtype.itemsize * sum(layers[1:-1]),
    }
    parts: list[str | Template] = [
        HEAD,
        *_parameters(network, words),
        DENSE,
        *_functions((*network.activations, last), words),
    ]
    parts += _predict(network, last, words)
    if network.input_kind == "uint8":
        parts.append(UINT8)
    if names.classes:
        parts += _class_names(names)
    text = "".join(part.substitute(words) if isinstance(part, Template) else part for part in parts)
    return (text + "\n#endif\n").encode("ascii")


def _parameters(network: Network, words: dict[str, object]) -> Iterator[str]:
    for k, arrays in enumerate(zip(network.weights, network.biases, strict=True)):
        for array, what in zip(arrays, "wb", strict=True):
            yield f"\nstatic const {words['real']} {words['name']}_{what}{k}[{array.size}] = {{  /* {array.shape} */\n"
            yield from _lines(", ".join(f"{value!s}{words['f']}" for value in array.ravel()))
            yield "};\n"


def _lines(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > WIDTH:
        end = text.rindex(" ", start, start + WIDTH)
        yield f"    {text[start:end]}\n"
        start = end + 1
    yield f"    {text[start:]}\n"


def _functions(used: tuple[str, ...], words: dict[str, object]) -> Iterator[str]:
    for name in dict.fromkeys(used):
        if name != "softmax":
            formula = Template(ACTIVATIONS[name]).substitute(words)
            yield f"\nstatic inline {words['real']} {words['name']}_{name}({words['real']} z) {{ return {formula}; }}\n"


def _predict(network: Network, last: str, words: dict[str, object]) -> Iterator[str | Template]:
    name, real, layers = words["name"], words["real"], network.layers
    yield f"\nstatic inline {words['returned']} {name}_predict(const {real} *x, {real} *y)\n{{\n"
    for k, size in enumerate(layers[1:-1]):
        yield f"    {real} a{k}[{size}];\n"
    arrays = ["x", *(f"a{k}" for k in range(len(layers) - 2)), "y"]
    for k, (n, m) in enumerate(pairwise(layers)):
        yield f"    {name}_dense({arrays[k]}, {n}, {name}_w{k}, {name}_b{k}, {arrays[k + 1]}, {m});\n"
        if k < len(network.activations):
            yield _each(name, network.activations[k], arrays[k + 1], m)
    outputs = _each(name, last, "y", layers[-1])
    if network.loss not in FROM_LOGITS:
        yield outputs
    if not network.regression:
        threshold = 0 if network.loss in FROM_LOGITS else f"0.5{words['f']}"
        yield LARGEST if network.by_largest else f"    const int label = y[0] > {threshold};\n"
    if network.loss in FROM_LOGITS:
        yield SOFTMAX if last == "softmax" else outputs
    yield "}\n" if network.regression else "    return label;\n}\n"


def _each(name: object, activation: str, array: str, size: int) -> str:
    return f"    for (int j = 0; j < {size}; j++) {array}[j] = {name}_{activation}({array}[j]);\n"


def _class_names(names: Names) -> Iterator[str]:
    texts = ", ".join(_string(str(name)) for name in names.classes or ())
    yield f"\n/* What a class is called, in UTF-8. */\nstatic inline const char *{names.identifier}_class(int label)\n{{\n"
    yield f"    static const char *const classes[] = {{{texts}}};\n    return classes[label];\n}}\n"


def _string(text: str) -> str:
    """As a literal of C: what is not a letter, digit or space in octal, three digits each."""
    return (
        '"'
        + "".join(chr(c) if (chr(c).isalnum() and c < 128) or c == 32 else f"\\{c:03o}" for c in text.encode())
        + '"'
    )
