"""Epochs of one sample a step: no batch to share work in, so what counts is to touch each weight once, or not at all.

Without momentum and L2, a weight of the first layer moves only where its feature is not zero. In the other layers a row of
the weights is needed twice, for the delta below it (with the weights before the step) and for the step: both are done while
it is in registers, so that there is nothing to transpose. One thread does it all.
"""

from __future__ import annotations

from fastfc.kernels.fused import csr, phases, sparse
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.cpu import VECTOR_BYTES
from fastfc.kernels.fused.llvm.integers import smaller
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
def list_sample(problem, dtype, chosen, shifts, key, work):
    """List which features of the chosen sample are not zero in work.index, of work.x; returns how many."""
    rows, scale, features = problem.data.csr, problem.numbers.scale, work.x.shape[1] - VECTOR_BYTES
    if rows.indptr.size > 0:
        begin, end = rows.indptr[chosen[0]], rows.indptr[chosen[0] + 1]
        return csr.list_row(rows, dtype, begin, end, ZERO, scale, features, work)
    stored = view_rows(problem.memory.codes, 0, 1)
    phases.load_samples(problem, chosen, chosen, shifts, key, stored)
    sparse.load_rows(as_dtype(stored, dtype), ZERO, ONE, ZERO, features, scale, work.x)
    return list_columns(work.x, features, work.index)


@inline
def forward_one(model, count, work):
    """A single sample through all layers, whose `count` features that are not zero work.index lists, of work.x."""
    out = outputs_of(model, ZERO, ZERO, ONE)
    sparse.multiply_listed(work.x, work.index, count, all_weights(model, ZERO), bias_of(model, ZERO), out)
    activate(model, ZERO, ZERO, ONE)
    forward_hidden(model, ZERO, ONE)


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
    memory, places = problem.memory, problem.memory.places
    features, of = model.layout[0, FAN_IN], memory.arrangement
    target = view(model.arena, places.target, ONE, model.layout[-1, FAN_OUT])
    work = sparse_work(model.arena, places.work[0], features, ZERO, memory.work)
    length = of.losses[0]
    for s in range(span.start, span.stop):
        chosen, shifts = span.order[s : s + 1], of.shifts[0][0 : smaller(1, span.shifts.shape[0])]
        for i in range(shifts.shape[0]):
            shifts[i, 0], shifts[i, 1] = span.shifts[s, 0], span.shifts[s, 1]
        phases.load_targets(problem, chosen, target)
        count = list_sample(problem, dtype, chosen, shifts, span.key, work)
        forward_one(model, count, work)
        scale, losses = span.scale[s : s + 1], span.losses[s : s + 1]
        phases.loss_and_delta(model, problem, target, scale, ZERO, ONE, losses)
        length[0] = schedule.rules[s, 0]
        step_one(model, count, length, work)
