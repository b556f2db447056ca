"""The phases of a step of training, each for one thread's share of it; `epoch` puts them together."""

from __future__ import annotations

import math
from collections import namedtuple

from fastfc.kernels.fused import batch, dense
from fastfc.kernels.fused.background import add_rows
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline
from fastfc.kernels.fused.compiler.slots import call
from fastfc.kernels.fused.cpu import VECTOR_BYTES
from fastfc.kernels.fused.llvm.rows import sum_of_squares
from fastfc.kernels.fused.llvm.views import fill, flat, view, view_rows
from fastfc.kernels.fused.model import (
    activate,
    all_weights,
    bias_gradient_of,
    bias_of,
    deltas_of,
    forward_layer,
    gradient_of,
    outputs_of,
    saved_of,
    slopes_of,
    sparse_work,
    state_of,
    transposed_weights,
    weights_of,
)
from fastfc.kernels.fused.optimizers import rule_of
from fastfc.kernels.fused.records import CHAIN, FAN_IN, FAN_OUT, HALVES, PADDED, UNIT, Arrangement
from fastfc.kernels.fused.team import share
from fastfc.kernels.optimizers import BIASES, WEIGHTS

LANES = VECTOR_BYTES // 4  # rows of weights that are transposed in whole blocks, which threads do not divide

# The samples of a part of the batch of step `step`; whether the gradient begins with them, and the update follows.
Part = namedtuple("Part", "x codes step is_first is_last")
Rows = namedtuple("Rows", "layer lo hi")  # of the weights of a layer

# The memory as one thread sees it: x (2 * chunk, features) and target (chunk, outputs) of all; sums (HALVES * chunk, padded) of
# the first layer; ones in a column, zeros in a row; and a row, a rule and the rest of its own.
Local = namedtuple("Local", "x target sums ones zeros row work arrangement rule")


@inline
def local_memory(model, problem, thread):
    """What thread number `thread` works with."""
    layout, places, options = model.layout, problem.memory.places, problem.options
    chunk, features, of = options.chunk, layout[0, FAN_IN], problem.memory.arrangement
    return Local(
        view(model.arena, places.inputs, 2 * chunk, features),
        view(model.arena, places.target, chunk, layout[-1, FAN_OUT]),
        view(model.arena, places.sums, HALVES * chunk, layout[0, PADDED]),
        view(model.arena, places.ones, max(chunk, features), ONE),
        view(model.arena, places.zeros, ONE, options.widest),
        view(model.arena, places.rows + thread * options.widest, ONE, options.widest),
        sparse_work(model.arena, places.work[thread], features, thread, problem.memory.work),
        Arrangement(
            of.place[thread],
            of.chosen[thread],
            of.shifts[thread],
            of.scale[thread],
            of.losses[thread],
            of.count[thread],
        ),
        problem.memory.rules[thread],
    )


@inline
def first_columns(row, columns):
    """The first `columns` of a row, as a row of its own."""
    return view(flat(row), ZERO, ONE, columns)


@inline
def arrange(labels, order, shifts, of):
    """Put samples of one label side by side, for the sparse first layer: GROUP neighbours share most of their non-zeros.

    Within a batch the order changes nothing but the rounding of sums. Without labels it stays.
    """
    count, by_label = of.count, labels.size > 0
    for c in range(count.size):
        count[c] = 0
    if by_label:
        for i in range(order.size):
            count[labels[order[i]] + 1] += 1
        for c in range(1, count.size):
            count[c] += count[c - 1]
    for i in range(order.size):
        c = labels[order[i]] if by_label else 0
        of.place[count[c]] = i
        of.chosen[count[c]] = order[i]
        count[c] += 1
    for i in range(shifts.shape[0]):
        of.shifts[i, 0], of.shifts[i, 1] = shifts[of.place[i], 0], shifts[of.place[i], 1]


@inline
def load_samples(problem, chosen, shifts, key, codes):
    """The chosen samples into codes (chosen, bytes), shifted where shifts (chosen, 2) is not empty; then dropped, where wanted."""
    options, parts = problem.options, problem.parts
    if problem.data.csr.indptr.size > 0 or shifts.shape[0] > 0:
        call(parts.load, (problem.data, chosen, shifts, options.height, options.width, problem.numbers.outside, codes))
    else:
        batch.gather(problem.data.X, chosen, codes)
    if parts.drop_codes != 0:
        call(parts.drop_codes, (codes, chosen, key, parts.rates[0], problem.numbers.kept))


@inline
def load_targets(problem, chosen, target):
    """The targets of the chosen samples into target (chosen, outputs)."""
    if problem.data.labels.size > 0:
        batch.one_hot(problem.data.labels, chosen, problem.numbers.low, problem.numbers.high, target)
    else:
        batch.gather(problem.data.targets, chosen, target)


@inline
def fetch(problem, order, shifts, key, local, lo, hi, x, codes):
    """Rows lo to hi of the next part of a batch, whose samples are order (rows,), into x (rows, features) or codes (rows, bytes)."""
    of = local.arrangement
    arrange(problem.data.labels, order, shifts, of)
    own_codes, own_shifts = view_rows(codes, lo, hi), of.shifts[lo : hi if shifts.shape[0] > 0 else lo]
    load_samples(problem, of.chosen[lo:hi], own_shifts, key, own_codes)
    if problem.options.convert:
        batch.multiply_by(own_codes, problem.numbers.scale, view_rows(x, lo, hi))


@inline
def multiply_half(model, problem, local, half, x, codes, out):
    """out (rows, padded) = x[:, begin:end] W[begin:end], half of the first layer's sums for rows of the batch."""
    begin, end, numbers = problem.shares.halves[half], problem.shares.halves[half + 1], problem.numbers
    weights, init = all_weights(model, ZERO), local.zeros
    if numbers.background != 0:
        init = first_columns(local.row, weights.shape[1])
        add_rows(numbers.background, view_rows(local.ones, 0, end - begin), view_rows(weights, begin, end), init)
    if problem.options.sparse:
        call(problem.parts.multiply, (codes, begin, end, numbers.scale, weights, init, out, local.work))
    else:
        dense.multiply_range(x, dense.STRAIGHT, begin, end, weights, dense.ZEROS, out, out)


@inline
def multiply_input(team, model, problem, local, x, codes):
    """A thread's share of the first layer's sums of x or codes: some rows of either half, or of both."""
    rows, chunk = codes.shape[0], problem.options.chunk
    units = (rows + UNIT - 1) // UNIT
    for half in range(HALVES):
        lo = min(rows, UNIT * max(0, HALVES * units * team.thread // team.threads - half * units))
        hi = min(rows, UNIT * max(0, HALVES * units * (team.thread + 1) // team.threads - half * units))
        if lo < hi:
            own_x, own_codes = view_rows(x, lo, hi), view_rows(codes, lo, hi)
            out = view_rows(local.sums, half * chunk + lo, half * chunk + hi)
            multiply_half(model, problem, local, half, own_x, own_codes, out)


@inline
def drop(model, parts, layer, samples, key, lo, hi):
    """Dropout of rows lo to hi of what a layer gives, and of its slopes; samples (hi - lo,) their numbers."""
    if parts.drop != 0 and layer + 1 < parts.rates.size and parts.rates[layer + 1] > 0:
        out, slopes = outputs_of(model, layer, lo, hi), slopes_of(model, layer, lo, hi)
        call(parts.drop, (out, slopes, samples, key, layer + 1, parts.rates[layer + 1]))


@inline
def forward_samples(model, parts, sums, chunk, samples, key, lo, hi):
    """Rows lo to hi through all layers, from sums (2 chunk, padded), the halves of the first layer's one below the other."""
    bias, out = flat(bias_of(model, ZERO)), outputs_of(model, ZERO, lo, hi)
    for i in range(hi - lo):
        row = flat(view_rows(out, i, i + 1))
        one, other = (
            flat(view_rows(sums, lo + i, lo + i + 1)),
            flat(view_rows(sums, chunk + lo + i, chunk + lo + i + 1)),
        )
        for j in range(row.size):
            row[j] = one[j] + other[j] + bias[j]
    activate(model, ZERO, lo, hi)
    drop(model, parts, ZERO, samples, key, lo, hi)
    for l in range(1, model.layout.shape[0]):
        forward_layer(model, l, lo, hi)
        drop(model, parts, l, samples, key, lo, hi)


@inline
def chain(model, layer, lo, hi):
    """The deltas of rows lo to hi of a layer, dL/da until now, become dL/dz."""
    kernel = model.layout[layer, CHAIN]
    if kernel != 0:
        call(kernel, (saved_of(model, layer, lo, hi), deltas_of(model, layer, lo, hi)))


@inline
def loss_and_delta(model, problem, target, scale, lo, hi, sample_losses):
    """The loss of rows lo to hi and its gradient with respect to the last layer's z; scale (rows,) is of the gradient."""
    last = model.layout.shape[0] - 1
    y, delta = outputs_of(model, last, lo, hi), deltas_of(model, last, lo, hi)
    call(problem.parts.head, (y, target, scale, delta, sample_losses, problem.numbers.threshold))
    chain(model, last, lo, hi)


@inline
def backward_samples(model, lo, hi):
    """The deltas of rows lo to hi, from the last layer to the first."""
    for l in range(model.layout.shape[0] - 1, 0, -1):
        dense.backward(deltas_of(model, l, lo, hi), transposed_weights(model, l), deltas_of(model, l - 1, lo, hi))
        chain(model, l - 1, lo, hi)


@inline
def by_samples(model, problem, local, key, lo, hi, sample_scale, sample_losses):
    """Rows lo to hi of a part from the first layer's sums on through the network and back.

    sample_scale, sample_losses (rows of the part,) are in the order of the epoch.
    """
    of, target, options = local.arrangement, view_rows(local.target, lo, hi), problem.options
    for i in range(hi - lo):
        of.scale[i] = sample_scale[of.place[lo + i]]
    load_targets(problem, of.chosen[lo:hi], target)
    forward_samples(model, problem.parts, local.sums, options.chunk, of.chosen[lo:hi], key, lo, hi)
    loss_and_delta(model, problem, target, of.scale, lo, hi, of.losses)
    for i in range(lo, hi):
        sample_losses[of.place[i]] = of.losses[i - lo]
    backward_samples(model, lo, hi)


@inline
def step_rows(model, problem, local, part, rows, init, weights, rule, adds):
    """One step of `weights`, which stand for these rows, along init + the gradient of this part of the batch.

    With `adds` they are not weights but the gradient of earlier parts, to which that of this one is added.
    """
    delta, samples = deltas_of(model, rows.layer, ZERO, part.codes.shape[0]), part.codes.shape[0]
    state, parts = state_of(model, weights), problem.parts
    if rows.layer == 0 and problem.options.sparse:
        itemsize, scale = problem.options.itemsize, problem.numbers.scale
        own = part.codes[:, rows.lo * itemsize : rows.hi * itemsize]
        kernel = parts.add_first if adds else parts.update_first
        call(kernel, (own, scale, delta, init, weights, state, rule, local.work))
    else:
        before = part.x if rows.layer == 0 else outputs_of(model, rows.layer - 1, ZERO, samples)
        kernel = parts.add if adds else parts.update
        call(kernel, (before[:, rows.lo : rows.hi], delta, init, weights, state, rule))


@inline
def update_weights(model, problem, schedule, local, part, rows, common):
    """Rows of the weights of a layer: gradient over the samples of this part, and after the last the step.

    common (1, >= padded) is a part of the gradient that all rows share.
    """
    weights = weights_of(model, rows.layer, rows.lo, rows.hi)
    rule = rule_of(schedule, part.step, rows.layer, WEIGHTS, local.rule)
    if model.gradient < 0:
        step_rows(model, problem, local, part, rows, common, weights, rule, False)
        return
    earlier = gradient_of(model, rows.layer, rows.lo, rows.hi)
    if part.is_first:
        fill(earlier, model.arena.dtype.type(0))
    if not part.is_last:
        step_rows(model, problem, local, part, rows, common, earlier, rule, True)
        return
    for i in range(earlier.shape[0]):
        for j in range(earlier.shape[1]):
            earlier[i, j] += common[0, j]
    step_rows(model, problem, local, part, rows, earlier, weights, rule, False)


@inline
def update_bias(model, problem, schedule, local, part, layer):
    """The bias of a layer: its gradient is the sum of delta over the batch."""
    bias = bias_of(model, layer)
    total = bias_gradient_of(model, layer) if model.gradient >= 0 else first_columns(local.row, bias.shape[1])
    samples = part.codes.shape[0]
    if part.is_first:
        fill(total, model.arena.dtype.type(0))
    delta = deltas_of(model, layer, ZERO, samples)
    dense.multiply(view_rows(local.ones, 0, samples), dense.TRANSPOSED, delta, dense.OUT, total, total)
    if part.is_last:
        rule = rule_of(schedule, part.step, layer, BIASES, local.rule)
        call(problem.parts.step, (bias, state_of(model, bias), total, rule))


@inline
def rows_of(team, model, problem, layer):
    """A thread's share of the rows of a layer's weights."""
    lo, hi = share(model.layout[layer, FAN_IN], LANES, team.thread, team.threads)
    if layer == 0:
        lo, hi = problem.shares.features[team.thread], problem.shares.features[team.thread + 1]
    return Rows(layer, lo, hi)


@inline
def transpose_rows(model, rows):
    """Rows of the weights of a layer but the first, once more as columns."""
    if rows.layer > 0:
        dense.transpose(all_weights(model, rows.layer), rows.lo, rows.hi, transposed_weights(model, rows.layer))


@inline
def by_features(team, model, problem, schedule, local, part):
    """A thread's share of the rows of all weights, and of the biases."""
    samples, background = part.codes.shape[0], problem.numbers.background
    for l in range(model.layout.shape[0]):
        rows, common = rows_of(team, model, problem, l), local.zeros
        if l == 0 and background != 0:
            delta = deltas_of(model, l, ZERO, samples)
            common = first_columns(local.row, delta.shape[1])
            add_rows(background, view_rows(local.ones, 0, samples), delta, common)
        update_weights(model, problem, schedule, local, part, rows, common)
        if part.is_last:
            transpose_rows(model, rows)
    for l in range(team.thread, model.layout.shape[0], team.threads):
        update_bias(model, problem, schedule, local, part, l)


@inline
def apply_gradient(team, model, problem, schedule, local, s):
    """A thread's share of the step number `s` along the gradient that is kept: that of tiles without a term."""
    for l in range(model.layout.shape[0]):
        rows = rows_of(team, model, problem, l)
        weights, gradient = weights_of(model, l, rows.lo, rows.hi), gradient_of(model, l, rows.lo, rows.hi)
        none, rule = view_rows(local.x, 0, 0)[:, rows.lo : rows.hi], rule_of(schedule, s, l, WEIGHTS, local.rule)
        delta, state = deltas_of(model, l, ZERO, ZERO), state_of(model, weights)
        call(problem.parts.update, (none, delta, gradient, weights, state, rule))
        transpose_rows(model, rows)
    for l in range(team.thread, model.layout.shape[0], team.threads):
        bias, rule = bias_of(model, l), rule_of(schedule, s, l, BIASES, local.rule)
        call(problem.parts.step, (bias, state_of(model, bias), bias_gradient_of(model, l), rule))


@inline
def square(team, model, problem, offset, squares):
    """A thread's share of the sums of squares (rows of all layers + layers,) of what lies `offset` behind weights and biases."""
    first = 0
    for l in range(model.layout.shape[0]):
        rows, padded = rows_of(team, model, problem, l), model.layout[l, PADDED]
        for i in range(rows.lo, rows.hi):
            squares[first + i] = sum_of_squares(view(weights_of(model, l, i, i + 1), offset, ONE, padded))
        first += model.layout[l, FAN_IN]
    for l in range(team.thread, model.layout.shape[0], team.threads):
        squares[first + l] = sum_of_squares(view(bias_of(model, l), offset, ONE, model.layout[l, PADDED]))


@inline
def sum_in_order(values, count):
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@inline
def shorten(matrix, factor):
    numbers = flat(matrix)
    for i in range(numbers.size):
        numbers[i] *= factor


@inline
def clip_gradient(team, model, problem, squares):
    """A thread's share of the gradient, shortened so that the norm of all of it is at most clip_norm (as PyTorch does it)."""
    norm = math.sqrt(sum_in_order(squares, squares.size))
    factor = model.arena.dtype.type(min(1.0, problem.numbers.clip_norm / (norm + 1e-6)))
    for l in range(model.layout.shape[0]):
        rows = rows_of(team, model, problem, l)
        shorten(gradient_of(model, l, rows.lo, rows.hi), factor)
    for l in range(team.thread, model.layout.shape[0], team.threads):
        shorten(bias_gradient_of(model, l), factor)
