"""Integers as input: uint8 are pixels, which are scaled, others are numbers, which are not; a network knows its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastfc
from tests.small import BACKENDS, SMALL, blobs, digest, images

X, Y = blobs(100)


def flat_images() -> tuple[Any, Any]:
    X, y = images()
    return X.reshape(len(X), -1), y


@pytest.mark.parametrize("form", ["array", "CSR"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_trained_on_uint8_refuses_other_integers(backend: str, form: str, tmp_path: Any) -> None:
    """They would not be scaled: the same pixels would give other outputs, unnoticed."""
    flat, y = flat_images()
    make: Callable[[Any], Any] = csr_array if form == "CSR" else np.asarray
    pixels, numbers, scaled = make(flat), make(flat.astype(np.int64)), make(flat / 255)
    trained, options = fastfc.train((pixels, y), backend=backend, **SMALL).model, {**SMALL, "backend": backend}
    trained.save(tmp_path / "m")
    message = r"^X: given an array of (int64|bool), expected uint8, as trained on, or floats that are scaled alike$"
    for model in (trained, fastfc.load(tmp_path / "m"), copy.copy(trained)):
        assert model.input_kind == "uint8"
        np.testing.assert_allclose(model.outputs(scaled), model.outputs(pixels), rtol=1e-12)
        for call in (model.predict, model.predict_proba, model.outputs, lambda X, m=model: m.score(X, y[: X.shape[0]])):
            for x in (numbers, numbers[:1], make(flat > 0)):
                with pytest.raises(fastfc.InvalidType, match=message):
                    call(x)
    for data, test in (((pixels, y), (numbers, y)), ((numbers, y), (pixels, y))):
        with pytest.raises(fastfc.InvalidType, match=r"^X of test_data: given an array of "):
            fastfc.train(data, test, **options)
    with pytest.raises(fastfc.InvalidType, match=r"^X: given an array of int64, expected uint8"):
        fastfc.train((numbers, y), network=trained, epochs=1)
    assert fastfc.train((scaled, y), network=trained, epochs=1).model.input_kind == "uint8"


@pytest.mark.parametrize("backend", BACKENDS)
def test_integers_that_are_no_pixels_are_taken_as_they_are(backend: str) -> None:
    table, y = (10 * X).astype(np.int64), Y
    r = fastfc.train((table, y), (table.astype(np.int16), y), backend=backend, lr=0.01, **SMALL)
    floats = fastfc.train((table.astype(float), y), backend=backend, lr=0.01, **SMALL)
    assert digest(r.model) == digest(floats.model)
    assert np.array_equal(r.model.outputs(table), r.model.outputs(table.astype(float)))
    for x in (table, table[:1]):
        with pytest.raises(fastfc.InvalidType, match=r"^X: given an array of uint8, which is scaled, expected integers of"):
            r.model.predict(np.abs(x).astype(np.uint8))
    assert len(floats.model.predict(np.abs(table).astype(np.uint8))) == 100
