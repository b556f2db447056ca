"""What compiling must not be disturbed by: forks, Ctrl-C at any line of Numba's, the search for garbage."""

from __future__ import annotations

import contextlib
import gc
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from fastfc.errors import CompilationWarning
from fastfc.machine.forks import hold_while_forking
from fastfc.machine.interrupts import Interrupts, deferred_interrupts

WAIT = 0.05  # seconds between two looks whether Ctrl-C came while another thread compiles

_compiling = threading.RLock()
_interrupts = Interrupts()  # of the thread that holds the lock
_told: set[str] = set()

hold_while_forking(_compiling)


def hold_locks_of_others() -> None:
    """Forks wait for Numba and LLVM too: functions of others are compiled, and freed by whichever thread collects garbage.

    In the order in which Numba takes them.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from llvmlite.binding import ffi
        from numba.core.compiler_lock import global_compiler_lock

        hold_while_forking(global_compiler_lock)
        hold_while_forking(ffi.lib._lock._lock)


def while_compiling(compile_kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The same, one at a time. Ctrl-C raises between two helpers or at the end: Numba is nowhere else left as it was.

    Python looks for no cycles meanwhile among the millions of objects of the compiler: an eighth of the time.
    """

    def compile_undisturbed(*what: Any) -> Any:
        global _interrupts
        with ExitStack() as stack:
            interrupts = stack.enter_context(deferred_interrupts())
            while not _compiling.acquire(timeout=WAIT):
                interrupts.check()
            stack.callback(_compiling.release)
            _interrupts = interrupts
            stack.callback(_forget)
            if gc.isenabled():
                gc.disable()
                stack.callback(gc.enable)
            compiled = compile_kernel(*what)
        interrupts.check()
        return compiled

    return compile_undisturbed


def check_interrupts() -> None:
    """Raise KeyboardInterrupt if there was a Ctrl-C since this thread began to compile."""
    _interrupts.check()


def between_helpers(compile_helper: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but nothing more is compiled after a Ctrl-C."""

    def compile_unless_interrupted(signature: Any) -> Any:
        check_interrupts()
        return compile_helper(signature)

    return compile_unless_interrupted


def _forget() -> None:
    global _interrupts
    _interrupts = Interrupts()


def warn_once(what: str, message: str) -> None:
    """A CompilationWarning, once a process for each `what`."""
    if what not in _told:
        _told.add(what)
        warnings.warn(message, CompilationWarning, stacklevel=2)
