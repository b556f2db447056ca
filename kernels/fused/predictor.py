"""Predictions with the compiled kernels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastfc.kernels.fused import parts
from fastfc.kernels.fused.arena import Arena, aligned
from fastfc.kernels.fused.compiler.entry import Call, Entry
from fastfc.kernels.fused.encode import as_bytes, canonical, csr_of
from fastfc.kernels.fused.records import (
    ACTIVATE,
    CHUNK,
    MULTIPLY,
    PRODUCT,
    SCALE_PLACE,
    WORK_PLACE,
    RowTask,
    Stored,
    Task,
)
from fastfc.kernels.plan import Plan

SPARSE_BELOW = 0.35  # share of non-zeros at which the sparse first layer is the faster one
KEY_BITS = 12
RUN, RUN_ROWS, ONE = Entry("predict.run"), Entry("predict.run_rows"), Entry("predict.one")


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
        self.arena = Arena(plan, threads * CHUNK, threads, batch=1)
        self.inputs_place = self.arena.place(threads * CHUNK * plan.layers[0])
        self.work_places = np.array(self.arena.work)
        scales = self.arena.place(2)
        self.arena.allocate()
        self.arena.memory[scales : scales + 2] = plan.scale, 1
        self.places = np.zeros(3, np.int64)
        self.places[[WORK_PLACE, SCALE_PLACE]] = self.work_places[0], scales
        matrix = f"f{plan.dtype.itemsize}:2C"
        for l, (w, b, name) in enumerate(zip(weights, biases, plan.activations, strict=True)):
            self.arena.weights(l)[:], self.arena.bias(l)[:] = w, b
            self.arena.layout[l, ACTIVATE] = 0 if name == "identity" else parts.activate(name, matrix)
        self.arena.layout[:, PRODUCT] = parts.product(plan.dtype)
        self.scales = {np.dtype(np.uint8): np.array([plan.scale], plan.dtype), plan.dtype: np.ones(1, plan.dtype)}
        self.of_row: dict[Any, tuple[np.ndarray, np.ndarray, Call]] = {}  # a place for the row, for outputs, and the call
        self.of_one: dict[np.dtype, tuple[np.ndarray, Any, int, Call]] = {}  # a place for the sample, and the call with its parts
        self.best, self.finite = np.zeros(1, np.int64), np.zeros(threads, np.int64)
        self.all_finite = True

    def outputs(self, X: Any, finished: bool = False) -> np.ndarray:
        """(n, outputs): f(z) of the last layer, and if `finished` what the loss makes of that: probabilities, or expected counts.

        X (n, features) uint8, plan.dtype, or CSR of them; of an array, `all_finite` then tells whether all its numbers are.
        """
        if isinstance(X, np.ndarray) and len(X) == 1:
            return self._row(X, finished)
        out = np.empty((X.shape[0], self.plan.layers[-1]), self.plan.dtype)
        self.finite[:] = 0
        self._run(self._calls(X, out, finished))
        self.all_finite = not isinstance(X, np.ndarray) or int(self.finite.sum()) == X.size
        return out

    def _run(self, calls: list[Call]) -> None:
        if len(calls) == 1:
            return calls[0]()
        # This thread only waits: it would keep its core from another. A pool that stayed would have no threads in a
        # forked child, and leave threads behind that nobody asked for.
        with ThreadPoolExecutor(len(calls)) as pool:
            for started in [pool.submit(call) for call in calls]:
                started.result()

    def _row(self, x: np.ndarray, finished: bool) -> np.ndarray:
        """What `outputs` gives for x (1, features), by a call that is bound once."""
        key = x.dtype, finished
        if key not in self.of_row:
            sample, out = np.ones(x.shape, x.dtype), np.empty((1, self.plan.layers[-1]), self.plan.dtype)
            self.of_row[key] = sample, out, self._calls(sample, out, finished)[0]
        sample, out, call = self.of_row[key]
        sample[:] = x
        call()
        self.all_finite = self.finite[0] == x.shape[1]
        return out.copy()

    def _calls(self, X: Any, out: np.ndarray, finished: bool) -> list[Call]:
        """One for each thread that has samples."""
        threads = min(self.threads, -(-X.shape[0] // CHUNK))
        finish = parts.finish(self.plan.loss, f"f{out.itemsize}:2C") if finished else 0
        task: Task | RowTask
        if isinstance(X, np.ndarray):
            entry, task = RUN, self._task(X, threads, finish)
        else:
            rows = csr_of(canonical(X)), X.dtype.name, self.scales[X.dtype]
            entry, task = RUN_ROWS, RowTask(*rows, self.work_places, self.arena.thread_memory, finish)
        return [entry.bind(thread, threads, self.arena.model(), task, out) for thread in range(threads)]

    def _task(self, X: np.ndarray, threads: int, finish: int) -> Task:
        n, features = X.shape
        seen = X[: 4 * CHUNK]
        is_sparse = np.count_nonzero(seen) < SPARSE_BELOW * seen.size
        sort_features = choose_sort_features(X[:CHUNK] if is_sparse and n > CHUNK else X[:0])
        return Task(
            as_bytes(X),
            X.dtype.name,
            self.scales[X.dtype],
            parts.multiply_codes(self.plan.dtype, X.dtype) if is_sparse else 0,
            sort_features,
            np.empty((threads, 2 ** len(sort_features) + 1), np.int64),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
            as_bytes(aligned(threads * CHUNK * features, X.dtype).reshape(threads * CHUNK, features)),
            self.inputs_place,
            self.work_places,
            self.arena.thread_memory,
            finish,
            self.finite,
        )

    def label(self, x: np.ndarray) -> np.ndarray:
        """(1,) int64: which output is the largest for x (1, features), uint8 or plan.dtype; -1 if that or x is not finite."""
        try:
            sample, function, place, _ = self.of_one[x.dtype]
        except KeyError:
            sample, places = np.empty(x.shape, x.dtype), self.places.copy()
            places[MULTIPLY] = parts.multiply_codes(self.plan.dtype, x.dtype)
            stored = Stored(as_bytes(sample), x.dtype.name)
            call = ONE.bind(stored, self.arena.model(), places, self.arena.thread_memory, self.best)
            function, place = call.function, call.place
            self.of_one[x.dtype] = sample, function, place, call
        sample[...] = x
        function(place)
        return self.best.copy()
