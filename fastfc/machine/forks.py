"""Forks while other threads hold locks.

A child has only the thread that forked. A lock that another thread held would stay locked in it for ever, and what the
lock guards would stay half done. So a fork waits until it has these locks itself; parent and child then let go of them.
"""

from __future__ import annotations

import _thread
import logging  # noqa: F401  registered first, it takes its own lock last: those who hold one of ours may write a log
import os
from contextlib import ExitStack
from typing import Protocol

from fastfc.machine.interrupts import Interrupts, deferred_interrupts


class Lock(Protocol):
    """A reentrant one, so that its holder may fork too."""

    def acquire(self) -> object: ...
    def release(self) -> object: ...


class _Forks:
    """`locks` in the order in which they are taken, here as elsewhere."""

    def __init__(self) -> None:
        self.locks: list[Lock] = []
        self.waited: tuple[ExitStack, Interrupts] | None = None  # of the fork that holds the locks
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.before, after_in_parent=self.in_parent, after_in_child=self.after)

    def before(self) -> None:
        stack = ExitStack()
        interrupts = stack.enter_context(deferred_interrupts())  # Python would go on to fork without the locks
        for lock in self.locks:
            lock.acquire()
            stack.callback(lock.release)
        self.waited = stack, interrupts

    def after(self) -> bool:
        """Whether there was a Ctrl-C in the meantime."""
        assert self.waited is not None
        stack, interrupts = self.waited
        self.waited = None
        stack.close()
        return interrupts.came

    def in_parent(self) -> None:
        if self.after():  # an exception would be lost here: it comes a moment later
            _thread.start_new_thread(_thread.interrupt_main, ())


_forks = _Forks()


def hold_while_forking(lock: Lock) -> None:
    """Let forks of this process wait for `lock`, after those that were given before it."""
    _forks.locks.append(lock)
