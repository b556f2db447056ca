"""What a worker is asked to do, and the data that every engine starts from. Standard library and NumPy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.workloads import Workload

Parameters = tuple[list[np.ndarray], list[np.ndarray]]


def load(folder: Path) -> Any:
    if (folder / "X.npy").exists():
        return np.load(folder / "X.npy")
    from scipy.sparse import load_npz

    return load_npz(folder / "X.npz")


@dataclass(frozen=True)
class Job:
    """One workload for one engine; `folder` holds X.npy, or X.npz of a CSR matrix, and y.npy."""

    workload: Workload
    threads: int
    dtype: str
    variant: str
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Options at their defaults are left out, but for the layers: the worker of an older tree may not have them."""
        given = asdict(self.workload).items()
        workload = {k: v for k, v in given if k == "layers" or v != getattr(Workload, k)}
        return asdict(self) | {"workload": workload}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Job:
        workload = dict(given["workload"])
        workload |= {k: tuple(v) for k, v in workload.items() if isinstance(v, list)}
        return cls(**{**given, "workload": Workload(**workload)})

    def raw(self) -> tuple[np.ndarray, np.ndarray]:
        """X (rows, features) uint8 or floats; y (rows,) int64 labels, or numbers, or (rows, outputs) one-hot for mse."""
        folder = Path(self.folder)
        X, labels = load(folder), np.load(folder / "y.npy")
        if self.workload.loss == "mse" and labels.dtype.kind == "i":
            return X, np.eye(self.workload.layers[-1], dtype=self.dtype)[labels]
        return X, labels

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """The same with X as the floats that the other libraries want, images scaled to [0, 1]."""
        X, y = self.raw()
        return (np.multiply(X, 1 / 255, dtype=self.dtype) if X.dtype == np.uint8 else X.astype(self.dtype)), y

    def parameters(self) -> Parameters:
        """The same start for every engine: He's weights, (fan_in, fan_out) each, and zero biases."""
        rng = np.random.default_rng(1)
        layers, gain = self.workload.layers, 1 if self.workload.activation == "tanh" else 2
        weights = [rng.normal(0, np.sqrt(gain / m), (m, n)).astype(self.dtype) for m, n in pairwise(layers)]
        return weights, [np.zeros(n, self.dtype) for n in layers[1:]]
