"""Train and predict with an installed wheel: python trial.py, in any folder but this one. Without Numba nothing can be compiled."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import fastfc

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 256, (300, 8, 8), np.uint8) * (RNG.random((300, 8, 8)) < 0.2)
NUMBERS = RNG.standard_normal((300, 30))
LABELS = np.arange(300) % 3
TRAININGS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "images": (IMAGES, {}),
    "images, float64": (IMAGES, {"dtype": "float64"}),
    "shifted, with dropout": (IMAGES, {"augment": 1, "dropout": 0.5, "optimizer": "adam"}),
    "one by one": (IMAGES, {"batch_size": 1, "momentum_kind": "none", "weight_decay": 0.0, "lr": 0.01}),
    "numbers": (NUMBERS, {"activation": "gelu", "optimizer": "adamw", "clip_norm": 1.0}),
    "the whole set": (NUMBERS, {"optimizer": "lbfgs", "dtype": "float64"}),
}


def digest(name: str) -> str:
    """Of all parameters, and of predictions."""
    X, settings = TRAININGS[name]
    model = fastfc.train((X, LABELS), hidden=(40, 20), epochs=2, threads=2, **settings).model
    rows = X.reshape(300, -1)
    found = [*model.weights, *model.biases, model.predict(rows), model.predict(rows[:1])]
    return hashlib.sha256(b"".join(array.tobytes() for array in found)).hexdigest()


def main() -> None:
    for name in TRAININGS:
        print(digest(name), name)


if __name__ == "__main__":
    main()
