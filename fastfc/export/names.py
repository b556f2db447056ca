"""What the inputs and outputs of a network are called outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.network import Network
from fastfc.validation import is_csr

Column = tuple[str, float, float]  # name, least and most of what a form lets one set


class Names(NamedTuple):
    """classes of the labels, or None: 0, 1, ...; columns, or None; title of a page, or None; and a name for C."""

    classes: tuple[str, ...] | tuple[int, ...] | None
    columns: tuple[Column, ...] | None
    title: str | None
    identifier: str


def labels(network: Network) -> int:
    """How many classes the network tells apart; 0 of a regression."""
    return 0 if network.regression else network.layers[-1] if network.by_largest else 2


def check_classes(classes: Any, network: Network) -> tuple[str, ...] | tuple[int, ...] | None:
    if classes is None:
        return None
    if network.regression:
        raise invalid("classes", f"{len(classes)} of a regression", "None")
    given = classes.tolist() if isinstance(classes, np.ndarray) else list(classes)
    if {type(name) for name in given} not in ({str}, {int}):
        raise InvalidType("classes: given other values, expected all str or all int")
    if len(given) != labels(network) or len(set(given)) < len(given):
        raise invalid(
            "classes", f"{len(set(given))} different of {len(given)}", f"{labels(network)}, one for each label"
        )
    return tuple(given)


def check_columns(columns: Sequence[Any] | None, network: Network) -> tuple[Column, ...] | None:
    if columns is None:
        return None
    if len(columns) != network.layers[0]:
        raise invalid("columns", f"{len(columns)}", f"{network.layers[0]}, one for each input")
    low, high = (0.0, 255.0) if network.input_kind == "uint8" else (-3.0, 3.0)
    return tuple(_column((one, low, high) if isinstance(one, str) else one) for one in columns)


def numbered(network: Network) -> tuple[Column, ...]:
    """x1, x2, ... for where nothing is known of the columns."""
    return check_columns([f"x{i + 1}" for i in range(network.layers[0])], network) or ()


def columns_of(X: Any) -> list[Column]:
    """x1, x2, ... and what X (n, features), dense or CSR, has in each."""
    low, high = (X.min(axis=0), X.max(axis=0))
    if is_csr(X):
        low, high = low.toarray().ravel(), high.toarray().ravel()
    ends = enumerate(zip(low.tolist(), high.tolist(), strict=True))
    return [(f"x{i + 1}", float(least), float(most if most > least else least + 1)) for i, (least, most) in ends]


def _column(given: Any) -> Column:
    try:
        name, low, high = given
        column = str(name), float(low), float(high)
    except (TypeError, ValueError):
        raise invalid("columns", repr(given), "a name, or (name, least, most)") from None
    if not (math.isfinite(column[1]) and math.isfinite(column[2]) and column[1] < column[2]):
        raise invalid("columns", repr(given), "finite numbers, the least below the most")
    return column
