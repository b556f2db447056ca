"""Whole epochs in compiled code.

A step has two phases with a barrier after each, and needs no sum across threads:

    by samples    each thread takes its share of the batch from the first layer's sums on through the network and back,
                  and fetches its share of the next batch
    by features   each thread takes its share of the rows of every weight matrix: gradient, update, and with the rows of
                  the first layer that it has just updated, the sums of that layer for the next batch

So the rows of the largest matrix stay in one core's cache from step to step. The first layer's sums have two parts, one
for each half of the features, whatever the number of threads is: the result does not depend on it.

A batch larger than CHUNK passes in parts, whose gradients are added up.
"""

from __future__ import annotations

from fastfc.kernels.fused import phases
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.llvm.views import view_rows
from fastfc.kernels.fused.records import HALVES, UNIT
from fastfc.kernels.fused.team import barrier, share


@kernel
def run(team, model, problem, varying):
    """Steps span.start to span.stop of an epoch, this thread's share of them; varying = (schedule, span)."""
    schedule, span = varying
    options, local, all_codes = problem.options, phases.local_memory(model, problem, team.thread), problem.memory.codes
    chunk, size, squares = options.chunk, options.batch_size, problem.memory.squares
    passed, slot, end = 0, 0, min(span.stop * size, span.order.size)
    part_start = part_end = span.start * size  # the part in work; none yet, but the next is fetched
    while part_start < end:
        next_end = min(part_end + chunk, (part_end // size + 1) * size, end)
        s, rows, coming = part_start // size, part_end - part_start, next_end - part_end
        step_start, step_end = s * size, min((s + 1) * size, span.order.size)
        x, codes = view_rows(local.x, slot, slot + rows), view_rows(all_codes, slot, slot + rows)
        slot = chunk - slot
        next_x = view_rows(local.x, slot, slot + coming)
        next_codes = view_rows(all_codes, slot, slot + coming)
        is_first, is_last = part_start == step_start, part_end == step_end

        if rows > 0:
            lo, hi = share(rows, UNIT, team.thread, team.threads)
            scale, sample_losses = span.scale[part_start:part_end], span.losses[part_start:part_end]
            phases.by_samples(model, problem, local, span.key, lo, hi, scale, sample_losses)
            if is_first and span.penalties.size > 0:
                phases.square(team, model, problem, 0, squares[0])
        lo, hi = share(coming, UNIT, team.thread, team.threads)
        order, shifts = span.order[part_end:next_end], span.shifts[part_end:next_end]
        phases.fetch(problem, order, shifts, span.key, local, lo, hi, next_x, next_codes)
        passed = barrier(team, passed)

        if rows > 0:
            clips = problem.numbers.clip_norm > 0
            part = phases.Part(x, codes, s, is_first, is_last and not clips and span.is_held == 0)
            phases.by_features(team, model, problem, schedule, local, part)
            if is_first and team.thread == 0 and span.penalties.size > 0:
                span.penalties[s] = phases.sum_in_order(squares[0], squares.shape[1] - model.layout.shape[0])
            if clips and is_last and span.is_held == 0:
                phases.square(team, model, problem, model.gradient, squares[1])
                passed = barrier(team, passed)
                phases.clip_gradient(team, model, problem, squares[1])
                phases.apply_gradient(team, model, problem, schedule, local, s)
        if team.threads > HALVES:  # otherwise a thread multiplies by no other rows than its own
            passed = barrier(team, passed)
        phases.multiply_input(team, model, problem, local, next_x, next_codes)
        passed = barrier(team, passed)
        part_start, part_end = part_end, next_end


@kernel
def apply(team, model, problem, varying):
    """The update of step span.start along the gradient that is kept, this thread's share of it; varying = (schedule, span)."""
    schedule, span = varying
    local = phases.local_memory(model, problem, team.thread)
    phases.apply_gradient(team, model, problem, schedule, local, span.start)
