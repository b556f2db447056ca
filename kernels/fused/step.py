"""The phases of a step of training, each for one thread's share of it; `epoch` puts them together."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from fastfc.kernels.fused import batch, dense, losses, sparse
from fastfc.kernels.fused.activations import activate
from fastfc.kernels.fused.arena import (
    ACTIVATION,
    FAN_IN,
    FAN_OUT,
    PADDED,
    A,
    B,
    D,
    G,
    H,
    U,
    V,
    W,
    forward_hidden,
    matrix,
    matrix_rows,
    sparse_work,
    transposed_weights,
)
from fastfc.kernels.fused.background import add_rows
from fastfc.kernels.fused.compiler.jit import ONE, inline
from fastfc.kernels.fused.llvm.tiles import VECTOR_BYTES
from fastfc.kernels.fused.llvm.views import fill, flat, share, view, view_rows
from fastfc.kernels.fused.optimizers import step
from fastfc.kernels.plan import MSE, SIGMOID_BCE, SOFTMAX_CE

HALVES = 2  # of the features, each of which has its own sums in the first layer
UNIT = 8  # samples or features that threads do not divide: the rows of a tile
LANES = VECTOR_BYTES // 4  # the same for rows of weights that are transposed, in whole blocks

# X (n, features), or csr where its indptr is not empty; labels (n,), or targets (n, outputs) where there are none.
Data = namedtuple("Data", "X csr labels targets")
Csr = namedtuple("Csr", "data indices indptr")
# loss; mean, sparse, convert (codes to floats): 0 or 1; height and width of an image, for shifts; widest of the layers, padded
Sizes = namedtuple("Sizes", "batch chunk loss mean sparse convert height width widest")


# What there is beside the arena: codes (2 * chunk, features), two batches as they are stored; scratch memory for each
# thread; rules (threads, 3, 6) of weights, of biases, and to add up gradients; and an Arrangement for each thread.
Memory = namedtuple("Memory", "codes work rules arrangement")
X, TARGET, ZEROS, ONES, SUMS, ROWS, WORK = np.arange(7)  # places: offsets in the arena; those of threads follow at WORK
# How a part of a batch is arranged: its samples come in the order order[place], and are chosen = order[place]; shifts
# (chunk, 2) and losses (chunk,) in that order; count (outputs + 1,) is scratch.
Arrangement = namedtuple("Arrangement", "place chosen shifts losses count")

# The memory as one thread sees it: x (2 * chunk, features) and target (chunk, outputs) of all; sums (HALVES * chunk, padded) of
# the first layer; ones in a column, zeros in a row; and a row and the rest of its own.
Own = namedtuple("Own", "x target sums ones zeros row work arrangement rules")


@inline
def own_memory(arena, layout, places, sizes, memory, thread):
    """The Own of one thread."""
    chunk, features, padded, widest = sizes.chunk, layout[0, FAN_IN], layout[0, PADDED], sizes.widest
    of = memory.arrangement
    return Own(
        view(arena, places[X], 2 * chunk, features),
        view(arena, places[TARGET], chunk, layout[-1, FAN_OUT]),
        view(arena, places[SUMS], HALVES * chunk, padded),
        view(arena, places[ONES], max(chunk, features), ONE),
        view(arena, places[ZEROS], ONE, widest),
        view(arena, places[ROWS] + thread * padded, ONE, padded),
        sparse_work(arena, places[WORK + thread], features, thread, memory.work),
        Arrangement(of.place[thread], of.chosen[thread], of.shifts[thread], of.losses[thread], of.count[thread]),
        memory.rules[thread],
    )


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
def load_samples(data, chosen, shifts, sizes, constants, codes):
    """The chosen samples into `codes`, shifted where `shifts` is not empty."""
    if data.csr.indptr.size > 0:
        batch.gather_csr(data.csr.data, data.csr.indices, data.csr.indptr, chosen, codes)
    elif shifts.shape[0] > 0:
        batch.gather_shifted(data.X, chosen, sizes.height, sizes.width, shifts, codes, constants[4])
    else:
        batch.gather(data.X, chosen, codes)


@inline
def load_targets(data, chosen, constants, target):
    if data.labels.size > 0:
        batch.one_hot(data.labels, chosen, constants[1], constants[2], target)
    else:
        batch.gather(data.targets, chosen, target)


@inline
def fetch(data, order, shifts, sizes, constants, own, lo, hi, x, codes):
    """Rows lo to hi of the next part of a batch, whose samples are `order`."""
    of = own.arrangement
    arrange(data.labels, order, shifts, of)
    own_codes, own_shifts = view_rows(codes, lo, hi), of.shifts[lo : hi if shifts.shape[0] > 0 else lo]
    load_samples(data, of.chosen[lo:hi], own_shifts, sizes, constants, own_codes)
    if sizes.convert:
        batch.multiply_by(own_codes, constants[:1], view_rows(x, lo, hi))


@inline
def multiply_half(arena, layout, sizes, constants, begin, end, own, x, codes, out):
    """out (rows, padded) = x[:, begin:end] W[begin:end], half of the first layer's sums for rows of the batch."""
    weights, init = matrix(arena, layout, 0, W, layout[0, FAN_IN]), own.zeros
    if constants[3] != 0:
        init = own.row
        add_rows(constants[3], view_rows(own.ones, 0, end - begin), view_rows(weights, begin, end), init)
    if sizes.sparse:
        sparse.multiply(codes, begin, end, constants[:1], weights, init, out, own.work)
    else:
        dense.multiply_range(x, dense.STRAIGHT, begin, end, weights, dense.ZEROS, out, out)


@inline
def multiply_input(arena, layout, sizes, constants, halves, own, thread, threads, x, codes):
    """A thread's share of the first layer's sums: some rows of either half, or of both."""
    rows = codes.shape[0]
    units = (rows + UNIT - 1) // UNIT
    for half in range(HALVES):
        lo = min(rows, UNIT * max(0, HALVES * units * thread // threads - half * units))
        hi = min(rows, UNIT * max(0, HALVES * units * (thread + 1) // threads - half * units))
        if lo < hi:
            own_x, own_codes = view_rows(x, lo, hi), view_rows(codes, lo, hi)
            out = view_rows(own.sums, half * sizes.chunk + lo, half * sizes.chunk + hi)
            multiply_half(arena, layout, sizes, constants, halves[half], halves[half + 1], own, own_x, own_codes, out)


@inline
def forward_samples(arena, layout, sums, chunk, lo, hi):
    """Rows lo to hi through all layers, from the halves of the first layer's sums."""
    bias, out = flat(matrix(arena, layout, 0, B, ONE)), matrix_rows(arena, layout, 0, A, lo, hi)
    for i in range(hi - lo):
        row = flat(view_rows(out, i, i + 1))
        one, other = (
            flat(view_rows(sums, lo + i, lo + i + 1)),
            flat(view_rows(sums, chunk + lo + i, chunk + lo + i + 1)),
        )
        for j in range(row.size):
            row[j] = one[j] + other[j] + bias[j]
    activate(out, layout[0, ACTIVATION])
    forward_hidden(arena, layout, lo, hi)


@inline
def loss_and_delta(arena, layout, loss, target, scale, lo, hi, sample_losses):
    """The loss of rows lo to hi and its gradient with respect to the last layer's logits."""
    last = layout.shape[0] - 1
    z, delta = matrix_rows(arena, layout, last, A, lo, hi), matrix_rows(arena, layout, last, D, lo, hi)
    if loss == SOFTMAX_CE:
        losses.softmax_cross_entropy(z, target, scale, delta, sample_losses)
    elif loss == SIGMOID_BCE:
        losses.sigmoid_cross_entropy(z, target, scale, delta, sample_losses)
    elif loss == MSE:
        losses.mean_squared_error(z, target, layout[last, ACTIVATION], scale, delta, sample_losses)


@inline
def backward_samples(arena, layout, lo, hi):
    """The deltas of rows lo to hi, from the last layer to the first."""
    for l in range(layout.shape[0] - 1, 0, -1):
        delta, below = matrix_rows(arena, layout, l, D, lo, hi), matrix_rows(arena, layout, l - 1, D, lo, hi)
        a = matrix_rows(arena, layout, l - 1, A, lo, hi)
        dense.backward(delta, transposed_weights(arena, layout, l), a, layout[l - 1, ACTIVATION], below)


@inline
def by_samples(arena, layout, sizes, constants, data, own, scale, lo, hi, sample_losses):
    """Rows lo to hi of the part from the first layer's sums on through the network and back; `scale` is of the gradient."""
    of, target = own.arrangement, view_rows(own.target, lo, hi)
    load_targets(data, of.chosen[lo:hi], constants, target)
    forward_samples(arena, layout, own.sums, sizes.chunk, lo, hi)
    loss_and_delta(arena, layout, sizes.loss, target, scale, lo, hi, of.losses)
    for i in range(lo, hi):
        sample_losses[of.place[i]] = of.losses[i - lo]
    backward_samples(arena, layout, lo, hi)


@inline
def update_weights(arena, layout, l, x, codes, scale, is_sparse, first, last, rules, lo, hi, common, work):
    """Rows lo to hi of the weights of layer l: gradient over the samples of this part, and after the last the step.

    common (1, >= padded) is a part of the gradient that all rows share.
    """
    weights, velocity = matrix_rows(arena, layout, l, W, lo, hi), matrix_rows(arena, layout, l, V, lo, hi)
    rows = codes.shape[0]
    delta = matrix(arena, layout, l, D, rows)
    earlier, rule = common, rules[0]
    if not (first and last):
        earlier = matrix_rows(arena, layout, l, G, lo, hi)
        if first:
            fill(earlier, arena.dtype.type(0))
        if not last:  # a step of length -1 without momentum adds the gradient of this part to that of the others
            weights, velocity, earlier, rule = earlier, earlier, common, rules[2]
        else:
            for i in range(hi - lo):
                for j in range(earlier.shape[1]):
                    earlier[i, j] += common[0, j]
    if l == 0 and is_sparse:
        sparse.update(codes[:, lo:hi], scale, delta, earlier, weights, velocity, rule, work)
    else:
        before = x if l == 0 else matrix(arena, layout, l - 1, A, rows)
        dense.update(before[:, lo:hi], delta, earlier, weights, velocity, rule)
    if l > 0 and last:
        whole = matrix(arena, layout, l, W, layout[l, FAN_IN])
        dense.transpose(whole, lo, hi, transposed_weights(arena, layout, l))


@inline
def update_bias(arena, layout, l, ones, first, last, rules):
    """The bias of layer l: its gradient is the sum of delta over the batch."""
    gradient, delta = matrix(arena, layout, l, H, ONE), matrix(arena, layout, l, D, ones.shape[0])
    if first:
        fill(gradient, arena.dtype.type(0))
    dense.multiply(ones, dense.TRANSPOSED, delta, dense.OUT, gradient, gradient)
    if last:
        step(matrix(arena, layout, l, B, ONE), matrix(arena, layout, l, U, ONE), gradient, rules[1])


@inline
def by_features(arena, layout, sizes, constants, split, own, thread, threads, x, codes, first, last):
    """A thread's share of the rows of all weights, and of the biases."""
    ones, common = view_rows(own.ones, 0, codes.shape[0]), own.zeros
    if constants[3] != 0:
        common = own.row
        add_rows(constants[3], ones, matrix(arena, layout, 0, D, codes.shape[0]), common)
    for l in range(layout.shape[0]):
        lo, hi = share(layout[l, FAN_IN], LANES, thread, threads)
        is_sparse, row = 0, own.zeros
        if l == 0:
            lo, hi, is_sparse, row = split[thread], split[thread + 1], sizes.sparse, common
        update_weights(
            arena, layout, l, x, codes, constants[:1], is_sparse, first, last, own.rules, lo, hi, row, own.work
        )
    for l in range(thread, layout.shape[0], threads):
        update_bias(arena, layout, l, ones, first, last, own.rules)
