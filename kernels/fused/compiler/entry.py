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

from fastfc.kernels.fused.compiler import objects
from fastfc.kernels.fused.compiler.guard import while_compiling
from fastfc.kernels.fused.compiler.signature import key_of, pack
from fastfc.kernels.fused.compiler.turns import turn
from fastfc.kernels.fused.folder import cache_folder
from fastfc.machine.terminal import announce

PACKAGE = "fastfc.kernels.fused"
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # lets go of the GIL while it runs

spent = 0.0  # seconds of this process in compiling and loading
_addresses: dict[str, int] = {}  # by symbol
_compiled: list[str] = []  # names of what this process has compiled, and not found
_listed: ContextVar[tuple[dict[Kernel, None], bool] | None] = ContextVar("_listed", default=None)

Kernel = tuple[str, str]  # name, and key of its arguments


@contextlib.contextmanager
def listing(missing: bool = False) -> Iterator[dict[Kernel, None]]:
    """The kernels (name, key) that are asked for meanwhile; or those of them that are not kept, which are `missing`.

    None of them is loaded or compiled, and a call of one does nothing. What is kept may call what is missing, and must not be
    called.
    """
    listed: dict[Kernel, None] = {}
    token = _listed.set((listed, missing))
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
        if self._is_listed(key):
            return 1
        symbol = objects.symbol_of(self.name, key)
        if not find(symbol):
            start = time.perf_counter()
            try:
                _compile(self.name, key, symbol)
            finally:
                _spend(time.perf_counter() - start)
        return _addresses[symbol]

    def _is_listed(self, key: str) -> bool:
        asked = _listed.get()
        if asked is None:
            return False
        listed, missing = asked
        if missing and find(objects.symbol_of(self.name, key)):
            return False
        listed[self.name, key] = None
        return True

    def bind(self, *arguments: Any) -> Call:
        """A call with these arguments, which is ready to be made any number of times."""
        slots: list[int] = []
        return Call(self.function(pack(arguments, slots)), slots, arguments)

    def __call__(self, *arguments: Any) -> None:
        self.bind(*arguments)()

    def function(self, key: str) -> Callable[[int], None]:
        """The compiled form for a key, called with the address of its table."""
        if self._is_listed(key):
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

    def place_of_code(self) -> tuple[int, int]:
        """The address of the kernel, and of its table, as `slots.call_at` takes them."""
        function: Any = self.function
        return ctypes.cast(function, ctypes.c_void_p).value or 0, self.place

    def change_end(self, *numbers: int) -> None:
        """Other whole numbers in the last slots."""
        self.table[-len(numbers) :] = numbers

    def change_last(self, value: Any) -> None:
        """Another value, of the same key, in the place of the last argument."""
        slots: list[int] = []
        pack(value, slots)
        self.table[len(self.table) - len(slots) :] = slots
        self.arguments = (*self.arguments[:-1], value)


def _spend(seconds: float) -> None:
    global spent
    spent += seconds


def find(symbol: str) -> bool:
    """Whether a kernel need not be compiled."""
    if symbol not in _addresses:
        start = time.perf_counter()
        address = objects.load(symbol)
        _spend(time.perf_counter() - start)
        if address:
            _addresses[symbol] = address
    return symbol in _addresses


@while_compiling
def _compile(name: str, key: str, symbol: str) -> None:
    say_once()
    with turn(symbol):
        if not find(symbol):  # by another thread or process, meanwhile
            _addresses[symbol] = kernel_of(name).compile(symbol, key)
            _compiled.append(name)


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
