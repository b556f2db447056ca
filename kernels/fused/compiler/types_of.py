"""The Numba types that the key of a kernel stands for."""

from __future__ import annotations

import functools
from collections import namedtuple
from typing import Any

import numpy as np
from numba import from_dtype, types

from fastfc.kernels.fused import records
from fastfc.kernels.fused.compiler.signature import split
from fastfc.kernels.fused.compiler.slots import Record

SCALARS = {"i": types.int64, "f4": types.float32, "f8": types.float64, "0": types.none}


def types_of(key: str) -> tuple[Any, ...]:
    """Of the arguments, whose keys are those in `key`, that of a tuple."""
    return tuple(_type_of(part) for part in split(key))


def _type_of(key: str) -> Any:
    if key.endswith(")"):
        name, items = key[: key.index("(")], types_of(key)
        if not name:
            return types.Tuple(items)
        return Record(getattr(records, name)._fields, items, key)
    if key.startswith("="):
        return types.NamedTuple([], choice(key[1:]))
    if key in SCALARS:
        return SCALARS[key]
    dtype, _, form = key.partition(":")
    layout: Any = form[-1]
    return types.Array(from_dtype(np.dtype(dtype)), int(form[:-1]), layout)


@functools.cache
def choice(name: str) -> type:
    """The type of a choice that is compiled in: it holds nothing, and its name is what an overload goes by."""
    return namedtuple(name, ())
