"""The threads of a training: their barrier, and how they divide work.

An epoch runs in as many Python threads as are wanted, each inside one compiled call that holds no GIL. They meet twice a
step at a barrier of their own. That takes no threading layer of Numba, so nothing of theirs (fork, nested use, lost
exceptions) can go wrong.
"""

from __future__ import annotations

import sys

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastfc.kernels.fused.compiler.jit import inline

SPINS = 20_000  # about 0.2 ms of waiting before the core is offered to others: more than a step's imbalance
YIELD = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())


@intrinsic
def _arrive(typingctx, counter):
    """Add one to counter[0] and return what it was; all that was written before can be seen by who reads the sum."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counter), codegen


@intrinsic
def _arrived(typingctx, counter):
    """counter[0], read anew each time."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.load_atomic(array.data, "acquire", 8)

    return types.int64(counter), codegen


@inline
def barrier(team, passed):
    """Wait until all threads have come here `passed` + 1 times; returns passed + 1."""
    if team.threads > 1:
        _arrive(team.counter)
        spins = 0
        while _arrived(team.counter) < team.threads * (passed + 1):
            spins += 1
            if spins > SPINS:
                YIELD()
    return passed + 1


@inline
def share(n, unit, thread, threads):
    """(start, stop) of a thread's share of n items, cut at multiples of `unit`."""
    units = (n + unit - 1) // unit
    start, stop = units * thread // threads * unit, units * (thread + 1) // threads * unit
    return start if start < n else n, stop if stop < n else n
