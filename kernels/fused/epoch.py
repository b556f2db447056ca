"""Whole epochs in compiled code.

A step has two phases with a barrier after each, and needs no sum across threads:

    by samples    each thread takes its share of the batch from the first layer's sums on through the network and back,
                  and fetches its share of the next batch
    by features   each thread takes its share of the rows of every weight matrix: gradient, update, and with the rows of
                  the first layer that it has just updated, the sums of that layer for the next batch

So the rows of the largest matrix stay in one core's cache from step to step. The first layer's sums have two parts, one
for each half of the features, whatever the number of threads is: the result does not depend on it.

A batch larger than CHUNK passes in parts, whose gradients are added up.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from fastfc.kernels.fused import online, sparse, step
from fastfc.kernels.fused.arena import PADDED, Arena, B, T, U, V, W
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.encode import encode
from fastfc.kernels.fused.llvm.tiles import lanes
from fastfc.kernels.fused.llvm.views import aligned, barrier, share, view_rows
from fastfc.kernels.fused.step import ONES, UNIT, Csr, Data, Memory, Sizes
from fastfc.kernels.plan import Plan

Arrays = list[np.ndarray]
NEVER = 1 << 62
CHUNK = 256  # samples in a part of a batch: its activations and deltas stay in the caches


@kernel
def run(
    thread,
    threads,
    counter,
    arena,
    layout,
    places,
    sizes,
    constants,
    split,
    halves,
    data,
    memory,
    order,
    shifts,
    rates,
    sample_losses,
    start,
    stop,
):
    """Steps `start` to `stop` of an epoch, this thread's share of them.

    constants = (scale, low, high, background, fill): the input is background + scale * codes, `fill` comes into a shifted
    image, low and high are the targets off and on the label; split (threads + 1,) the first layer's features for each
    thread, halves (HALVES + 1,) for each half. The rest is that of Trainer.run.
    """
    own = step.own_memory(arena, layout, places, sizes, memory, thread)
    passed, slot, end = 0, 0, min(stop * sizes.batch, order.size)
    at = until = start * sizes.batch  # the part in work, from sample `at` to `until`; none yet, but the next is fetched
    while at < end:
        following = min(until + sizes.chunk, (until // sizes.batch + 1) * sizes.batch, end)
        s, rows, coming = at // sizes.batch, until - at, following - until
        step_end = min((s + 1) * sizes.batch, order.size)
        x, codes = view_rows(own.x, slot, slot + rows), view_rows(memory.codes, slot, slot + rows)
        slot = sizes.chunk - slot
        next_x, next_codes = view_rows(own.x, slot, slot + coming), view_rows(memory.codes, slot, slot + coming)

        if rows > 0:
            whole = arena.dtype.type(1 / (step_end - s * sizes.batch) if sizes.mean else 1)
            lo, hi = share(rows, UNIT, thread, threads)
            step.by_samples(arena, layout, sizes, constants, data, own, whole, lo, hi, sample_losses[at:until])
        lo, hi = share(coming, UNIT, thread, threads)
        chosen, moved = order[until:following], shifts[until:following]
        step.fetch(data, chosen, moved, sizes, constants, own, lo, hi, next_x, next_codes)
        passed = barrier(counter, threads, passed)

        if rows > 0:
            own.rules[0, 5] = own.rules[1, 5] = rates[s]
            first, last = at == s * sizes.batch, until == step_end
            step.by_features(arena, layout, sizes, constants, split, own, thread, threads, x, codes, first, last)
        if threads > step.HALVES:  # otherwise a thread multiplies by no other rows than its own
            passed = barrier(counter, threads, passed)
        step.multiply_input(arena, layout, sizes, constants, halves, own, thread, threads, next_x, next_codes)
        passed = barrier(counter, threads, passed)
        at, until = until, following


class Trainer:
    """One training: its parameters and their velocities, which are copies, and the data, which is only read.

    X           (n, features) uint8 or plan.dtype, C-contiguous, or a scipy CSR matrix of one of these
    targets     (n,) int64 labels, or (n, outputs) of plan.dtype
    weights     (fan_in, fan_out) for each layer, biases (fan_out,)
    velocities  of the weights, then of the biases; or none, for zeros
    threads     how many threads compute
    input_kernel  "sparse" or "dense": how the first layer is multiplied
    """

    def __init__(
        self,
        plan: Plan,
        X: Any,
        targets: np.ndarray,
        weights: Arrays,
        biases: Arrays,
        velocities: Arrays,
        threads: int,
        input_kernel: str,
    ) -> None:
        features, outputs, dtype = plan.layers[0], plan.layers[-1], plan.dtype
        is_sparse, chunk = input_kernel == "sparse", min(CHUNK, plan.batch_size)
        scale, background, outside = (plan.scale if X.dtype == np.uint8 else 1), 0.0, plan.background
        if is_sparse and X.dtype != np.uint8 and isinstance(X, np.ndarray):
            background, outside = outside, 0.0
            X, scale = encode(X, background)
        fits = online.fits(plan, lanes(dtype), is_sparse, background)
        threads, self.kernel = (1, online.run) if fits else (threads, run)
        arena = Arena(plan, chunk, threads, chunk if is_sparse else 0, training=True, parts=plan.batch_size > chunk)
        widest, ones = arena.layout[:, PADDED].max(), max(chunk, features)
        counts = (
            2 * chunk * features * (not is_sparse),
            chunk * outputs,
            widest,
            ones,
            step.HALVES * chunk * arena.layout[0, PADDED],
            threads * arena.layout[0, PADDED],
        )
        places = [arena.place(n) for n in counts]
        arena.allocate()
        arena.memory[places[ONES] : places[ONES] + ones] = 1
        self.arena, self.plan, self.threads = arena, plan, threads
        self.counter = np.zeros(8, np.int64)
        rules = [(*plan.rule, 0), (*plan.rule[:4], 0, 0), (0, 0, 1, 0, 0, -1)]
        convert = not is_sparse and X.dtype == np.uint8  # floats are multiplied where they lie
        size = 2 * chunk * features
        in_place = arena.memory[places[0] : places[0] + size] if not (is_sparse or convert) else None
        codes = (aligned(size, X.dtype) if in_place is None else in_place).reshape(2 * chunk, features)
        cost = sparse.cost(X)  # for either kernel, so that both add up in one order
        self.arguments: tuple[Any, ...] = (
            arena.memory,
            arena.layout,
            np.array(places + arena.work),
            Sizes(
                plan.batch_size,
                chunk,
                plan.loss,
                int(plan.mean),
                int(is_sparse),
                int(convert),
                *(plan.image_shape or (0, 0)),
                int(widest),
            ),
            np.array([scale, *plan.off_and_on(), background, outside], dtype),
            divide(cost, threads),
            divide(cost, step.HALVES),
            _data(X, targets, outputs, dtype),
            Memory(
                codes,
                arena.thread_memory,
                np.array([rules] * threads, dtype),
                step.Arrangement(
                    np.zeros((threads, chunk), np.int64),
                    np.zeros((threads, chunk), np.int64),
                    np.zeros((threads, chunk, 2), np.int64),
                    np.zeros((threads, chunk), dtype),
                    np.zeros((threads, outputs + 1), np.int64),
                ),
            ),
        )
        self._fill(weights, biases, velocities)
        self.pool = ThreadPoolExecutor(threads)

    def run(
        self, order: np.ndarray, shifts: np.ndarray, rates: np.ndarray, sample_losses: np.ndarray, start: int, stop: int
    ) -> None:
        """Steps `start` to `stop` of an epoch.

        order (n,) which sample comes when; shifts (n, 2) in that order, or empty; rates (steps,) learning rates;
        sample_losses (n,), in that order, is written. No step (start == stop) compiles what is not compiled yet, in the
        calling thread, where Ctrl-C is heard.
        """
        self.counter[0] = 0
        arguments: tuple[Any, ...] = (
            self.threads,
            self.counter,
            *self.arguments,
            order,
            shifts,
            rates,
            sample_losses,
            start,
            stop,
        )
        if self.threads == 1 or start == stop:
            self.kernel(0, *arguments)
            return
        started: list[Future[None]] = []
        try:
            for thread in range(
                self.threads
            ):  # the caller only waits: it would keep its core from a thread that starts
                started.append(self.pool.submit(self.kernel, thread, *arguments))
            for future in started:
                future.result()
        except BaseException:
            self.counter[0] = NEVER  # opens every barrier: the others end with what they have
            raise
        finally:
            wait(started)

    def parameters(self) -> tuple[Arrays, Arrays, Arrays]:
        """Copies of the weights, the biases, and the velocities of both."""
        layers = range(len(self.plan.layers) - 1)
        weights, velocities = ([self._matrix(l, what).copy() for l in layers] for what in (W, V))
        biases, bias_velocities = ([self._matrix(l, what)[0].copy() for l in layers] for what in (B, U))
        return weights, biases, velocities + bias_velocities

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()

    def _matrix(self, layer: int, what: np.integer) -> np.ndarray:
        return self.arena.matrix(layer, what, self.plan.layers[layer] if what in (W, V) else 1)

    def _fill(self, weights: Arrays, biases: Arrays, velocities: Arrays) -> None:
        layers = len(weights)
        for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
            self._matrix(l, W)[:], self._matrix(l, B)[:] = w, b
            if velocities:
                self._matrix(l, V)[:], self._matrix(l, U)[:] = velocities[l], velocities[layers + l]
            if l:
                self.arena.matrix(l, T, w.shape[1])[:] = w.T


def divide(cost: np.ndarray, parts: int) -> np.ndarray:
    """(parts + 1,) where to divide the features, so that each part has about the same cost; multiples of UNIT."""
    so_far = np.cumsum(cost)
    cuts = np.searchsorted(so_far, so_far[-1] * (np.arange(1, parts) / parts))
    return np.array([0, *(cuts + UNIT // 2) // UNIT * UNIT, len(cost)]).clip(max=len(cost))


def _data(X: Any, targets: np.ndarray, outputs: int, dtype: np.dtype) -> Data:
    none = np.zeros((0, 0), X.dtype)
    if isinstance(X, np.ndarray):
        dense, csr = X, Csr(none[0:0].ravel(), np.zeros(0, np.int32), np.zeros(0, np.int64))
    else:
        dense, csr = none, Csr(X.data, X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False))
    if targets.ndim == 1:
        return Data(dense, csr, targets, np.zeros((0, outputs), dtype))
    return Data(dense, csr, np.zeros(0, np.int64), targets)
