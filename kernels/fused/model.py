"""All numbers of a network in one block of memory, the arena, and the forward pass through it.

The parameters of all layers lie side by side. Behind them follow, in the same order and `distance` numbers apart, the
arrays of the optimiser's state, and where it is kept the gradient: whatever stands at a weight's offset in one of these
belongs to that weight.
"""

from __future__ import annotations

from collections import namedtuple
from itertools import pairwise

import numpy as np

from fastfc.kernels.fused import dense, sparse
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline
from fastfc.kernels.fused.llvm.packing import WORDS
from fastfc.kernels.fused.llvm.vectors import VECTOR_BYTES, lanes
from fastfc.kernels.fused.llvm.views import aligned, view, view_states
from fastfc.kernels.plan import Plan

PAGE = 4096
SKEW = 1088  # bytes by which arrays `distance` apart miss lying whole pages apart, and sharing few sets of the caches
# Columns of `layout`, which has one row for each layer of weights: sizes, then offsets into the arena.
# WEIGHTS (fan_in, padded), BIASES (1, padded), TRANSPOSED (padded fan_out, padded fan_in) the weights once more,
# OUTPUTS and DELTAS (rows, padded): f(z) of the samples, and the gradient with respect to z.
FAN_IN, FAN_OUT, PADDED, ACTIVATION, WEIGHTS, BIASES, TRANSPOSED, OUTPUTS, DELTAS = np.arange(9)  # see jit.ZERO

# arena (numbers,) and layout; distance as above; states, how many arrays of it; gradient, its offset from the parameters, or
# None where it is not kept, which leaves the code for it out
Model = namedtuple("Model", "arena layout distance states gradient")


@inline
def weights_of(model, layer, lo, hi):
    """Rows lo to hi of the weights of a layer: (hi - lo, padded)."""
    padded = model.layout[layer, PADDED]
    return view(model.arena, model.layout[layer, WEIGHTS] + lo * padded, hi - lo, padded)


@inline
def all_weights(model, layer):
    """(fan_in, padded)"""
    return weights_of(model, layer, ZERO, model.layout[layer, FAN_IN])


@inline
def bias_of(model, layer):
    """(1, padded)"""
    return view(model.arena, model.layout[layer, BIASES], ONE, model.layout[layer, PADDED])


@inline
def state_of(model, parameters):
    """(states, rows, padded): what the optimiser keeps for parameters that are a view of the arena."""
    return view_states(parameters, model.distance, model.states)


@inline
def gradient_of(model, offset, layer, lo, hi):
    """Rows lo to hi of the gradient of a layer's weights; `offset` is model.gradient."""
    padded = model.layout[layer, PADDED]
    return view(model.arena, offset + model.layout[layer, WEIGHTS] + lo * padded, hi - lo, padded)


@inline
def bias_gradient_of(model, offset, layer):
    """(1, padded)"""
    return view(model.arena, offset + model.layout[layer, BIASES], ONE, model.layout[layer, PADDED])


@inline
def outputs_of(model, layer, lo, hi):
    """What a layer gives for rows lo to hi: (hi - lo, padded)."""
    padded = model.layout[layer, PADDED]
    return view(model.arena, model.layout[layer, OUTPUTS] + lo * padded, hi - lo, padded)


@inline
def deltas_of(model, layer, lo, hi):
    """The gradient with respect to z of a layer, for rows lo to hi: (hi - lo, padded)."""
    padded = model.layout[layer, PADDED]
    return view(model.arena, model.layout[layer, DELTAS] + lo * padded, hi - lo, padded)


@inline
def transposed_weights(model, layer):
    """(fan_out, padded fan_in), of a layer but the first."""
    layout = model.layout
    return view(model.arena, layout[layer, TRANSPOSED], layout[layer, FAN_OUT], layout[layer - 1, PADDED])


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
def forward_hidden(model, lo, hi):
    """Rows lo to hi of the batch through all layers but the first."""
    for l in range(1, model.layout.shape[0]):
        before, out = outputs_of(model, l - 1, lo, hi), outputs_of(model, l, lo, hi)
        dense.forward(before, all_weights(model, l), bias_of(model, l), model.layout[l, ACTIVATION], out)


class Arena:
    """Memory for a plan: parameters, and activations for `rows` samples; with `states` not None all else that a step needs.

    states    how many arrays the optimiser keeps for the parameters
    gradient  whether the gradient is kept, too
    `threads` pieces of scratch memory for the sparse first layer serve a batch of `batch` samples; 0 where it is dense.
    """

    def __init__(
        self, plan: Plan, rows: int, threads: int, batch: int, states: int | None = None, gradient: bool = False
    ) -> None:
        self.size, self.dtype = 0, plan.dtype
        padding, features = lanes(plan.dtype), plan.layers[0]
        self.layout = np.zeros((len(plan.layers) - 1, 9), np.int64)
        for row, (fan_in, fan_out), activation in zip(
            self.layout, pairwise(plan.layers), plan.activations, strict=True
        ):
            padded = _round_up(fan_out, padding)
            if padded * self.dtype.itemsize % PAGE == 0:  # rows a page apart would share few sets of the caches
                padded += padding
            row[[FAN_IN, FAN_OUT, PADDED, ACTIVATION]] = fan_in, fan_out, padded, activation
            row[[WEIGHTS, BIASES]] = self.place(_round_up(fan_in, padding) * padded), self.place(padded)
        self.parameters = self.size
        self.distance = (_round_up(self.size * self.dtype.itemsize, PAGE) + SKEW) // self.dtype.itemsize
        self.gradient = (states + 1) * self.distance if states is not None and gradient else None
        if states is not None:
            self.place(self.distance * (states + gradient))
        before = 0
        for row in self.layout:
            row[OUTPUTS] = self.place(rows * row[PADDED])
            if states is not None:
                row[DELTAS], row[TRANSPOSED] = self.place(rows * row[PADDED]), self.place(row[PADDED] * before)
            before = row[PADDED]
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
        self.size += int(_round_up(count, 16))
        return offset

    def allocate(self) -> None:
        self.memory = aligned(self.size, self.dtype)

    def model(self, states: int = 0) -> Model:
        return Model(self.memory, self.layout, self.distance, states, self.gradient)

    def weights(self, layer: int, away: int = 0) -> np.ndarray:
        """(fan_in, fan_out): a view without the padding, of the weights or what lies `away` numbers behind them."""
        return self._matrix(self.layout[layer, WEIGHTS] + away, layer, self.layout[layer, FAN_IN])

    def bias(self, layer: int, away: int = 0) -> np.ndarray:
        """(fan_out,): as `weights`."""
        return self._matrix(self.layout[layer, BIASES] + away, layer, 1)[0]

    def transpose(self, layer: int) -> None:
        """Write the weights of a layer but the first once more."""
        w, columns = self.weights(layer), self.layout[layer - 1, PADDED]
        offset = self.layout[layer, TRANSPOSED]
        rows = self.memory[offset : offset + w.shape[1] * columns].reshape(w.shape[1], columns)
        rows[:, : w.shape[0]] = w.T

    def _matrix(self, offset: int, layer: int, rows: int) -> np.ndarray:
        padded = self.layout[layer, PADDED]
        return self.memory[offset : offset + rows * padded].reshape(rows, padded)[:, : self.layout[layer, FAN_OUT]]


def _round_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
