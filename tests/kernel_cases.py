"""The one table of comparisons: every kernel, with arguments for any size. It feeds the tests and the benchmarks.

A case gives the arguments as the reference takes them. The fused twin gets copies laid out as it wants them: rows of
matrices padded to whole vectors, and scratch memory.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from fastfc.kernels.optimizers import STATES, Accumulate, Optimizer, Rule, of_adam, of_momentum, of_squares
from fastfc.kernels.plan import ACTIVATIONS, FROM_OUTPUT, GROUP

Arguments = dict[str, Any]
BACKENDS = ("reference", "fused")
DTYPES = ("float32", "float64")
EPSILONS = 64  # rounding errors allowed, relative to the largest element

# (batch, fan_in, fan_out)
SIZES = {
    "one": (1, 1, 1),
    "odd": (3, 5, 7),
    "prime": (13, 31, 17),
    "vectors": (16, 64, 32),
    "beside vectors": (9, 33, 47),
    "tiles": (37, 300, 131),
    "a tall batch": (256, 20, 9),
}
BENCH_SIZES = {"first layer": (128, 784, 200), "second layer": (128, 200, 50), "wide": (256, 1024, 1024)}


@dataclass(frozen=True)
class Case:
    """A kernel and its arguments.

    build     arguments by name, in the order of the signature, from random arrays and (batch, fan_in, fan_out)
    written   names of what the kernel writes
    padded    names of matrices whose rows the fused kernel wants in whole vectors
    unset     names among them whose padding the kernel may leave as it likes
    exact     whether both must give the same bits
    """

    module: str
    function: str
    variant: str
    build: Callable[..., Arguments]
    written: tuple[str, ...]
    padded: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    exact: bool = False

    def __str__(self) -> str:
        return f"{self.module}.{self.function} {self.variant}".strip()

    def arguments(self, size: tuple[int, int, int], dtype: str, seed: int = 0) -> Arguments:
        return self.build(Draw(dtype, seed), *size)


class Draw:
    """Random arrays of one dtype. What a kernel only writes begins as NaN."""

    def __init__(self, dtype: str, seed: int) -> None:
        self.rng, self.dtype = np.random.default_rng(seed), np.dtype(dtype)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def zeros(self, *shape: int) -> np.ndarray:
        return np.zeros(shape, self.dtype)

    def nan(self, *shape: int) -> np.ndarray:
        return np.full(shape, np.nan, self.dtype)

    def number(self, value: float) -> np.floating:
        return self.dtype.type(value)

    def codes(self, kind: str, rows: int, columns: int) -> np.ndarray:
        """uint8 or floats, 3 in 10 of them not 0; every fifth column is 0, and every seventh row."""
        codes = self.rng.integers(1, 256, (rows, columns)) * (self.rng.random((rows, columns)) < 0.3)
        codes[:, 4::5] = 0
        codes[6::7] = 0
        return codes.astype(np.uint8) if kind == "uint8" else (codes / 255).astype(self.dtype)

    def order(self, n: int, count: int) -> np.ndarray:
        return self.rng.integers(0, n, count)

    def shares(self, rows: int, outputs: int) -> np.ndarray:
        """Positive targets that add up to 1."""
        shares = self.rng.random((rows, outputs)) + 0.01
        return (shares / shares.sum(axis=1, keepdims=True)).astype(self.dtype)

    def rule(self, name: str) -> Rule:
        return Rule(OPTIMIZERS[name].rules(np.array([0.05], self.dtype))[0], OPTIMIZERS[name].kind)

    def state(self, name: str, *shape: int) -> np.ndarray:
        return abs(self.normal(len(STATES[OPTIMIZERS[name].kind]), *shape))  # averages of squares are not negative


def _activate(activation: str, wanted: bool, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    slopes = draw.nan(batch if wanted else 0, fan_out)
    return {"z": 3 * draw.normal(batch, fan_out), "slopes": slopes, "activation": activation}


def _chain(activation: str, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    return {"saved": draw.normal(batch, fan_out), "delta": draw.normal(batch, fan_out), "activation": activation}


def _multiply(draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    return {"slopes": draw.normal(batch, fan_out), "delta": draw.normal(batch, fan_out)}


def _finish(draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    return {"z": 3 * draw.normal(batch, fan_out)}


def _drop(kept: bool, layer: int, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    slopes, key = draw.normal(batch if kept else 0, fan_out), 2**64 - 12345
    a, samples = draw.normal(batch, fan_out), draw.order(2**40, batch)
    return {"a": a, "slopes": slopes, "samples": samples, "key": key, "layer": layer, "rate": 0.3}


def _gather(kind: str, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    X = draw.codes(kind, batch + 3, fan_in)
    return {"X": X, "order": draw.order(batch + 3, batch), "out": np.full((batch, fan_in), 77, X.dtype)}


def _gather_shifted(kind: str, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    height, width = 5, max(4, fan_in // 5)
    gathered = _gather(kind, draw, batch, height * width, fan_out)
    out = gathered.pop("out")
    shifts = draw.rng.integers(-3, 3, (batch, 2), np.int8, endpoint=True)
    return {**gathered, "height": height, "width": width, "shifts": shifts, "out": out, "fill": out.dtype.type(5)}


def _gather_csr(kind: str, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    X = draw.codes(kind, batch + 3, fan_in)
    rows, columns = np.nonzero(X)
    indptr = np.searchsorted(rows, np.arange(len(X) + 1)).astype(np.int64)
    stored = {"data": X[rows, columns], "indices": columns.astype(np.int32), "indptr": indptr}
    return {**stored, "order": draw.order(len(X), batch), "out": np.full((batch, fan_in), 77, X.dtype)}


def _one_hot(draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    labels, order = draw.order(fan_out, batch + 3), draw.order(batch + 3, batch)
    low, high, out = draw.number(0.01), draw.number(0.91), draw.nan(batch, fan_out)
    return {"labels": labels, "order": order, "low": low, "high": high, "out": out}


def _multiply_by(kind: str, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    scale = np.array([1 / 255], draw.dtype)
    return {"codes": draw.codes(kind, batch, fan_in), "scale": scale, "out": draw.nan(batch, fan_in)}


def _loss(draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    given = {"y": 3 * draw.normal(batch, fan_out), "target": draw.shares(batch, fan_out)}
    written = {"delta": draw.nan(batch, fan_out), "losses": draw.nan(batch)}
    return {**given, "scale": draw.shares(1, batch)[0], **written, "threshold": draw.number(1.5)}


def _step(kind: str, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    shape = fan_in, fan_out
    moved = {"parameters": draw.normal(*shape), "state": draw.state(kind, *shape)}
    return {**moved, "gradient": draw.normal(*shape), "rule": draw.rule(kind)}


def _layer(draw: Draw, fan_in: int, fan_out: int, batch: int) -> Arguments:
    """The arguments of a forward pass after its input."""
    weights = (draw.normal(fan_in, fan_out) / np.sqrt(fan_in)).astype(draw.dtype)
    return {"weights": weights, "bias": draw.normal(1, fan_out), "out": draw.nan(batch, fan_out)}


def _moved(kind: str, earlier: bool, draw: Draw, fan_in: int, fan_out: int) -> Arguments:
    """The arguments of an update after delta."""
    gradient = draw.normal(fan_in, fan_out) if earlier else draw.zeros(1, fan_out)
    weights, state = draw.normal(fan_in, fan_out), draw.state(kind, fan_in, fan_out)
    moved = {"gradient": gradient, "weights": weights, "state": state}
    return {**moved, "rule": draw.rule(kind)}


def _dense_forward(draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    return {"x": draw.normal(batch, fan_in), **_layer(draw, fan_in, fan_out, batch)}


def _dense_backward(draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    given = {"delta": draw.normal(batch, fan_out), "weights_t": draw.normal(fan_out, fan_in)}
    return {**given, "out": draw.nan(batch, fan_in)}


def _dense_update(kind: str, earlier: bool, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    given = {"x": draw.normal(batch, fan_in), "delta": draw.normal(batch, fan_out)}
    return {**given, **_moved(kind, earlier, draw, fan_in, fan_out)}


def _codes(kind: str, draw: Draw, batch: int, fan_in: int) -> Arguments:
    scale = np.array([1 / 255 if kind == "uint8" else 1], draw.dtype)
    return {"codes": draw.codes(kind, batch, fan_in), "scale": scale}


def _sparse_forward(codes: str, draw: Draw, batch: int, fan_in: int, fan_out: int) -> Arguments:
    layer = _layer(draw, fan_in, fan_out, batch)
    return {**_codes(codes, draw, batch, fan_in), **layer, "work": None}


def _sparse_update(
    codes: str, kind: str, earlier: bool, draw: Draw, batch: int, fan_in: int, fan_out: int
) -> Arguments:
    given = {**_codes(codes, draw, batch, fan_in), "delta": draw.normal(batch, fan_out)}
    return {**given, **_moved(kind, earlier, draw, fan_in, fan_out), "work": None}


MATRICES = ("weights", "bias", "out", "delta", "gradient", "state")
OPTIMIZERS = {
    **{kind: of_momentum(kind, 0.9, 0.01) for kind in ("none", "ema", "heavy_ball", "nesterov")},
    "adamw": of_adam(0.9, 0.99, 1e-3, 0.01, decoupled=True),
    "rmsprop": of_squares(0.9, 0.1, 1e-3, 0.01),
    "accumulate": Optimizer(Accumulate, ()),
    "sgd, L1": of_momentum("none", 0.9, 0.01).with_l1(0.02),
    "adam, L1": of_adam(0.9, 0.99, 1e-3, 0.01).with_l1(0.02),
    "nesterov, averaged": of_momentum("nesterov", 0.9, 0.01).averaged(0.99),
    "adagrad, L1, averaged": of_squares(1.0, 1.0, 1e-3, 0.01).with_l1(0.02).averaged(0.99),
}
LOSSES = (
    "softmax_cross_entropy",
    "sigmoid_cross_entropy",
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "poisson",
)
CODES = ("uint8", "float")


def _table() -> list[Case]:
    table = [
        Case("batch", "one_hot", "", _one_hot, ("out",), exact=True),
        Case("activations", "multiply", "", _multiply, ("delta",), exact=True),
        Case("dense", "forward", "", _dense_forward, ("out",), MATRICES),
        Case("dense", "backward", "", _dense_backward, ("out",), ("delta", "weights_t", "out")),
    ]
    table += [Case("activations", name, "", _finish, ("z",)) for name in ("softmax", "sigmoid", "exponential")]
    for name in ACTIVATIONS:
        for wanted in (False, True):
            build = partial(_activate, name, wanted)
            table.append(Case("activations", "activate", f"{name}{', slopes' * wanted}", build, ("z", "slopes")))
    for name in sorted(FROM_OUTPUT):
        table.append(Case("activations", "chain", name, partial(_chain, name), ("delta",)))
    for kept in (False, True):
        build = partial(_drop, kept, 2 * kept)
        table.append(Case("dropout", "drop", "and slopes" * kept, build, ("a", "slopes"), exact=True))
    for name in LOSSES:
        table.append(Case("losses", name, "", _loss, ("delta", "losses"), ("y", "delta")))
    moved = ("weights", "state")
    for kind in OPTIMIZERS:
        step = ("parameters", "state")
        table.append(Case("optimizers", "step", kind, partial(_step, kind), step, (*step, "gradient")))
        for earlier in (False, True):
            name = f"{kind}{', second part' * earlier}"
            table.append(Case("dense", "update", name, partial(_dense_update, kind, earlier), moved, MATRICES))
    for codes in CODES:
        for function, build in (("gather", _gather), ("gather_shifted", _gather_shifted), ("gather_csr", _gather_csr)):
            table.append(Case("batch", function, codes, partial(build, codes), ("out",), exact=True))
        table.append(Case("batch", "multiply_by", codes, partial(_multiply_by, codes), ("out",), exact=True))
        table.append(Case("sparse", "forward", codes, partial(_sparse_forward, codes), ("out",), MATRICES))
        for kind, earlier in (
            ("none", False), ("accumulate", False), ("nesterov", False), ("nesterov", True), ("adagrad, L1, averaged", False),
        ):  # fmt: skip
            name = f"{codes} {kind}{', second part' * earlier}"
            build = partial(_sparse_update, codes, kind, earlier)
            table.append(Case("sparse", "update", name, build, moved, MATRICES))
    return sorted(table, key=str)


CASES = _table()


def backend_module(backend: str, name: str) -> ModuleType:
    return importlib.import_module(f"fastfc.kernels.{backend}.{name}")


def kernel(case: Case, backend: str) -> Callable[..., None]:
    return getattr(backend_module(backend, case.module), case.function)


def laid_out(case: Case, backend: str, arguments: Arguments) -> Arguments:
    """Copies of the arguments, as the backend's kernel takes them."""
    own = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
    if backend == "fused":
        for name in set(case.padded) & set(own):
            own[name] = pad(own[name])
        if "work" in own:
            own["work"] = work(*own["codes"].shape, own["delta" if "delta" in own else "out"].dtype)
    return own


def pad(matrix: np.ndarray) -> np.ndarray:
    """The matrices (..., rows, columns) with rows of a whole number of vectors, filled up with zeros, or NaN where all are NaN."""
    from fastfc.kernels.fused.cpu import lanes

    *others, columns = matrix.shape
    whole = -(-columns // lanes(matrix.dtype)) * lanes(matrix.dtype)
    padded = np.full((*others, whole), np.nan if matrix.size and np.isnan(matrix).all() else 0, matrix.dtype)
    padded[..., :columns] = matrix
    return padded


def work(batch: int, fan_in: int, dtype: np.dtype) -> Any:
    """Scratch memory of the sparse first layer: at least as much as records.Work says."""
    from fastfc.kernels.fused.arena import LISTS
    from fastfc.kernels.fused.cpu import VECTOR_BYTES
    from fastfc.kernels.fused.records import PANEL, Work

    wide = fan_in + VECTOR_BYTES
    listed = LISTS * batch + VECTOR_BYTES
    return Work(
        index=np.zeros(max(wide, listed), np.int32),
        x=np.zeros((GROUP, wide), dtype),
        listed=np.zeros((listed, GROUP), dtype),
        packed_words=np.zeros(listed, np.uint32),
        words=np.zeros((PANEL // GROUP, batch + VECTOR_BYTES), np.uint32),
        starts=np.zeros(LISTS + 1, np.int64),
    )


def check(case: Case, arguments: Arguments, function: Callable[..., None] | None = None) -> None:
    """Raise AssertionError unless a kernel writes what the reference writes, and only that.

    That is the fused kernel, on arguments laid out for it, or a `function` that takes them as the reference does.
    """
    expected = laid_out(case, "reference", arguments)
    own = laid_out(case, "reference" if function else "fused", arguments)
    kernel(case, "reference")(*expected.values())
    (function or kernel(case, "fused"))(*own.values())
    for name, value in arguments.items():
        if not isinstance(value, np.ndarray):
            continue
        ours = own[name][tuple(slice(n) for n in value.shape)]
        if name not in case.written:
            np.testing.assert_array_equal(ours, value, err_msg=f"{name} was changed")
            continue
        tolerance = 0 if case.exact else EPSILONS * np.finfo(value.dtype).eps * np.abs(expected[name]).max(initial=0)
        np.testing.assert_allclose(ours, expected[name], rtol=0, atol=tolerance, err_msg=name)
        if name in case.padded and name not in case.unset:
            assert not own[name][..., value.shape[-1] :].any(), f"padding of {name} is not 0"


def parameters(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters of a function, compiled or not."""
    return list(inspect.signature(getattr(function, "py_func", function)).parameters)
