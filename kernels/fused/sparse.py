"""The first layer on input that is mostly zero: a fully connected layer that multiplies only what is not.

Adding 0 * w changes nothing, so leaving it out is exact. Going through single non-zeros would fetch a row of W (or of
delta) from the L2 cache for each of them, and that is what would limit the speed. So non-zeros are taken GROUP at a time:
GROUP samples in the forward pass, GROUP features in the gradient. A row is fetched if any of the GROUP needs it, and
then serves all of them from registers. In images neighbours are non-zero together, so that little is multiplied in vain:
on MNIST with 19 % of the pixels non-zero, 39 % of the terms are computed going forward and 28 % in the gradient.
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.fused.compiler.jit import ZERO, inline, kernel
from fastfc.kernels.fused.cpu import HAS_AVX2, VECTOR_BYTES, WORDS
from fastfc.kernels.fused.llvm.integers import larger, smaller
from fastfc.kernels.fused.llvm.packing import list_columns, pack_four, pack_words, transpose_words
from fastfc.kernels.fused.llvm.tiles import GATHER_TILES, gather_tile, gather_update_tile
from fastfc.kernels.fused.llvm.views import bytes_of, flat, view_rows
from fastfc.kernels.fused.optimizers import as_rule, stays
from fastfc.kernels.fused.records import PANEL
from fastfc.kernels.plan import GROUP

WIDTH = GATHER_TILES[0][1]
ROW_WIDTH = GATHER_TILES[1][1]
L1_BYTES = 32 * 1024  # of delta that stay in the L1 cache while a panel's features pass
BY_WORDS = VECTOR_BYTES == 64 or (HAS_AVX2 and VECTOR_BYTES == 32)  # whether there are instructions for what pack_words does


@inline
def multiply_listed(x, index, count, weights, init, out):
    """out (rows, fan_out) = init + sum over the k in index[:count] of x[:, k] weights[k], for GROUP rows or one."""
    lanes = VECTOR_BYTES // out.itemsize
    vectors, most = out.shape[1] // lanes, WIDTH if out.shape[0] == GROUP else ROW_WIDTH
    tiles = (vectors + most - 1) // most
    for t in range(tiles):
        first = vectors * t // tiles
        width = vectors * (t + 1) // tiles - first
        gather_tile(x, index, count, weights, init, out, first * lanes, width)


@inline
def load_rows(codes, i, rows, begin, end, scale, x):
    """x (GROUP, >= end - begin and a vector) = scale * codes[i : i + rows, begin:end], with zeros below and behind."""
    count, behind = np.uint64(end - begin), np.uint64(end - begin + VECTOR_BYTES // x.itemsize)
    start, factor, zero = np.uint64(begin), scale[0], x.dtype.type(0)
    for r in range(GROUP):
        for j in range(count, behind):
            x[r, j] = zero
    for r in range(rows):
        for j in range(count):
            x[r, j] = factor * codes[i + r, start + j]
    for r in range(rows, GROUP):
        for j in range(count):
            x[r, j] = zero


@kernel
def multiply(codes, begin, end, scale, weights, init, out, work):
    """out (batch, fan_out) = init + scale * codes[:, begin:end] W[begin:end];  init (1, fan_out)."""
    of_range = view_rows(weights, begin, end)
    i = 0
    while i < codes.shape[0]:
        rows = GROUP if codes.shape[0] - i >= GROUP else 1
        load_rows(codes, i, rows, begin, end, scale, work.x)
        count = list_columns(work.x, end - begin, work.index)
        multiply_listed(work.x, work.index, count, of_range, init, view_rows(out, i, i + rows))
        i += rows


@kernel
def forward(codes, scale, weights, bias, out, work):
    """out (batch, fan_out) = scale * codes W + b;  codes (batch, fan_in) uint8 or floats, mostly 0; scale (1,)."""
    multiply(codes, ZERO, codes.shape[1], scale, weights, bias, out, work)


@inline
def list_samples(codes, j, rows, scale, work, count):
    """List the samples that are non-zero in any of the features j to j + rows, behind the `count` that are there."""
    index, packed = work.index, work.listed
    for i in range(codes.shape[0]):
        if rows == GROUP:
            count = pack_four(codes, i, j, scale, index, packed, count)
        else:
            index[count] = i
            packed[count, 0] = scale[0] * scale.dtype.type(codes[i, j])
            count += codes[i, j] != 0
    return count


@inline
def list_panel(codes, j, rows, scale, work):
    """List the samples of all groups of the features j to j + rows: those of group g from starts[g] to starts[g + 1]."""
    starts = work.starts
    g, q = 0, 0
    starts[0] = 0
    while q < rows:
        height = GROUP if rows - q >= GROUP else 1
        starts[g + 1] = list_samples(codes, j + q, height, scale, work, starts[g])
        g, q = g + 1, q + height


@inline
def list_whole_panel(codes, j, scale, work):
    """As list_panel, for PANEL features of one byte: a group is a 32-bit word, and transposed, WORDS samples are a vector."""
    starts, words = work.starts, work.words
    batch = codes.shape[0]
    whole = batch // WORDS * WORDS
    for i in range(0, whole, WORDS):
        for q in range(0, PANEL, VECTOR_BYTES):
            transpose_words(codes, i, j + q, view_rows(words, q // GROUP, (q + VECTOR_BYTES) // GROUP))
    for g in range(PANEL // GROUP):
        for i in range(whole, batch):
            word = np.uint32(0)
            for q in range(GROUP):
                word |= np.uint32(codes[i, j + GROUP * g + q]) << np.uint32(8 * q)
            words[g, i] = word
        for i in range(batch, whole + WORDS):
            words[g, i] = 0
    count = 0
    starts[0] = 0
    for g in range(PANEL // GROUP):
        for i in range(0, batch, WORDS):
            count = pack_words(words, g, i, work.index, work.packed_words, count)
        starts[g + 1] = count
    values, codes_of = flat(work.listed), bytes_of(work.packed_words)
    for k in range(GROUP * count):
        values[k] = scale[0] * codes_of[k]


@inline
def is_idle(gradient, rule):
    """Whether a weight whose samples are all 0 stays where it is: nothing moves it, nor comes from earlier parts of the batch."""
    idle = gradient.shape[0] == 1 and stays(rule)
    for j in range(gradient.shape[1]):
        idle = idle and gradient[0, j] == 0
    return idle


@kernel
def update(codes, scale, delta, gradient, weights, state, rule, work):
    """One step of the weights along gradient + (scale * codes)^T delta, which is never stored.

    gradient (fan_in, fan_out), or one row for all, is what earlier parts of the batch gave; state (states, fan_in,
    fan_out), and rule those of `optimizers.step`. The non-zeros of PANEL features are listed; then delta passes in
    tiles of columns that stay in the L1 cache while they serve all features of the panel.
    """
    index, packed, starts = work.index, work.listed, work.starts
    init_step = 1 if gradient.shape[0] == weights.shape[0] else 0
    lanes = VECTOR_BYTES // delta.itemsize
    vectors = delta.shape[1] // lanes
    most = larger(1, smaller(WIDTH, L1_BYTES // (delta.shape[0] * VECTOR_BYTES)))
    tiles = (vectors + most - 1) // most
    numbers = as_rule(rule)
    idle = is_idle(gradient, numbers)
    for j in range(0, weights.shape[0], PANEL):
        rows = smaller(PANEL, weights.shape[0] - j)
        if BY_WORDS and rows == PANEL and codes.itemsize == 1:
            list_whole_panel(codes, j, scale, work)
        else:
            list_panel(codes, j, rows, scale, work)
        for t in range(tiles):
            first = vectors * t // tiles
            width = vectors * (t + 1) // tiles - first
            g, q = 0, 0
            while q < rows:
                height = GROUP if rows - q >= GROUP else 1
                if not (idle and starts[g] == starts[g + 1]):
                    gather_update_tile(
                        packed,
                        index,
                        starts[g],
                        starts[g + 1],
                        j + q,
                        delta,
                        gradient,
                        init_step,
                        weights,
                        state,
                        numbers,
                        first * lanes,
                        height,
                        width,
                    )
                g, q = g + 1, q + height

