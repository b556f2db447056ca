"""Kernels call each other by address, with a table of slots: what a call puts in is what the kernel was compiled to take out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numba
import pytest
from numba import types

from fastfc import ahead
from fastfc.kernels.fused.compiler import slots
from fastfc.kernels.fused.compiler.types_of import types_of
from fastfc.kernels.plan import ACTIVATIONS
from tests.small import ROOT, python

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
# What Python calls, and of which the others are parts.
DRIVEN = {"epoch.run", "epoch.apply", "online.run", "predict.run", "predict.run_rows", "predict.one", "team.serve", "team.lead"}


def slots_of(kinds: Iterable[Any]) -> str:
    """What values of these Numba types take up in a table, one after the other."""
    return " ".join(part for kind in kinds for part in _slots(kind))


def _slots(kind: Any) -> Iterator[str]:
    if isinstance(kind, (slots.Record, types.BaseTuple)):
        for item in kind.kinds if isinstance(kind, slots.Record) else kind:
            yield from _slots(item)
    elif isinstance(kind, types.Array):
        yield f"{kind.dtype}:{kind.ndim}{kind.layout}"
    elif not isinstance(kind, types.NoneType):
        yield str(types.int64 if isinstance(kind, types.Integer) else kind)


CALLS = """
import sys
from fastfc import ahead
from fastfc.kernels.fused.compiler import entry, slots
from fastfc.kernels.fused.compiler.types_of import types_of
from tests.test_kernel_keys import DRIVEN, slots_of

plain, found = slots._plain, set()

def noted(arguments):  # of a call; what it consists of is not noted again
    found.add(slots_of(arguments))
    slots._plain = plain
    try:
        return plain(arguments)
    finally:
        slots._plain = noted

slots._plain = noted
for name, key in ahead.everything():
    if name in DRIVEN and "f4:1C" in key:
        kernel = entry.kernel_of(name)
        kernel.helper.compile(types_of(key))
print(*sorted(found), sep="\\n")
"""


def test_the_list_of_everything_has_each_kernel_that_drivers_name() -> None:
    """What is left out would be compiled where it is used, wheel or not."""
    everything = ahead.everything()
    sources = "".join((ROOT / "kernels" / "fused" / f"{name}.py").read_text() for name in ("parts", "trainer", "predictor", "crew"))
    named = set(re.findall(r'"([a-z_]+\.[a-z_]+)"', sources))
    assert {name for name, _ in everything} == named >= DRIVEN
    assert len(everything) == len(set(everything)) and set(ahead.usual()) <= set(everything)
    for choice in (*ACTIVATIONS, "SgdL1Averaged", "AdamL1Averaged", "Adaptive", "Accumulate"):
        assert [f"={choice}" in key and "f8:2C" in key for _, key in everything].count(True) >= 1, choice


def test_nothing_is_compiled_or_computed_to_list_kernels() -> None:
    code = """
import sys
from fastfc import ahead
ahead.usual()
print("numba" in sys.modules)
"""
    assert python(code, FASTFC_CACHE_DIR="/dev/null/x") == "False\n"


@pytest.mark.slow
def test_every_call_has_the_slots_of_some_kernel_and_every_kernel_those_of_some_call() -> None:
    """Of all float32 trainings that there can be; the types of the calls are those that Numba finds."""
    others = [key for name, key in ahead.everything() if name not in DRIVEN]
    asked = {slots_of(types_of(key)) for key in others if "f4" in key or "f8:2C" not in key}
    called = set(python(CALLS).splitlines())
    assert called == asked
