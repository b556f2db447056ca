"""A backend's Trainer in each rank, and what passes between them in a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.distributed.data import Rows
from fastfc.distributed.peers import Peers
from fastfc.kernels.optimizers import clip
from fastfc.kernels.plan import Epoch, Plan


class SharedTrainer:
    """Steps of all ranks together, called as a Trainer of one process: an Epoch has the samples of all ranks.

    local     the Trainer of this rank's samples, which are `rows` of those of all, with plan.keeps_gradient, but for averaging
    plan      of the batches of all ranks
    average_every  None: in each step the gradients of the ranks are added up, and all make the same update (Chen et al. 2016).
              k: each rank makes k steps alone, along the mean gradient of its own samples of each batch, then parameters and the
              optimiser's state become their mean over the ranks (Stich 2019; of the state as well: Yu et al. 2019), by the
              weights of the samples that each has gone through (McMahan et al. 2017)
    """

    def __init__(self, peers: Peers, local: Any, rows: Rows, plan: Plan, average_every: int | None) -> None:
        self.peers, self.local, self.rows, self.plan, self.average_every = peers, local, rows, plan, average_every
        self.epoch: Epoch | None = None
        self.alone = 0  # steps since the last average
        self.passed = np.zeros(2)  # the scale of the samples of these steps, of this rank and of all, added up

    def run(self, epoch: Epoch, start: int, stop: int) -> None:
        """Steps `start` to `stop` of an epoch, whose losses all ranks have afterwards; none compiles what is not compiled yet."""
        if start == stop:
            self.local.run(epoch, 0, 0)
            if self.average_every is None:
                self.local.apply(epoch, 0, 0)
            return
        self._divide(epoch)
        for s in range(start, stop):
            part = self._part(s)
            if self.average_every is None:
                gradient = self._sum_of_gradients(part)
                if self.plan.clip_norm is not None:
                    clip(gradient, self.plan.clip_norm)
                self.local.apply(part, 0)
            else:
                self._step_alone(part, epoch.scale[s * self.plan.batch_size :][: self.plan.batch_size])
        self._gather_losses(start, stop)

    def gradient(self, epoch: Epoch, s: int) -> np.ndarray:
        """As that of a Trainer: of the samples of all ranks."""
        self._divide(epoch)
        gradient = self._sum_of_gradients(self._part(s))
        self._gather_losses(s, s + 1)
        return gradient

    def state(self) -> dict[str, list[np.ndarray]]:
        """As that of a Trainer, and the same in all ranks."""
        if self.alone:
            self._average()
        return self.local.state()

    def parameters(self) -> np.ndarray:
        return self.local.parameters()

    def views(self, flat: np.ndarray) -> dict[str, list[np.ndarray]]:
        return self.local.views(flat)

    def place(self, flat: np.ndarray) -> None:
        self.local.place(flat)

    def close(self) -> None:
        self.local.close()

    def _divide(self, epoch: Epoch) -> None:
        """Find this rank's samples in the order of the epoch."""
        if epoch is self.epoch:
            return
        self.epoch, (order, shifts) = epoch, epoch[:2]
        self.places = np.flatnonzero((order >= self.rows.start) & (order < self.rows.stop))
        steps = -(-len(order) // self.plan.batch_size)
        self.ends = np.searchsorted(self.places, np.arange(steps + 1) * self.plan.batch_size).tolist()
        self.order, self.scale = order[self.places] - self.rows.start, epoch.scale[self.places]
        self.shifts = shifts[self.places] if len(shifts) else shifts
        self.losses = np.zeros(len(self.places), epoch.losses.dtype)

    def _part(self, s: int) -> Epoch:
        """This rank's samples of step s, as an epoch of one step; there may be none."""
        assert self.epoch is not None
        own = slice(self.ends[s], self.ends[s + 1])
        rules, key = self.epoch.rules[s : s + 1], self.epoch.dropout_key
        arrays = self.order[own], self.shifts[own], rules, self.scale[own], self.losses[own]
        return Epoch(*arrays, key, first_sample=self.rows.start)

    def _sum_of_gradients(self, part: Epoch) -> np.ndarray:
        block: np.ndarray = self.local.block
        if len(part.order):
            self.local.gradient(part, 0)
        else:
            block[:] = 0
        self.peers.sum(block)
        return block

    def _step_alone(self, part: Epoch, scale_of_all: np.ndarray) -> None:
        own, of_all = (scale.sum(dtype=np.float64) for scale in (part.scale, scale_of_all))
        if own:
            scale = (part.scale / own).astype(part.scale.dtype) if self.plan.mean else part.scale
            self.local.run(part._replace(scale=scale), 0, 1)
        self.alone += 1
        self.passed += own, of_all
        if self.alone == self.average_every:
            self._average()

    def _average(self) -> None:
        state, (own, of_all) = self.local.state(), self.passed
        share = own / of_all if of_all else 1 / self.peers.size
        arrays = [array for some in state.values() for array in some]
        flat = np.concatenate([array.ravel() for array in arrays]) * self.plan.dtype.type(share)
        self.peers.sum(flat)
        for array, mean in zip(arrays, np.split(flat, np.cumsum([a.size for a in arrays])[:-1]), strict=True):
            array[:] = mean.reshape(array.shape)
        self.local.fill(state)
        self.alone, self.passed = 0, np.zeros(2)

    def _gather_losses(self, start: int, stop: int) -> None:
        """Of these steps, each sample's from the rank that has it: a sum of one number and zeros."""
        assert self.epoch is not None
        own, size, losses = slice(self.ends[start], self.ends[stop]), self.plan.batch_size, self.epoch.losses
        losses[start * size : stop * size] = 0
        losses[self.places[own]] = self.losses[own]
        self.peers.sum(losses[start * size : stop * size])
