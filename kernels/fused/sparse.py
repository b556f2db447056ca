"""The first layer on input that is mostly zero: a fully connected layer that multiplies only what is not.

Adding 0 * w changes nothing, so leaving it out is exact. Going through single non-zeros would fetch a row of W (or of
delta) from the L2 cache for each of them, and that is what would limit the speed. So non-zeros are taken GROUP at a time:
GROUP samples in the forward pass, GROUP features in the gradient. A row is fetched if any of the GROUP needs it, and
then serves all of them from registers. In images neighbours are non-zero together, so that little is multiplied in vain:
on MNIST with 19 % of the pixels non-zero, 39 % of the terms are computed going forward and 28 % in the gradient.
"""

from __future__ import annotations

from collections import namedtuple

from fastfc.kernels.fused.activations import activate
from fastfc.kernels.fused.batch import multiply_by
from fastfc.kernels.fused.dense import STRAIGHT
from fastfc.kernels.fused.jit import inline, kernel
from fastfc.kernels.fused.parallel import fill, view_rows
from fastfc.kernels.fused.vector import (
    GATHER_TILES,
    VECTOR_BYTES,
    gather_tile,
    gather_update_tile,
    pack_columns,
    pack_four,
)

GROUP, WIDTH = GATHER_TILES[0]
ROW_WIDTH = GATHER_TILES[1][1]
PANEL = 64  # features whose non-zeros are listed at a time
LISTS = PANEL // GROUP + GROUP  # groups in a panel, and single features at its end
L1_BYTES = 32 * 1024  # of delta that stay in the L1 cache while a panel's features pass

# What a thread needs beside its data: index (int32) for a sample's features or a panel's samples; x and packed (GROUP, >= fan_in)
# for samples as floats, whole and without zeros; listed (LISTS * batch + 1, GROUP) for a panel's; starts (LISTS + 1,).
Work = namedtuple("Work", "index x packed listed starts")


@kernel
def forward(codes, scale, weights, bias, activation, out, work):
    """out (batch, fan_out) = f(scale * codes W + b);  codes (batch, fan_in) uint8 or floats, mostly 0; scale (1,)."""
    index, x, packed = work.index, work.x, work.packed
    lanes = VECTOR_BYTES // out.itemsize
    vectors = out.shape[1] // lanes
    i = 0
    while i < codes.shape[0]:
        rows = GROUP if codes.shape[0] - i >= GROUP else 1
        most = WIDTH if rows == GROUP else ROW_WIDTH
        target = view_rows(out, i, i + rows)
        multiply_by(view_rows(codes, i, i + rows), scale, view_rows(x, 0, rows))
        if rows < GROUP:
            fill(view_rows(x, rows, GROUP), x.dtype.type(0))
        count = pack_columns(x, index, packed)
        tiles = (vectors + most - 1) // most
        for t in range(tiles):
            first = vectors * t // tiles
            width = vectors * (t + 1) // tiles - first
            gather_tile(packed, STRAIGHT, index, count, weights, bias, STRAIGHT, target, first * lanes, width)
        i += rows
    activate(out, activation)


@inline
def list_samples(codes, j, rows, scale, index, packed, count):
    """List the samples that are non-zero in any of the features j to j + rows, behind the `count` that are there."""
    if rows == GROUP:
        for i in range(codes.shape[0]):
            count = pack_four(codes, i, j, scale, index, packed, count)
    else:
        for i in range(codes.shape[0]):
            index[count] = i
            packed[count, 0] = scale[0] * scale.dtype.type(codes[i, j])
            count += codes[i, j] != 0
    return count


@inline
def list_panel(codes, j, rows, scale, index, packed, starts):
    """List the samples of all groups of the features j to j + rows: those of group g from starts[g] to starts[g + 1]."""
    g, q = 0, 0
    starts[0] = 0
    while q < rows:
        height = GROUP if rows - q >= GROUP else 1
        starts[g + 1] = list_samples(codes, j + q, height, scale, index, packed, starts[g])
        g, q = g + 1, q + height


@kernel
def update(codes, scale, delta, gradient, weights, velocity, rule, work):
    """One step of the weights along gradient + (scale * codes)^T delta, which is never stored.

    gradient (fan_in, fan_out), or one row for all, is what earlier parts of the batch gave; rule (6,) ends with the
    learning rate. The non-zeros of PANEL features are listed; then delta passes in tiles of columns that stay in the L1
    cache while they serve all features of the panel.
    """
    index, packed, starts = work.index, work.listed, work.starts
    every = 1 if gradient.shape[0] == weights.shape[0] else 0
    lanes = VECTOR_BYTES // delta.itemsize
    vectors = delta.shape[1] // lanes
    most = max(1, min(WIDTH, L1_BYTES // (delta.shape[0] * VECTOR_BYTES)))
    tiles = (vectors + most - 1) // most
    for j in range(0, weights.shape[0], PANEL):
        rows = min(PANEL, weights.shape[0] - j)
        list_panel(codes, j, rows, scale, index, packed, starts)
        for t in range(tiles):
            first = vectors * t // tiles
            width = vectors * (t + 1) // tiles - first
            g, q = 0, 0
            while q < rows:
                height = GROUP if rows - q >= GROUP else 1
                gather_update_tile(
                    packed,
                    index,
                    starts[g],
                    starts[g + 1],
                    j + q,
                    delta,
                    gradient,
                    every,
                    weights,
                    velocity,
                    rule,
                    first * lanes,
                    height,
                    width,
                )
                g, q = g + 1, q + height
