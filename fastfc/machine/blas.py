"""Limits on the threads of NumPy's BLAS."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator


class _BlasLimits:
    """Limits of NumPy's BLAS, whose number of threads is one for the whole process.

    Calls that want different numbers may nest, and overlap in several Python threads: the newest that is still there
    has its way, and with the last one gone the number is again what it was before the first.
    """

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.inside: list[list[int]] = []
        self.before: list[int] = []
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)  # whoever held it does not exist in the child

    def _renew_lock(self) -> None:
        self.lock = threading.Lock()

    def enter(self, threads: int) -> list[int]:
        with self.lock:
            if not self.inside:
                self.before = [library.get_num_threads() for library in self.libraries]
            entry = [threads]
            self.inside.append(entry)
            self._set([threads] * len(self.libraries))
        return entry

    def leave(self, entry: list[int]) -> None:
        with self.lock:
            self.inside = [other for other in self.inside if other is not entry]
            self._set(self.inside[-1] * len(self.libraries) if self.inside else self.before)

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(self.libraries, numbers, strict=True):
            if library.get_num_threads() != number:
                library.set_num_threads(number)
                # threadpoolctl 3.8 lets no other thread set a limit, or restore it, until this one gives up control.
                getattr(library, "clear_controlling_thread", lambda: None)()


@functools.cache
def _blas_limits() -> _BlasLimits:
    """Made once: to look for the libraries takes 2 ms."""
    return _BlasLimits()


@contextlib.contextmanager
def blas_threads(backend: str, threads: int) -> Iterator[None]:
    """NumPy's BLAS computes with `threads` threads for the numpy backend, and with one beside our own; then as before."""
    limits = _blas_limits()
    entry = limits.enter(threads if backend == "numpy" else 1)
    try:
        yield
    finally:
        limits.leave(entry)
