"""Whole epochs in compiled code.

A step has two phases with a barrier after each, and needs no sum across threads:

    by samples    each thread takes its share of the batch from the first layer's sums on through the network and back,
                  and fetches its share of the next batch
    by features   each thread takes its share of the rows of every weight matrix: gradient, update, and with the rows of
                  the first layer that it has just updated, the sums of that layer for the next batch

So the rows of the largest matrix stay in one core's cache from step to step. The first layer's sums have two parts, one
for each half of the features, whatever the number of threads is: the result does not depend on it.

A batch larger than PART passes in parts, whose gradients are added up.
"""

from __future__ import annotations

from fastfc.kernels.fused import phases
from fastfc.kernels.fused.clipping import sum_in_order
from fastfc.kernels.fused.compiler.jit import inline, kernel
from fastfc.kernels.fused.compiler.slots import call
from fastfc.kernels.fused.llvm.integers import smaller
from fastfc.kernels.fused.records import HALVES, UNIT
from fastfc.kernels.fused.team import barrier, share


@inline
def update(team, model, problem, varying, start, stop, first, passed):
    """The features' phase of the part from `start` to `stop` of the epoch, in rows of x from `first` on; gives `passed`."""
    span, schedule, squares, size = varying.span, varying.schedule, problem.memory.squares, problem.options.batch_size
    s, clips, moves = start // size, problem.numbers.clip_norm > 0, span.is_held == 0
    is_first, is_last = start == s * size, stop == smaller((s + 1) * size, span.order.size)
    part = phases.Part(first, stop - start, s, is_first, is_last and moves and not clips)
    phases.by_features(team, model, problem, schedule, part)
    if is_first and team.thread == 0 and span.penalties.size > 0:
        span.penalties[s] = sum_in_order(squares[0], squares.shape[1] - model.layout.shape[0])
    if clips and is_last and moves:
        call(problem.parts.square, (team, model, problem, model.gradient, squares[1]))
        passed = barrier(team, passed)
        call(problem.parts.clip, (team, model, problem, schedule, s))
    return passed


@kernel
def run(team, model, problem, varying):
    """Steps span.start to span.stop of an epoch, this thread's share of them."""
    span, chunk, size = varying.span, problem.options.chunk, problem.options.batch_size
    passed, first, end = 0, 0, smaller(span.stop * size, span.order.size)
    start = stop = span.start * size  # the part in work; none yet, but the next is fetched
    while start < end:
        next_stop = smaller(smaller(stop + chunk, (stop // size + 1) * size), end)
        rows, coming_first, coming = stop - start, chunk - first, next_stop - stop

        if rows > 0:
            lo, hi = share(rows, UNIT, team.thread, team.threads)
            phases.by_samples(team, model, problem, span, start, lo, hi)
            if span.penalties.size > 0 and start % size == 0:
                call(problem.parts.square, (team, model, problem, 0, problem.memory.squares[0]))
        lo, hi = share(coming, UNIT, team.thread, team.threads)
        order, shifts = span.order[stop:next_stop], span.shifts[stop:next_stop]
        phases.fetch(team, model, problem, phases.Coming(order, shifts, span, coming_first, coming), lo, hi)
        passed = barrier(team, passed)

        if rows > 0:
            passed = update(team, model, problem, varying, start, stop, first, passed)
        if team.threads > HALVES:  # otherwise a thread multiplies by no other rows than its own
            passed = barrier(team, passed)
        phases.multiply_input(team, model, problem, coming_first, coming)
        passed = barrier(team, passed)
        start, stop, first = stop, next_stop, coming_first


@kernel
def apply(team, model, problem, varying):
    """The update of step span.start along the gradient that is kept, this thread's share of it."""
    phases.apply_gradient(team, model, problem, varying.schedule, varying.span.start)
