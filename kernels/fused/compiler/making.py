"""Kernels that are known before they are needed: what is missing of them is compiled by two processes, where there are two cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fastfc.kernels.fused.compiler import beside
from fastfc.kernels.fused.compiler.entry import Entry, Kernel, is_listing, listing

# Against 1 for all others.
SECONDS = {"epoch.run": 9, "codes.update": 3, "epoch.apply": 3, "online.run": 3, "predict.run": 2, "predict.run_rows": 2}

T = TypeVar("T")


def together(ask: Callable[[], T], later: Callable[[], object]) -> T:
    """What `ask` gives, which calls none of the kernels that it asks for: they are there before.

    What `later` will ask for is compiled too, where there are two.
    """
    if is_listing():
        return ask()
    with listing(missing=True) as missing:
        found = ask()
    if not missing:
        return found
    make(list(missing), later)
    return ask()


def missing_of(kernels: list[Kernel]) -> list[Kernel]:
    """Those that are not kept. All others are loaded."""
    with listing(missing=True) as missing:
        for name, key in kernels:
            Entry(name).address_of(key)
    return list(missing)


def make(
    missing: list[Kernel], later: Callable[[], object] = list, report: Callable[[Kernel], object] = lambda kernel: None
) -> None:
    """Compile kernels; each is reported when it is there."""
    try:
        for name, key in _shared(missing, later):
            Entry(name).address_of(key)
            report((name, key))
    except BaseException:
        beside.end()
        raise


def _shared(missing: list[Kernel], later: Callable[[], object]) -> list[Kernel]:
    """Kernels in the order in which to ask for them, where a second process compiles what it can of them."""
    if len(missing) < 2 or not beside.can_begin():
        return missing
    with listing() as more:
        later()
    ours, others = divided(missing, missing_of(list(more)))
    beside.begin(others)
    return ours


def divided(kernels: list[Kernel], later: list[Kernel]) -> tuple[list[Kernel], list[Kernel]]:
    """(ours, others) in the order in which either process compiles them: we the longest, and then what the other one has, from its end on,
    so that neither waits while there is something left."""
    longest, *others = sorted(kernels, key=lambda kernel: -SECONDS.get(kernel[0], 1))
    others += later
    return [longest, *others[::-1]], others
