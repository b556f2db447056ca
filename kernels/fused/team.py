"""The threads of a training: their barrier, and how they divide work.

An epoch runs in as many threads as are wanted, each inside one compiled call that holds no GIL. They meet twice a step at
a barrier of their own, and between epochs at one of the `crew`. That takes no threading layer of Numba, so nothing of
theirs (fork, nested use, lost exceptions) can go wrong.

Who waits spins for a moment, as a step's imbalance is shorter than a sleep, and then sleeps: a thread whose core was taken
away, by a neighbour or by the quota of a container, costs its own time, and not the cores of all others.
"""

from __future__ import annotations

from fastfc.kernels.fused.compiler.jit import inline, kernel
from fastfc.kernels.fused.compiler.slots import call_at
from fastfc.kernels.fused.llvm.integers import larger, smaller
from fastfc.kernels.fused.llvm.waiting import add_to, pause, read_from, sleep, wake
from fastfc.kernels.fused.records import ARRIVED, IN_VAIN, OPENED, SLEEPERS


@inline
def wait(team, passed):
    """Until barrier number `passed` is open. No wake-up is lost: a thread that sleeps has first said so and then looked, and
    who opens the barrier opens it first and then looks whether anybody sleeps.

    Looks that were in vain make the next ones fewer, by 4 down to a 64th, and others make them more, by 2: where threads
    outnumber the cores that are free, of this process or of all, the one waited for may need the core of the one that looks.
    """
    meeting, own = team.meeting, IN_VAIN + 8 * team.thread
    in_vain = meeting[own]
    spins = team.spins >> in_vain
    while spins > 0 and read_from(meeting, OPENED) <= passed:
        pause()
        spins -= 1
    if read_from(meeting, OPENED) > passed:
        meeting[own] = larger(in_vain - 1, 0)
        return
    meeting[own] = smaller(in_vain + 2, 6)
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
def serve(team, work):
    """Make the call of this thread whenever the leader brings work (threads, 2): the address of a kernel, and of its table; or an
    address of 0, which ends it."""
    passed = 0
    while True:
        passed = barrier(team, passed)
        if work[team.thread, 0] == 0:
            return
        call_at(work[team.thread, 0], work[team.thread, 1])
        passed = barrier(team, passed)


@kernel
def lead(team, work, passed):
    """Bring the others their work, and do one's own; passed (1,) is what `barrier` gave last."""
    passed[0] = barrier(team, passed[0])
    if work[0, 0] != 0:
        call_at(work[0, 0], work[0, 1])
        passed[0] = barrier(team, passed[0])


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
    start, stop = units * thread // threads * unit, units * (thread + 1) // threads * unit
    return start if start < n else n, stop if stop < n else n
