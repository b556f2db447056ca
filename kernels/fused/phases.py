"""The phases of a step of training, each for one thread's share of it; `epoch` puts them together."""

from __future__ import annotations

from collections import namedtuple

from fastfc.kernels.fused import batch, dense
from fastfc.kernels.fused.background import add_rows
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, apart, inline
from fastfc.kernels.fused.compiler.slots import call
from fastfc.kernels.fused.cpu import VECTOR_BYTES
from fastfc.kernels.fused.llvm.integers import larger, smaller
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
from fastfc.kernels.fused.records import CHAIN, FAN_IN, FAN_OUT, HALVES, PADDED, PRODUCT, UNIT
from fastfc.kernels.fused.team import share
from fastfc.kernels.optimizers import BIASES, WEIGHTS

LANES = VECTOR_BYTES // 4  # rows of weights that are transposed in whole blocks, which threads do not divide

# The samples of a part of the batch of step `step`: rows of x and codes from `first` on; whether the gradient begins with them,
# and the update follows.
Part = namedtuple("Part", "first rows step is_first is_last")
Rows = namedtuple("Rows", "layer lo hi")  # of the weights of a layer
Coming = namedtuple("Coming", "order shifts span first rows")  # samples of the next part, and where they are put
# Weights and the rule by which they move along `init` + the gradient of a part; or, if `adds`, the gradient of earlier parts.
Moved = namedtuple("Moved", "init weights rule adds")


@inline
def inputs_of(model, problem, lo, hi):
    """Rows lo to hi of the samples of two parts, as floats: (hi - lo, features)."""
    features = model.layout[0, FAN_IN]
    return view(model.arena, problem.memory.places.inputs + lo * features, hi - lo, features)


@inline
def codes_of(problem, lo, hi):
    """The same as they are stored: (hi - lo, bytes)."""
    return view_rows(problem.memory.codes, lo, hi)


@inline
def target_of(model, problem, lo, hi):
    """Rows lo to hi of the targets of a part: (hi - lo, outputs)."""
    outputs = model.layout[-1, FAN_OUT]
    return view(model.arena, problem.memory.places.target + lo * outputs, hi - lo, outputs)


@inline
def sums_of(model, problem, half, lo, hi):
    """Rows lo to hi of a half of the first layer's sums: (hi - lo, padded)."""
    padded = model.layout[0, PADDED]
    return view(model.arena, problem.memory.places.sums + (half * problem.options.chunk + lo) * padded, hi - lo, padded)


@inline
def ones_of(model, problem, count):
    """(count, 1)"""
    return view(model.arena, problem.memory.places.ones, count, ONE)


@inline
def zeros_of(model, problem):
    """(1, widest)"""
    return view(model.arena, problem.memory.places.zeros, ONE, problem.options.widest)


@inline
def row_of(team, model, problem, columns):
    """A row of the thread's own: (1, columns)."""
    return view(model.arena, problem.memory.places.rows + team.thread * problem.options.widest, ONE, columns)


@inline
def work_of(team, model, problem):
    """The thread's scratch memory for the sparse first layer."""
    memory = problem.memory
    return sparse_work(model.arena, memory.places.work[team.thread], model.layout[0, FAN_IN], team.thread, memory.work)


@inline
def arrange(team, problem, order, shifts, first_sample):
    """Put samples of one label side by side, for the sparse first layer: GROUP neighbours share most of their non-zeros.

    Within a batch the order changes nothing but the rounding of sums. Without labels it stays.
    """
    labels, of = problem.data.labels, problem.memory.arrangement
    place, chosen, moved = of.place[team.thread], of.chosen[team.thread], of.shifts[team.thread]
    numbers, count, by_label = of.numbers[team.thread], of.count[team.thread], labels.size > 0
    for c in range(count.size):
        count[c] = 0
    if by_label:
        for i in range(order.size):
            count[labels[order[i]] + 1] += 1
        for c in range(1, count.size):
            count[c] += count[c - 1]
    for i in range(order.size):
        c = labels[order[i]] if by_label else 0
        place[count[c]] = i
        chosen[count[c]] = order[i]
        numbers[count[c]] = order[i] + first_sample
        count[c] += 1
    for i in range(shifts.shape[0]):
        moved[i, 0], moved[i, 1] = shifts[place[i], 0], shifts[place[i], 1]


@inline
def load_samples(problem, chosen, numbers, shifts, key, codes):
    """The chosen samples, which have these numbers, into codes (chosen, bytes), shifted where shifts (chosen, 2) is not empty; then
    dropped, where wanted."""
    options, parts = problem.options, problem.parts
    if problem.data.csr.indptr.size > 0 or shifts.shape[0] > 0:
        call(parts.load, (problem.data, chosen, shifts, options.height, options.width, problem.numbers.outside, codes))
    else:
        batch.gather(problem.data.X, chosen, codes)
    if parts.drop_codes != 0:
        call(parts.drop_codes, (codes, numbers, key, parts.rates[0], problem.numbers.kept))


@inline
def load_targets(problem, chosen, target):
    """The targets of the chosen samples into target (chosen, outputs)."""
    if problem.data.labels.size > 0:
        batch.one_hot(problem.data.labels, chosen, problem.numbers.low, problem.numbers.high, target)
    else:
        batch.gather(problem.data.targets, chosen, target)


@apart
def fetch(team, model, problem, coming, lo, hi):
    """Rows lo to hi of the next part of a batch, whose samples are order (rows,): as they are stored, and if need be as floats."""
    of, first = problem.memory.arrangement, coming.first
    arrange(team, problem, coming.order, coming.shifts, coming.span.first_sample)
    codes = codes_of(problem, first + lo, first + hi)
    shifts = of.shifts[team.thread][lo : hi if coming.shifts.shape[0] > 0 else lo]
    chosen, numbers = of.chosen[team.thread][lo:hi], of.numbers[team.thread][lo:hi]
    load_samples(problem, chosen, numbers, shifts, coming.span.key, codes)
    if problem.options.convert:
        batch.multiply_by(codes, problem.numbers.scale, inputs_of(model, problem, first + lo, first + hi))


@inline
def multiply_half(team, model, problem, half, lo, hi, out):
    """out (rows, padded) = x[lo:hi, begin:end] W[begin:end], half of the first layer's sums for these rows."""
    begin, end, numbers = problem.shares.halves[half], problem.shares.halves[half + 1], problem.numbers
    weights, init = all_weights(model, ZERO), zeros_of(model, problem)
    if numbers.background != 0:
        init = row_of(team, model, problem, weights.shape[1])
        add_rows(model.layout[0, PRODUCT], numbers.background, ones_of(model, problem, end - begin), view_rows(weights, begin, end), init)
    if problem.options.sparse:
        codes, work, scale = codes_of(problem, lo, hi), work_of(team, model, problem), numbers.scale
        if problem.options.has_rows:
            call(problem.parts.multiply, (problem.data.csr, codes, begin, end, scale, weights, init, out, work))
        else:
            call(problem.parts.multiply, (codes, begin, end, scale, weights, init, out, work))
    else:
        x = inputs_of(model, problem, lo, hi)
        call(model.layout[0, PRODUCT], (x, dense.STRAIGHT, begin, end, weights, dense.ZEROS, out, out))


@apart
def multiply_input(team, model, problem, first, rows):
    """A thread's share of the first layer's sums of `rows` samples from `first` on: some rows of either half, or of both."""
    units = (rows + UNIT - 1) // UNIT
    for half in range(HALVES):
        lo = smaller(rows, UNIT * larger(0, HALVES * units * team.thread // team.threads - half * units))
        hi = smaller(rows, UNIT * larger(0, HALVES * units * (team.thread + 1) // team.threads - half * units))
        if lo < hi and problem.shares.halves[half] < problem.shares.halves[half + 1]:
            out = sums_of(model, problem, half, lo, hi)
            multiply_half(team, model, problem, half, first + lo, first + hi, out)


@inline
def drop(model, parts, layer, samples, key, lo, hi):
    """Dropout of rows lo to hi of what a layer gives, and of its slopes; samples (hi - lo,) their numbers."""
    if parts.drop != 0 and layer + 1 < parts.rates.size and parts.rates[layer + 1] > 0:
        out, slopes = outputs_of(model, layer, lo, hi), slopes_of(model, layer, lo, hi)
        call(parts.drop, (out, slopes, samples, key, layer + 1, parts.rates[layer + 1]))


@inline
def add_halves(model, problem, lo, hi):
    """Rows lo to hi of the first layer's z: both halves of its sums, of which one may have no features, and the bias."""
    bias, out, halves = flat(bias_of(model, ZERO)), outputs_of(model, ZERO, lo, hi), problem.shares.halves
    first, second = sums_of(model, problem, 0, lo, hi), sums_of(model, problem, 1, lo, hi)
    only = first if halves[1] == halves[2] else second
    for i in range(hi - lo):
        row = flat(view_rows(out, i, i + 1))
        if halves[0] < halves[1] < halves[2]:
            one, other = flat(view_rows(first, i, i + 1)), flat(view_rows(second, i, i + 1))
            for j in range(row.size):
                row[j] = one[j] + other[j] + bias[j]
        else:
            one = flat(view_rows(only, i, i + 1))
            for j in range(row.size):
                row[j] = one[j] + bias[j]


@inline
def forward_samples(model, problem, samples, key, lo, hi):
    """Rows lo to hi through all layers, from the first layer's sums; samples (hi - lo,) are their numbers."""
    add_halves(model, problem, lo, hi)
    activate(model, ZERO, lo, hi)
    drop(model, problem.parts, ZERO, samples, key, lo, hi)
    for l in range(1, model.layout.shape[0]):
        forward_layer(model, l, lo, hi)
        drop(model, problem.parts, l, samples, key, lo, hi)


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
        weights, below = transposed_weights(model, l), deltas_of(model, l - 1, lo, hi)
        delta = deltas_of(model, l, lo, hi)
        call(model.layout[l, PRODUCT], (delta, dense.STRAIGHT, ZERO, weights.shape[0], weights, dense.ZEROS, below, below))
        chain(model, l - 1, lo, hi)


@apart
def by_samples(team, model, problem, span, start, lo, hi):
    """Rows lo to hi of the part of a batch that begins at `start` of the epoch: from the first layer's sums on, and back."""
    of, target = problem.memory.arrangement, target_of(model, problem, lo, hi)
    place, scale, losses = of.place[team.thread], of.scale[team.thread], of.losses[team.thread]
    for i in range(hi - lo):
        scale[i] = span.scale[start + place[lo + i]]
    chosen = of.chosen[team.thread][lo:hi]
    load_targets(problem, chosen, target)
    forward_samples(model, problem, of.numbers[team.thread][lo:hi], span.key, lo, hi)
    loss_and_delta(model, problem, target, scale, lo, hi, losses)
    for i in range(lo, hi):
        span.losses[start + place[i]] = losses[i - lo]
    backward_samples(model, lo, hi)


@inline
def step_rows(team, model, problem, part, rows, moved):
    """One step of what stands for these rows, by the gradient of this part of the batch."""
    init, weights, rule, adds = moved
    delta, state, parts = deltas_of(model, rows.layer, ZERO, part.rows), state_of(model, weights), problem.parts
    if rows.layer == 0 and problem.options.sparse:
        itemsize, scale = problem.options.itemsize, problem.numbers.scale
        codes = codes_of(problem, part.first, part.first + part.rows)
        kernel, work = parts.add_first if adds else parts.update_first, work_of(team, model, problem)
        if problem.options.has_rows:
            csr = problem.data.csr
            call(kernel, (csr, codes, rows.lo, rows.hi, scale, delta, init, weights, state, rule, work))
        else:
            own = codes[:, rows.lo * itemsize : rows.hi * itemsize]
            call(kernel, (own, scale, delta, init, weights, state, rule, work))
        return
    before = outputs_of(model, larger(rows.layer - 1, 0), ZERO, part.rows)
    if rows.layer == 0:
        before = inputs_of(model, problem, part.first, part.first + part.rows)
    call(parts.add if adds else parts.update, (before[:, rows.lo : rows.hi], delta, init, weights, state, rule))


@inline
def update_weights(team, model, problem, schedule, part, rows, common):
    """Rows of the weights of a layer: gradient over the samples of this part, and after the last the step.

    common (1, >= padded) is a part of the gradient that all rows share.
    """
    weights = weights_of(model, rows.layer, rows.lo, rows.hi)
    rule = rule_of(schedule, part.step, rows.layer, WEIGHTS, problem.memory.rules[team.thread])
    moved = Moved(common, weights, rule, False)
    if model.gradient >= 0:
        earlier = gradient_of(model, rows.layer, rows.lo, rows.hi)
        if part.is_first:
            fill(earlier, model.arena.dtype.type(0))
        if part.is_last:
            add_to_rows(earlier, common)
            moved = Moved(earlier, weights, rule, False)
        else:
            moved = Moved(common, earlier, rule, True)
    step_rows(team, model, problem, part, rows, moved)


@inline
def add_to_rows(matrix, row):
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            matrix[i, j] += row[0, j]


@inline
def update_bias(team, model, problem, schedule, part, layer):
    """The bias of a layer: its gradient is the sum of delta over the batch."""
    bias = bias_of(model, layer)
    total = bias_gradient_of(model, layer) if model.gradient >= 0 else row_of(team, model, problem, bias.shape[1])
    if part.is_first:
        fill(total, model.arena.dtype.type(0))
    delta, ones = deltas_of(model, layer, ZERO, part.rows), ones_of(model, problem, part.rows)
    product = model.layout[layer, PRODUCT]
    call(product, (ones, dense.TRANSPOSED, ZERO, part.rows, delta, dense.OUT, total, total))
    if part.is_last:
        rule = rule_of(schedule, part.step, layer, BIASES, problem.memory.rules[team.thread])
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


@apart
def by_features(team, model, problem, schedule, part):
    """A thread's share of the rows of all weights, and of the biases."""
    background = problem.numbers.background
    for l in range(model.layout.shape[0]):
        rows, common = rows_of(team, model, problem, l), zeros_of(model, problem)
        if l == 0 and background != 0:
            delta = deltas_of(model, l, ZERO, part.rows)
            common = row_of(team, model, problem, delta.shape[1])
            add_rows(model.layout[0, PRODUCT], background, ones_of(model, problem, part.rows), delta, common)
        update_weights(team, model, problem, schedule, part, rows, common)
        if part.is_last:
            transpose_rows(model, rows)
    for l in range(team.thread, model.layout.shape[0], team.threads):
        update_bias(team, model, problem, schedule, part, l)


@inline
def apply_gradient(team, model, problem, schedule, s):
    """A thread's share of the step number `s` along the gradient that is kept: that of tiles without a term, a few rows at a time,
    which are transposed while they are cached."""
    of_thread = problem.memory.rules[team.thread]
    for l in range(model.layout.shape[0]):
        rows, rule = rows_of(team, model, problem, l), rule_of(schedule, s, l, WEIGHTS, of_thread)
        for lo in range(rows.lo, rows.hi, LANES):
            hi = min(lo + LANES, rows.hi)
            weights, gradient = weights_of(model, l, lo, hi), gradient_of(model, l, lo, hi)
            none, delta = inputs_of(model, problem, 0, 0)[:, lo:hi], deltas_of(model, l, ZERO, ZERO)
            call(problem.parts.update, (none, delta, gradient, weights, state_of(model, weights), rule))
            transpose_rows(model, Rows(l, lo, hi))
    for l in range(team.thread, model.layout.shape[0], team.threads):
        bias, rule = bias_of(model, l), rule_of(schedule, s, l, BIASES, of_thread)
        call(problem.parts.step, (bias, state_of(model, bias), bias_gradient_of(model, l), rule))
