"""The phases of a step of training, each for one thread's share of it; `epoch` puts them together."""

from __future__ import annotations

from collections import namedtuple

from fastfc.kernels.fused import batch, dense, losses, sparse
from fastfc.kernels.fused.activations import activate
from fastfc.kernels.fused.background import add_rows
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline
from fastfc.kernels.fused.llvm.vectors import VECTOR_BYTES
from fastfc.kernels.fused.llvm.views import fill, flat, view, view_rows
from fastfc.kernels.fused.model import (
    ACTIVATION,
    FAN_IN,
    FAN_OUT,
    PADDED,
    all_weights,
    bias_gradient_of,
    bias_of,
    deltas_of,
    forward_hidden,
    gradient_of,
    outputs_of,
    sparse_work,
    state_of,
    transposed_weights,
    weights_of,
)
from fastfc.kernels.fused.optimizers import rule_of, step
from fastfc.kernels.fused.team import share
from fastfc.kernels.optimizers import BIASES, WEIGHTS, Accumulate
from fastfc.kernels.plan import MSE, SIGMOID_BCE, SOFTMAX_CE

HALVES = 2  # of the features, each of which has its own sums in the first layer
UNIT = 8  # samples or features that threads do not divide: the rows of a tile
LANES = VECTOR_BYTES // 4  # the same for rows of weights that are transposed, in whole blocks
ACCUMULATE = Accumulate()

# What is computed, and on what: the same for all steps of a training.
# data     samples and targets; sizes, numbers, options: below
# memory   what there is beside the arena, and places in the arena
# shares   the first layer's features by thread (threads + 1,), and by half (HALVES + 1,)
Problem = namedtuple("Problem", "data options numbers memory shares")
# X (n, features), or csr where its indptr is not empty; labels (n,), or targets (n, outputs) where there are none.
Data = namedtuple("Data", "X csr labels targets")
Csr = namedtuple("Csr", "data indices indptr")
# batch_size; chunk, the samples in a part of a batch; loss; sparse, convert (codes to floats): 0 or 1; height and width of an
# image, for shifts; widest of the layers, padded
Options = namedtuple("Options", "batch_size chunk loss sparse convert height width widest")
# The input is background + scale * codes, `outside` comes into a shifted image, low and high are the targets off and on the
# label; scale is (1,), for it is read by address.
Numbers = namedtuple("Numbers", "scale low high background outside")
# codes (2 * chunk, features), two batches as they are stored; places in the arena; scratch memory and an Arrangement for
# each thread.
Memory = namedtuple("Memory", "codes places work arrangement")
# Offsets: inputs (2 * chunk, features), target (chunk, outputs), zeros (widest,), ones, sums (HALVES * chunk, padded), and for
# each thread a row (widest,) and, with an offset for each, what sparse.Work has of floats.
Places = namedtuple("Places", "inputs target zeros ones sums rows work")
Shares = namedtuple("Shares", "features halves")
# How a part of a batch is arranged: its samples come in the order order[place], and are chosen = order[place]; shifts
# (chunk, 2), scale (chunk,) of the gradient and losses (chunk,) in that order; count (outputs + 1,) is scratch.
Arrangement = namedtuple("Arrangement", "place chosen shifts scale losses count")
# The samples of a part of the batch of step `step`; whether the gradient begins with them, and the update follows.
Part = namedtuple("Part", "x codes step is_first is_last")
Rows = namedtuple("Rows", "layer lo hi")  # of the weights of a layer

# The memory as one thread sees it: x (2 * chunk, features) and target (chunk, outputs) of all; sums (HALVES * chunk, padded) of
# the first layer; ones in a column, zeros in a row; and a row and the rest of its own.
Local = namedtuple("Local", "x target sums ones zeros row work arrangement")


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
def load_samples(problem, chosen, shifts, codes):
    """The chosen samples into codes (chosen, features), shifted where shifts (chosen, 2) is not empty."""
    data, options = problem.data, problem.options
    if data.csr.indptr.size > 0:
        batch.gather_csr(data.csr.data, data.csr.indices, data.csr.indptr, chosen, codes)
    elif shifts.shape[0] > 0:
        batch.gather_shifted(data.X, chosen, options.height, options.width, shifts, codes, problem.numbers.outside)
    else:
        batch.gather(data.X, chosen, codes)


@inline
def load_targets(problem, chosen, target):
    """The targets of the chosen samples into target (chosen, outputs)."""
    if problem.data.labels.size > 0:
        batch.one_hot(problem.data.labels, chosen, problem.numbers.low, problem.numbers.high, target)
    else:
        batch.gather(problem.data.targets, chosen, target)


@inline
def fetch(problem, order, shifts, local, lo, hi, x, codes):
    """Rows lo to hi of the next part of a batch, whose samples are order (rows,), into x or codes (rows, features)."""
    of = local.arrangement
    arrange(problem.data.labels, order, shifts, of)
    own_codes, own_shifts = view_rows(codes, lo, hi), of.shifts[lo : hi if shifts.shape[0] > 0 else lo]
    load_samples(problem, of.chosen[lo:hi], own_shifts, own_codes)
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
        sparse.multiply(codes, begin, end, numbers.scale, weights, init, out, local.work)
    else:
        dense.multiply_range(x, dense.STRAIGHT, begin, end, weights, dense.ZEROS, out, out)


@inline
def multiply_input(team, model, problem, local, x, codes):
    """A thread's share of the first layer's sums of x or codes (rows, features): some rows of either half, or of both."""
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
def forward_samples(model, sums, chunk, lo, hi):
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
    activate(out, model.layout[0, ACTIVATION])
    forward_hidden(model, lo, hi)


@inline
def loss_and_delta(model, loss, target, scale, lo, hi, sample_losses):
    """The loss of rows lo to hi and its gradient with respect to the last layer's logits; scale (rows,) is of the gradient."""
    last = model.layout.shape[0] - 1
    z, delta = outputs_of(model, last, lo, hi), deltas_of(model, last, lo, hi)
    if loss == SOFTMAX_CE:
        losses.softmax_cross_entropy(z, target, scale, delta, sample_losses)
    elif loss == SIGMOID_BCE:
        losses.sigmoid_cross_entropy(z, target, scale, delta, sample_losses)
    elif loss == MSE:
        losses.mean_squared_error(z, target, model.layout[last, ACTIVATION], scale, delta, sample_losses)


@inline
def backward_samples(model, lo, hi):
    """The deltas of rows lo to hi, from the last layer to the first."""
    for l in range(model.layout.shape[0] - 1, 0, -1):
        delta, below = deltas_of(model, l, lo, hi), deltas_of(model, l - 1, lo, hi)
        before = outputs_of(model, l - 1, lo, hi)
        dense.backward(delta, transposed_weights(model, l), before, model.layout[l - 1, ACTIVATION], below)


@inline
def by_samples(model, problem, local, lo, hi, sample_scale, sample_losses):
    """Rows lo to hi of a part from the first layer's sums on through the network and back.

    sample_scale, sample_losses (rows of the part,) are in the order of the epoch.
    """
    of, target, options = local.arrangement, view_rows(local.target, lo, hi), problem.options
    for i in range(hi - lo):
        of.scale[i] = sample_scale[of.place[lo + i]]
    load_targets(problem, of.chosen[lo:hi], target)
    forward_samples(model, local.sums, options.chunk, lo, hi)
    loss_and_delta(model, options.loss, target, of.scale, lo, hi, of.losses)
    for i in range(lo, hi):
        sample_losses[of.place[i]] = of.losses[i - lo]
    backward_samples(model, lo, hi)


@inline
def step_rows(model, problem, local, part, rows, init, weights, rule):
    """One step of `weights`, which stand for these rows, along init + the gradient of this part of the batch."""
    delta, samples = deltas_of(model, rows.layer, ZERO, part.codes.shape[0]), part.codes.shape[0]
    state = state_of(model, weights)
    if rows.layer == 0 and problem.options.sparse:
        own, scale = part.codes[:, rows.lo : rows.hi], problem.numbers.scale
        sparse.update(own, scale, delta, init, weights, state, rule, local.work)
    else:
        before = part.x if rows.layer == 0 else outputs_of(model, rows.layer - 1, ZERO, samples)
        dense.update(before[:, rows.lo : rows.hi], delta, init, weights, state, rule)


@inline
def update_weights(model, gradient, problem, schedule, local, part, rows, common):
    """Rows of the weights of a layer: gradient over the samples of this part, and after the last the step.

    gradient is model.gradient; common (1, >= padded) is a part of the gradient that all rows share.
    """
    weights = weights_of(model, rows.layer, rows.lo, rows.hi)
    rule = rule_of(schedule, part.step, rows.layer, WEIGHTS)
    if gradient is None:
        step_rows(model, problem, local, part, rows, common, weights, rule)
    else:
        earlier = gradient_of(model, gradient, rows.layer, rows.lo, rows.hi)
        if part.is_first:
            fill(earlier, model.arena.dtype.type(0))
        if not part.is_last:
            step_rows(model, problem, local, part, rows, common, earlier, ACCUMULATE)
        else:
            for i in range(earlier.shape[0]):
                for j in range(earlier.shape[1]):
                    earlier[i, j] += common[0, j]
            step_rows(model, problem, local, part, rows, earlier, weights, rule)


@inline
def update_bias(model, gradient, schedule, local, part, layer):
    """The bias of a layer: its gradient is the sum of delta over the batch."""
    bias = bias_of(model, layer)
    if gradient is None:  # noqa: SIM108  as a statement, of which Numba leaves out the other half
        total = first_columns(local.row, bias.shape[1])
    else:
        total = bias_gradient_of(model, gradient, layer)
    samples = part.codes.shape[0]
    if part.is_first:
        fill(total, model.arena.dtype.type(0))
    delta = deltas_of(model, layer, ZERO, samples)
    dense.multiply(view_rows(local.ones, 0, samples), dense.TRANSPOSED, delta, dense.OUT, total, total)
    if part.is_last:
        step(bias, state_of(model, bias), total, rule_of(schedule, part.step, layer, BIASES))


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
        update_weights(model, model.gradient, problem, schedule, local, part, rows, common)
        if part.is_last:
            transpose_rows(model, rows)
    for l in range(team.thread, model.layout.shape[0], team.threads):
        update_bias(model, model.gradient, schedule, local, part, l)


@inline
def apply_gradient(team, model, problem, schedule, local, s):
    """A thread's share of the step number `s` along the gradient that is kept: that of tiles without a term."""
    for l in range(model.layout.shape[0]):
        rows = rows_of(team, model, problem, l)
        weights, gradient = (
            weights_of(model, l, rows.lo, rows.hi),
            gradient_of(model, model.gradient, l, rows.lo, rows.hi),
        )
        none, rule = view_rows(local.x, 0, 0)[:, rows.lo : rows.hi], rule_of(schedule, s, l, WEIGHTS)
        dense.update(none, deltas_of(model, l, ZERO, ZERO), gradient, weights, state_of(model, weights), rule)
        transpose_rows(model, rows)
    for l in range(team.thread, model.layout.shape[0], team.threads):
        bias, gradient = bias_of(model, l), bias_gradient_of(model, model.gradient, l)
        step(bias, state_of(model, bias), gradient, rule_of(schedule, s, l, BIASES))
