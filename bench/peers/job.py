"""What a worker is asked to do, and the data that every engine starts from. Standard library and NumPy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.workloads import Workload

Parameters = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Job:
    """One workload for one engine; `folder` holds X.npy and y.npy."""

    workload: Workload
    threads: int
    dtype: str
    variant: str
    folder: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Job:
        workload = dict(given["workload"])
        workload["layers"] = tuple(workload["layers"])
        return cls(**{**given, "workload": Workload(**workload)})

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, features) uint8 or float32; y (rows,) int64 labels, or (rows, outputs) one-hot for mse."""
        X, labels = np.load(Path(self.folder) / "X.npy"), np.load(Path(self.folder) / "y.npy")
        if self.workload.loss == "mse":
            return X, np.eye(self.workload.layers[-1], dtype=self.dtype)[labels]
        return X, labels

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """The same with X as the floats that the other libraries want, images scaled to [0, 1]."""
        X, y = self.raw()
        scale = 1 / 255 if X.dtype == np.uint8 else 1
        return np.multiply(X, scale, dtype=self.dtype), y

    def parameters(self) -> Parameters:
        """The same start for every engine: He's weights, (fan_in, fan_out) each, and zero biases."""
        rng = np.random.default_rng(1)
        layers, gain = self.workload.layers, 1 if self.workload.activation == "tanh" else 2
        weights = [rng.normal(0, np.sqrt(gain / m), (m, n)).astype(self.dtype) for m, n in pairwise(layers)]
        return weights, [np.zeros(n, self.dtype) for n in layers[1:]]
