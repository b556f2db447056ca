"""One HTML file that predicts while one draws, or sets numbers: nothing is loaded, and nothing is sent.

Weights are int8 with a scale for each unit: w is about q * scale, -127 <= q <= 127, the largest of each unit exact. The
files in page/ are put together here, and say the rest.
"""

from __future__ import annotations

import base64
import html
import json
import re
from importlib.resources import files

import numpy as np

from fastfc.errors import invalid
from fastfc.export.names import Names, labels, numbered
from fastfc.kernels.plan import FROM_LOGITS
from fastfc.network import Network

LEVELS = 127  # of int8 on either side of 0
SMALLEST_SIDE = 8  # pixels of an image that can be drawn
MNIST = 784  # inputs that are an image of 28 x 28 where nothing else is known of them
MOST_COLUMNS = 256  # of a form
DRAWING, FORM = ("prepare.js", "draw.js"), ("form.js",)
MOST_OUTPUTS = 100  # that a list of bars shows


def encode(network: Network, names: Names) -> bytes:
    """The page. Raises InvalidArgument for too many inputs that are no image, and for too many outputs."""
    if network.layers[-1] > MOST_OUTPUTS:
        raise invalid("page", f"{network.layers[-1]} outputs", f"at most {MOST_OUTPUTS}")
    side = 0 if names.columns else drawn_side(network.layers[0], network.image_shape, network.input_kind)
    columns = names.columns or (() if side else numbered(network))
    model = {
        "layers": network.layers,
        "activations": [*network.activations, network.output_activation],
        "loss": network.loss,
        "regression": network.regression,
        "fromLogits": network.loss in FROM_LOGITS,
        "scale": network.scale if side or network.input_kind == "uint8" else 1,
        "side": side,
        "columns": columns,
        "classes": [str(name) for name in names.classes or range(labels(network))],
        "parameters": base64.b64encode(_parameters(network)).decode(),
    }
    digits = model["classes"] == [str(digit) for digit in range(10)]
    heading = "Predict" if not side else "Draw a digit" if digits else "Draw"
    parts = {
        "title": html.escape(names.title or heading),
        "layers": "\N{EN DASH}".join(map(str, network.layers)),
        "as": "you draw" if side else "you set its inputs",
        "css": _read("base.css") + _read("page.css"),
        "input": _read("draw.html" if side else "form.html"),
        "model": json.dumps(model, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "js": "".join(_read(name) for name in ("network.js", "view.js", *(DRAWING if side else FORM))),
    }
    page = _read("page.html")
    for name, text in parts.items():
        page = page.replace(f"[[{name}]]", text)
    return page.encode()


def drawn_side(inputs: int, image_shape: tuple[int, int] | None, input_kind: str | None) -> int:
    """The side in pixels of the square image that is drawn for a network; 0 where its inputs are numbers that are set.

    Raises InvalidArgument where they are too many to be set.
    """
    height, width = image_shape or ((28, 28) if inputs == MNIST else (0, 0))
    takes_pixels = input_kind != "integer"  # which refuses uint8
    if takes_pixels and height == width >= SMALLEST_SIDE:
        return height
    if inputs > MOST_COLUMNS:
        expected = f"a square image, which is drawn, or at most {MOST_COLUMNS} columns, which are set"
        raise invalid("page", f"{inputs:,} inputs", expected)
    return 0


def quantise(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w (fan_in, fan_out) -> q (fan_out, fan_in) int8 and scale (fan_out,) float32: w.T is about q * scale[:, None]."""
    scale = (np.abs(w).max(axis=0) / LEVELS).astype(np.float32)
    q = np.rint(w / np.where(scale > 0, scale, 1))
    return np.clip(q, -LEVELS, LEVELS).astype(np.int8).T, scale


def _parameters(network: Network) -> bytes:
    """For each layer q (fan_out, fan_in) int8, then scale and biases, (fan_out,) float32, little-endian."""
    parts: list[bytes] = []
    for w, b in zip(network.weights, network.biases, strict=True):
        q, scale = quantise(w)
        parts += [q.tobytes(), scale.astype("<f4").tobytes(), b.astype("<f4").tobytes()]
    return b"".join(parts)


def _read(name: str) -> str:
    """A file of page/ without comments and indentation, and of CSS without spaces that only part."""
    text = (files("fastfc.export") / "page" / name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        return re.sub(r"\s*([{};,]|(?<=[a-z]):(?= ))\s*", r"\1", text)
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"
