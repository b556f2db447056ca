"""Data that the ranks of a training hold together: one part after the other, in the order of the ranks."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from fastfc.data import Dataset
from fastfc.distributed.peers import Peers
from fastfc.errors import invalid
from fastfc.network import Network
from fastfc.settings import Settings
from fastfc.training.evaluation import HeldOut, Watch, divided, split
from fastfc.training.problem import Problem
from fastfc.training.weights import ClassWeight, class_factors
from fastfc.validation import as_array, check_weights

LABELLED = ("softmax_ce", "sigmoid_bce")  # losses of which integer labels tell the number of outputs


def part(n: int, comm: Any) -> slice:
    """The rows of a file of n samples that are this rank's, where all ranks take as many, or one fewer.

    X = np.load("X.npy", mmap_mode="r"), y = np.load("y.npy"), own = part(len(X), comm), data=(X[own], y[own])
    """
    return slice(n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size)


class Rows(NamedTuple):
    """Where a rank's samples are among those of all: start to stop of `total`."""

    start: int
    stop: int
    total: int

    @property
    def n(self) -> int:
        """How many are this rank's."""
        return self.stop - self.start

    def own(self, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` that are this rank's, counted from its first."""
        return rows[(rows >= self.start) & (rows < self.stop)] - self.start


def rows_of(peers: Peers, count: int) -> Rows:
    """Of a rank that has `count`."""
    ends = [0, *accumulate(peers.gather(count))]
    return Rows(ends[peers.rank], ends[peers.rank + 1], ends[-1])


def filled(peers: Peers, X: Any, y: Any, what: str) -> tuple[Any, Any, Rows]:
    """(X, y) of this rank, and which rows they are. A rank without any gets a sample of another, to know what they are like."""
    rows = rows_of(peers, X.shape[0])
    if rows.total == 0:
        raise invalid(what, "no samples on any rank", "at least one sample")
    some = next(found for found in peers.gather((X[:1], y[:1]) if rows.n else None) if found)
    return (X, y, rows) if rows.n else (*some, rows)


def together(peers: Peers, own: np.ndarray) -> np.ndarray:
    """The rows of all ranks."""
    return np.concatenate(peers.gather(own))


def weights_of_all(peers: Peers, own: Any, n: int, what: str = "sample_weight") -> np.ndarray | None:
    """The weights of the samples of all ranks, where all ranks give them: this one `own` (n,)."""
    peers.same(what, {"whether there are any": own is not None})
    if own is None:
        return None
    array = as_array(own, what)
    if array.shape != (n,):
        raise invalid(what, f"shape {array.shape}", f"({n},), one for each sample of the rank")
    weights = together(peers, array)
    return check_weights(weights, len(weights), what)


def shared(peers: Peers, dataset: Dataset, is_named: bool, sample_weight: Any, class_weight: ClassWeight | None) -> Dataset:
    """This rank's part of the data, with the weights of all ranks' samples.

    is_named  the same data is loaded by every rank, and divided; else it is this rank's part already
    """
    own, weights = dataset, dataset.sample_weight if sample_weight is None else sample_weight
    peers.same("data", {"name": dataset.name, "whether there is test data": dataset.X_test is not None})
    if is_named:
        train = part(len(dataset.y), peers.comm)
        own = replace(dataset, X=dataset.X[train].copy(), y=dataset.y[train])
        weights = None if weights is None else check_weights(weights, len(dataset.y))[train]
        if dataset.y_test is not None:
            test = part(len(dataset.y_test), peers.comm)
            own = replace(own, X_test=dataset.X_test[test], y_test=dataset.y_test[test])
    weights = weights_of_all(peers, weights, len(own.y))
    factors = None if class_weight is None else class_factors(together(peers, own.y), class_weight)
    return replace(own, sample_weight=weights, class_factor=factors)


class SharedHeldOut(HeldOut):
    """X is this rank's; targets, y and weights are those of all ranks."""

    peers: Peers
    own_n: int  # of this rank's samples; where there are none X has one of another's

    def outputs(self, model: Network, threads: int) -> np.ndarray:
        """(n, outputs) what the network gives for the samples of all ranks."""
        own = super().outputs(model, threads) if self.own_n else np.empty((0, model.layers[-1]), model.dtype)
        return together(self.peers, own)


class SharedProblem(Problem):
    """What a training of several ranks is about: X, targets and what is held out are this rank's; rows, weights and numbers of
    samples are of all."""

    def __init__(
        self, peers: Peers, settings: Settings, data: Dataset, seed: int, network: Network | None, watch: Watch
    ) -> None:
        self.peers = peers
        X, y, self.own = filled(peers, data.X, data.y, "X")
        super().__init__(settings, replace(data, X=X, y=y), seed, network, watch)
        backgrounds = peers.gather(self.background if self.own.n else None)
        self.background = next(found for found in backgrounds if found is not None)

    @property
    def samples(self) -> int:
        return self.own.total

    def _known_outputs(self, y: Any) -> int | None:
        y, loss, outputs = np.asarray(y), self.settings.loss, self.settings.outputs
        are_labels = y.ndim == 1 and y.dtype.kind in "biu"
        alike = {"features": self.X.shape[1], "the kind of X": self.input_kind, "targets a sample": y.shape[1:]}
        self.peers.same("data", {**alike, "whether y are integers": are_labels})
        if not are_labels or outputs is not None or loss not in LABELLED:
            return outputs
        highest = max(self.peers.gather(int(y.max())))
        if highest >= self.samples:
            expected = "no more classes than samples, or `outputs` to say how many"
            raise invalid("y", f"label {highest} in {self.samples} samples", expected)
        return 1 if loss == "sigmoid_bce" and highest <= 1 else max(highest + 1, 2)

    def _share(
        self, share: float, classes: np.ndarray | None, y: Any, weights: np.ndarray | None, seed: int
    ) -> HeldOut:
        of_all = None if classes is None else together(self.peers, classes[: self.own.n])
        self.rows, rows = split(share, of_all, self.samples, seed)
        own = self.own.own(rows)
        X, places = divided(self.X, own if len(own) else np.arange(1))
        weights = None if weights is None else check_weights(weights[rows], len(rows), "sample_weight of validation")
        return self._of_all(HeldOut(X, self.targets[own], np.asarray(y)[own], weights, places), len(own))

    def _held_out(self, X: Any, y: Any, weights: Any, what: str) -> HeldOut:
        n = X.shape[0]
        X, y, _ = filled(self.peers, X, y, f"X of {what}")
        of_all = weights_of_all(self.peers, weights, n, f"sample_weight of {what}")
        return self._of_all(super()._held_out(X, y, None, what)._replace(weights=of_all), n)

    def _of_all(self, held: HeldOut, count: int) -> SharedHeldOut:
        targets, y = together(self.peers, held.targets[:count]), together(self.peers, held.y[:count])
        made = SharedHeldOut(held.X, targets, y, held.weights, held.rows)
        made.peers, made.own_n = self.peers, count
        return made
