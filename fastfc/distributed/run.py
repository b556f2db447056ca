"""One training of several ranks: what `fastfc.training.run` does, and where the ranks must agree on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastfc.data import Dataset
from fastfc.distributed.data import SharedProblem
from fastfc.distributed.peers import Peers
from fastfc.distributed.trainer import SharedTrainer
from fastfc.errors import DistributedError
from fastfc.kernels.plan import Plan
from fastfc.machine.interrupts import Interrupts
from fastfc.network import Network
from fastfc.results import EpochRecord
from fastfc.training.callbacks import HOOKS, Listeners
from fastfc.training.limits import Limits
from fastfc.training.problem import Problem
from fastfc.training.resume import CheckpointPlan, Checkpoints, Snapshot, digest
from fastfc.training.run import Run


class SharedRun(Run):
    """A Run in each rank: all have the same state, history and order of the samples, and each its own part of the data."""

    def __init__(self, peers: Peers, average_every: int | None, *given: Any) -> None:
        self.peers, self.average_every = peers, average_every
        super().__init__(*given)

    def prepare(self, checkpoint: CheckpointPlan | None) -> None:
        super().prepare(checkpoint)
        self._check_same(self.state, "before the first epoch")
        self.peers.begin()

    def train(self, listeners: Listeners, limits: Limits) -> None:
        super().train(SharedListeners(self.peers, listeners), SharedLimits(self.peers, limits))
        self.limits.is_over()  # after this Ctrl-C has come in all ranks, or in none

    def _make_problem(self, data: Dataset, network: Network | None) -> Problem:
        return SharedProblem(self.peers, self.settings, data, self.seed, network, self.watch)

    def _make_trainer(self, plan: Plan) -> SharedTrainer:
        assert isinstance(self.problem, SharedProblem)
        rows, is_whole = self.problem.own, self.average_every is None
        own = replace(plan, batch_size=max(1, min(plan.batch_size, rows.n)), keeps_gradient=is_whole)
        return SharedTrainer(self.peers, super()._make_trainer(own), rows, plan, self.average_every)

    def _open(self, plan: CheckpointPlan, more: dict[str, Any]) -> Checkpoints:
        return SharedCheckpoints(self.peers, super()._open(plan, {**more, "average_every": self.average_every}))

    def _next_count(self, steps: int) -> int:
        return min(self.peers.gather(steps))

    def _check_parameters(self, epoch: int, state: dict[str, list[np.ndarray]]) -> None:
        super()._check_parameters(epoch, state)
        self._check_same(state, f"after epoch {epoch}")

    def _check_same(self, state: dict[str, list[np.ndarray]], when: str) -> None:
        digests = self.peers.gather([digest(array) for array in (*state["weights"], *state["biases"])])
        different = [rank for rank, found in enumerate(digests) if found != digests[0]]
        if different:
            given = f"other bits on rank {different[0]} than on rank 0 {when}"
            raise DistributedError(f"weights: given {given}, expected the same on machines of one kind")

    def _record(self, epoch: int, seconds: float) -> EpochRecord:
        record: EpochRecord = self.peers.gather(super()._record(epoch, seconds))[0]
        return record


class SharedLimits(Limits):
    """Over in all ranks as soon as they are in one."""

    def __init__(self, peers: Peers, limits: Limits) -> None:
        super().__init__(limits.max_seconds, limits.interrupts)
        self.peers = peers

    def is_over(self) -> bool:
        is_over = super().is_over()
        came, over = zip(*self.peers.gather((self.came, is_over)), strict=True)
        self.came = any(came)
        self.interrupts.came |= self.came
        return any(over)


class SharedListeners(Listeners):
    """Of which one that returns True, or raises, does so in all ranks."""

    def __init__(self, peers: Peers, listeners: Listeners) -> None:
        super().__init__(listeners.steps_per_call, listeners.functions)
        self.peers = peers
        heard = peers.gather([hook for hook in HOOKS if self.functions[hook]])
        for hook in {hook for hooks in heard for hook in hooks}:
            self.functions[hook].append(_nothing)  # all take part in each call

    def call(self, hook: str, interrupts: Interrupts, *arguments: object) -> bool:
        if not self.functions[hook]:
            return False
        return any(self.peers.attempt(super().call, hook, interrupts, *arguments))


class SharedCheckpoints(Checkpoints):
    """Written and read by rank 0 alone, of data that all ranks hold together."""

    def __init__(self, peers: Peers, own: Checkpoints) -> None:
        self.__dict__.update(own.__dict__)
        self.peers = peers
        parts = {key: peers.gather(self.identity[key]) for key in ("data", "validation")}
        self.identity |= {**parts, "ranks": peers.size}

    def write(self, snapshot: Snapshot) -> None:
        self.peers.on_root(super().write, snapshot)

    def read(self) -> Snapshot | None:
        snapshot: Snapshot | None = self.peers.on_root(super().read)
        return snapshot


def _nothing(*_: object) -> None:
    return None
