"""A fully connected layer on dense input: multiplication and bias in one pass, gradient and update in another.

All matrices have rows of a whole number of vectors: columns beyond the layer's own are zero and stay so.
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.cpu import VECTOR_BYTES
from fastfc.kernels.fused.llvm.integers import larger, smaller
from fastfc.kernels.fused.llvm.packing import transpose_block
from fastfc.kernels.fused.llvm.tiles import DENSE_TILES, dense_tile, dense_update_tile
from fastfc.kernels.fused.optimizers import as_rule

DEPTH = 128  # terms of a sum between two visits to memory: DEPTH rows of B, one tile wide, stay in the L1 cache
HEIGHT, WIDTH = DENSE_TILES[0]
TALL = 8  # rows of a tile of one vector
ROW_WIDTH = DENSE_TILES[2][1]
STRAIGHT, TRANSPOSED = ZERO, ONE
ZEROS, BIAS, OUT = np.arange(3)  # what a product is added to


@inline
def rows_of_tile(left, width):
    """Of the next tile of `width` vectors, where so many rows are left."""
    height = TALL if width == 1 else HEIGHT
    return height if left >= height else HEIGHT if left >= HEIGHT else 2 if left >= 2 else 1


@inline
def multiply(A, transposed, B, origin, bias, out):
    """out (m, n) = A B + zeros, bias (1, n), or out, as `origin` says; A is (m, k), or (k, m) if transposed, B (k, n)."""
    multiply_range(A, transposed, ZERO, B.shape[0], B, origin, bias, out)


@kernel
def multiply_range(A, transposed, begin, end, B, origin, bias, out):
    """As multiply, with the terms from `begin` to `end` alone.

    Blocks of B a tile wide and DEPTH deep stay in the L1 cache while all rows of A pass.
    """
    m, lanes = out.shape[0], VECTOR_BYTES // out.itemsize
    vectors = out.shape[1] // lanes
    most = ROW_WIDTH if m == 1 else WIDTH
    tiles = (vectors + most - 1) // most
    for start in range(begin, larger(end, begin + 1), DEPTH):
        stop = smaller(end, start + DEPTH)
        for t in range(tiles):
            first = vectors * t // tiles
            width = vectors * (t + 1) // tiles - first
            i = 0
            while i < m:
                rows = rows_of_tile(m - i, width)
                dense_tile(A, i, transposed, start, stop, B, origin, bias, out, first * lanes, rows, width)
                i += rows
        origin = OUT


@kernel
def forward(x, weights, bias, out):
    """out (batch, fan_out) = x W + b;  x (batch, fan_in), weights (fan_in, fan_out), bias (1, fan_out)."""
    multiply(x, STRAIGHT, weights, BIAS, bias, out)


@kernel
def backward(delta, weights_t, out):
    """out (batch, fan_in) = delta W^T;  delta (batch, fan_out), weights_t (fan_out, fan_in)."""
    multiply(delta, STRAIGHT, weights_t, ZEROS, out, out)


@inline
def transpose(weights, start, stop, out):
    """out[:, start:stop] = weights[start:stop]^T; both have room for whole blocks of lanes x lanes beyond their ends."""
    lanes = VECTOR_BYTES // weights.itemsize
    for i in range(start, stop, lanes):
        for j in range(0, weights.shape[1], lanes):
            transpose_block(weights, i, j, out)


@kernel
def update(x, delta, gradient, weights, state, rule):
    """One step of the weights along gradient + x^T delta, which is never stored.

    x (batch, fan_in), delta (batch, fan_out); gradient (fan_in, fan_out), or one row for all, is what earlier parts of
    the batch gave; state (states, fan_in, fan_out), and rule those of `optimizers.step`. A tile's columns of delta stay in
    the L1 cache while all features pass.
    """
    numbers = as_rule(rule)
    init_step = 1 if gradient.shape[0] == weights.shape[0] else 0
    m, lanes = weights.shape[0], VECTOR_BYTES // delta.itemsize
    vectors = delta.shape[1] // lanes
    tiles = (vectors + WIDTH - 1) // WIDTH
    for t in range(tiles):
        first = vectors * t // tiles
        width = vectors * (t + 1) // tiles - first
        i = 0
        while i < m:
            rows = rows_of_tile(m - i, width)
            dense_update_tile(x, i, delta, gradient, init_step, weights, state, numbers, first * lanes, rows, width)
            i += rows
