"""Activation functions and their slopes, of single numbers, in forms that the compiler turns into vectors.

What a library offers is called number by number. Nothing here has a branch or a call, so that a plain loop over any of it is
vectorised. All of it takes and gives float32 or float64; `kind` is the name of an activation, known when the loop is compiled.

Errors, tested over the whole range: of values in units in the last place (ulp) wherever they are normal numbers, of slopes in
eps, absolute, since several of them cross 0. Both widths, with FMA and without:

                                 value    slope
    relu, identity                   0        0
    leaky_relu                       1        1
    elu                              2        1
    tanh, selu                       2        1.5
    sigmoid, softplus                3        1
    gelu, gelu_tanh, silu            4        1.5
    mish                             4        2
    exp, log1p                       2

A value below the normal numbers is off by 2 of the smallest subnormal numbers at most. NaN stays NaN, but slopes of relu,
leaky_relu and identity are numbers; infinities give the limits; -0.0 gives -0.0 where f(0) = 0.
"""

from __future__ import annotations

import functools
from typing import Any

from numba import types
from numba.extending import overload

from fastfc.kernels.fused.compiler.jit import HELPER, OPTIONS
from fastfc.kernels.fused.elementary import double, single
from fastfc.kernels.fused.elementary.forms import FORMS, Form

ALWAYS_INLINE: dict[str, Any] = {**HELPER, **OPTIONS, "forceinline": True}
COMPILED: dict[str, Any] = {"jit_options": ALWAYS_INLINE, "prefer_literal": True}


@functools.cache
def form(kind: str, width: Any) -> Form:
    """An activation in one width, `single` or `double`."""
    return FORMS[kind](width)


def _of(x, kind):
    """The form for a number and a name, or for their types: a literal, or a choice of `compiler.types_of`."""
    if isinstance(kind, (types.StringLiteral, types.BaseNamedTuple)):
        name = kind.literal_value if isinstance(kind, types.StringLiteral) else kind.instance_class.__name__
        return form(name, single if x == types.float32 else double)
    return form(kind, single if x.itemsize == 4 else double)


def value(x, kind):
    """f(x)."""
    return _of(x, kind).value(x)


@overload(value, **COMPILED)
def _value(x, kind):
    function = _of(x, kind).value
    return lambda x, kind: function(x)


def value_and_slope(x, kind):
    """(f(x), f'(x))."""
    return _of(x, kind).both(x)


@overload(value_and_slope, **COMPILED)
def _value_and_slope(x, kind):
    function = _of(x, kind).both
    return lambda x, kind: function(x)


def slope_of(a, kind):
    """f'(x) from a = f(x), for the kinds where it can be had from there."""
    return _of(a, kind).slope_of(a)


@overload(slope_of, **COMPILED)
def _slope_of(a, kind):
    function = _of(a, kind).slope_of
    return lambda a, kind: function(a)


def chain(a, delta, kind):
    """delta f'(x) from a = f(x), for the same kinds."""
    return _of(a, kind).chain(a, delta)


@overload(chain, **COMPILED)
def _chain(a, delta, kind):
    function = _of(a, kind).chain
    return lambda a, delta, kind: function(a, delta)


def _by_width(name):
    """The function of that name of `single` or `double`: only the one for the type in hand is compiled."""
    of_single, of_double = getattr(single, name), getattr(double, name)

    def function(x):
        return (of_single if x.itemsize == 4 else of_double)(x)

    def compiled(x):
        f = of_single if x == types.float32 else of_double
        return lambda x: f(x)

    function.__name__ = name
    overload(function, jit_options=ALWAYS_INLINE)(compiled)
    return function


exp = _by_width("exp")
log1p = _by_width("log1p")
