"""Epochs of one sample a step: no batch to share work in, so what counts is to touch each weight once, or not at all.

Without momentum and L2, a weight of the first layer moves only where its feature is not zero. In the other layers a row of
the weights is needed twice, for the delta below it (with the weights before the step) and for the step: both are done while
it is in registers, so that there is nothing to transpose. One thread does it all.
"""

from __future__ import annotations

from fastfc.kernels.fused import phases, sparse
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.llvm.packing import list_columns
from fastfc.kernels.fused.llvm.rows import step_and_below, step_listed
from fastfc.kernels.fused.llvm.views import as_dtype, flat, view, view_rows
from fastfc.kernels.fused.model import (
    activate,
    all_weights,
    bias_of,
    deltas_of,
    forward_hidden,
    outputs_of,
    sparse_work,
)
from fastfc.kernels.fused.records import FAN_IN, FAN_OUT, PADDED


@inline
def forward_one(model, codes, scale, work):
    """A single sample through all layers; returns how many of its features are not zero: work.index lists them, of work.x."""
    features = codes.shape[1]
    sparse.load_rows(codes, ZERO, ONE, ZERO, features, scale, work.x)
    count = list_columns(work.x, features, work.index)
    out = outputs_of(model, ZERO, ZERO, ONE)
    sparse.multiply_listed(work.x, work.index, count, all_weights(model, ZERO), bias_of(model, ZERO), out)
    activate(model, ZERO, ZERO, ONE)
    forward_hidden(model, ZERO, ONE)
    return count


@inline
def step_one(model, count, length, work):
    """Back through all layers, each of which makes its step, `length` (1,) times the gradient, on the way."""
    layout = model.layout
    for l in range(layout.shape[0] - 1, -1, -1):
        delta = deltas_of(model, l, ZERO, ONE)
        bias, gradient = flat(bias_of(model, l)), flat(delta)
        for j in range(bias.size):
            bias[j] -= length[0] * gradient[j]
        if l == 0:
            step_listed(all_weights(model, l), work.index, count, work.x, delta, length)
        else:
            a, below = outputs_of(model, l - 1, ZERO, ONE), deltas_of(model, l - 1, ZERO, ONE)
            step_and_below(all_weights(model, l), layout[l, FAN_IN], a, delta, length, below)
            for j in range(layout[l, FAN_IN], layout[l - 1, PADDED]):
                below[0, j] = 0
            phases.chain(model, l - 1, ZERO, ONE)


@kernel
def run(_team, model, problem, dtype, varying):
    """Steps span.start to span.stop of an epoch; the parameters are those of epoch.run, and dtype names that of the codes."""
    schedule, span = varying.schedule, varying.span
    memory, places, numbers = problem.memory, problem.memory.places, problem.numbers
    features, of = model.layout[0, FAN_IN], memory.arrangement
    stored, target = view_rows(memory.codes, 0, 1), view(model.arena, places.target, ONE, model.layout[-1, FAN_OUT])
    work = sparse_work(model.arena, places.work[0], features, ZERO, memory.work)
    length = of.losses[0]
    for s in range(span.start, span.stop):
        chosen, shifts = span.order[s : s + 1], of.shifts[0][0 : min(1, span.shifts.shape[0])]
        for i in range(shifts.shape[0]):
            shifts[i, 0], shifts[i, 1] = span.shifts[s, 0], span.shifts[s, 1]
        phases.load_samples(problem, chosen, shifts, span.key, stored)
        phases.load_targets(problem, chosen, target)
        count = forward_one(model, as_dtype(stored, dtype), numbers.scale, work)
        scale, losses = span.scale[s : s + 1], span.losses[s : s + 1]
        phases.loss_and_delta(model, problem, target, scale, ZERO, ONE, losses)
        length[0] = schedule.rules[s, 0]
        step_one(model, count, length, work)
