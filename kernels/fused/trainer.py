"""A training with the compiled kernels: its memory, its threads, and the kernels that it is made of."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastfc.kernels.fused import crew, parts
from fastfc.kernels.fused.arena import Arena, aligned
from fastfc.kernels.fused.compiler.entry import Call, Entry
from fastfc.kernels.fused.compiler.making import together
from fastfc.kernels.fused.compiler.signature import pack
from fastfc.kernels.fused.encode import as_bytes, canonical, csr_of, encode, is_mapped
from fastfc.kernels.fused.predictor import Predictor
from fastfc.kernels.fused.records import (
    HALVES,
    PADDED,
    PART,
    UNIT,
    Arrangement,
    Csr,
    Data,
    Memory,
    Numbers,
    Options,
    Places,
    Problem,
    Schedule,
    Shares,
    Span,
    Team,
    Varying,
)
from fastfc.kernels.plan import Epoch, Plan
from fastfc.machine.cores import usable_cpus

Arrays = list[np.ndarray]
FULLEST = 0.1  # share of non-zeros up to which CSR rows are faster as they are, measured on images, where neighbours share most
ENTRIES = 1 << 16  # most numbers of CSR rows that are sorted by feature at a time: they stay in the caches
COUNTED = 512  # samples from which the cost of a feature is told
IDLE_COST = 1 / 16  # of a feature that is always zero, against one that never is: its weights are updated all the same

SPINS = 8_000  # looks of who waits before it sleeps, some 0.2 ms; none where there are more threads than cores

RUN, APPLY, ONLINE = Entry("epoch.run"), Entry("epoch.apply"), Entry("online.run")


class Trainer:
    """One training: its parameters and the optimiser's state, which are copies, and the data, which is only read.

    X        (n, features) uint8 or plan.dtype, C-contiguous, or a scipy CSR matrix of one of these
    targets  (n,) int64 labels, or (n, outputs) of plan.dtype
    state    "weights": (fan_in, fan_out) for each layer; "biases": (fan_out,); and by the names that the optimiser has for its
             state, arrays of the shapes of all weights, then of all biases, or nothing, for zeros
    threads  how many threads compute, at most; `threads` may be made less and more again between calls, which changes no bit
    input_kernel  "sparse" or "dense": how the first layer is multiplied; "sparse" takes CSR rows as they are, where `takes_rows`
    """

    def __init__(
        self, plan: Plan, X: Any, targets: np.ndarray, state: dict[str, Arrays], threads: int, input_kernel: str
    ) -> None:
        is_sparse, chunk, drops_input = input_kernel == "sparse", min(PART, plan.batch_size), any(plan.dropout[:1])
        X = X if isinstance(X, np.ndarray) else canonical(X)
        has_rows = is_sparse and not drops_input and takes_rows(X)
        scale, background, outside = (plan.scale if X.dtype == np.uint8 else 1), 0.0, plan.background
        self.sample = X[:1]
        if is_sparse and X.dtype != np.uint8 and isinstance(X, np.ndarray) and not (drops_input or is_mapped(X)):
            background, outside = outside, 0.0
            X, scale = encode(X, background)
        self.plan, self.layers = plan, range(len(plan.layers) - 1)
        self.is_online = parts.is_online(plan, is_sparse, background)
        self.threads = 1 if self.is_online else threads
        kept = plan.keeps_gradient or plan.batch_size > chunk or plan.clip_norm is not None
        states, batch = len(plan.optimizer.states), chunk if is_sparse and not has_rows else 0
        entries = entries_of(X, chunk) if has_rows else 0
        self.arena = Arena(plan, chunk, self.threads, batch, entries, states, gradient=kept)
        convert = not is_sparse and X.dtype == np.uint8  # floats are multiplied where they lie
        dtype, codes = plan.dtype, X.dtype if is_sparse or convert else None
        stored = aligned(4 * chunk, np.int64).reshape(2 * chunk, 2) if has_rows else None
        memory = _memory(self.arena, plan, chunk, self.threads, codes, is_sparse, stored)
        self.model = self.arena.model(states)
        cost = cost_of(X)  # for either kernel, so that both add up in one order
        height, width = plan.image_shape or (0, 0)
        widest = int(self.arena.layout[:, PADDED].max())
        sizes = (height, width, widest, X.dtype.itemsize, int(has_rows))
        options = Options(plan.batch_size, chunk, int(is_sparse), int(convert), *sizes)
        factor = parts.kept_factor(plan.dropout[0]) if drops_input else 1.0
        is_bytes = X.dtype == np.uint8
        numbers: Any = [dtype.type(value) for value in (*plan.off_and_on(), background, outside, plan.huber_delta)]
        numbers += [1.0 if is_bytes else factor, float(plan.clip_norm or 0)]
        scales = np.array([scale * (factor if is_bytes else 1)], dtype)
        self.problem = Problem(
            _data(X, targets, plan.layers[-1], dtype),
            options,
            Numbers(scales, *numbers),
            parts.NONE,
            memory,
            Shares(np.zeros(0, np.int64), divide(cost, HALVES)),
        )
        self.cost = cost
        self.factors = plan.optimizer.factors(len(self.layers), dtype)
        self.block = self.arena.memory[self.arena.gradient :][: self.arena.parameters] if kept else np.zeros(0, dtype)
        self.fill(state)
        self.meeting = crew.new_meeting(self.threads)
        self.crew: crew.Crew | None = None
        # Of each kernel and number of threads: a call for each thread, and for which epoch.
        self.calls: dict[tuple[str, int], tuple[list[Call], Epoch | None]] = {}
        self.code_dtype = X.dtype.name
        self.find_parts = partial(parts.of_plan, plan, X, is_sparse, has_rows, gradient=kept, layout=self.arena.layout)

    def run(self, epoch: Epoch, start: int, stop: int) -> None:
        """Steps `start` to `stop` of an epoch: the gradient of each batch, and the update.

        No step (start == stop) compiles what is not compiled yet, in the calling thread, where Ctrl-C is heard.
        """
        self._call(ONLINE if self.is_online else RUN, epoch, start, stop)

    def gradient(self, epoch: Epoch, s: int) -> np.ndarray:
        """The gradient of the batch of step `s`, of all layers in one flat array, `block`, which may be changed before `apply`.

        Its numbers stand as the parameters do in the arena, padding included, which is 0 and must stay so. Only with
        plan.keeps_gradient.
        """
        self._call(RUN, epoch, s, s + 1, is_held=1)
        return self.block

    def apply(self, epoch: Epoch, s: int, stop: int | None = None) -> None:
        """The update of step `s` along what that array holds. With stop == s none, and what is not compiled yet is."""
        self._call(APPLY, epoch, s, s + 1 if stop is None else stop)

    def state(self) -> dict[str, Arrays]:
        """Copies of the parameters and of the optimiser's state, as they are given to a Trainer."""
        views = self._views()
        parameters = {"weights": views.pop("weights"), "biases": views.pop("biases")}
        return {name: [array.copy() for array in arrays] for name, arrays in {**parameters, **views}.items()}

    def parameters(self) -> np.ndarray:
        """A copy of all parameters in one flat array, laid out as that of the gradient."""
        return self.arena.memory[: self.arena.parameters].copy()

    def views(self, flat: np.ndarray) -> dict[str, Arrays]:
        """Where in such an array the "weights" and the "biases" of each layer are: views of it."""
        weights, biases = ([get(l, flat) for l in self.layers] for get in (self.arena.weights, self.arena.bias))
        return {"weights": weights, "biases": biases}

    def place(self, flat: np.ndarray) -> None:
        """The parameters become those of such an array."""
        self.arena.memory[: self.arena.parameters] = flat
        for l in self.layers[1:]:
            self.arena.transpose(l)

    def close(self) -> None:
        """End the threads."""
        if self.crew:
            self.crew.end()

    def _call(self, kernel: Entry, epoch: Epoch, start: int, stop: int, is_held: int = 0) -> None:
        """A kernel in all threads, for these steps."""
        calls = self._bound(kernel, epoch)
        if start == stop:
            return
        for call in calls:
            call.change_end(start, stop, is_held)
        if len(calls) == 1:
            calls[0]()
            return
        crew.reset(self.meeting)
        self.crew = crew.together(self.crew, calls)

    def _bound(self, kernel: Entry, epoch: Epoch) -> list[Call]:
        """The calls of the threads, bound once; after that only what an epoch brings changes, where it is another one."""
        if (len(epoch.shifts) and not self.problem.parts.load) or (len(epoch.penalties) and not self.problem.parts.square):
            self.calls.clear()
        calls, bound_to = self.calls.get((kernel.name, self.threads), ([], None))
        if epoch is bound_to:
            return calls
        order, shifts, rules, scale, losses, key, penalties, first_sample = epoch
        span = Span(order, shifts, scale, losses, penalties, key, first_sample, 0, 0, 0)
        varying = Varying(Schedule(rules, self.factors), span)
        if calls:
            for call in calls:
                call.change_last(varying)
        elif any(name == kernel.name for name, _ in self.calls):  # by other threads
            calls = self._bind(kernel, varying)
        else:
            calls = together(lambda: self._bind(kernel, varying), self._predict_nothing)
        self.calls[kernel.name, self.threads] = calls, epoch
        return calls

    def _bind(self, kernel: Entry, varying: Varying) -> list[Call]:
        """The calls of a kernel in each thread, which asks for all kernels that a training is made of."""
        found = self.find_parts()
        if len(varying.span.shifts):
            found = found._replace(load=parts.load_shifted(self.plan.dtype, self.code_dtype))
        crew.ask(self.threads)
        spins = SPINS if self.threads <= usable_cpus() else 0
        teams = [Team(thread, self.threads, spins, self.meeting) for thread in range(self.threads)]
        shares = self.problem.shares._replace(features=divide(self.cost, self.threads))
        self.problem = self.problem._replace(shares=shares)
        records = ",".join(pack(record, []) for record in (teams[0], self.model, self.problem))
        if self.plan.clip_norm is not None:
            found = found._replace(clip=parts.clip(records, self.plan.dtype))
        if self.plan.clip_norm is not None or len(varying.span.penalties):
            found = found._replace(square=parts.square(records))
        self.problem = self.problem._replace(parts=found)
        more = (self.code_dtype,) if kernel is ONLINE else ()
        return [kernel.bind(team, self.model, self.problem, *more, varying) for team in teams]

    def _predict_nothing(self) -> None:
        """Ask for the kernels that predict, as is done after a training."""
        views = self._views()
        predictor = Predictor(self.plan, views["weights"], views["biases"], 1)
        predictor.outputs(self.sample)
        if isinstance(self.sample, np.ndarray):
            predictor.label(self.sample)

    def _views(self) -> dict[str, Arrays]:
        """The parameters and the optimiser's state where they lie."""
        arena, views = self.arena, self.views(self.arena.memory)
        for k, name in enumerate(self.plan.optimizer.states, 1):
            kept = self.views(arena.memory[k * arena.distance :])
            views[name] = [*kept["weights"], *kept["biases"]]
        return views

    def fill(self, state: dict[str, Arrays]) -> None:
        """The parameters and the optimiser's state become those of `state`, as it is given to a Trainer."""
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


def takes_rows(X: Any) -> bool:
    """Whether X is CSR whose rows are multiplied as they are. Fuller ones are expanded, to share rows of W among neighbours."""
    return not isinstance(X, np.ndarray) and X.nnz <= FULLEST * X.shape[0] * X.shape[1]


def entries_of(X: Any, chunk: int) -> int:
    """How many numbers of a part of a batch of CSR rows are sorted at a time: at least all of one feature, at most ENTRIES."""
    return max(chunk, min(ENTRIES, chunk * int(np.diff(X.indptr).max(initial=0))))


def cost_of(X: Any) -> np.ndarray:
    """(features,) how long each feature of X, an array or CSR, takes in a step, in units that do not matter."""
    sample = X[:COUNTED]
    counts = (
        np.count_nonzero(sample, axis=0)
        if isinstance(X, np.ndarray)
        else np.bincount(sample.indices[sample.data != 0], minlength=X.shape[1])
    )
    return counts / sample.shape[0] + IDLE_COST


def _memory(
    arena: Arena, plan: Plan, chunk: int, threads: int, codes_dtype: np.dtype | None, is_sparse: bool, stored: np.ndarray | None
) -> Memory:
    """What there is beside the parameters; the arena gets its memory here. Where nothing is `stored` in the place of samples, and
    without codes_dtype, codes are the inputs."""
    features, outputs, size = plan.layers[0], plan.layers[-1], 2 * chunk * plan.layers[0]
    padded, widest, ones = arena.layout[0, PADDED], arena.layout[:, PADDED].max(), max(chunk, features)
    counts = (size * (not is_sparse), chunk * outputs, widest, ones, HALVES * chunk * padded, threads * widest)
    offsets: list[Any] = [*(arena.place(int(count)) for count in counts), np.array(arena.work)]
    places = Places(*offsets)
    arena.allocate()
    arena.memory[places.ones : places.ones + ones] = 1
    if stored is None:
        codes = arena.memory[places.inputs :][:size] if codes_dtype is None else aligned(size, codes_dtype)
        stored = codes.reshape(2 * chunk, features)
    rows = sum(plan.layers[:-1]) + len(plan.layers) - 1
    arrangement = Arrangement(
        np.zeros((threads, chunk), np.int64),
        np.zeros((threads, chunk), np.int64),
        np.zeros((threads, chunk), np.int64),
        np.zeros((threads, chunk, 2), np.int64),
        np.zeros((threads, chunk), plan.dtype),
        np.zeros((threads, chunk), plan.dtype),
        np.zeros((threads, outputs + 1), np.int64),
    )
    rules = np.zeros((threads, len(plan.optimizer.kind._fields)), plan.dtype)
    squares = np.zeros((2, rows))
    return Memory(as_bytes(stored), places, arena.thread_memory, arrangement, rules, squares)


def _data(X: Any, targets: np.ndarray, outputs: int, dtype: np.dtype) -> Data:
    none = np.zeros(0, np.uint8)
    if isinstance(X, np.ndarray):
        dense, csr = as_bytes(X), Csr(none, np.zeros(0, np.int32), np.zeros(0, np.int64))
    else:
        dense, csr = none.reshape(0, 0), csr_of(X)
    if targets.ndim == 1:
        return Data(dense, csr, targets, np.zeros((0, outputs), dtype))
    return Data(dense, csr, np.zeros(0, np.int64), targets)
