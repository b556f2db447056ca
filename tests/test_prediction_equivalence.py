"""Predictions: the fused backend against the reference, and a sample alone against the same sample among others."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pytest
from scipy.sparse import csr_array

from fastfc.network import Network

FEATURES = 101
KINDS = ("uint8", "sparse floats", "dense floats")


def samples(n: int, kind: str, features: int = FEATURES) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, features))
    X[rng.random(X.shape) < (0.01 if kind == "dense floats" else 0.8)] = 0
    return np.clip(100 * np.abs(X), 0, 255).astype(np.uint8) if kind == "uint8" else X


def networks(layers: tuple[int, ...], dtype: str, **description: Any) -> tuple[Network, Network]:
    """The same parameters, biases too, for the fused kernels and for the reference."""
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in pairwise(layers)]
    biases = [rng.standard_normal(size) for size in layers[1:]]
    both = [
        Network(layers, weights=weights, biases=biases, dtype=dtype, backend=b, **description)
        for b in ("numba", "numpy")
    ]
    return both[0], both[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [(FEATURES, 70, 33, 10), (FEATURES, 3), (5, 4, 1), (16, 300, 2)])
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 1100])
def test_outputs_are_those_of_the_reference(n: int, layers: tuple[int, ...], kind: str, dtype: str) -> None:
    ours, theirs = networks(layers, dtype, activation="tanh", loss="mse", output_activation="sigmoid")
    X = samples(n, kind, layers[0])
    expected = theirs.outputs(X)
    np.testing.assert_allclose(
        ours.outputs(X), expected, rtol=0, atol=64 * np.finfo(dtype).eps * np.abs(expected).max()
    )
    of_rows = ours.outputs(csr_array(X))
    if numba.config.DISABLE_JIT:  # sums of NumPy's in place of the kernels' own
        np.testing.assert_allclose(of_rows, expected, rtol=0, atol=64 * np.finfo(dtype).eps * np.abs(expected).max())
    else:
        np.testing.assert_array_equal(of_rows, ours.outputs(X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [(FEATURES, 70, 33, 10), (FEATURES, 3), (15, 4, 2)])
def test_a_sample_alone_gives_the_same_bits_as_among_others(layers: tuple[int, ...], kind: str, dtype: str) -> None:
    network, _ = networks(layers, dtype)
    X = samples(200, kind, layers[0])
    together, labels = network.outputs(X), network.predict(X)
    for i in (*range(12), 63, 64, 199):
        assert network.outputs(X[i : i + 1]).tobytes() == together[i].tobytes()
        assert network.outputs(X[i:]).tobytes() == together[i:].tobytes()
        assert network.predict(X[i : i + 1]) == labels[i]
    np.testing.assert_array_equal(labels, together.argmax(axis=1))
