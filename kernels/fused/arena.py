"""Where the numbers of a network lie: the layout of the arena that `model` reads."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from fastfc.kernels.fused.cpu import VECTOR_BYTES, WORDS, lanes
from fastfc.kernels.fused.records import (
    BIASES,
    COLUMNS,
    DELTAS,
    FAN_IN,
    FAN_OUT,
    OUTPUTS,
    PADDED,
    PANEL,
    SAVED,
    SLOPES,
    TRANSPOSED,
    WEIGHTS,
    Model,
    ThreadMemory,
)
from fastfc.kernels.plan import FROM_OUTPUT, GROUP, Plan

CACHE_LINE = 64
PAGE = 4096
SKEW = 1088  # bytes by which arrays `distance` apart miss lying whole pages apart, and sharing few sets of the caches
LISTS = PANEL // GROUP + GROUP  # groups in a panel, and single features at its end


def aligned(count: int, dtype: np.dtype | type) -> np.ndarray:
    """(count,) zeros that begin on a cache line, or on a 2 MiB page where they fill one, so that the OS may use such pages."""
    itemsize = np.dtype(dtype).itemsize
    align = 1 << 21 if count * itemsize >= 1 << 21 else CACHE_LINE
    raw = np.zeros(count + align // itemsize, dtype)
    start = -raw.ctypes.data % align // itemsize
    return raw[start : start + count]


class Arena:
    """Memory for a plan: parameters, and activations for `rows` samples; with `states` not None all else that a step needs.

    states    how many arrays the optimiser keeps for the parameters
    gradient  whether the gradient is kept, too
    `threads` pieces of scratch memory for the sparse first layer serve a batch of `batch` samples, or `entries` numbers of CSR
    rows at a time; 0 where that is not wanted.
    """

    def __init__(
        self,
        plan: Plan,
        rows: int,
        threads: int,
        batch: int = 0,
        entries: int = 0,
        states: int | None = None,
        gradient: bool = False,
    ) -> None:
        self.size, self.dtype = 0, plan.dtype
        padding, features = lanes(plan.dtype), plan.layers[0]
        self.layout = np.zeros((len(plan.layers) - 1, COLUMNS), np.int64)
        for row, (fan_in, fan_out) in zip(self.layout, pairwise(plan.layers), strict=True):
            padded = _round_up(fan_out, padding)
            if padded * self.dtype.itemsize % PAGE == 0:  # rows a page apart would share few sets of the caches
                padded += padding
            row[[FAN_IN, FAN_OUT, PADDED]] = fan_in, fan_out, padded
            row[[WEIGHTS, BIASES]] = self.place(_round_up(fan_in, padding) * padded), self.place(padded)
        self.parameters = self.size
        self.distance = (_round_up(self.size * self.dtype.itemsize, PAGE) + SKEW) // self.dtype.itemsize
        self.gradient = (states + 1) * self.distance if states is not None and gradient else -1
        if states is not None:
            self.place(self.distance * (states + gradient))
        before = 0
        for l, row in enumerate(self.layout):
            row[OUTPUTS] = row[SAVED] = self.place(rows * row[PADDED])
            if states is not None:
                row[DELTAS], row[TRANSPOSED] = self.place(rows * row[PADDED]), self.place(row[PADDED] * before)
                if keeps_slopes(plan, l):
                    row[SLOPES] = row[SAVED] = self.place(rows * row[PADDED])
            before = row[PADDED]
        wide, listed = features + VECTOR_BYTES, max(LISTS * batch, -(-entries // GROUP)) + WORDS
        self.work = [self.place((wide + listed) * GROUP) for _ in range(threads)]
        self.thread_memory = ThreadMemory(
            np.zeros((threads, max(wide, listed, entries)), np.int32),
            np.zeros((threads, listed), np.uint32),
            np.zeros((threads, PANEL // GROUP, _round_up(batch, WORDS) + WORDS), np.uint32),
            np.zeros((threads, max(LISTS, features * (entries > 0)) + 1), np.int64),
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

    def weights(self, layer: int, memory: np.ndarray | None = None) -> np.ndarray:
        """(fan_in, fan_out): a view without the padding, of the weights, or of what stands in their place in other memory."""
        return self._matrix(WEIGHTS, layer, self.layout[layer, FAN_IN], memory)

    def bias(self, layer: int, memory: np.ndarray | None = None) -> np.ndarray:
        """(fan_out,): as `weights`."""
        return self._matrix(BIASES, layer, 1, memory)[0]

    def transpose(self, layer: int) -> None:
        """Write the weights of a layer but the first once more."""
        w, columns = self.weights(layer), self.layout[layer - 1, PADDED]
        offset = self.layout[layer, TRANSPOSED]
        rows = self.memory[offset : offset + w.shape[1] * columns].reshape(w.shape[1], columns)
        rows[:, : w.shape[0]] = w.T

    def _matrix(self, column: Any, layer: int, rows: int, memory: np.ndarray | None) -> np.ndarray:
        offset, padded = self.layout[layer, column], self.layout[layer, PADDED]
        numbers = (self.memory if memory is None else memory)[offset : offset + rows * padded]
        return numbers.reshape(rows, padded)[:, : self.layout[layer, FAN_OUT]]


def keeps_slopes(plan: Plan, layer: int) -> bool:
    """Whether f'(z) of a layer is kept going forward: where it is no function of f(z), or f(z) does not outlast dropout."""
    is_hidden = layer < len(plan.layers) - 2
    return plan.activations[layer] not in FROM_OUTPUT or (is_hidden and any(plan.dropout[layer + 1 : layer + 2]))


def _round_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
