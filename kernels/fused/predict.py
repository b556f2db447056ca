"""The forward pass alone: each thread takes its share of the samples, CHUNK at a time."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastfc.kernels.fused import batch
from fastfc.kernels.fused.arena import FAN_OUT, ONE, A, Arena, B, W, forward_pass, matrix, matrix_rows, sparse_work
from fastfc.kernels.fused.jit import kernel
from fastfc.kernels.fused.parallel import aligned, share, view, view_rows
from fastfc.kernels.plan import Plan

LEAST_FEATURES = 16  # a vector of them
CHUNK = 64  # samples at a time: their activations stay in the caches
SPARSE_BELOW = 0.35  # share of non-zeros at which the sparse first layer is the faster one


@kernel
def run(thread, threads, arena, layout, places, scale, is_sparse, X, order, codes, memory, out):
    """out[i] = what the network gives for X[i], for this thread's share of the samples; order = 0, 1, ... n - 1."""
    features, outputs = X.shape[1], layout[-1, FAN_OUT]
    x = view(arena, places[0], threads * CHUNK, features)
    work = sparse_work(arena, places[1 + thread], features, thread, memory)
    begin, end = share(order.size, CHUNK, thread, threads)
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
                out[part + i, j] = result[i, j]


@kernel
def one(x, arena, layout, places, scale, memory):
    """Which output is the largest for the single sample x (1, features); -1 where x or what it gives is not finite."""
    for j in range(x.shape[1]):
        if not math.isfinite(x[0, j]):
            return -1
    work = sparse_work(arena, places[1], x.shape[1], 0, memory)
    bias, dense = matrix(arena, layout, 0, B, ONE), view(arena, places[0], ONE, x.shape[1])
    forward_pass(arena, layout, bias, dense, x, scale, x.shape[1] >= LEAST_FEATURES, 0, 1, work)
    result = matrix_rows(arena, layout, layout.shape[0] - 1, A, 0, 1)
    best = 0
    for j in range(layout[-1, FAN_OUT]):
        if not math.isfinite(result[0, j]):
            return -1
        if result[0, j] > result[0, best]:
            best = j
    return best


class Predictor:
    """What a network with these parameters gives; weights (fan_in, fan_out), biases (fan_out,).

    Its memory serves one call at a time.
    """

    def __init__(self, plan: Plan, weights: list[np.ndarray], biases: list[np.ndarray], threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.arena = Arena(plan, threads * CHUNK, threads, 1)
        self.places = np.array([self.arena.place(threads * CHUNK * plan.layers[0]), *self.arena.work])
        self.arena.allocate()
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
        is_sparse = features >= LEAST_FEATURES and np.count_nonzero(seen) < SPARSE_BELOW * seen.size
        codes = aligned(threads * CHUNK * features, X.dtype).reshape(threads * CHUNK, features)
        arena, scale = self.arena, self.scales[X.dtype]
        fixed: tuple[Any, ...] = (
            arena.memory,
            arena.layout,
            self.places,
            scale,
            int(is_sparse),
            X,
            np.arange(n),
            codes,
            arena.thread_memory,
            out,
        )
        if threads == 1:
            run(0, 1, *fixed)
            return out
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(run, t, threads, *fixed) for t in range(1, threads)]
            run(0, threads, *fixed)
            for other in others:
                other.result()
        return out

    def label(self, x: np.ndarray) -> int:
        """Which output is the largest for x (1, features), uint8 or plan.dtype, C-contiguous; -1 if that or x is not finite."""
        arena = self.arena
        return one(x, arena.memory, arena.layout, self.places, self.scales[x.dtype], arena.thread_memory)
