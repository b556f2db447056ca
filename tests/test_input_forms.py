"""Whatever form the input has, the training is the same; and nothing that is given is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastfc
from tests.test_training_equivalence import HEIGHT, WIDTH, network, samples


def forms(X: np.ndarray, folder: Path) -> dict[str, Any]:
    """The same numbers, small multiples of 1/8 or whole."""
    read_only = X.copy()
    read_only.flags.writeable = False
    np.save(folder / "X.npy", X)
    swapped = X.astype(X.dtype.newbyteorder(">"))
    wide = np.zeros((2 * len(X), X.shape[1] + 2), X.dtype)
    wide[::2, 1:-1] = X
    backwards = X[::-1, ::-1].copy()
    return {
        "Fortran": np.asfortranarray(X),
        "strided": wide[::2, 1:-1],
        "backwards": backwards[::-1, ::-1],
        "read-only": read_only,
        "memory-mapped": np.load(folder / "X.npy", mmap_mode="r"),
        "big-endian": swapped,
        "a list": X.tolist(),
        "float16": X.astype(np.float16),
        "float64": X.astype(np.float64),
        "images": X.reshape(len(X), HEIGHT, WIDTH),
        "CSR": csr_array(X),
    }


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_the_form_of_the_input_changes_nothing(backend: str, tmp_path: Path) -> None:
    X, y = samples(20, "floats", "float32")
    X = np.round(8 * X) / np.float32(8)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 8, "hidden": (6,), "backend": backend, "threads": 1}
    expected = fastfc.train((X, y), **settings).model
    outputs = expected.outputs(X)
    whole, labels = (
        (8 * X).astype(np.int16),
        {"int32": y.astype(np.int32), "big-endian": y.astype(">i8"), "list": y.tolist()},
    )
    for name, form in forms(X, tmp_path).items():
        model = fastfc.train((form, y), **settings).model
        assert [w.tobytes() for w in model.weights] == [w.tobytes() for w in expected.weights], name
        assert model.outputs(form).tobytes() == outputs.tobytes(), name
    for name, form in labels.items():
        model = fastfc.train((X, form), **settings).model
        assert [w.tobytes() for w in model.weights] == [w.tobytes() for w in expected.weights], name
    integers, floats = (fastfc.train((form, y), **settings).model for form in (whole, whole.astype(np.float32)))
    assert [w.tobytes() for w in integers.weights] == [w.tobytes() for w in floats.weights]


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("kind", ["uint8", "shifted"])
def test_nothing_given_is_changed(backend: str, kind: str) -> None:
    X, y = samples(20, kind, "float32")
    given, data = network("float32"), (X.reshape(-1, HEIGHT, WIDTH), y)
    arrays = [X, y, *given.weights, *given.biases]
    before = [a.copy() for a in arrays]
    r = fastfc.train(data, data, network=given, epochs=1, batch_size=8, augment=1, backend=backend)
    r.model.predict(X)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)
