"""The forward pass alone: each thread takes its share of the samples, CHUNK at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from fastfc.kernels.fused import batch
from fastfc.kernels.fused.arena import FAN_OUT, A, Arena, B, W, forward_pass, matrix_rows, sparse_work
from fastfc.kernels.fused.jit import kernel
from fastfc.kernels.fused.parallel import aligned, share, view, view_rows
from fastfc.kernels.plan import Plan

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
        forward_pass(arena, layout, x, codes, scale, is_sparse, lo, hi, work)
        result = matrix_rows(arena, layout, layout.shape[0] - 1, A, lo, hi)
        for i in range(hi - lo):
            for j in range(outputs):
                out[part + i, j] = result[i, j]


class Predictor:
    """What a network with these parameters gives; weights (fan_in, fan_out), biases (fan_out,)."""

    def __init__(self, plan: Plan, weights: list[np.ndarray], biases: list[np.ndarray], threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.arena = Arena(plan, threads * CHUNK, threads, 1)
        self.places = np.array([self.arena.place(threads * CHUNK * plan.layers[0]), *self.arena.work])
        self.arena.allocate()
        for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
            self.arena.matrix(l, W, len(w))[:] = w
            self.arena.matrix(l, B, 1)[:] = b

    def outputs(self, X: Any) -> np.ndarray:
        """(n, outputs): logits, or for the mean squared error f(z); X (n, features) uint8, plan.dtype, or CSR of them."""
        if not isinstance(X, np.ndarray):
            parts = [self.outputs(X[i : i + 1024].toarray()) for i in range(0, X.shape[0], 1024)]
            return np.concatenate(parts)
        plan, arena = self.plan, self.arena
        n, features = X.shape
        out = np.empty((n, plan.layers[-1]), plan.dtype)
        threads = min(self.threads, -(-n // CHUNK))
        seen = X[: 4 * CHUNK]
        is_sparse = features >= 16 and np.count_nonzero(seen) < SPARSE_BELOW * seen.size
        scale = np.array([plan.scale if X.dtype == np.uint8 else 1], plan.dtype)
        codes = aligned(threads * CHUNK * features, X.dtype).reshape(threads * CHUNK, features)
        arguments = (
            threads,
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
            run(0, *arguments)
            return out
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(run, t, *arguments) for t in range(1, threads)]
            run(0, *arguments)
            for other in others:
                other.result()
        return out
