"""All numbers of a network in one block of memory, the arena, and the forward pass through it."""

from __future__ import annotations

from collections import namedtuple
from itertools import pairwise

import numpy as np

from fastfc.kernels.fused import dense, sparse
from fastfc.kernels.fused.compiler.jit import ONE, inline
from fastfc.kernels.fused.llvm.packing import WORDS
from fastfc.kernels.fused.llvm.tiles import VECTOR_BYTES, lanes
from fastfc.kernels.fused.llvm.views import aligned, view, view_rows
from fastfc.kernels.plan import Plan

PAGE = 4096
# Columns of `layout`, one row for each layer of weights: sizes, then offsets into the arena.
# W, V (fan_in, padded) weights and velocity; T (padded, padded fan_in) the weights transposed; B, U, H (1, padded) bias, its
# velocity and gradient; A, D (rows, padded) activations and deltas; G (fan_in, padded) gradient, where a batch has parts.
FAN_IN, FAN_OUT, PADDED, ACTIVATION, W, V, T, B, U, H, A, D, G = np.arange(13)  # not Python integers, see jit


@inline
def matrix(arena, layout, layer, what, rows):
    return view(arena, layout[layer, what], rows, layout[layer, PADDED])


@inline
def matrix_rows(arena, layout, layer, what, lo, hi):
    padded = layout[layer, PADDED]
    return view(arena, layout[layer, what] + lo * padded, hi - lo, padded)


@inline
def transposed_weights(arena, layout, layer):
    return view(arena, layout[layer, T], layout[layer, FAN_OUT], layout[layer - 1, PADDED])


# Scratch memory of integers, one row for each thread; `sparse.Work` says what for.
ThreadMemory = namedtuple("ThreadMemory", "index packed_words words starts")


@inline
def sparse_work(arena, offset, features, thread, memory):
    """The scratch memory of one thread in the sparse first layer; that of floats is in the arena, from `offset` on."""
    wide = features + VECTOR_BYTES
    return sparse.Work(
        memory.index[thread],
        view(arena, offset, sparse.GROUP, wide),
        view(arena, offset + sparse.GROUP * wide, memory.packed_words.shape[1], sparse.GROUP),
        memory.packed_words[thread],
        memory.words[thread],
        memory.starts[thread],
    )


@inline
def forward_pass(arena, layout, first_bias, x, codes, scale, is_sparse, lo, hi, work):
    """Rows lo to hi of the batch through all layers; first_bias is that of the first."""
    weights, out = matrix(arena, layout, 0, W, layout[0, FAN_IN]), matrix_rows(arena, layout, 0, A, lo, hi)
    if is_sparse:
        sparse.forward(view_rows(codes, lo, hi), scale, weights, first_bias, layout[0, ACTIVATION], out, work)
    else:
        dense.forward(view_rows(x, lo, hi), weights, first_bias, layout[0, ACTIVATION], out)
    forward_hidden(arena, layout, lo, hi)


@inline
def forward_hidden(arena, layout, lo, hi):
    """Rows lo to hi of the batch through all layers but the first."""
    for l in range(1, layout.shape[0]):
        weights, bias = matrix(arena, layout, l, W, layout[l, FAN_IN]), matrix(arena, layout, l, B, ONE)
        before, out = matrix_rows(arena, layout, l - 1, A, lo, hi), matrix_rows(arena, layout, l, A, lo, hi)
        dense.forward(before, weights, bias, layout[l, ACTIVATION], out)


class Arena:
    """Memory for a plan: parameters, and activations for `rows` samples; with `training` all else that a step needs.

    `threads` pieces of scratch memory for the sparse first layer serve a batch of `batch` samples; 0 where it is dense.
    """

    def __init__(
        self, plan: Plan, rows: int, threads: int, batch: int, training: bool = False, parts: bool = False
    ) -> None:
        self.size, self.dtype = 0, plan.dtype
        padding, features = lanes(plan.dtype), plan.layers[0]
        self.layout = np.zeros((len(plan.layers) - 1, 13), np.int64)
        before = 0
        for l, (fan_in, fan_out) in enumerate(pairwise(plan.layers)):
            padded = _round_up(fan_out, padding)
            if padded * self.dtype.itemsize % PAGE == 0:  # rows a page apart would share few sets of the caches
                padded += padding
            row = self.layout[l]
            row[[FAN_IN, FAN_OUT, PADDED, ACTIVATION]] = fan_in, fan_out, padded, plan.activations[l]
            row[[W, B, A]] = [self.place(n * padded) for n in (_round_up(fan_in, padding), 1, rows)]
            if training:
                row[[V, U, H, D]] = [self.place(n * padded) for n in (fan_in, 1, 1, rows)]
                row[T], row[G] = self.place(padded * before), self.place(fan_in * padded * parts)
            before = padded
        wide, listed = features + VECTOR_BYTES, sparse.LISTS * batch + WORDS
        self.work = [self.place((wide + listed) * sparse.GROUP) for _ in range(threads)]
        self.thread_memory = ThreadMemory(
            np.zeros((threads, max(wide, listed)), np.int32),
            np.zeros((threads, listed), np.uint32),
            np.zeros((threads, sparse.PANEL // sparse.GROUP, _round_up(batch, WORDS) + WORDS), np.uint32),
            np.zeros((threads, sparse.LISTS + 1), np.int64),
        )

    def place(self, count: int) -> int:
        """The offset of `count` numbers that begin on a cache line."""
        offset = self.size
        self.size += _round_up(count, 16)
        return offset

    def allocate(self) -> None:
        self.memory = aligned(self.size, self.dtype)

    def matrix(self, layer: int, what: np.integer, rows: int) -> np.ndarray:
        """(rows, fan_out), or for the transposed weights (rows, fan_in of the layer): a view without the padding."""
        of = layer - 1 if what == T else layer
        offset, padded = self.layout[layer, what], self.layout[of, PADDED]
        return self.memory[offset : offset + rows * padded].reshape(rows, padded)[:, : self.layout[of, FAN_OUT]]


def _round_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
