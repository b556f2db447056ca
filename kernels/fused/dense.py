"""A fully connected layer on dense input: multiplication, bias and activation in one pass, gradient and update in another.

All matrices have rows of a whole number of vectors: columns beyond the layer's own are zero and stay so.
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.fused.activations import activate, chain
from fastfc.kernels.fused.jit import inline, kernel
from fastfc.kernels.fused.packing import transpose_block
from fastfc.kernels.fused.parallel import fill
from fastfc.kernels.fused.vector import DENSE_TILES, VECTOR_BYTES, dense_tile, dense_update_tile

DEPTH = 128  # terms of a sum between two visits to memory: DEPTH rows of B, one tile wide, stay in the L1 cache
HEIGHT, WIDTH = DENSE_TILES[0]
ROW_WIDTH = DENSE_TILES[2][1]
STRAIGHT, TRANSPOSED = np.arange(2)  # not Python integers, for each of which Numba would compile a version


@inline
def multiply(A, transposed, B, out):
    """out (m, n) += A B, where A is (m, k), or (k, m) if transposed, and B (k, n).

    Blocks of B a tile wide and DEPTH deep stay in the L1 cache while all rows of A pass.
    """
    m, k, lanes = out.shape[0], B.shape[0], VECTOR_BYTES // out.itemsize
    vectors = out.shape[1] // lanes
    most = ROW_WIDTH if m == 1 else WIDTH
    tiles = (vectors + most - 1) // most
    for start in range(0, k, DEPTH):
        stop = min(k, start + DEPTH)
        for t in range(tiles):
            first = vectors * t // tiles
            width = vectors * (t + 1) // tiles - first
            i = 0
            while i < m:
                rows = HEIGHT if m - i >= HEIGHT else 2 if m - i >= 2 else 1
                dense_tile(A, i, transposed, start, stop, B, out, first * lanes, rows, width)
                i += rows


@kernel
def forward(x, weights, bias, activation, out):
    """out (batch, fan_out) = f(x W + b);  x (batch, fan_in), weights (fan_in, fan_out), bias (1, fan_out)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = bias[0, j]
    multiply(x, STRAIGHT, weights, out)
    activate(out, activation)


@kernel
def backward(delta, weights_t, a, activation, out):
    """out (batch, fan_in) = (delta W^T) * f'(z);  delta (batch, fan_out), weights_t (fan_out, fan_in), a (batch, fan_in)."""
    fill(out, out.dtype.type(0))
    multiply(delta, STRAIGHT, weights_t, out)
    chain(a, out, activation)


@inline
def transpose(weights, start, stop, out):
    """out[:, start:stop] = weights[start:stop]^T; both have room for whole blocks of lanes x lanes beyond their ends."""
    lanes = VECTOR_BYTES // weights.itemsize
    for i in range(start, stop, lanes):
        for j in range(0, weights.shape[1], lanes):
            transpose_block(weights, i, j, out)


@kernel
def update(x, delta, gradient, weights, velocity, rule):
    """One step of the weights along gradient + x^T delta, which is never stored.

    x (batch, fan_in), delta (batch, fan_out); gradient (fan_in, fan_out), or one row for all, is what earlier parts of
    the batch gave; rule (6,) ends with the learning rate. A tile's columns of delta stay in the L1 cache while all
    features pass.
    """
    every = 1 if gradient.shape[0] == weights.shape[0] else 0
    m, lanes = weights.shape[0], VECTOR_BYTES // delta.itemsize
    vectors = delta.shape[1] // lanes
    tiles = (vectors + WIDTH - 1) // WIDTH
    for t in range(tiles):
        first = vectors * t // tiles
        width = vectors * (t + 1) // tiles - first
        i = 0
        while i < m:
            rows = HEIGHT if m - i >= HEIGHT else 2 if m - i >= 2 else 1
            dense_update_tile(x, i, delta, gradient, every, weights, velocity, rule, first * lanes, rows, width)
            i += rows
