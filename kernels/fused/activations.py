"""Activation functions and their derivatives, on polynomials that the compiler turns into vectors.

exp and tanh from a library are called number by number. The forms below have no branch and no call, so a loop over them
is vectorised. Their errors against the true value, tested over the whole range: exp and sigmoid 3 ulp, tanh 3 ulp.
NaN stays NaN and infinities give the limits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

from fastfc.kernels.fused.compiler.jit import OPTIONS, inline, kernel
from fastfc.kernels.fused.llvm.views import flat


F = np.float32
D = np.float64


@inline
def exp32(x):
    """exp of a float32. x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite), exp(r) by a polynomial (Cephes expf)."""
    clipped = min(max(x, F(-104.0)), F(89.0))
    shifted = clipped * F(1.44269504) + F(12582912.0)  # 1.5 * 2**23: the sum's last bits are the rounded integer
    n = shifted - F(12582912.0)
    r = (clipped - n * F(0.693359375)) + n * F(2.12194440e-4)
    p = F(1.9875691500e-4) * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    p = p * (r * r) + r + F(1.0)
    power = F(shifted).view(np.int32) - np.int32(0x4B400000)
    half = power >> 1  # 2**n in two factors, since n reaches beyond the exponents of a float
    low = np.int32((half + 127) << 23).view(np.float32)
    high = np.int32((power - half + 127) << 23).view(np.float32)
    return x if x != x else p * low * high


@inline
def exp64(x):
    """exp of a float64: as exp32, with the rational form of Cephes exp."""
    clipped = min(max(x, D(-746.0)), D(710.0))
    shifted = clipped * D(1.4426950408889634) + D(6755399441055744.0)  # 1.5 * 2**52
    n = shifted - D(6755399441055744.0)
    r = (clipped - n * D(6.93145751953125e-1)) - n * D(1.42860682030941723212e-6)
    square = r * r
    p = r * (
        (D(1.26177193074810590878e-4) * square + D(3.02994407707441961300e-2)) * square + D(9.99999999999999999910e-1)
    )
    q = (D(3.00198505138664455042e-6) * square + D(2.52448340349684104192e-3)) * square
    q = (q + D(2.27265548208155028766e-1)) * square + D(2.0)
    value = D(1.0) + D(2.0) * (p / (q - p))
    power = D(shifted).view(np.int64) - np.int64(0x4338000000000000)
    half = power >> 1
    low = np.int64((half + 1023) << 52).view(np.float64)
    high = np.int64((power - half + 1023) << 52).view(np.float64)
    return x if x != x else value * low * high


@inline
def tanh32(x):
    """tanh of a float32: |x| + |x|³ P(x²) for |x| < 0.625 (Cephes tanhf), else 1 - 2 / (exp(2|x|) + 1), with the sign of x."""
    size = abs(x)
    square = x * x
    p = F(-5.70498872745e-3) * square + F(2.06390887954e-2)
    p = p * square + F(-5.37397155531e-2)
    p = p * square + F(1.33314422036e-1)
    p = p * square + F(-3.33332819422e-1)
    small = size < F(0.625)
    numerator = p * square * size if small else F(-2.0)
    denominator = F(1.0) if small else exp32(size + size) + F(1.0)
    return math.copysign((size if small else F(1.0)) + numerator / denominator, x)


@inline
def tanh64(x):
    """tanh of a float64: as tanh32, with |x| + |x|³ P(x²) / Q(x²) for |x| < 0.625 (Cephes tanh)."""
    size = abs(x)
    square = x * x
    p = (D(-9.64399179425052238628e-1) * square + D(-9.92877231001918586564e1)) * square + D(-1.61468768441708447952e3)
    q = ((square + D(1.12811678491632931402e2)) * square + D(2.23548839060100448583e3)) * square + D(
        4.84406305325125486048e3
    )
    small = size < D(0.625)
    numerator = p * square * size if small else D(-2.0)
    denominator = q if small else exp64(size + size) + D(1.0)
    return math.copysign((size if small else D(1.0)) + numerator / denominator, x)


def _by_width(name, single, double):
    """A function of that name for both widths: only the form for the type in hand is compiled."""

    def function(x):
        return (single if x.itemsize == 4 else double)(x)

    function.__name__ = name
    overload(function, jit_options=OPTIONS)(lambda x: (single if x == types.float32 else double).py_func)
    return function


exp = _by_width("exp", exp32, exp64)
tanh = _by_width("tanh", tanh32, tanh64)


def value(x, kind):
    """f(x) of the activation that `kind` names."""


def value_and_slope(x, kind):
    """(f(x), f'(x))"""


def slope_of(a, kind):
    """f'(z) from a = f(z)"""


def _value(x, kind):
    return {
        "relu": lambda x, kind: max(x, x - x),
        "tanh": lambda x, kind: tanh(x),
        "identity": lambda x, kind: x,
        "sigmoid": lambda x, kind: ((x-x+1) if x >= 0 else exp(-abs(x)))/ (x-x+1 + exp(-abs(x))),
    }[kind.instance_class.__name__]


overload(value, jit_options=OPTIONS)(_value)
overload(slope_of, jit_options=OPTIONS)(lambda a, kind: {
    "relu": lambda a, kind: 1.0 if a > 0 else 0.0, "tanh": lambda a, kind: 1 - a*a, "identity": lambda a, kind: 1.0, "sigmoid": lambda a, kind: a*(1-a)}[kind.instance_class.__name__])
overload(value_and_slope, jit_options=OPTIONS)(lambda a, kind: (lambda a, kind: (a, a)))


@kernel
def exp_into(z):
    """z becomes exp(z), in place; (rows, columns), C-contiguous."""
    x = flat(z)
    for i in range(x.size):
        x[i] = exp(x[i])


@kernel
def activate(z, slopes, activation):
    """z (batch, units) becomes f(z), in place, and slopes (batch, units) f'(z), unless it has no rows; both C-contiguous."""
    x, s = flat(z), flat(slopes)
    if s.size > 0:
        for i in range(x.size):
            x[i], s[i] = value_and_slope(x[i], activation)
    else:
        for i in range(x.size):
            x[i] = value(x[i], activation)


@kernel
def chain(saved, delta, activation):
    """delta (batch, units) = dL/da becomes dL/dz, in place; saved = a = f(z); both C-contiguous."""
    a, d = flat(saved), flat(delta)
    for i in range(d.size):
        d[i] = d[i] * slope_of(a[i], activation)


@kernel
def multiply(slopes, delta):
    """delta (batch, units) = dL/da becomes dL/dz, in place; slopes = f'(z); both C-contiguous."""
    s, d = flat(slopes), flat(delta)
    for i in range(d.size):
        d[i] *= s[i]
