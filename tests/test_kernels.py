"""Every fused kernel against its twin in the reference, and the comparison itself against kernels that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from fastfc.kernels.optimizers import Rule
from fastfc.kernels.plan import ACTIVATIONS
from tests.kernel_cases import (
    BACKENDS,
    CASES,
    DTYPES,
    LOSSES,
    SIZES,
    Arguments,
    Case,
    backend_module,
    check,
    kernel,
    parameters,
)

cases = pytest.mark.parametrize("case", CASES, ids=str)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
# Compiling is most of it. `make test` compiles each in one dtype: where trainings call the same entry, in that of
# tests/test_central_differences.py, which are all of float64; the others in float32, and of updates not all. `make soak` has all.
SHARED = ("activations", "losses", "dropout")
RARE = {"dense.update sgd, L1", "dense.update adam, L1", "dense.update nesterov, averaged"}
RARE |= {"sparse.update uint8 none", "sparse.update uint8 accumulate", "sparse.update float nesterov"}
RARE |= {"sparse.update float adagrad, L1, averaged"}


def is_usual(case: Case, dtype: str) -> bool:
    return dtype == ("float64" if case.module in SHARED else "float32") and str(case).removesuffix(", second part") not in RARE


def in_one_dtype(chosen: list[Case]) -> pytest.MarkDecorator:
    parameters = [
        pytest.param(case, dtype, marks=() if is_usual(case, dtype) else pytest.mark.slow, id=f"{case}-{dtype}")
        for case in chosen
        for dtype in DTYPES
    ]
    return pytest.mark.parametrize("case, dtype", parameters)


@in_one_dtype(CASES)
@pytest.mark.parametrize("size", SIZES)
def test_a_fused_kernel_gives_what_its_reference_gives(case: Case, dtype: str, size: str) -> None:
    check(case, case.arguments(SIZES[size], dtype))


@cases
def test_arguments_are_in_the_order_of_the_signature(case: Case) -> None:
    arguments = case.arguments(SIZES["odd"], "float32")
    assert list(arguments) == parameters(kernel(case, "reference")) == parameters(kernel(case, "fused"))


def test_the_table_has_every_kernel() -> None:
    modules = ("activations", "batch", "dense", "dropout", "losses", "optimizers", "sparse")
    functions = {
        (module, name)
        for module in modules
        for name, value in vars(backend_module("reference", module)).items()
        if getattr(value, "__module__", None) == f"fastfc.kernels.reference.{module}" and name[0] != "_"
    }
    assert {(case.module, case.function) for case in CASES} == functions


# Wrong kernels: the reference with a mistake
def _last_column(before: np.ndarray, after: np.ndarray) -> None:
    after[..., -1] = after[..., 0] + 1


def _sign(before: np.ndarray, after: np.ndarray) -> None:
    after *= -1


def _last_row_left_out(before: np.ndarray, after: np.ndarray) -> None:
    after[-1] = before[-1]


def _one_element(before: np.ndarray, after: np.ndarray) -> None:
    largest = np.unravel_index(np.abs(after).argmax(), after.shape)
    after[largest] *= 0.9999


def _nan(before: np.ndarray, after: np.ndarray) -> None:
    after[0] = np.nan


Mistake = Callable[[np.ndarray, np.ndarray], None]
MISTAKES: list[Mistake] = [_last_column, _sign, _last_row_left_out, _one_element, _nan]


# The identity changes nothing that could be wrong, and what is written as uint8 can be neither negative nor NaN.
CHANGING = [
    c for c in CASES if c.variant not in ("identity", "identity, slopes", "uint8") or c.module not in ("activations", "batch")
]


@in_one_dtype(CHANGING)
def test_the_comparison_fails_on_a_wrong_kernel(case: Case, dtype: str) -> None:
    """With any of the mistakes, in any one of the arrays that are written, but for the state where there is none."""
    arguments = case.arguments(SIZES["prime"], dtype)
    names = list(arguments)
    check(case, arguments, kernel(case, "reference"))
    for name, mistake in product((name for name in case.written if arguments[name].size), MISTAKES):

        def wrong(*own: np.ndarray, i: int = names.index(name), mistake: Mistake = mistake) -> None:
            before = np.copy(own[i])
            kernel(case, "reference")(*own)
            mistake(before, own[i])

        try:
            check(case, arguments, wrong)
        except AssertionError:
            continue
        pytest.fail(f"{mistake.__name__[1:]} in {name} was not seen")


def replaced(arguments: Arguments, own: tuple[np.ndarray, ...], **others: Any) -> list[Any]:
    return [others.get(name, value) for name, value in zip(arguments, own, strict=True)]


WITH_L2 = [c for c in CASES if c.function in ("update", "step") and "accumulate" not in c.variant]


@in_one_dtype(WITH_L2)
def test_the_comparison_fails_without_l2(case: Case, dtype: str) -> None:
    arguments = case.arguments(SIZES["prime"], dtype)
    numbers, kind = arguments["rule"]
    rule = Rule(np.where([name in ("decay", "shrink", "l1") for name in kind._fields], 0, numbers), kind)
    with pytest.raises(AssertionError, match=r"weights|parameters"):
        check(case, arguments, lambda *own: kernel(case, "reference")(*replaced(arguments, own, rule=rule)))


@in_one_dtype([c for c in CASES if c.function == "update"])
def test_the_comparison_fails_without_the_last_sample(case: Case, dtype: str) -> None:
    arguments = case.arguments(SIZES["prime"], dtype)
    name = "codes" if "codes" in arguments else "x"
    shorter = {key: arguments[key][:-1] for key in (name, "delta")}
    with pytest.raises(AssertionError, match="weights"):
        check(case, arguments, lambda *own: kernel(case, "reference")(*replaced(arguments, own, **shorter)))


def test_the_comparison_fails_where_an_input_or_the_padding_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = [c for c in CASES if str(c) == "dense.forward"]
    arguments = case.arguments(SIZES["odd"], "float32")
    forward = kernel(case, "fused")
    check(case, arguments)
    for name, where, message in (("x", (0, 0), "x was"), ("bias", (0, 0), "bias was"), ("out", (0, -1), "padding")):

        def changes(*own: np.ndarray, name: str = name, where: tuple[int, int] = where) -> None:
            forward(*own)
            own[list(arguments).index(name)][where] += 1

        monkeypatch.setattr(backend_module("fused", "dense"), "forward", changes)
        with pytest.raises(AssertionError, match=message):
            check(case, arguments)


# Oracles that are neither backend
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_a_shift_is_a_window_into_a_padded_image(backend: str, kind: str) -> None:
    height, width, reach = 5, 7, 3
    rng = np.random.default_rng(1)
    images = rng.integers(1, 256, (6, height, width)).astype(kind)
    every = np.array([(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)], np.int8)
    order = rng.integers(0, len(images), len(every))
    out = np.full((len(every), height * width), 99, kind)
    gather_shifted = backend_module(backend, "batch").gather_shifted
    gather_shifted(images.reshape(len(images), -1), order, height, width, every, out, out.dtype.type(0))
    wide = np.pad(images, ((0, 0), (reach, reach), (reach, reach)))
    windows = [
        wide[i, reach - y : reach - y + height, reach - x : reach - x + width]
        for i, (y, x) in zip(order, every.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(out.reshape(-1, height, width), windows)


@pytest.mark.parametrize("backend", BACKENDS)
@dtypes
def test_losses_are_finite_for_any_logits(backend: str, dtype: str) -> None:
    """With logits of thousands, the loss of the wrong class is their difference, and delta is -1, 0 or 1."""
    losses = backend_module(backend, "losses")
    z, target = np.zeros((3, 16), dtype), np.zeros((3, 2), dtype)
    z[:, :2], target[:] = [[9000, -9000], [-9000, 9000], [-1e-30, 1e-30]], [1, 0]
    delta, loss = np.full_like(z, np.nan), np.full(3, np.nan, dtype)
    own = (z, delta) if backend == "fused" else (z[:, :2], delta[:, :2])
    losses.softmax_cross_entropy(own[0], target, np.ones(3, dtype), own[1], loss, z.dtype.type(1))
    np.testing.assert_allclose(loss, [0, 18000, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(delta[:, :2], [[0, 0], [-1, 1], [-0.5, 0.5]], atol=1e-7)
    losses.sigmoid_cross_entropy(own[0], target, np.ones(3, dtype), own[1], loss, z.dtype.type(1))
    np.testing.assert_allclose(loss, [0, 18000, 2 * np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(delta[:, :2], [[0, 0], [-1, 1], [-0.5, 0.5]], atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
@dtypes
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_nan_logit_gives_a_nan_loss(backend: str, dtype: str, name: str, column: int) -> None:
    """So that divergence is seen, wherever it begins."""
    z, target = np.zeros((2, 16), dtype), np.zeros((2, 3), dtype)
    z[0, column], target[:, 0] = np.nan, 1
    delta, loss = np.zeros_like(z), np.zeros(2, dtype)
    own = (z, delta) if backend == "fused" else (z[:, :3], delta[:, :3])
    getattr(backend_module(backend, "losses"), name)(own[0], target, np.ones(2, dtype), own[1], loss, z.dtype.type(1))
    assert np.isnan(loss[0]) and np.isfinite(loss[1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_keeps_nan(backend: str, activation: str, dtype: str) -> None:
    z = np.array([[np.nan, 1.0, np.nan]], dtype)
    backend_module(backend, "activations").activate(z, z[:0], activation)
    assert np.isnan(z).tolist() == [[True, False, True]]
