"""exp, tanh and sigmoid of the fused kernels against extended precision, over the whole range of their argument.

Errors are in units in the last place (ulp) of the true value, in the kernels' dtype.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastfc.kernels.fused import activations
from fastfc.kernels.plan import SIGMOID, TANH

MANTISSA = np.finfo(np.longdouble).nmant
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
extended = pytest.mark.skipif(MANTISSA < 60, reason="long double is no wider than double here")


def exp(x: np.ndarray) -> np.ndarray:
    z = x[None].copy()
    activations.exp_into(z)
    return z[0]


def tanh(x: np.ndarray) -> np.ndarray:
    z = x[None].copy()
    activations.activate(z, TANH)
    return z[0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    z = x[None].copy()
    activations.activate(z, SIGMOID)
    return z[0]


def true_exp(x: np.ndarray) -> np.ndarray:
    return np.exp(x)


def true_tanh(x: np.ndarray) -> np.ndarray:
    return np.tanh(x)


def true_sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def arguments(dtype: str, low: float, high: float) -> np.ndarray:
    """Evenly over [low, high], then both signs of every size down to the smallest number, as far as they lie there."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    sizes = np.exp2(rng.uniform(np.log2(info.smallest_subnormal), np.log2(max(-low, high)), 200_000))
    x = np.concatenate([rng.uniform(low, high, 1_000_000), sizes, -sizes, [low, high]])
    return x[(x >= low) & (x <= high)].astype(dtype)


def ulps(computed: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Distance from the true value, in its units in the last place; those of numbers below the normal ones are all equal."""
    assert np.isfinite(computed).all()
    return np.abs(computed - true) / np.spacing(np.abs(true).astype(computed.dtype))


FUNCTIONS = {"exp": (exp, true_exp), "tanh": (tanh, true_tanh), "sigmoid": (sigmoid, true_sigmoid)}
BOUNDS = {"exp": 2, "tanh": 2, "sigmoid": 3}
# Where exp is neither 0 nor infinite; in the first part of this it is a subnormal number.
RANGE = {"float32": (-103.27, 88.72), "float64": (-744.44, 709.78)}
SUBNORMAL = {"float32": -87.34, "float64": -708.4}


@extended
@dtypes
@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_is_within_its_bound(name: str, dtype: str) -> None:
    function, true = FUNCTIONS[name]
    low, high = RANGE[dtype]
    for part in ((SUBNORMAL[dtype], high), (low, SUBNORMAL[dtype]), (-1.0, 1.0)):
        x = arguments(dtype, *part)
        assert ulps(function(x), true(x.astype(np.longdouble))).max() <= BOUNDS[name]


@extended
def test_the_measure_of_errors_sees_an_error_of_four_ulp() -> None:
    x = arguments("float32", -1.0, 1.0)
    wrong = exp(x)
    wrong[7] += 4 * np.spacing(wrong[7])
    assert ulps(wrong, true_exp(x.astype(np.longdouble))).max() > max(BOUNDS.values())


@dtypes
def test_nan_stays_and_infinities_and_the_ends_of_the_range_give_the_limits(dtype: str) -> None:
    info = np.finfo(dtype)
    x = np.array([np.nan, np.inf, -np.inf, info.max, info.min, 800, -800, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(exp(x), np.array([np.nan, np.inf, 0, np.inf, 0, np.inf, 0, 1, 1], dtype))
    np.testing.assert_array_equal(tanh(x), np.array([np.nan, 1, -1, 1, -1, 1, -1, 0, 0], dtype))
    np.testing.assert_array_equal(sigmoid(x), np.array([np.nan, 1, 0, 1, 0, 1, 0, 0.5, 0.5], dtype))
    assert np.signbit(tanh(x)).tolist()[-2:] == [False, True]


@dtypes
def test_exp_overflows_and_vanishes_where_the_true_exp_does(dtype: str) -> None:
    largest, smallest = np.log(np.array([np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal], np.longdouble))
    ends = np.array([largest * (1 - 1e-6), largest * (1 + 1e-6), smallest, smallest * 1.01], dtype)
    assert np.isfinite(exp(ends)).tolist() == [True, False, True, True]
    assert (exp(ends) > 0).tolist() == [True, True, True, False]


@dtypes
def test_the_smallest_numbers_are_kept(dtype: str) -> None:
    info = np.finfo(dtype)
    sizes = np.array([info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny, 1e-30], dtype)
    x = np.concatenate([sizes, -sizes])
    np.testing.assert_array_equal(tanh(x), x)
    np.testing.assert_array_equal(exp(x), 1)
    np.testing.assert_array_equal(sigmoid(x), 0.5)


@dtypes
@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_gives_the_same_bits_in_a_vector_and_in_its_remainder(name: str, dtype: str) -> None:
    function, _ = FUNCTIONS[name]
    x = arguments(dtype, -30.0, 30.0)[:300]
    whole = function(x)
    for length in (*range(1, 40), 63, 65, 127):
        assert function(x[:length]).tobytes() == whole[:length].tobytes()
        assert function(x[-length:]).tobytes() == whole[-length:].tobytes()
