"""Threads that stand by for kernels whose work is divided.

Between two calls they wait in compiled code as at any barrier: for a moment they look, then they sleep. To begin a call takes a
microsecond where the last one was just now. The caller's own thread computes too, and nothing in the others is Python.
"""

from __future__ import annotations

import os
import threading
import weakref

import numpy as np

from fastfc.kernels.fused.arena import aligned
from fastfc.kernels.fused.compiler.entry import Call, Entry, is_listing
from fastfc.kernels.fused.records import IN_VAIN, NEVER, OPENED, TIMEOUT, Team

LOOK = 50_000_000  # nanoseconds after which a sleeper looks again, should a call to wake it have been lost
SERVE, LEAD = Entry("team.serve"), Entry("team.lead")


def new_meeting(threads: int) -> np.ndarray:
    """The meeting of a `Team`."""
    meeting = aligned(8 * (4 + threads), np.int64)
    reset(meeting)
    return meeting


def reset(meeting: np.ndarray) -> None:
    """As a new one, while nobody is there."""
    meeting[:] = 0
    meeting[TIMEOUT + 1] = LOOK


class Crew:
    """`threads` threads, the caller's among them. spins as in `Team`."""

    def __init__(self, threads: int, spins: int) -> None:
        self.meeting, self.work, self.passed = new_meeting(threads), np.zeros((threads, 2), np.int64), np.zeros(1, np.int64)
        teams = [Team(thread, threads, spins, self.meeting) for thread in range(threads)]
        self.lead, *served = LEAD.bind(teams[0], self.work, self.passed), *(SERVE.bind(team, self.work) for team in teams[1:])
        self.process, self.calls = os.getpid(), served
        self.others = [threading.Thread(target=call, name="fastfc", daemon=True) for call in served]
        self.ends = weakref.finalize(self, _end, self.process, self.lead, self.work, self.others)
        try:
            for other in self.others:
                other.start()
        except BaseException:
            self.ends.detach()
            self.meeting[OPENED] = NEVER  # those that have begun find no work, and end
            for other in self.others:
                if other.ident is not None:
                    other.join()
            raise

    def run(self, calls: list[Call]) -> None:
        """Make these calls, one in each thread."""
        if calls is not self.calls:
            self.work[:], self.calls = [call.place_of_code() for call in calls], calls
        self.meeting[IN_VAIN:] = 0  # that the last call came late says nothing of the next
        self.lead()

    def is_here(self) -> bool:
        """Whether its threads are those of this process, and not of one that it was forked from."""
        return self.ends.alive and self.process == os.getpid()

    def end(self) -> None:
        """End the threads. In a forked child there are none."""
        self.ends()


def _end(process: int, lead: Call, work: np.ndarray, others: list[threading.Thread]) -> None:
    if process == os.getpid():
        work[:] = 0
        lead()
        for other in others:
            other.join()


def ask(threads: int) -> None:
    """Ask for the kernels that a crew needs."""
    if threads > 1:
        team, work, passed = Team(0, threads, 0, new_meeting(threads)), np.zeros((threads, 2), np.int64), np.zeros(1, np.int64)
        LEAD.address(team, work, passed)
        SERVE.address(team, work)


def together(crew: Crew | None, calls: list[Call]) -> Crew | None:
    """Make these calls, the first argument of each its Team, at once, one in each thread of a crew: of the given one if it has
    as many, else of a new one, which is returned."""
    if is_listing():
        return crew
    if crew is None or len(crew.work) != len(calls) or not crew.is_here():
        if crew is not None:
            crew.end()
        crew = Crew(len(calls), calls[0].arguments[0].spins)
    crew.run(calls)
    return crew
