"""Kernels as Python calls them: one C function of one pointer, to a table of sizes and addresses.

A kernel that was compiled before is loaded without Numba, and without importing the module that defines it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from fastfc.kernels.fused.compiler import beside, objects
from fastfc.kernels.fused.compiler.folder import cache_folder
from fastfc.kernels.fused.compiler.guard import check_interrupts, while_compiling
from fastfc.kernels.fused.compiler.signature import key_of, pack
from fastfc.machine.terminal import announce

PACKAGE = "fastfc.kernels.fused"
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # lets go of the GIL while it runs

spent = 0.0  # seconds of this process in compiling and loading
_addresses: dict[str, int] = {}  # by symbol
_compiled: list[str] = []  # names of what this process has compiled, and not found
_listed: ContextVar[dict[Kernel, None] | None] = ContextVar("_listed", default=None)

Kernel = tuple[str, str]  # name, and key of its arguments
PAUSE = 0.02  # seconds between two looks whether a second process has done something


@contextlib.contextmanager
def listing() -> Iterator[dict[Kernel, None]]:
    """The kernels (name, key) that are asked for meanwhile. None is loaded or compiled, and a call of one does nothing."""
    listed: dict[Kernel, None] = {}
    token = _listed.set(listed)
    try:
        yield listed
    finally:
        _listed.reset(token)


def is_listing() -> bool:
    return _listed.get() is not None


class Entry:
    """The kernel called `name`, such as "epoch.run", compiled for each kind of arguments that it is called with."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.functions: dict[str, Callable[[int], None]] = {}  # by key

    def address(self, *arguments: Any) -> int:
        """Where the kernel for such arguments begins, for other kernels to call."""
        return self.address_of(key_of(*arguments))

    def address_of(self, key: str) -> int:
        """The same, of arguments with this key."""
        listed = _listed.get()
        if listed is not None:
            listed[self.name, key] = None
            return 1
        symbol = objects.symbol_of(self.name, key)
        if symbol not in _addresses:
            start = time.perf_counter()
            try:
                _addresses[symbol] = objects.load(symbol) or _compile(self.name, key)
            finally:
                spend(time.perf_counter() - start)
        return _addresses[symbol]

    def bind(self, *arguments: Any) -> Call:
        """A call with these arguments, which is ready to be made any number of times."""
        slots: list[int] = []
        return Call(self.function(pack(arguments, slots)), slots, arguments)

    def __call__(self, *arguments: Any) -> None:
        self.bind(*arguments)()

    def function(self, key: str) -> Callable[[int], None]:
        """The compiled form for a key, called with the address of its table."""
        if is_listing():
            self.address_of(key)
            return lambda table: None
        if key not in self.functions:
            self.functions[key] = FUNCTION(self.address_of(key))
        return self.functions[key]


class Call:
    """A kernel with a table of its arguments, which it keeps alive."""

    def __init__(self, function: Callable[[int], None], slots: list[int], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.table = np.array(slots, np.int64)
        self.place = self.table.ctypes.data

    def __call__(self) -> None:
        self.function(self.place)

    def change_end(self, *numbers: int) -> None:
        """Other whole numbers in the last slots."""
        self.table[-len(numbers) :] = numbers

    def change_last(self, value: Any) -> None:
        """Another value, of the same key, in the place of the last argument."""
        slots: list[int] = []
        pack(value, slots)
        self.table[len(self.table) - len(slots) :] = slots
        self.arguments = (*self.arguments[:-1], value)


def spend(seconds: float) -> None:
    global spent
    spent += seconds


def find(name: str, key: str) -> bool:
    """Whether a kernel need not be compiled."""
    symbol = objects.symbol_of(name, key)
    address = _addresses.get(symbol) or objects.load(symbol)
    if address:
        _addresses[symbol] = address
    return bool(address)


@while_compiling
def _compile(name: str, key: str) -> int:
    symbol = objects.symbol_of(name, key)
    say_once()
    while beside.is_at(symbol) and not find(name, key):
        check_interrupts()
        time.sleep(PAUSE)
    if find(name, key):  # by another thread or process, meanwhile
        return _addresses[symbol]
    _addresses[symbol] = kernel_of(name).compile(symbol, key)
    _compiled.append(name)
    return _addresses[symbol]


def kernel_of(name: str) -> Any:
    """The kernel itself, from the module that defines it."""
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)


@functools.cache
def say_once() -> None:
    """On a terminal, why nothing else happens for a while."""
    if sys.stderr is not None and sys.stderr.isatty():
        kept = "kept for the next time" if cache_folder() else "but not kept, as no folder can be written"
        announce(f"kernels are compiled for this machine, which takes some 10 s; they are {kept}")
