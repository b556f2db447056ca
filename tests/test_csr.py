"""CSR rows that are multiplied as they are: to the bits of the same matrix with its zeros, in memory that does not hold them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from scipy.sparse import csr_array

from fastfc.kernels.fused import trainer
from fastfc.network import Network
from tests.trainers import Training

# In the place of the kernels' own sums are NumPy's there, whose order is another one.
pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
FEATURES, N = 203, 70
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "nesterov": (16, {}),
    "adam": (16, {"optimizer": "adam"}),
    "weights that stay": (16, {"momentum_kind": "none", "weight_decay": 0.0}),
    "one batch": (N, {}),
    "batches in parts": (40, {}),
    "clipped": (16, {"clip_norm": 0.01}),
    "clipped, in parts": (40, {"clip_norm": 0.01, "optimizer": "adam"}),
    "hidden dropout": (16, {"dropout": 0.4}),
    "input dropout": (16, {"input_dropout": 0.4}),
    "L1": (16, {"l1": 1e-3}),
    "batches of one": (1, {"momentum_kind": "none", "weight_decay": 0.0}),
    "batches of one, decayed": (1, {"momentum_kind": "none"}),
}


def samples(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Few numbers that are not 0; features and samples without any, and one sample with many."""
    rng = np.random.default_rng(0)
    X = rng.integers(1, 256, (N, FEATURES)) if kind == "uint8" else rng.standard_normal((N, FEATURES))
    X[rng.random(X.shape) > 0.04] = 0
    X[[0, 5, 6, N - 1]] = 0
    X[:, [0, 7, *range(60, 90), FEATURES - 1]] = 0
    X[9, 100:180] = 3
    return X.astype(np.uint8) if kind == "uint8" else X, rng.integers(0, 3, N)


def untidy(X: np.ndarray) -> csr_array:
    """Descending indices, a 0 that is stored, and a number in two halves."""
    rows = [[(j, X[i, j]) for j in np.flatnonzero(X[i])[::-1]] for i in range(len(X))]
    rows[2] += [(0, X.dtype.type(0))]
    column, value = rows[3][0]
    half = value // 2 if X.dtype == np.uint8 else value / 2
    rows[3] = [(column, half), *rows[3][1:], (column, value - half)]
    data, indices = ([pair[k] for row in rows for pair in row] for k in (1, 0))
    return csr_array((np.array(data, X.dtype), indices, np.cumsum([0, *map(len, rows)])), shape=X.shape)


def network(dtype: str = "float64", hidden: int = 37) -> Network:
    return Network((FEATURES, hidden, 3), seed=1, dtype=dtype)


def trained(X: Any, y: np.ndarray, dtype: str, case: str, threads: int) -> str:
    batch_size, settings = CASES[case]
    X = X if X.dtype == np.uint8 else X.astype(dtype)
    training = Training("numba sparse", network(dtype), X, y, batch_size, threads, **settings)
    for seed in range(2):
        training.run(0.05, np.random.default_rng(seed).permutation(training.n))
    return training.digest()


# Each case compiles kernels of its own for each of these. `make soak` has all, `make test` those of float32 whose kernels
# other tests need too.
KINDS = [("floats", "float64"), ("uint8", "float32"), ("floats", "float32")]
TWICE = ("nesterov", "batches of one")


def takes_long(case: str, kind: str, dtype: str) -> bool:
    return dtype == "float32" and (kind == "floats" or case not in TWICE)


@pytest.mark.parametrize(
    ("case", "kind", "dtype"),
    [
        pytest.param(case, *kind, marks=pytest.mark.slow if takes_long(case, *kind) else ())
        for case in CASES
        for kind in KINDS
    ],
)
def test_training_gives_the_bits_of_the_matrix(case: str, kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "PART", 24)
    X, y = samples(kind)
    expected = trained(X, y, dtype, case, 1)
    for threads in (1, 2, 3):
        assert trained(csr_array(X), y, dtype, case, threads) == expected
    assert trained(untidy(X), y, dtype, case, 2) == expected


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("uint8", "float32"), pytest.param("floats", "float32", marks=pytest.mark.slow), ("floats", "float64")],
)
def test_steps_of_one_sample_give_the_bits_of_the_matrix(kind: str, dtype: str) -> None:
    X, y = samples(kind)
    X, digests = X if kind == "uint8" else X.astype(dtype), set()
    for given in (X, csr_array(X), untidy(X)):
        training = Training("numba sparse", network(dtype, 11), given, y, 1, momentum_kind="none", weight_decay=0.0)
        assert training.trainer.is_online
        training.run(0.05, np.random.default_rng(0).permutation(N))
        digests.add(training.digest())
    assert len(digests) == 1


@pytest.mark.parametrize("room", [1, 30, 100])
def test_features_are_sorted_as_many_at_a_time_as_there_is_room_for(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = samples("floats")
    expected = trained(X, y, "float64", "adam", 1)
    monkeypatch.setattr(trainer, "ENTRIES", room)
    assert trained(csr_array(X), y, "float64", "adam", 2) == expected


def test_samples_may_come_more_than_once() -> None:
    X, y = samples("floats")
    digests = set()
    for given in (X, csr_array(X)):
        training = Training("numba sparse", network(), given, y)
        training.run(0.05, np.full(N, 9))
        digests.add(training.digest())
    assert len(digests) == 1


def test_the_gradient_has_the_bits_of_the_matrix() -> None:
    X, y = samples("floats")
    gradients = []
    for given in (X, csr_array(X)):
        training = Training("numba sparse", network(), given, y, 30, 2, keeps_gradient=True)
        gradients.append([training.trainer.gradient(training.epoch(0.1), s).tobytes() for s in range(3)])
        training.trainer.close()
    assert gradients[0] == gradients[1]


def test_nothing_is_stored() -> None:
    _, y = samples("floats")
    digests = set()
    for given in (np.zeros((N, FEATURES)), csr_array((N, FEATURES))):
        training = Training("numba sparse", network(), given, y, 16, optimizer="adam")
        training.run(0.05)
        digests.add(training.digest())
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["uint8", "floats"])
@pytest.mark.parametrize("threads", [1, 3])
def test_predictions_have_the_bits_of_the_matrix(kind: str, threads: int) -> None:
    X, _ = samples(kind)
    X, model = np.tile(X, (5, 1)), network()
    model.threads = threads
    expected = model.outputs(X)
    for given in (csr_array(X), untidy(X), csr_array(X)):
        np.testing.assert_array_equal(model.outputs(given), expected)


def test_what_is_given_stays_as_it_is() -> None:
    X, y = samples("floats")
    given = untidy(X)
    before = [array.copy() for array in (given.data, given.indices, given.indptr)]
    trained(given, y, "float64", "adam", 1)
    network().outputs(given)
    for array, kept in zip((given.data, given.indices, given.indptr), before, strict=True):
        np.testing.assert_array_equal(array, kept, strict=True)


def test_indices_that_were_changed_in_place_are_looked_at_again() -> None:
    X, y = samples("floats")
    given, other = csr_array(X), untidy(X)
    assert given.has_canonical_format
    for name in ("data", "indices", "indptr"):
        setattr(given, name, getattr(other, name))
    assert trained(given, y, "float64", "adam", 1) == trained(X, y, "float64", "adam", 1)


def test_memory_does_not_hold_zeros() -> None:
    """Of 200 times the features: no part of a batch as it is stored, nor as floats."""
    sizes = []
    for features in (100, 20_000):
        X = csr_array((np.ones(128), np.arange(128) % 100, np.arange(129)), shape=(128, features))
        training = Training("numba sparse", Network((features, 2), seed=0), X, np.arange(128) % 2)
        sizes.append(training.trainer.problem.memory.codes.nbytes)
        assert training.trainer.arena.memory.nbytes < 128 * features * 4 + 1_000_000
        training.trainer.close()
    assert sizes == [2 * 128 * 16] * 2


def test_fuller_rows_are_expanded() -> None:
    X = np.zeros((20, 40))
    X[:, : int(trainer.FULLEST * 40)] = 1
    assert trainer.takes_rows(csr_array(X)) and not trainer.takes_rows(X)
    X[0] = 1
    assert not trainer.takes_rows(csr_array(X))
