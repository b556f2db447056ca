"""Epochs of one sample a step: no batch to share work in, so what counts is to touch each weight once, or not at all.

Without momentum and L2, a weight of the first layer moves only where its feature is not zero. In the other layers a row of
the weights is needed twice, for the delta below it (with the weights before the step) and for the step: both are done while
it is in registers, so that there is nothing to transpose. One thread does it all.
"""

from __future__ import annotations

from fastfc.kernels.fused import phases, sparse
from fastfc.kernels.fused.activations import activate, chain
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.llvm.packing import list_columns
from fastfc.kernels.fused.llvm.rows import WIDEST, step_and_below, step_listed
from fastfc.kernels.fused.llvm.views import flat, view, view_rows
from fastfc.kernels.fused.model import (
    ACTIVATION,
    FAN_IN,
    FAN_OUT,
    PADDED,
    all_weights,
    bias_of,
    deltas_of,
    forward_hidden,
    outputs_of,
    sparse_work,
)
from fastfc.kernels.fused.optimizers import rule_of
from fastfc.kernels.optimizers import WEIGHTS, Sgd


def fits(plan, lanes, is_sparse, background):
    """Whether a training can take this way."""
    optimizer = plan.optimizer
    is_plain = optimizer.kind is Sgd and dict(optimizer.numbers)["decay"] == 0 and plan.batch_size == 1
    is_plain = is_plain and not optimizer.rate_factors and optimizer.bias_factor == 1
    narrow = max(plan.layers[1:]) <= WIDEST * lanes
    return is_plain and narrow and is_sparse and background == 0 and not plan.keeps_gradient


@inline
def forward_one(model, codes, scale, work):
    """A single sample through all layers; returns how many of its features are not zero: work.index lists them, of work.x."""
    features = codes.shape[1]
    sparse.load_rows(codes, ZERO, ONE, ZERO, features, scale, work.x)
    count = list_columns(work.x, features, work.index)
    out = outputs_of(model, ZERO, ZERO, ONE)
    sparse.multiply_listed(work.x, work.index, count, all_weights(model, ZERO), bias_of(model, ZERO), out)
    activate(out, model.layout[0, ACTIVATION])
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
            chain(a, below, layout[l - 1, ACTIVATION])


@kernel
def run(_team, model, problem, schedule, span):
    """Steps span.start to span.stop of an epoch; the parameters are those of epoch.run."""
    memory, places, numbers = problem.memory, problem.memory.places, problem.numbers
    features, of = model.layout[0, FAN_IN], memory.arrangement
    codes, target = view_rows(memory.codes, 0, 1), view(model.arena, places.target, ONE, model.layout[-1, FAN_OUT])
    work = sparse_work(model.arena, places.work[0], features, ZERO, memory.work)
    length = of.losses[0]
    for s in range(span.start, span.stop):
        chosen, shifts = span.order[s : s + 1], span.shifts[s : s + 1]
        phases.load_samples(problem, chosen, shifts, codes)
        phases.load_targets(problem, chosen, target)
        count = forward_one(model, codes, numbers.scale, work)
        scale, losses = span.scale[s : s + 1], span.losses[s : s + 1]
        phases.loss_and_delta(model, problem.options.loss, target, scale, ZERO, ONE, losses)
        length[0] = rule_of(schedule, s, ZERO, WEIGHTS).rate
        step_one(model, count, length, work)
