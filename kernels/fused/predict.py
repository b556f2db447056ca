"""The forward pass alone: each thread takes its share of the samples, CHUNK at a time."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastfc.kernels.fused import batch, sparse
from fastfc.kernels.fused.arena import (
    ACTIVATION,
    FAN_OUT,
    A,
    Arena,
    B,
    ThreadMemory,
    W,
    forward_hidden,
    forward_pass,
    matrix,
    matrix_rows,
    sparse_work,
)
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.llvm.views import aligned, flat, share, view, view_rows
from fastfc.kernels.plan import Plan

CHUNK = 64  # samples at a time: their activations stay in the caches
SPARSE_BELOW = 0.35  # share of non-zeros at which the sparse first layer is the faster one
KEY_BITS = 12
BLOCK = 128 * CHUNK  # samples that are put in another order at a time: they stay in the caches
WORK_PLACE, SCALE_PLACE = ZERO, ONE


@inline
def bring_together(X, features, begin, end, starts, keys, order):
    """order[begin:end] = the samples begin to end, those next to each other that are non-zero in the same `features`.

    The sparse first layer takes neighbours at once, and each row of W that one of them needs. A counting sort; starts
    (2 ** features + 1,) and keys (n,) are scratch memory.
    """
    for k in range(starts.size):
        starts[k] = 0
    for i in range(begin, end):
        key = 0
        for j in features:
            key = 2 * key + (X[i, j] != 0)
        keys[i] = key
        starts[key + 1] += 1
    for k in range(starts.size - 1):
        starts[k + 1] += starts[k]
    for i in range(begin, end):
        order[begin + starts[keys[i]]] = i
        starts[keys[i]] += 1


@kernel
def run(thread, threads, arena, layout, places, scale, is_sparse, X, telling, starts, keys, order, codes, memory, out):
    """out[i] = what the network gives for X[i], for this thread's share of the samples.

    telling are the features by which samples are brought together. Scratch memory: starts (threads, 2 ** telling + 1),
    keys (n,), order (n,), codes (threads * CHUNK, features), memory.
    """
    features, outputs = X.shape[1], layout[-1, FAN_OUT]
    x = view(arena, places[0], threads * CHUNK, features)
    work = sparse_work(arena, places[1 + thread], features, thread, memory)
    begin, end = share(order.size, CHUNK, thread, threads)
    for block in range(begin, end, BLOCK):
        bring_together(X, telling, block, min(end, block + BLOCK), starts[thread], keys, order)
    for part in range(begin, end, CHUNK):
        lo, hi = thread * CHUNK, thread * CHUNK + min(CHUNK, end - part)
        own_codes = view_rows(codes, lo, hi)
        batch.gather(X, order[part : part + hi - lo], own_codes)
        if not is_sparse:
            batch.multiply_by(own_codes, scale, view_rows(x, lo, hi))
        forward_pass(arena, layout, matrix(arena, layout, 0, B, ONE), x, codes, scale, is_sparse, lo, hi, work)
        result = matrix_rows(arena, layout, layout.shape[0] - 1, A, lo, hi)
        for i in range(hi - lo):
            for j in range(outputs):
                out[order[part + i], j] = result[i, j]


@kernel
def one(x, arena, table, *memory):
    """Which output is the largest for the single sample x (1, features); -1 where x or what it gives is not finite.

    table is the layout with one row more, of places; memory the fields of ThreadMemory: each argument costs about 70 ns,
    and twice that inside of a named tuple.
    """
    finite = 0
    for j in range(x.shape[1]):  # without a way out, so that it is done in vectors
        finite += math.isfinite(x[0, j])
    if finite < x.shape[1]:
        return -1
    layout, places = view_rows(table, 0, table.shape[0] - 1), table[-1]
    scale = flat(view(arena, places[SCALE_PLACE] + (x.itemsize > 1), ONE, ONE))
    work = sparse_work(arena, places[WORK_PLACE], x.shape[1], ZERO, ThreadMemory(*memory))
    weights, bias, out = (
        matrix(arena, layout, 0, W, x.shape[1]),
        matrix(arena, layout, 0, B, ONE),
        matrix(arena, layout, 0, A, ONE),
    )
    sparse.forward(x, scale, weights, bias, layout[0, ACTIVATION], out, work)
    forward_hidden(arena, layout, ZERO, ONE)
    result = matrix_rows(arena, layout, layout.shape[0] - 1, A, 0, 1)
    best = 0
    for j in range(layout[-1, FAN_OUT]):
        if not math.isfinite(result[0, j]):
            return -1
        if result[0, j] > result[0, best]:
            best = j
    return best


def telling_features(X: np.ndarray) -> np.ndarray:
    """At most KEY_BITS features, spread over those that are 0 in a quarter to three quarters of the samples X."""
    often = np.count_nonzero(X, axis=0)
    halves = np.flatnonzero((often > len(X) / 4) & (often < len(X) * 3 / 4))
    return halves[np.linspace(0, len(halves) - 1, min(KEY_BITS, len(halves)), dtype=np.int64)]


class Predictor:
    """What a network with these parameters gives; weights (fan_in, fan_out), biases (fan_out,).

    Its memory serves one call at a time.
    """

    def __init__(self, plan: Plan, weights: list[np.ndarray], biases: list[np.ndarray], threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.arena = Arena(plan, threads * CHUNK, threads, 1)
        self.places = np.array([self.arena.place(threads * CHUNK * plan.layers[0]), *self.arena.work])
        scales = self.arena.place(2)
        self.arena.allocate()
        self.arena.memory[scales : scales + 2] = plan.scale, 1
        table = np.zeros((len(plan.layers), self.arena.layout.shape[1]), np.int64)
        table[:-1], table[-1, [WORK_PLACE, SCALE_PLACE]] = self.arena.layout, [self.places[1], scales]
        self.of_one = self.arena.memory, table, *self.arena.thread_memory
        for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
            self.arena.matrix(l, W, len(w))[:] = w
            self.arena.matrix(l, B, 1)[:] = b
        self.scales = {np.dtype(np.uint8): np.array([plan.scale], plan.dtype), plan.dtype: np.ones(1, plan.dtype)}

    def outputs(self, X: Any) -> np.ndarray:
        """(n, outputs): logits, or for the mean squared error f(z); X (n, features) uint8, plan.dtype, or CSR of them."""
        if not isinstance(X, np.ndarray):
            return np.concatenate([self.outputs(X[i : i + 1024].toarray()) for i in range(0, X.shape[0], 1024)])
        n, features = X.shape
        out = np.empty((n, self.plan.layers[-1]), self.plan.dtype)
        threads = min(self.threads, -(-n // CHUNK))
        seen = X[: 4 * CHUNK]
        is_sparse = np.count_nonzero(seen) < SPARSE_BELOW * seen.size
        codes = aligned(threads * CHUNK * features, X.dtype).reshape(threads * CHUNK, features)
        telling = telling_features(X[:CHUNK] if is_sparse and n > CHUNK else X[:0])
        arena, scale = self.arena, self.scales[X.dtype]
        fixed: tuple[Any, ...] = (
            arena.memory,
            arena.layout,
            self.places,
            scale,
            int(is_sparse),
            X,
            telling,
            np.empty((threads, 2 ** len(telling) + 1), np.int64),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
            codes,
            arena.thread_memory,
            out,
        )
        if threads == 1:
            run(0, 1, *fixed)
            return out
        # This thread only waits: it would keep its core from another. A pool that stayed would have no threads in a
        # forked child, and leave threads behind that nobody asked for.
        with ThreadPoolExecutor(threads) as pool:
            for started in [pool.submit(run, t, threads, *fixed) for t in range(threads)]:
                started.result()
        return out

    def label(self, x: np.ndarray) -> int:
        """Which output is the largest for x (1, features), uint8 or plan.dtype, C-contiguous; -1 if that or x is not finite."""
        return one(x, *self.of_one)
