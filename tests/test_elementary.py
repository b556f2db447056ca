"""The elementary functions of the fused kernels against wider numbers, over the whole range of their argument.

Errors of values are in units in the last place (ulp) of the true value, in the kernels' dtype, those of slopes in eps. float32
is checked against float64, float64 against long double, and the normal distribution function against mpmath.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import mpmath
import numba
import numpy as np
import pytest
import scipy.special

from fastfc.kernels.fused import elementary
from fastfc.kernels.fused.compiler.jit import OPTIONS
from fastfc.kernels.fused.cpu import lanes

WIDER = {"float32": np.float64, "float64": np.longdouble}
extended = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="long double is no wider than double here")
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
widths = pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=extended)])

# Of each kind: bounds of the value, in ulp, and of the slope, in eps; f(-inf), f(0), f(inf), f'(-inf), f'(0), f'(inf).
BOUNDS = {
    **{"relu": (0, 0), "identity": (0, 0), "leaky_relu": (1, 1), "elu": (2, 1), "tanh": (2, 1.5), "sigmoid": (3, 1)},
    **{"softplus": (3, 1), "selu": (2, 1.5), "gelu": (4, 1.5), "gelu_tanh": (4, 1.5), "silu": (4, 1.5), "mish": (4, 2)},
}
SCALE, ALPHA = np.longdouble("1.05070098735548049341933498529"), np.longdouble("1.67326324235437728481704299167")
LIMITS = {
    "relu": (0, 0, np.inf, 0, 0, 1),
    "tanh": (-1, 0, 1, 0, 1, 0),
    "sigmoid": (0, 0.5, 1, 0, 0.25, 0),
    "identity": (-np.inf, 0, np.inf, 1, 1, 1),
    "leaky_relu": (-np.inf, 0, np.inf, 0.01, 0.01, 1),
    "elu": (-1, 0, np.inf, 0, 1, 1),
    "selu": (-SCALE * ALPHA, 0, np.inf, 0, SCALE * ALPHA, SCALE),
    "gelu": (0, 0, np.inf, 0, 0.5, 1),
    "gelu_tanh": (0, 0, np.inf, 0, 0.5, 1),
    "silu": (0, 0, np.inf, 0, 0.5, 1),
    "mish": (0, 0, np.inf, 0, 0.6, 1),
    "softplus": (0, np.log(2), np.inf, 0, 0.5, 1),
}
FROM_OUTPUT = ("relu", "tanh", "sigmoid", "identity", "leaky_relu", "elu", "selu", "softplus")
kinds = pytest.mark.parametrize("kind", BOUNDS)


def in_each_dtype(names: Iterable[str], *marks: pytest.MarkDecorator) -> pytest.MarkDecorator:
    """float64 with these marks. Most of the time goes to compiling: `make test` has three of float64, in which are all helpers."""
    slow = {name: () if name in ("tanh", "gelu", "softplus") else (pytest.mark.slow,) for name in names}
    wide = [pytest.param(name, "float64", marks=(*marks, *slow[name])) for name in names]
    return pytest.mark.parametrize(("kind", "dtype"), [*((name, "float32") for name in names), *wide])


every_kind = in_each_dtype(BOUNDS)

compiled = numba.njit(no_cfunc_wrapper=True, **OPTIONS)


class Results(NamedTuple):
    """Of numbers x: f(x) alone; f(x) and f'(x) together; from f(x), where they are to be had there, f'(x) and delta f'(x)."""

    value: np.ndarray
    together: np.ndarray
    slope: np.ndarray
    slope_of_value: np.ndarray
    chained: np.ndarray


@cache
def loops(kind: str) -> Any:
    """All that is offered for a kind, each in a loop."""

    @compiled
    def value_and_slope(x, value, together, slope, slope_of_value, delta):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            value[i] = elementary.value(x[i], kind)
        for i in range(x.size):
            together[i], slope[i] = elementary.value_and_slope(x[i], kind)

    @compiled
    def everything(x, value, together, slope, slope_of_value, delta):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            value[i] = elementary.value(x[i], kind)
        for i in range(x.size):
            together[i], slope[i] = elementary.value_and_slope(x[i], kind)
        for i in range(x.size):
            slope_of_value[i] = elementary.slope_of(value[i], kind)
        for i in range(x.size):
            delta[i] = elementary.chain(value[i], delta[i], kind)

    return everything if kind in FROM_OUTPUT else value_and_slope


def results(kind: str, x: np.ndarray, delta: np.ndarray | None = None) -> Results:
    found = Results(*(np.empty_like(x) for _ in range(4)), x.copy() if delta is None else delta.copy())
    loops(kind)(x, *found)
    return found


@compiled
def exp(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = elementary.exp(x[i])


@compiled
def log1p(x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = elementary.log1p(x[i])


def of(function: Callable[..., Any], x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    function(x, out)
    return out


def normal(x: np.ndarray) -> np.ndarray:
    """The normal distribution function, of float64 to the accuracy of one, of long double to that of one."""
    if x.dtype == np.float64:
        return scipy.special.ndtr(x)
    with mpmath.workdps(30):
        return np.array([np.longdouble(mpmath.nstr(mpmath.ncdf(max(float(v), -100.0)), 25)) for v in x])


def true_sigmoid(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e), e / (1 + e) ** 2


def true_elu(x: np.ndarray, scale: Any, alpha: Any) -> tuple[np.ndarray, np.ndarray]:
    left = np.minimum(x, 0)
    return scale * np.where(x > 0, x, alpha * np.expm1(left)), scale * np.where(x > 0, 1, alpha * np.exp(left))


def true_gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probability = normal(x)
    return x * probability, probability + x * np.exp(-x * x / 2) / np.sqrt(8 * np.arctan(x.dtype.type(1)))


def true_gelu_tanh(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a = np.sqrt(2 / np.arctan(x.dtype.type(1)))
    b = a * x.dtype.type("0.044715")
    s, ds = true_sigmoid(a * x + b * x**3)
    return x * s, s + x * ds * (a + 3 * b * x * x)


def true_silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s, ds = true_sigmoid(x)
    return x * s, s + x * ds


def true_mish(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    e = np.exp(np.minimum(x, 60))
    n = e * (e + 2)
    return x * (n / (n + 2)), n / (n + 2) + 4 * x * e * (e + 1) / (n + 2) ** 2


TRUE: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "relu": lambda x: (np.maximum(x, 0), (x > 0) * x.dtype.type(1)),
    "tanh": lambda x: (np.tanh(x), 4 * true_sigmoid(2 * x)[1]),
    "sigmoid": true_sigmoid,
    "identity": lambda x: (x, np.ones_like(x)),
    "leaky_relu": lambda x: (np.where(x > 0, x, x / 100), np.where(x > 0, 1, x.dtype.type("0.01"))),
    "elu": lambda x: true_elu(x, 1, 1),
    "selu": lambda x: true_elu(x, x.dtype.type(SCALE), x.dtype.type(ALPHA)),
    "gelu": true_gelu,
    "gelu_tanh": true_gelu_tanh,
    "silu": true_silu,
    "mish": true_mish,
    "softplus": lambda x: (np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), true_sigmoid(x)[0]),
}
# Where exp is neither 0 nor infinite; in the first part of this it is a subnormal number.
RANGE = {"float32": (-103.27, 88.72), "float64": (-744.44, 709.78)}


@cache
def arguments(dtype: str) -> np.ndarray:
    """The middle, the whole left tail, and both signs of every size down to the smallest number."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    tail = RANGE[dtype][0] * 1.1
    sizes = np.exp2(rng.uniform(np.log2(info.smallest_subnormal), np.log2(-tail), 30_000))
    large = np.exp2(rng.uniform(-10, np.log2(-tail), 30_000))
    x = [rng.uniform(-1, 1, 30_000), rng.uniform(-20, 20, 60_000), rng.uniform(tail, 0, 60_000)]
    return np.concatenate([*x, sizes, -sizes, large, -large]).astype(dtype)


def ulps(computed: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Distance from the true value, in its units in the last place; those of numbers below the normal ones are all equal."""
    assert np.isfinite(computed).all()
    return np.abs(computed - true) / np.spacing(np.abs(true).astype(computed.dtype))


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@in_each_dtype(BOUNDS, extended)
def test_errors_of_values_and_slopes_are_within_their_bounds(kind: str, dtype: str, every: int) -> None:
    x = arguments(dtype)[:: 100 * every if (kind, dtype) == ("gelu", "float64") else every].copy()
    ulp, eps = BOUNDS[kind]
    f, slope = TRUE[kind](x.astype(WIDER[dtype]))
    found, below = results(kind, x), np.abs(f) < np.finfo(dtype).tiny
    for computed in (found.value, found.together):
        errors = ulps(computed, f)
        assert errors[~below].max() <= ulp and errors[below].max(initial=0) <= 2
    for computed in (found.slope, found.slope_of_value)[: 1 + (kind in FROM_OUTPUT)]:
        assert np.abs(computed - slope).max() <= eps * np.finfo(dtype).eps


@widths
def test_errors_of_exp_and_log1p_are_within_their_bounds(dtype: str) -> None:
    low, high = RANGE[dtype]
    x = arguments(dtype)
    x = np.concatenate([x[(x >= low) & (x <= high)], np.linspace(0, high, 100_000, dtype=dtype)])
    assert ulps(of(exp, x), np.exp(x.astype(WIDER[dtype]))).max() <= 2
    x = x[(x >= 0) & (x <= 1)]
    assert ulps(of(log1p, x), np.log1p(x.astype(WIDER[dtype]))).max() <= 2


@extended
@kinds
def test_the_true_slope_is_the_derivative_of_the_true_value(kind: str) -> None:
    x = (np.arange(-600, 600, 7) / 128).astype(np.longdouble)
    step = np.longdouble(2) ** -20
    difference = (TRUE[kind](x + step)[0] - TRUE[kind](x - step)[0]) / (2 * step)
    np.testing.assert_allclose(difference, TRUE[kind](x)[1], rtol=0, atol=1e-11)


def test_the_measure_of_errors_sees_an_error_of_five_ulp() -> None:
    x = arguments("float32")
    wrong = results("gelu", x).value
    wrong[7] += 5 * np.spacing(wrong[7])
    assert ulps(wrong, TRUE["gelu"](x.astype(np.float64))[0]).max() > 4


@every_kind
def test_nan_stays_and_infinities_and_the_ends_of_the_range_give_the_limits(kind: str, dtype: str) -> None:
    limits, info = np.array(LIMITS[kind]).astype(dtype), np.finfo(dtype)
    x = np.array([-np.inf, -0.0, np.inf, 0.0, np.nan], dtype)
    f, together, slope, _, _ = results(kind, x)
    for computed in (f, together):
        np.testing.assert_allclose(computed[:4], [*limits[:3], limits[1]], rtol=info.eps, atol=0)
        assert np.isnan(computed[4])
        if limits[1] == 0 and kind != "relu":
            assert np.signbit(computed).tolist()[1:4] == [True, False, False]
    np.testing.assert_allclose(slope[:4], [*limits[3:], limits[4]], rtol=2 * info.eps, atol=0)
    assert np.isnan(slope[4]) != (kind in ("relu", "leaky_relu", "identity"))
    f, _, slope, _, _ = results(kind, np.array([info.min, -1e4, 1e4, info.max], dtype))
    assert not np.isnan(f).any()
    np.testing.assert_allclose(slope, limits[[3, 3, 5, 5]], rtol=2 * info.eps, atol=0)


@in_each_dtype(FROM_OUTPUT)
def test_the_chain_from_the_value_multiplies_by_the_slope(kind: str, dtype: str) -> None:
    x = np.random.default_rng(0).normal(0, 3, 1000).astype(dtype)
    delta = x[::-1].copy()
    delta[:4] = np.nan, np.inf, -np.inf, -0.0
    found = results(kind, x, delta)
    with np.errstate(invalid="ignore"):  # infinity times 0
        expected = delta * found.slope_of_value
    np.testing.assert_allclose(found.chained, expected, rtol=2 * np.finfo(dtype).eps)


@dtypes
def test_exp_overflows_and_vanishes_where_the_true_exp_does(dtype: str) -> None:
    info = np.finfo(dtype)
    largest, smallest = np.log(np.array([info.max, info.smallest_subnormal], np.longdouble))
    ends = np.array([largest * (1 - 1e-6), largest * (1 + 1e-6), smallest, smallest * 1.01], dtype)
    assert np.isfinite(of(exp, ends)).tolist() == [True, False, True, True]
    assert (of(exp, ends) > 0).tolist() == [True, True, True, False]
    x = np.array([np.nan, np.inf, -np.inf, info.max, info.min, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(of(exp, x), np.array([np.nan, np.inf, 0, np.inf, 0, 1, 1], dtype))


@dtypes
def test_the_smallest_numbers_are_kept(dtype: str) -> None:
    info = np.finfo(dtype)
    sizes = np.array([info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny, 1e-30], dtype)
    x = np.concatenate([sizes, -sizes])
    for kind in ("identity", "tanh", "elu"):
        np.testing.assert_array_equal(results(kind, x).value, x)
    np.testing.assert_array_equal(of(exp, x), 1)
    np.testing.assert_array_equal(results("sigmoid", x).value, 0.5)
    np.testing.assert_array_equal(of(log1p, sizes), sizes)


@every_kind
def test_a_number_gives_the_same_bits_in_a_vector_and_in_its_remainder(kind: str, dtype: str) -> None:
    x = np.random.default_rng(0).uniform(-30.0, 30.0, 300).astype(dtype)
    whole = results(kind, x)
    for length in (*range(1, 40), 63, 65, 127):
        for part in (slice(None, length), slice(-length, None)):
            assert [a.tobytes() for a in results(kind, x[part].copy())[:3]] == [a[part].tobytes() for a in whole[:3]]


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
@every_kind
def test_loops_become_vectors_and_call_nothing(kind: str, dtype: str) -> None:
    results(kind, np.ones(1, dtype))
    loop = loops(kind)
    (signature,) = (s for s in loop.signatures if s[0].dtype.name == dtype)
    name = loop.overloads[signature].fndesc.llvm_func_name
    (body,) = re.findall(rf"^define [^\n]*@{re.escape(name)}\(.*?^}}", loop.inspect_llvm(signature), re.M | re.S)
    called = set(re.findall(r"call [^@\n]*@\"?([\w.]+)", body))
    assert [name for name in called if not re.match(r"NRT_(inc|dec)ref|llvm\.(fabs|copysign|maximum|mem)", name)] == []
    written = (4 if kind in FROM_OUTPUT else 2) - (kind == "identity")  # whose chain leaves delta as it is
    if kind not in ("tanh", "elu", "selu") or lanes(dtype) > 2:  # two at a time, the compiler finds them no faster than one
        assert len(re.findall(r"^vector\.body", body, re.M)) == written
