"""The parts of a step of training, each for a share of the samples or of the rows of the weights; `epoch` puts them together."""

from __future__ import annotations

from collections import namedtuple

from fastfc.kernels.fused import batch, dense, losses, sparse
from fastfc.kernels.fused.activations import activate
from fastfc.kernels.fused.arena import (
    ACTIVATION,
    FAN_IN,
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
    transposed_weights,
)
from fastfc.kernels.fused.background import add_rows
from fastfc.kernels.fused.jit import ONE, inline
from fastfc.kernels.fused.momentum import step
from fastfc.kernels.fused.parallel import fill, flat, view_rows
from fastfc.kernels.plan import MSE, SIGMOID_BCE, SOFTMAX_CE

HALVES = 2  # of the features, each of which has its own sums in the first layer

# X (n, features), or csr where its indptr is not empty; labels (n,), or targets (n, outputs) where there are none.
Data = namedtuple("Data", "X csr labels targets")
Csr = namedtuple("Csr", "data indices indptr")
# loss; mean, sparse, convert (codes to floats), online: 0 or 1; height and width of an image, for shifts
Sizes = namedtuple("Sizes", "batch chunk loss mean sparse convert online height width")


# How a part of a batch is arranged: its samples come in the order order[place], and are chosen = order[place]; shifts
# (chunk, 2) and losses (chunk,) in that order; count (outputs + 1,) is scratch.
Arrangement = namedtuple("Arrangement", "place chosen shifts losses count")


@inline
def arrange(labels, order, shifts, by_label, of):
    """Put samples of one label side by side, for the sparse first layer: GROUP neighbours share most of their non-zeros.

    Within a batch the order changes nothing but the rounding of sums.
    """
    count = of.count
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
def multiply_half(arena, layout, begin, end, x, codes, scale, is_sparse, background, ones, init, out, work):
    """out (rows, padded) = x[:, begin:end] W[begin:end], half of the first layer's sums for rows of the batch."""
    weights = matrix(arena, layout, 0, W, layout[0, FAN_IN])
    fill(init, init.dtype.type(0))
    if background != 0:
        add_rows(background, view_rows(ones, 0, end - begin), view_rows(weights, begin, end), init)
    if is_sparse:
        sparse.multiply(codes, begin, end, scale, weights, init, out, work)
    else:
        dense.multiply_range(x, dense.STRAIGHT, begin, end, weights, dense.ZEROS, out, out)


@inline
def forward_samples(arena, layout, sums, chunk, lo, hi):
    """Rows lo to hi through all layers, from the halves of the first layer's sums, (HALVES * chunk, padded)."""
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
