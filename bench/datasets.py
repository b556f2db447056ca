"""The data of the workloads, written once a run as X.npy and y.npy for every worker to load."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fastfc.data

MEAN, STD = 0.1307, 0.3081  # of the MNIST training images scaled to [0, 1]


class Store:
    """Folders of arrays under `root`, one for each (name, rows, features), made when first asked for.

    Names: "mnist" (uint8; tiled beyond 60,000 rows), "standardised" (the same, (x - mean) / std in float32), "normal"
    (float32), "test images" and "one image" (uint8), "density P" (uint8, a share P of the pixels non-zero).
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
            np.save(path / "X.npy", X)
            np.save(path / "y.npy", y)
        return path

    def _arrays(self, name: str, rows: int, features: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        kind, _, share = name.partition(" ")
        if kind == "normal":
            return rng.standard_normal((rows, features), dtype=np.float32), rng.integers(0, 10, rows)
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
