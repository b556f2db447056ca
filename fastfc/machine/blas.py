"""Limits on the threads of NumPy's BLAS."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any


class _BlasLimits:
    """Limits of NumPy's BLAS, whose number of threads is one for the whole process.

    Calls that want different numbers may nest, and overlap in several Python threads: the newest that is still there
    has its way, and with the last one gone the number is again what it was before the first. In a forked child none is
    there. No fork happens while a number is being set: OpenBLAS would be left locked in the child.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.libraries: list[Any] | None = None  # looked for once, under the lock: it takes 2 ms
        self.inside: list[list[int]] = []
        self.before: list[int] = []  # of each library; empty while no limit is in force
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.lock.acquire, after_in_parent=self.lock.release, after_in_child=self._lift)

    def enter(self, entry: list[int]) -> None:
        """Limit the threads to entry[0]."""
        with self.lock:
            if self.libraries is None:
                from threadpoolctl import ThreadpoolController

                self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            if not self.inside:
                self.before = [library.get_num_threads() for library in self.libraries]
            self.inside.append(entry)
            self._set(entry * len(self.libraries))

    def leave(self, entry: list[int]) -> None:
        with self.lock:
            self.inside = [other for other in self.inside if other is not entry]
            if self.inside:
                self._set(self.inside[-1] * len(self.before))
            else:
                self._restore()

    def _lift(self) -> None:
        """In a forked child: whoever set a limit does not exist here."""
        self.inside = []
        self._restore()
        self.lock.release()

    def _restore(self) -> None:
        if self.before:
            self._set(self.before)
            self.before = []

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(self.libraries or [], numbers, strict=True):
            if library.get_num_threads() != number:
                library.set_num_threads(number)
                # threadpoolctl 3.8 lets no other thread set a limit, or restore it, until this one gives up control.
                getattr(library, "clear_controlling_thread", lambda: None)()


_LIMITS = _BlasLimits()


@contextlib.contextmanager
def blas_threads(backend: str, threads: int) -> Iterator[None]:
    """NumPy's BLAS computes with `threads` threads for the numpy backend, and else with one, as L-BFGS has it: to the same bits for any
    number of cores; then as before."""
    entry = [threads if backend == "numpy" else 1]
    try:
        _LIMITS.enter(entry)
        yield
    finally:
        _LIMITS.leave(entry)
