"""The data of the workloads, written once a run as X.npy and y.npy for every worker to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import sklearn.datasets
from sklearn.preprocessing import StandardScaler

import fastfc.data

MEAN, STD = 0.1307, 0.3081  # of the MNIST training images scaled to [0, 1]
SMALL_SETS = ("iris", "wine", "breast cancer", "digits", "diabetes")


def sparse_rows(rows: int, features: int, rng: np.random.Generator) -> scipy.sparse.csr_matrix:
    """(rows, features) with 20 standard normal numbers a row, one in each twentieth of the features."""
    columns = rng.integers(0, features // 20, (rows, 20)) + np.arange(20) * (features // 20)
    starts = np.arange(rows + 1) * 20
    return scipy.sparse.csr_matrix((rng.standard_normal(20 * rows), columns.ravel(), starts), (rows, features))


class Store:
    """Folders of arrays under `root`, one for each (name, rows, features), made when first asked for.

    Names: "mnist" (uint8; tiled beyond 60,000 rows), "standardised" (the same, (x - mean) / std in float32), "normal"
    (float32), "test images" and "one image" (uint8), "density P" (uint8, a share P of the pixels non-zero); with two
    classes "binary" (float64) and "csr" (float64, a CSR matrix with 20 numbers a row, in X.npz); and the small sets of
    scikit-learn, "iris", "wine", "breast cancer", "digits", "diabetes" (float64, standardised).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._images: fastfc.data.Dataset | None = None

    @property
    def images(self) -> fastfc.data.Dataset:
        if self._images is None:
            self._images = fastfc.data.load_data(None)
        return self._images

    def folder(self, name: str, rows: int, features: int = 784) -> Path:
        path = self.root / f"{name.replace(' ', '-')}-{rows}-{features}"
        if not path.exists():
            X, y = self._arrays(name, rows, features)
            path.mkdir(parents=True)
            if isinstance(X, np.ndarray):
                np.save(path / "X.npy", X)
            else:
                scipy.sparse.save_npz(path / "X.npz", X)
            np.save(path / "y.npy", y)
        return path

    def _arrays(self, name: str, rows: int, features: int) -> tuple[Any, np.ndarray]:
        rng = np.random.default_rng(0)
        kind, _, share = name.partition(" ")
        if kind == "normal":
            return rng.standard_normal((rows, features), dtype=np.float32), rng.integers(0, 10, rows)
        if name in ("binary", "csr"):
            X = rng.standard_normal((rows, features)) if name == "binary" else sparse_rows(rows, features, rng)
            return X, (X @ rng.standard_normal(features) > 0).astype(np.int64)
        if name in SMALL_SETS:
            X, y = getattr(sklearn.datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
            return StandardScaler().fit_transform(X)[:rows], y[:rows]
        if kind == "density":
            X = rng.integers(1, 256, (rows, features), dtype=np.uint8)
            X[rng.random(X.shape, dtype=np.float32) >= float(share)] = 0
            return X, rng.integers(0, 10, rows)
        if name in ("test images", "one image"):
            images, labels = self.images.X_test, self.images.y_test
        else:
            images, labels = self.images.X, self.images.y
        assert images is not None and labels is not None
        i = np.arange(rows) % len(images)
        if kind == "standardised":
            return ((images[i] / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32), labels[i]
        return images[i], labels[i]
