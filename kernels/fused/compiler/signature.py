"""What a kernel is called with: as text, the key of its compiled form, and as a table of 64-bit slots.

    array       u1:2C       dtype, dimensions, C-contiguous, or A, any      address, shape, and of A the strides in bytes
    int         i           one slot; from 2**63 on, the signed number of the same bits
    float       f4, f8      one slot, its bits
    tuple       Name(a,b)   what is in it; Name of a NamedTuple of `records`, or none
    name        =relu       nothing: a choice that is compiled in. A class counts as its name
    None        0           nothing
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

Key = str


def pack(value: Any, slots: list[int]) -> Key:
    """The key of a value, whose slots are added to `slots`."""
    if isinstance(value, np.ndarray):
        layout = "C" if value.flags.c_contiguous else "A"
        slots.append(value.__array_interface__["data"][0])
        slots.extend(value.shape)
        if layout == "A":
            slots.extend(value.strides)
        return f"{value.dtype.kind}{value.itemsize}:{value.ndim}{layout}"
    if isinstance(value, tuple):
        name = "" if type(value) is tuple else type(value).__name__
        return f"{name}({','.join([pack(item, slots) for item in value])})"
    if isinstance(value, (bool, int, np.integer)):
        slots.append(int(value) if value >> 63 in (0, -1) else int(value) - (1 << 64))
        return "i"
    if isinstance(value, np.float32):
        slots.append(struct.unpack("<i", struct.pack("<f", value))[0])
        return "f4"
    if isinstance(value, float):
        slots.append(struct.unpack("<q", struct.pack("<d", value))[0])
        return "f8"
    if isinstance(value, (str, type)):
        return f"={value if isinstance(value, str) else value.__name__}"
    if value is None:
        return "0"
    raise TypeError(f"kernels take no {type(value).__name__}")


def key_of(*values: Any) -> Key:
    """That of a kernel called with these values."""
    return pack(values, [])


def split(key: Key) -> list[Key]:
    """The keys of what is in a tuple."""
    parts, depth = [""], 0
    for character in key[key.index("(") + 1 : -1]:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]
