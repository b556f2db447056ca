"""Kernels that are known before they are needed: what is missing of them is compiled by two processes, where there are two cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fastfc.kernels.fused.compiler import beside
from fastfc.kernels.fused.compiler.entry import Entry, Kernel, is_listing, listing

# Against 1 for all others.
SECONDS = {"epoch.run": 8, "codes.update": 3, "epoch.apply": 3, "online.run": 3, "predict.run": 3, "predict.run_rows": 3, "predict.one": 2}

T = TypeVar("T")


def together(ask: Callable[[], T], later: Callable[[], object]) -> T:
    """What `ask` gives, which calls none of the kernels that it asks for: they are there before.

    What `later` will ask for is compiled too, where the second process has time left.
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
    """Kernels in the order in which to ask for them: ours, and then, from the last on, those that a second process compiles."""
    if len(missing) < 2 or not beside.can_begin():
        return missing
    ours, others = divided(missing)
    with listing() as more:
        later()
    beside.begin([*others, *missing_of(list(more))])
    return [*ours, *others[::-1]]


def divided(kernels: list[Kernel]) -> tuple[list[Kernel], list[Kernel]]:
    """(ours, others) that take about as long; the longest is ours."""
    halves: tuple[list[Kernel], list[Kernel]] = ([], [])
    seconds = [0, 0]
    for kernel in sorted(kernels, key=lambda kernel: -SECONDS.get(kernel[0], 1)):
        less = int(seconds[1] < seconds[0])
        halves[less].append(kernel)
        seconds[less] += SECONDS.get(kernel[0], 1)
    return halves
