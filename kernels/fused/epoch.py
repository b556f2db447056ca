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

from collections import namedtuple
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from fastfc.kernels.fused import online, phases, sparse
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.encode import encode
from fastfc.kernels.fused.llvm.vectors import lanes
from fastfc.kernels.fused.llvm.views import aligned, view_rows
from fastfc.kernels.fused.model import PADDED, Arena
from fastfc.kernels.fused.optimizers import Schedule
from fastfc.kernels.fused.phases import HALVES, UNIT, Arrangement, Csr, Data, Memory, Numbers, Options, Places, Shares
from fastfc.kernels.fused.team import NEVER, Team, barrier, share
from fastfc.kernels.plan import Epoch, Plan

Arrays = list[np.ndarray]
CHUNK = 256  # samples in a part of a batch: its activations and deltas stay in the caches

# order, shifts, scale and losses of an Epoch, of which steps start to stop are made; with is_held = 1 without the update
Span = namedtuple("Span", "order shifts scale losses start stop is_held")


@kernel
def run(team, model, problem, schedule, span):
    """Steps span.start to span.stop of an epoch, this thread's share of them."""
    options, local, all_codes = problem.options, phases.local_memory(model, problem, team.thread), problem.memory.codes
    # What the phases need of the problem, no more: records go from call to call by value.
    of_samples = phases.Problem(problem.data, options, problem.numbers, None, problem.shares)
    of_features = phases.Problem(None, options, problem.numbers, None, problem.shares)
    chunk, size = options.chunk, options.batch_size
    passed, slot, end = 0, 0, min(span.stop * size, span.order.size)
    part_start = part_end = span.start * size  # the part in work; none yet, but the next is fetched
    while part_start < end:
        next_end = min(part_end + chunk, (part_end // size + 1) * size, end)
        s, rows, coming = part_start // size, part_end - part_start, next_end - part_end
        step_start, step_end = s * size, min((s + 1) * size, span.order.size)
        x, codes = view_rows(local.x, slot, slot + rows), view_rows(all_codes, slot, slot + rows)
        slot = chunk - slot
        next_x = view_rows(local.x, slot, slot + coming)
        next_codes = view_rows(all_codes, slot, slot + coming)

        if rows > 0:
            lo, hi = share(rows, UNIT, team.thread, team.threads)
            scale, sample_losses = span.scale[part_start:part_end], span.losses[part_start:part_end]
            phases.by_samples(model, of_samples, local, lo, hi, scale, sample_losses)
        lo, hi = share(coming, UNIT, team.thread, team.threads)
        order, shifts = span.order[part_end:next_end], span.shifts[part_end:next_end]
        phases.fetch(of_samples, order, shifts, local, lo, hi, next_x, next_codes)
        passed = barrier(team, passed)

        if rows > 0:
            is_last = part_end == step_end and span.is_held == 0
            part = phases.Part(x, codes, s, part_start == step_start, is_last)
            phases.by_features(team, model, of_features, schedule, local, part)
        if team.threads > HALVES:  # otherwise a thread multiplies by no other rows than its own
            passed = barrier(team, passed)
        phases.multiply_input(team, model, of_features, local, next_x, next_codes)
        passed = barrier(team, passed)
        part_start, part_end = part_end, next_end


@kernel
def apply(team, model, problem, schedule, span):
    """The update of step span.start along the gradient that is kept, this thread's share of it."""
    local = phases.local_memory(model, problem, team.thread)
    phases.apply_gradient(team, model, problem, schedule, local, span.start)


class Trainer:
    """One training: its parameters and the optimiser's state, which are copies, and the data, which is only read.

    X        (n, features) uint8 or plan.dtype, C-contiguous, or a scipy CSR matrix of one of these
    targets  (n,) int64 labels, or (n, outputs) of plan.dtype
    state    "weights": (fan_in, fan_out) for each layer; "biases": (fan_out,); and by the names that the optimiser has for its
             state, arrays of the shapes of all weights, then of all biases, or nothing, for zeros
    threads  how many threads compute
    input_kernel  "sparse" or "dense": how the first layer is multiplied
    """

    def __init__(
        self, plan: Plan, X: Any, targets: np.ndarray, state: dict[str, Arrays], threads: int, input_kernel: str
    ) -> None:
        is_sparse, chunk = input_kernel == "sparse", min(CHUNK, plan.batch_size)
        scale, background, outside = (plan.scale if X.dtype == np.uint8 else 1), 0.0, plan.background
        if is_sparse and X.dtype != np.uint8 and isinstance(X, np.ndarray):
            background, outside = outside, 0.0
            X, scale = encode(X, background)
        fits = online.fits(plan, lanes(plan.dtype), is_sparse, background)
        self.threads, self.kernel = (1, online.run) if fits else (threads, run)
        self.plan, self.layers = plan, range(len(plan.layers) - 1)
        kept = plan.keeps_gradient or plan.batch_size > chunk
        states, batch = len(plan.optimizer.states), chunk if is_sparse else 0
        self.arena = Arena(plan, chunk, self.threads, batch, states, gradient=kept)
        convert = not is_sparse and X.dtype == np.uint8  # floats are multiplied where they lie
        memory = _memory(self.arena, plan, chunk, self.threads, X.dtype if is_sparse or convert else None, is_sparse)
        self.model = self.arena.model(states)
        cost = sparse.cost(X)  # for either kernel, so that both add up in one order
        height, width = plan.image_shape or (0, 0)
        widest, dtype = int(self.arena.layout[:, PADDED].max()), plan.dtype
        options = Options(
            plan.batch_size, chunk, plan.loss, int(is_sparse), int(convert), height, width, widest
        )
        numbers = [dtype.type(value) for value in (*plan.off_and_on(), background, outside)]
        self.problem = phases.Problem(
            _data(X, targets, plan.layers[-1], dtype),
            options,
            Numbers(np.array([scale], dtype), *numbers),
            memory,
            Shares(divide(cost, self.threads), divide(cost, HALVES)),
        )
        self.factors = plan.optimizer.factors(len(self.layers), dtype)
        self.kind = plan.optimizer.kind(*[dtype.type(0)] * len(plan.optimizer.kind._fields))
        self._fill(state)
        self.counter = np.zeros(8, np.int64)
        self.pool = ThreadPoolExecutor(self.threads)

    def run(self, epoch: Epoch, start: int, stop: int) -> None:
        """Steps `start` to `stop` of an epoch: the gradient of each batch, and the update.

        No step (start == stop) compiles what is not compiled yet, in the calling thread, where Ctrl-C is heard.
        """
        self._call(self.kernel, epoch, start, stop)

    def gradient(self, epoch: Epoch, s: int) -> np.ndarray:
        """The gradient of the batch of step `s`, of all layers in one flat array, which may be changed before `apply`.

        Its numbers stand as the parameters do in the arena, padding included, which is 0 and must stay so. Only with
        plan.keeps_gradient.
        """
        self._call(self.kernel, epoch, s, s + 1, is_held=1)
        assert self.arena.gradient is not None
        return self.arena.memory[self.arena.gradient :][: self.arena.parameters]

    def apply(self, epoch: Epoch, s: int) -> None:
        """The update of step `s` along what that array holds."""
        self._call(apply, epoch, s, s + 1)

    def state(self) -> dict[str, Arrays]:
        """Copies of the parameters and of the optimiser's state, as they are given to a Trainer."""
        views = self._views()
        parameters = {"weights": views.pop("weights"), "biases": views.pop("biases")}
        return {name: [array.copy() for array in arrays] for name, arrays in {**parameters, **views}.items()}

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()

    def _call(self, kernel: Any, epoch: Epoch, start: int, stop: int, is_held: int = 0) -> None:
        """A kernel in all threads, for these steps. An error in one ends the others with what they have."""
        self.counter[0] = 0
        order, shifts, rules, scale, losses = epoch
        schedule = Schedule(self.kind, rules, self.factors)
        span = Span(order, shifts, scale, losses, start, stop, is_held)
        fixed: tuple[Any, ...] = (self.model, self.problem, schedule, span)
        if self.threads == 1 or start == stop:
            kernel(Team(0, 1, self.counter), *fixed)
            return
        started: list[Future[None]] = []
        try:
            for thread in range(
                self.threads
            ):  # the caller only waits: it would keep its core from a thread that starts
                started.append(self.pool.submit(kernel, Team(thread, self.threads, self.counter), *fixed))
            for future in wait(started, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            self.counter[0] = NEVER
            raise
        finally:
            wait(started)

    def _views(self) -> dict[str, Arrays]:
        """The parameters and the optimiser's state where they lie."""
        arena, names = self.arena, self.plan.optimizer.states
        views = {"weights": [arena.weights(l) for l in self.layers], "biases": [arena.bias(l) for l in self.layers]}
        for k, name in enumerate(names, 1):
            away = k * arena.distance
            views[name] = [get(l, away) for get in (arena.weights, arena.bias) for l in self.layers]
        return views

    def _fill(self, state: dict[str, Arrays]) -> None:
        for name, views in self._views().items():
            for view, given in zip(views, state.get(name, []), strict=name in state):
                view[:] = given
        for l in self.layers[1:]:
            self.arena.transpose(l)


def divide(cost: np.ndarray, parts: int) -> np.ndarray:
    """(parts + 1,) where to divide the features, so that each part has about the same cost; multiples of UNIT."""
    so_far = np.cumsum(cost)
    cuts = np.searchsorted(so_far, so_far[-1] * (np.arange(1, parts) / parts))
    return np.array([0, *(cuts + UNIT // 2) // UNIT * UNIT, len(cost)]).clip(max=len(cost))


def _memory(
    arena: Arena, plan: Plan, chunk: int, threads: int, codes_dtype: np.dtype | None, is_sparse: bool
) -> Memory:
    """What there is beside the parameters; the arena gets its memory here. Without codes_dtype, codes are the inputs."""
    features, outputs, size = plan.layers[0], plan.layers[-1], 2 * chunk * plan.layers[0]
    padded, widest, ones = arena.layout[0, PADDED], arena.layout[:, PADDED].max(), max(chunk, features)
    counts = (size * (not is_sparse), chunk * outputs, widest, ones, HALVES * chunk * padded, threads * widest)
    offsets: list[Any] = [*(arena.place(int(count)) for count in counts), np.array(arena.work)]
    places = Places(*offsets)
    arena.allocate()
    arena.memory[places.ones : places.ones + ones] = 1
    codes = arena.memory[places.inputs :][:size] if codes_dtype is None else aligned(size, codes_dtype)
    arrangement = Arrangement(
        np.zeros((threads, chunk), np.int64),
        np.zeros((threads, chunk), np.int64),
        np.zeros((threads, chunk, 2), np.int64),
        np.zeros((threads, chunk), plan.dtype),
        np.zeros((threads, chunk), plan.dtype),
        np.zeros((threads, outputs + 1), np.int64),
    )
    return Memory(codes.reshape(2 * chunk, features), places, arena.thread_memory, arrangement)


def _data(X: Any, targets: np.ndarray, outputs: int, dtype: np.dtype) -> Data:
    none = np.zeros((0, 0), X.dtype)
    if isinstance(X, np.ndarray):
        dense, csr = X, Csr(none[0:0].ravel(), np.zeros(0, np.int32), np.zeros(0, np.int64))
    else:
        dense, csr = none, Csr(X.data, X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False))
    if targets.ndim == 1:
        return Data(dense, csr, targets, np.zeros((0, outputs), dtype))
    return Data(dense, csr, np.zeros(0, np.int64), targets)
