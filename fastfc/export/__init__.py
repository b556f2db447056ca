"""A trained network for where there is no Python: `export` writes it as ONNX, as a page to draw on, or as a C header."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastfc.errors import InvalidType, invalid
from fastfc.export import header, onnxfile, webpage
from fastfc.export.names import Names, check_classes, check_columns
from fastfc.network import Network
from fastfc.storage.files import atomic_write, checked_name

__all__ = ["check_kind", "export"]

KINDS: dict[str, Callable[[Network, Names], bytes]] = {
    ".onnx": onnxfile.encode,
    ".html": webpage.encode,
    ".h": header.encode,
}


def export(
    network: Network,
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] | Sequence[int] | None = None,
    columns: Sequence[str | tuple[str, float, float]] | None = None,
    title: str | None = None,
) -> None:
    """Write `network` to `path`, all or nothing, in the form that its ending names: .onnx, .html or .h.

    classes  what the labels 0, 1, ... stand for, all str or all int, such as `estimator.classes_`
    columns  of a page that is a form: for each input its name, or (name, least, most) of what can be set
    title    of a page

    Raises InvalidArgument or InvalidType before anything is written for another ending and for what the form cannot say,
    FastFCError for .onnx without the package onnx, and files.WriteError.
    """
    if not isinstance(network, Network):
        raise InvalidType(f"network: given {type(network).__name__}, expected a fastfc.Network")
    encode = KINDS[check_kind(path)]
    names = Names(
        check_classes(classes, network),
        check_columns(columns, network),
        title,
        _identifier(Path(path).stem),
    )
    atomic_write(path, encode(network, names))


def check_kind(path: Any, what: str = "path") -> str:
    """The ending of `path`, one of KINDS. Raises as `export` does."""
    ending = Path(checked_name(path)).suffix.lower()
    if ending not in KINDS:
        raise invalid(what, repr(os.fspath(path)), f"a file name that ends in one of {', '.join(KINDS)}")
    if ending == ".onnx":
        onnxfile.check_available()
    return ending


def _identifier(stem: str) -> str:
    """As a name in C."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", stem)
    return name if re.match(r"[A-Za-z]", name) else f"network_{name}"
