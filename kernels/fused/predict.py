"""The forward pass alone: each thread takes its share of the samples, CHUNK at a time."""

from __future__ import annotations

import math
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastfc.kernels.fused import batch, dense, sparse
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.llvm.views import aligned, flat, view, view_rows
from fastfc.kernels.fused.model import (
    ACTIVATION,
    FAN_OUT,
    Arena,
    Model,
    ThreadMemory,
    all_weights,
    bias_of,
    forward_hidden,
    outputs_of,
    sparse_work,
)
from fastfc.kernels.fused.team import share
from fastfc.kernels.plan import Plan

CHUNK = 64  # samples at a time: their activations stay in the caches
SPARSE_BELOW = 0.35  # share of non-zeros at which the sparse first layer is the faster one
KEY_BITS = 12
BLOCK = 128 * CHUNK  # samples that are put in another order at a time: they stay in the caches
WORK_PLACE, SCALE_PLACE = ZERO, ONE


@inline
def bring_together(X, sort_features, begin, end, starts, keys, order):
    """order[begin:end] = the samples begin to end, those next to each other that are non-zero in the same features.

    The sparse first layer takes neighbours at once, and each row of W that one of them needs. A counting sort; starts
    (2 ** sort_features + 1,) and keys (n,) are scratch memory.
    """
    for k in range(starts.size):
        starts[k] = 0
    for i in range(begin, end):
        key = 0
        for j in sort_features:
            key = 2 * key + (X[i, j] != 0)
        keys[i] = key
        starts[key + 1] += 1
    for k in range(starts.size - 1):
        starts[k + 1] += starts[k]
    for i in range(begin, end):
        order[begin + starts[keys[i]]] = i
        starts[keys[i]] += 1


# What a call predicts, and with what: samples X (n, features), scale (1,) of them; sort_features, by which samples are brought
# together, with starts (threads, 2 ** sort_features + 1), keys (n,) and order (n,); codes (threads * CHUNK, features) and their
# place in the arena as floats; a place and a ThreadMemory for what is sparse.
Task = namedtuple("Task", "X scale is_sparse sort_features starts keys order codes inputs_place work_places work")


@kernel
def run(thread, threads, model, task, out):
    """out[i] = what the network gives for X[i], for this thread's share of the samples."""
    X, order, layout = task.X, task.order, model.layout
    features, outputs, last = X.shape[1], layout[-1, FAN_OUT], layout.shape[0] - 1
    work = sparse_work(model.arena, task.work_places[thread], features, thread, task.work)
    begin, end = share(order.size, CHUNK, thread, threads)
    for block in range(begin, end, BLOCK):
        bring_together(X, task.sort_features, block, min(end, block + BLOCK), task.starts[thread], task.keys, order)
    for part in range(begin, end, CHUNK):
        lo, hi = thread * CHUNK, thread * CHUNK + min(CHUNK, end - part)
        codes, first = view_rows(task.codes, lo, hi), outputs_of(model, ZERO, lo, hi)
        batch.gather(X, order[part : part + hi - lo], codes)
        weights, bias, activation = all_weights(model, ZERO), bias_of(model, ZERO), layout[0, ACTIVATION]
        if task.is_sparse:
            sparse.forward(codes, task.scale, weights, bias, activation, first, work)
        else:
            x = view(model.arena, task.inputs_place + lo * features, hi - lo, features)
            batch.multiply_by(codes, task.scale, x)
            dense.forward(x, weights, bias, activation, first)
        forward_hidden(model, lo, hi)
        result = outputs_of(model, last, lo, hi)
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
    model = Model(arena, layout, ZERO, ZERO, None)
    scale = flat(view(arena, places[SCALE_PLACE] + (x.itemsize > 1), ONE, ONE))
    work = sparse_work(arena, places[WORK_PLACE], x.shape[1], ZERO, ThreadMemory(*memory))
    out = outputs_of(model, ZERO, ZERO, ONE)
    sparse.forward(x, scale, all_weights(model, ZERO), bias_of(model, ZERO), layout[0, ACTIVATION], out, work)
    forward_hidden(model, ZERO, ONE)
    result = outputs_of(model, layout.shape[0] - 1, ZERO, ONE)
    best = 0
    for j in range(layout[-1, FAN_OUT]):
        if not math.isfinite(result[0, j]):
            return -1
        if result[0, j] > result[0, best]:
            best = j
    return best


def choose_sort_features(X: np.ndarray) -> np.ndarray:
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
        self.inputs_place, self.work_places = (
            self.arena.place(threads * CHUNK * plan.layers[0]),
            np.array(self.arena.work),
        )
        scales = self.arena.place(2)
        self.arena.allocate()
        self.arena.memory[scales : scales + 2] = plan.scale, 1
        table = np.zeros((len(plan.layers), self.arena.layout.shape[1]), np.int64)
        table[:-1], table[-1, [WORK_PLACE, SCALE_PLACE]] = self.arena.layout, [self.work_places[0], scales]
        self.of_one = self.arena.memory, table, *self.arena.thread_memory
        for l, (w, b) in enumerate(zip(weights, biases, strict=True)):
            self.arena.weights(l)[:], self.arena.bias(l)[:] = w, b
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
        sort_features = choose_sort_features(X[:CHUNK] if is_sparse and n > CHUNK else X[:0])
        task = Task(
            X,
            self.scales[X.dtype],
            int(is_sparse),
            sort_features,
            np.empty((threads, 2 ** len(sort_features) + 1), np.int64),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
            codes,
            self.inputs_place,
            self.work_places,
            self.arena.thread_memory,
        )
        fixed: tuple[Any, ...] = (self.arena.model(), task, out)
        if threads == 1:
            run(0, 1, *fixed)
            return out
        run(0, 1, self.arena.model(), task._replace(order=task.order[:0]), out)  # compiled here, where Ctrl-C is heard
        # This thread only waits: it would keep its core from another. A pool that stayed would have no threads in a
        # forked child, and leave threads behind that nobody asked for.
        with ThreadPoolExecutor(threads) as pool:
            for started in [pool.submit(run, t, threads, *fixed) for t in range(threads)]:
                started.result()
        return out

    def label(self, x: np.ndarray) -> int:
        """Which output is the largest for x (1, features), uint8 or plan.dtype, C-contiguous; -1 if that or x is not finite."""
        return one(x, *self.of_one)
