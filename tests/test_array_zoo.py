"""Arrays of every kind: each gives what its plain copy gives, bit for bit, or a typed error, and is left as it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import fastfc
from fastfc import Network
from fastfc.backend import load_backend
from fastfc.errors import FastFCError
from fastfc.kernels.plan import Epoch
from fastfc.settings import Settings
from tests.small import BACKENDS, SMALL, blobs, digest

pytestmark = pytest.mark.promise(10)
N, FEATURES = 40, 20
RNG = np.random.default_rng(0)
# Whole numbers, which every type can hold, most of them 0.
VALUES = np.where(RNG.random((N, FEATURES)) < 0.3, RNG.integers(1, 100, (N, FEATURES)), 0).astype(float)
Y = np.arange(N) % 3
Make = Callable[[np.ndarray], Any]


def strided(a: np.ndarray) -> np.ndarray:
    wide = np.full([3 * size for size in a.shape], 77).astype(a.dtype)
    wide[tuple(slice(1, None, 3) for _ in a.shape)] = a
    return wide[tuple(slice(1, None, 3) for _ in a.shape)]


def backwards(a: np.ndarray) -> np.ndarray:
    flip = (slice(None, None, -1),) * a.ndim
    return a[flip].copy()[flip]


def unaligned(a: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape)


def locked(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def locked_csr(a: np.ndarray) -> Any:
    matrix = scipy.sparse.csr_array(a)
    for part in (matrix.data, matrix.indices, matrix.indptr):
        part.flags.writeable = False
    return matrix


def wide_csr(a: np.ndarray) -> Any:
    matrix = scipy.sparse.csr_array(a)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


def untidy_csr(a: np.ndarray) -> Any:
    """Each row's entries in reverse order, each in two parts, and a 0 among them."""
    data, indices, indptr = [], [], [0]
    for row in a:
        for j in np.flatnonzero(row)[::-1]:
            data += [row[j] - 1, 1]
            indices += [j, j]
        data.append(0)
        indices.append(3)
        indptr.append(len(data))
    return scipy.sparse.csr_array((np.array(data, a.dtype), indices, indptr), shape=a.shape)


LAYOUTS: dict[str, Make] = {
    "Fortran": np.asfortranarray,
    "strided": strided,
    "negative strides": backwards,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "read-only": locked,
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "data frame": lambda a: pd.DataFrame(a) if a.ndim == 2 else pd.Series(a, index=np.arange(len(a))[::-1]),
    "csr_array": scipy.sparse.csr_array,
    "csr_matrix": scipy.sparse.csr_matrix,
    "CSR, int64 indices": wide_csr,
    "CSR, read-only": locked_csr,
    "CSR, untidy": untidy_csr,
}
TYPES: dict[str, Make] = {
    **{name: lambda a, name=name: a.astype(name) for name in ("f2", "f4", ">f4", "i1", "i2", ">i4", "i8", "u2", ">u8")},
    "longdouble": lambda a: a.astype(np.longdouble),
    "bool": lambda a: a > 0,
    "lists": lambda a: a.tolist(),
    "tuple of arrays": tuple,
    "frame of int and float": lambda a: pd.DataFrame(a).astype({0: "int8", 1: "float32", 2: "int64"}),
    "CSR of int": lambda a: scipy.sparse.csr_array(a.astype(int)),
    "CSR of float32": lambda a: scipy.sparse.csr_array(a.astype("f4")),
    "CSR of bool": lambda a: scipy.sparse.csr_array(a > 0),
}


def content(x: Any) -> Any:
    """All that could be changed in x, as bytes."""
    if isinstance(x, list | tuple):
        return [content(item) for item in x]
    parts = (x.data, x.indices, x.indptr) if scipy.sparse.issparse(x) else (np.asarray(x),)
    return [part.tobytes() for part in parts] if not isinstance(x, float) else x


def results(x: Any, y: Any, backend: str) -> list[Any]:
    """All that comes out of a training on x and predictions of it."""
    r = fastfc.train((x, y), (x, y), backend=backend, lr=0.01, **SMALL)
    m = r.model
    return [digest(m), r.input_kernel, m.outputs(x).tobytes(), m.predict(x).tobytes(), m.loss_and_accuracy(x, y)]


def plain(x: Any) -> np.ndarray:
    """The same numbers in C order: as float64, or as uint8 where they are."""
    dense = np.array(x.toarray() if scipy.sparse.issparse(x) else x)
    return dense if dense.dtype == np.uint8 else np.array(dense.tolist(), np.float64)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["float64", "uint8"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_input(layout: str, kind: str, backend: str) -> None:
    x = LAYOUTS[layout](VALUES.astype(kind))
    before = content(x)
    assert np.array_equal(plain(x), VALUES) and plain(x).dtype == kind
    assert results(x, Y, backend) == results(plain(x), Y, backend)
    assert content(x) == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_the_input(kind: str, backend: str) -> None:
    x = TYPES[kind](VALUES)
    before = content(x)
    assert results(x, Y, backend) == results(plain(x), Y, backend)
    assert content(x) == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["float64", "uint8"])
def test_a_memory_map(tmp_path: Path, kind: str, backend: str) -> None:
    VALUES.astype(kind).tofile(tmp_path / "x")
    x = np.memmap(tmp_path / "x", kind, "r", shape=VALUES.shape)
    y = np.memmap(tmp_path / "y", np.int64, "w+", shape=N)
    y[:] = Y
    assert results(x, y, backend) == results(VALUES.astype(kind), Y, backend)
    assert (tmp_path / "x").read_bytes() == VALUES.astype(kind).tobytes() and np.array_equal(y, Y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_row_seen_many_times(backend: str) -> None:
    x = np.broadcast_to(VALUES[:1], VALUES.shape)
    assert results(x, Y, backend) == results(plain(x), Y, backend)


LABELS: dict[str, Make] = {
    **{name: lambda a, name=name: a.astype(name) for name in ("i1", "u1", "u8", ">i4")},
    "list": list,
    "list of int": lambda a: a.tolist(),
    **{name: LAYOUTS[name] for name in ("strided", "negative strides", "read-only", "unaligned", "data frame")},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", LABELS)
def test_every_kind_of_labels(kind: str, backend: str) -> None:
    y = LABELS[kind](Y)
    before = content(np.asarray(y))
    assert results(VALUES, y, backend) == results(VALUES, Y, backend) and content(np.asarray(y)) == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [*itertools.islice(LAYOUTS, 8), "f4", "f2"])
def test_every_kind_of_targets(kind: str, backend: str) -> None:
    t = np.eye(3)[Y]
    options: dict[str, Any] = {"backend": backend, "loss": "mse", **SMALL}
    given = {**LAYOUTS, **TYPES}[kind](t)
    assert digest(fastfc.train((VALUES, given), **options).model) == digest(fastfc.train((VALUES, t), **options).model)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("n", "features", "y"),
    [(1, 20, [0]), (2, 1, [0, 1]), (1, 1, [0]), (5, 20, [0] * 5), (5, 20, [3] * 5), (6, 20, [0, 5, 2] * 2)],
    ids=["1 row", "1 feature", "1 number", "1 class", "1 class of 4", "classes without samples"],
)
def test_the_smallest_data(backend: str, n: int, features: int, y: list[int]) -> None:
    x = VALUES[:n, :features] + 1
    r = fastfc.train((x, y), (x, y), backend=backend, lr=1e-3, **SMALL)  # batch_size > n
    assert r.model.layers == (features, 8, max(2, max(y) + 1)) and np.isfinite([h.loss for h in r.history]).all()
    assert len(r.model.predict(x)) == n and r.model.predict_proba(x).sum(axis=1) == pytest.approx(np.ones(n))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "x",
    [VALUES[:0], VALUES[:, :0], [], [[]], VALUES[0], 5.0, None, VALUES.astype(complex), VALUES.astype("U3"), [[1], [2, 3]],
     scipy.sparse.csr_array(VALUES)[:0], scipy.sparse.coo_array(VALUES), pd.DataFrame({"a": ["x"] * N}), {"a": 1}],
    ids=lambda x: f"{type(x).__name__}{getattr(x, 'shape', '')}",
)  # fmt: skip
def test_what_is_no_data_is_a_typed_error(x: Any, backend: str) -> None:
    network = Network([FEATURES, 3], backend=backend)
    for call in (lambda: fastfc.train((x, Y), backend=backend, **SMALL), lambda: network.predict(x)):
        with pytest.raises(FastFCError, match=r"^X: given .*, expected "):
            call()


def sparse_file(path: Path, n: int, features: int) -> np.memmap:
    """(n, features) uint8 zeros that take no room on the disk."""
    with path.open("wb") as file:
        file.truncate(n * features)
    return np.memmap(path, np.uint8, "r+", shape=(n, features))


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_elements_than_31_bits_count(tmp_path: Path, backend: str) -> None:
    """The rows that a step takes lie before, at and beyond element 2³¹ of a file of zeros."""
    n, features = 2_800_000, 784
    X = sparse_file(tmp_path / "x", n, features)
    order = np.r_[0, 2**31 // features + np.arange(-1, 2), n - np.arange(1, 61)]
    rows = np.random.default_rng(0).integers(0, 256, (64, features), dtype=np.uint8)
    X[order] = rows
    y = np.zeros(n, np.int64)
    y[order] = np.arange(64) % 3
    network = Network([features, 8, 3], dtype="float64", backend=backend)
    plan = network.plan(Settings(batch_size=32), 32)
    found = []
    for x, labels, places in ((X, y, order), (rows, np.arange(64) % 3, np.arange(64))):
        for kernel in ("dense", "sparse"):
            state = {"weights": network.weights, "biases": network.biases}
            trainer = load_backend(backend)[0](plan, x, labels, state, 1, kernel)
            losses = np.zeros(64)
            rules = plan.optimizer.rules(np.full(2, 0.1))
            trainer.run(Epoch(places, np.zeros((0, 2), np.int8), rules, plan.scales(64), losses), 0, 2)
            found.append((losses.tobytes(), [w.tobytes() for w in trainer.state()["weights"]]))
    assert found[0] == found[2] and found[1] == found[3]


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_of_more_elements_than_31_bits_count(tmp_path: Path, backend: str) -> None:
    n, features = 2_800_000, 784
    X = sparse_file(tmp_path / "x", n, features)
    rows = np.random.default_rng(0).integers(0, 256, (64, features), dtype=np.uint8)
    X[-64:] = rows
    network = Network([features, 2, 3], backend=backend)
    labels = network.predict(X)
    assert np.array_equal(labels[-64:], network.predict(rows)) and len(set(labels[:-64].tolist())) == 1


def test_the_last_bit_of_one_number_is_seen() -> None:
    x, y = blobs(N)
    other = x.copy()
    other[7, 7] = np.nextafter(other[7, 7], 9)
    for backend in BACKENDS:
        assert results(x, y, backend) == results(x, y, backend) != results(other, y, backend)
