"""Ctrl-C while compiled code runs, and while Python must not be stopped just anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupts:
    """came     whether there was a Ctrl-C
    at_once  whether one raises KeyboardInterrupt where it comes, instead of being noted only
    """

    came: bool = False
    at_once: bool = False

    def note(self, number: int, frame: object) -> None:
        self.came = True
        if self.at_once:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a Ctrl-C."""
        if self.came:
            raise KeyboardInterrupt

    def call(self, function: Callable[..., object], *arguments: object) -> object:
        """What a function of the user's gives, which may take long: Ctrl-C ends it, and nothing else."""
        self.at_once = True
        try:
            return function(*arguments)
        except KeyboardInterrupt:
            self.came = True
            return None
        finally:
            self.at_once = False


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Ctrl-C is noted instead of raised, so that it never comes between two threads that wait for each other.

    Only in the main thread, which alone gets signals, and only while Python's own handler is in place.
    """
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts.note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
