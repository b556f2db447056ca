"""The threads of a training: their barrier, and how they divide work.

An epoch runs in as many Python threads as are wanted, each inside one compiled call that holds no GIL. They meet twice a
step at a barrier of their own. That takes no threading layer of Numba, so nothing of theirs (fork, nested use, lost
exceptions) can go wrong.

Who waits spins for a moment, as a step's imbalance is shorter than a sleep, and then sleeps: a thread whose core was taken
away, by a neighbour or by the quota of a container, costs its own time, and not the cores of all others.
"""

from __future__ import annotations

from fastfc.kernels.fused.compiler.jit import inline, kernel
from fastfc.kernels.fused.llvm.waiting import add_to, pause, read_from, sleep, wake
from fastfc.kernels.fused.records import ARRIVED, OPENED, SLEEPERS


@inline
def wait(team, passed):
    """Until barrier number `passed` is open. No wake-up is lost: a thread that sleeps has first said so and then looked, and
    who opens the barrier opens it first and then looks whether anybody sleeps."""
    meeting, spins = team.meeting, team.spins
    while spins > 0 and read_from(meeting, OPENED) <= passed:
        pause()
        spins -= 1
    if read_from(meeting, OPENED) > passed:
        return
    add_to(meeting, SLEEPERS, 1)
    seen = read_from(meeting, OPENED)
    while seen <= passed:
        sleep(meeting, seen)
        seen = read_from(meeting, OPENED)
    add_to(meeting, SLEEPERS, -1)


@inline
def barrier(team, passed):
    """Wait until all threads have come here `passed` + 1 times; returns passed + 1."""
    if team.threads > 1:
        if add_to(team.meeting, ARRIVED, 1) + 1 == team.threads * (passed + 1):
            add_to(team.meeting, OPENED, 1)
            if read_from(team.meeting, SLEEPERS) > 0:
                wake(team.meeting)
        else:
            wait(team, passed)
    return passed + 1


@kernel
def meet(team, times):
    """`times` barriers and nothing else, to measure them."""
    passed = 0
    for _ in range(times):
        passed = barrier(team, passed)


@inline
def share(n, unit, thread, threads):
    """(start, stop) of a thread's share of n items, cut at multiples of `unit`."""
    units = (n + unit - 1) // unit
    return min(n, units * thread // threads * unit), min(n, units * (thread + 1) // threads * unit)
