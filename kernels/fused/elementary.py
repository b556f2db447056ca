"""Activation functions and their slopes, of single numbers, in forms that the compiler turns into vectors.

What a library offers is called number by number. Nothing here has a branch or a call, so that a plain loop over any of it is
vectorised: `value(x, kind)`, `value_and_slope(x, kind)`, and from the value alone `slope_of(a, kind)` and `chain(a, delta,
kind)`, with the name of the activation as `kind`; `exp` and `log1p`. Float32 and float64, each in its own dtype.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import overload

from fastfc.kernels.fused.compiler.jit import HELPER, OPTIONS, inline

F = np.float32
D = np.float64
U = np.uint64

LEAK = 0.01
ALWAYS_INLINE: dict[str, Any] = {**HELPER, **OPTIONS, "forceinline": True}
SELU = (1.0507009873554805, 1.6732632423543772)  # scale and alpha (Klambauer et al. 2017)


def scalar(function):
    """`inline` at any size: what is left as a call inside a loop keeps it from becoming vectors."""
    dispatcher = inline(function)
    if not numba.config.DISABLE_JIT:
        dispatcher.targetoptions["forceinline"] = True
    return dispatcher


@scalar
def reduce32(a, b):
    """(n + 254, r) with a + b = n ln 2 + r and |r| <= ln 2 / 2 (Cody and Waite). b is small, or -0.0: nothing."""
    shifted = (a + b) * F(1.44269504) + F(12582912.0)  # 1.5 * 2**23: the sum's last bits are the rounded integer
    n = shifted - F(12582912.0)
    r = ((a - n * F(0.693359375)) + n * F(2.12194440e-4)) + b
    return np.int32(F(shifted).view(np.int32) - np.int32(0x4B400000 - 254)), r


@scalar
def grow32(r):
    """exp(r) - 1 for |r| <= ln 2 / 2, by a polynomial (Cephes expf)."""
    p = F(1.9875691500e-4) * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    return p * (r * r) + r


@scalar
def exp_parts32(a, b):
    """(m, power), whose product is exp(a + b): 2**n in two factors, since n reaches beyond the exponents of a float."""
    biased, r = reduce32(a, b)
    half = biased >> 1
    low = np.int32(half << 23).view(F)
    return grow32(r), low, np.int32((biased - half) << 23).view(F)


@scalar
def exp32(x):
    """exp of a float32."""
    g, low, high = exp_parts32(min(max(x, F(-104.0)), F(89.0)), F(-0.0))
    return x if x != x else (g + F(1.0)) * low * high


@scalar
def expm1_32(x):
    """exp(x) - 1 of a float32, x <= 0."""
    biased, r = reduce32(F(-20.0) if x < F(-20.0) else x, F(-0.0))
    power = np.int32((biased - 127) << 23).view(F)
    return power * grow32(r) + (power - F(1.0))


@scalar
def log1p32(x):
    """ln(1 + x) of a float32, 0 <= x <= 1: x times a polynomial (fit)."""
    p = F(-0.0033244004) * x + F(0.020233093)
    p = p * x + F(-0.05772198)
    p = p * x + F(0.106868744)
    p = p * x + F(-0.15359488)
    p = p * x + F(0.1969698)
    p = p * x + F(-0.24958937)
    p = p * x + F(0.3333055)
    p = p * x + F(-0.49999934)
    p = p * x + F(1.0)
    return p * x


@scalar
def tail32(t):
    """exp(t²/2) Phi(-t) of a float32, 0 <= t <= 14.5: 1 / (sqrt(2 pi) t + N(t) / D(t)), in one division (fit)."""
    d = ((F(0.0012414365) * t + F(0.014878018)) * t + F(0.0852303)) * t + F(0.28261685)
    d = (d * t + F(0.54244936)) * t + F(0.5)
    n = ((F(0.0031121322) * t + F(0.03727799)) * t + F(0.20775911)) * t + F(0.6294691)
    product = t * d
    q = F(1.0) / (F(2.5066283) * product + (n * t + F(1.0)))
    return d * q, product * q


@scalar
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
    return F(math.copysign((size if small else F(1.0)) + numerator / denominator, x))


@scalar
def head32(x):
    """The first 12 bits of x: a product of two such is exact."""
    return np.int32(F(x).view(np.int32) & np.int32(-(1 << 12))).view(F)


@scalar
def reduce64(a, b):
    """As reduce32: (n + 2046, r)."""
    shifted = (a + b) * D(1.4426950408889634) + D(6755399441055744.0)  # 1.5 * 2**52
    n = shifted - D(6755399441055744.0)
    r = ((a - n * D(6.93145751953125e-1)) - n * D(1.42860682030941723212e-6)) + b
    return D(shifted).view(U) - U(0x4338000000000000 - 2046), r


@scalar
def grow64(r):
    """exp(r) - 1 for |r| <= ln 2 / 2, by a rational function (Cephes exp)."""
    square = r * r
    p = r * (
        (D(1.26177193074810590878e-4) * square + D(3.02994407707441961300e-2)) * square + D(9.99999999999999999910e-1)
    )
    q = (D(3.00198505138664455042e-6) * square + D(2.52448340349684104192e-3)) * square
    q = (q + D(2.27265548208155028766e-1)) * square + D(2.0)
    return D(2.0) * (p / (q - p))


@scalar
def exp_parts64(a, b):
    """As exp_parts32."""
    biased, r = reduce64(a, b)
    half = biased >> U(1)
    low = U(half << U(52)).view(D)
    return grow64(r), low, U((biased - half) << U(52)).view(D)


@scalar
def exp64(x):
    """exp of a float64."""
    g, low, high = exp_parts64(min(max(x, D(-746.0)), D(710.0)), D(-0.0))
    return x if x != x else (D(1.0) + g) * low * high


@scalar
def expm1_64(x):
    """exp(x) - 1 of a float64, x <= 0. The rational function of exp64, 2 r P / (Q - r P), is r + r (2 P - Q + r P) / (Q - r P)."""
    biased, r = reduce64(D(-40.0) if x < D(-40.0) else x, D(-0.0))
    square = r * r
    p = (D(1.26177193074810590878e-4) * square + D(3.02994407707441961300e-2)) * square + D(1.0)
    q = (D(3.00198505138664455042e-6) * square + D(2.52448340349684104192e-3)) * square
    q = (q + D(2.27265548208155028766e-1)) * square + D(2.0)
    v = (D(-3.00198505138664455042e-6) * square + D(-2.27212901734721986e-3)) * square + D(-1.66666666666666636513e-1)
    small = r + r * ((v * square + r * p) / (q - r * p))
    power = U((biased - U(1023)) << U(52)).view(D)
    return power * small + (power - D(1.0))


@scalar
def log1p64(x):
    """ln(1 + x) of a float64, 0 <= x <= 1: x - x² times a rational function (fit)."""
    p = (D(0.0015994293128814504) * x + D(0.04306924832733782)) * x + D(0.3191937380368773)
    p = ((p * x + D(0.9306432684484622)) * x + D(1.1473293183820736)) * x + D(0.4999999999999998)
    q = (D(0.0016232930290070832) * x + D(0.05009546457176974)) * x + D(0.4571794240488076)
    q = ((q * x + D(1.7813937614856998)) * x + D(3.3355034058558903)) * x + D(2.961325303430711)
    return x - (x * x) * (p / (q * x + D(1.0)))


@scalar
def tail64(t):
    """exp(t²/2) Phi(-t) of a float64, 0 <= t <= 38.75: as tail32."""
    d = (D(2.86702592329608e-07) * t + D(8.602344040742797e-06)) * t + D(0.0001274347284678507)
    d = ((d * t + D(0.0012099145016663982)) * t + D(0.008087466896885569)) * t + D(0.03958944196983573)
    d = ((d * t + D(0.14347814780315854)) * t + D(0.3804680387754844)) * t + D(0.709327163843644)
    d = (d * t + D(0.8467921983941182)) * t + D(0.5)
    n = (D(7.186568242849005e-07) * t + D(2.1562878811740218e-05)) * t + D(0.0003179941789462906)
    n = ((n * t + D(0.0029896801914188476)) * t + D(0.019640595040442764)) * t + D(0.09338607613087097)
    n = ((n * t + D(0.3222420995880627)) * t + D(0.7839656754371723)) * t + D(1.238154820275602)
    product = t * d
    q = D(1.0) / (D(2.5066282746310007) * product + (n * t + D(1.0)))
    return d * q, product * q


@scalar
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
    return D(math.copysign((size if small else D(1.0)) + numerator / denominator, x))


@scalar
def head64(x):
    """The first 26 bits of x: a product of two such is exact."""
    return np.int64(D(x).view(np.int64) & np.int64(-(1 << 27))).view(D)


class Width(NamedTuple):
    """The functions of a dtype, and where the left tails of activations have become 0."""

    real: Any
    exp: Callable[..., Any]
    exp_parts: Callable[..., Any]
    expm1: Callable[..., Any]
    log1p: Callable[..., Any]
    tanh: Callable[..., Any]
    tail: Callable[..., Any]
    head: Callable[..., Any]
    end: float  # of x exp(-x)
    normal_end: float  # of the normal density
    cubic_end: float  # of sigmoid at the polynomial of gelu_tanh
    linear: tuple[float, float]  # 2 sqrt(2 / pi) = its first 12 or 26 bits + the rest
    cubic: tuple[float, float]  # 0.044715 times as much


SINGLE = Width(
    *(F, exp32, exp_parts32, expm1_32, log1p32, tanh32, tail32, head32, 110.0, 15.0, 11.0),
    linear=(1.595703125, 6.599660573071176e-05),
    cubic=(0.07135009765625, 4.718616350248776e-06),
)
DOUBLE = Width(
    *(D, exp64, exp_parts64, expm1_64, log1p64, tanh64, tail64, head64, 760.0, 38.75, 22.0),
    linear=(1.5957691073417664, 1.426396435433791e-08),
    cubic=(0.071354815736413, 5.361872467621785e-10),
)


class Form(NamedTuple):
    """An activation in one dtype: f(x), (f(x), f'(x)), and where it can be had from a = f(x): f'(x) and delta f'(x)."""

    value: Callable[..., Any]
    both: Callable[..., Any]
    slope_of: Callable[..., Any] | None = None
    chain: Callable[..., Any] | None = None


def _of_value(value, slope_of, chain=None):
    """A form whose slope is always computed from a = f(x)."""

    @scalar
    def both(x):
        a = value(x)
        return a, slope_of(a)

    @scalar
    def times(a, delta):
        return delta * slope_of(a)

    return Form(value, both, slope_of, chain or times)


def _of_both(both):
    """A form whose slope is not computed from the value; the compiler leaves out what the value alone does not need."""

    @scalar
    def value(x):
        return both(x)[0]

    return Form(value, both)


def _relu(w):
    zero, one = w.real(0), w.real(1)

    @scalar
    def value(x):
        return max(x, zero)

    @scalar
    def slope_of(a):
        return one if a > zero else zero

    @scalar
    def chain(a, delta):
        return delta if a > zero else zero

    return _of_value(value, slope_of, chain)


def _identity(w):
    one = w.real(1)

    @scalar
    def value(x):
        return x

    @scalar
    def slope_of(a):
        return one

    return _of_value(value, slope_of)


def _tanh(w):
    one, tanh = w.real(1), w.tanh

    @scalar
    def slope_of(a):
        return one - a * a

    return _of_value(tanh, slope_of)


def _sigmoid(w):
    zero, one, exp = w.real(0), w.real(1), w.exp

    @scalar
    def value(x):
        small = exp(-abs(x))
        return (one if x >= zero else small) / (one + small)

    @scalar
    def slope_of(a):
        return a * (one - a)

    return _of_value(value, slope_of)


def _leaky_relu(w):
    zero, one, leak = w.real(0), w.real(1), w.real(LEAK)

    @scalar
    def value(x):
        return x if x > zero else leak * x

    @scalar
    def slope_of(a):
        return one if a > zero else leak

    return _of_value(value, slope_of)


def _selu(scale, alpha):
    """scale x for x > 0, else scale alpha (exp(x) - 1). At 0 the slope is the left one."""

    def make(w):
        zero, right, left, expm1 = w.real(0), w.real(scale), w.real(scale * alpha), w.expm1

        @scalar
        def value(x):
            below = left * expm1(zero if x > zero else x)
            return right * x if x >= zero else below

        @scalar
        def slope_of(a):
            return right if a > zero else a + left

        return _of_value(value, slope_of)

    return make


def _softplus(w):
    """max(x, 0) + ln(1 + e) with e = exp(-|x|); the slope is sigmoid(x) = 1 - exp(-a)."""
    zero, one, exp, log1p, expm1 = w.real(0), w.real(1), w.exp, w.log1p, w.expm1

    @scalar
    def value(x):
        return max(x, zero) + log1p(exp(-abs(x)))

    @scalar
    def both(x):
        small = exp(-abs(x))
        return max(x, zero) + log1p(small), (one if x >= zero else small) / (one + small)

    @scalar
    def slope_of(a):
        return zero - expm1(-a)

    return _of_value(value, slope_of)._replace(both=both)


def _silu(w):
    """x s and s + x s (1 - s), with s = sigmoid(x), e = exp(-|x|) and s (1 - s) = e / (1 + e)²."""
    zero, nothing, one, end, exp_parts = w.real(0), w.real(-0.0), w.real(1), w.real(w.end), w.exp_parts

    @scalar
    def both(x):
        size = abs(x)
        t = end if size > end else size
        g, low, high = exp_parts(-t, nothing)
        e = (one + g) * low * high
        q = one / (one + e)
        left = (e * q) * (one - t * q)
        return (x * q, one - left) if x >= zero else (-(t + t * g) * q * low * high, left)

    return _of_both(both)


def _mish(w):
    """x n / (n + 2) with e = exp(x) and n = e (e + 2); the slope has n' = 2 e (e + 1).

    For x < 0 the factor is e (1 - e (e + 1) / (n + 2)), which keeps more bits of it.
    """
    zero, one, two, four, nothing = w.real(0), w.real(1), w.real(2), w.real(4), w.real(-0.0)
    end, most, exp_parts = w.real(-w.end), w.real(40), w.exp_parts

    @scalar
    def both(x):
        t = end if x < end else x
        t = most if t > most else t
        g, low, high = exp_parts(t, nothing)
        e = (one + g) * low * high
        n = e * (e + two)
        q = one / (n + two)
        share, change = n * q, e * (e + one) * q
        left = t + t * g
        return x * share if x >= zero else (left - left * change) * low * high, share + change * (four * t * q)

    return _of_both(both)


def _gelu(w):
    """x Phi(x) and Phi(x) + x phi(x). The square in the exponent is h² + (t - h)(t + h), with h² exact: without it an error
    of x² would be one of Phi, 100 times as large in the tail."""
    zero, one, half, density = w.real(0), w.real(1), w.real(0.5), w.real(0.3989422804014327)
    end, head, tail, exp_parts = w.real(w.normal_end), w.head, w.tail, w.exp_parts

    @scalar
    def both(x):
        size = abs(x)
        t = end if size > end else size
        h = head(t)
        g, low, high = exp_parts(-half * (h * h), -half * ((t - h) * (t + h)))
        probability, loss = tail(t)
        left = ((one + g) * (probability - density * t)) * low * high
        right = x >= zero
        return (x if right else zero) - (loss + loss * g) * low * high, one - left if right else left

    return _of_both(both)


def _gelu_tanh(w):
    """x s and s + x s (1 - s) z', with s = sigmoid(z) = (1 + tanh(z / 2)) / 2 and z = A x + B x³. z = t (A + B t²) is formed
    in two parts, for the same reason as in _gelu."""
    zero, one, three = w.real(0), w.real(1), w.real(3)
    end, head, exp_parts = w.real(w.cubic_end), w.head, w.exp_parts
    linear, cubic = w.real(sum(w.linear)), w.real(sum(w.cubic))
    (A, a), (B, b) = ((w.real(high), w.real(low)) for high, low in (w.linear, w.cubic))

    @scalar
    def both(x):
        size = abs(x)
        t = end if size > end else size
        h, square = head(t), t * t
        l, s = t - h, head(square)
        rest = (h * h - s) + l * (t + h)
        whole = linear + cubic * square
        u = head(whole)
        v = ((A - u) + B * s) + (a + b * s + cubic * rest)
        g, low, high = exp_parts(-(h * u), -(h * v + l * whole))
        e = (one + g) * low * high
        q = one / (one + e)
        left = (e * q) * (one - t * q * (linear + three * cubic * square))
        return (x * q, one - left) if x >= zero else (-(t + t * g) * q * low * high, left)

    return _of_both(both)


MAKERS = {
    "relu": _relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "identity": _identity,
    "leaky_relu": _leaky_relu,
    "elu": _selu(1.0, 1.0),
    "selu": _selu(*SELU),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "mish": _mish,
    "softplus": _softplus,
}


@functools.cache
def form(kind: str, width: Width) -> Form:
    return MAKERS[kind](width)


def _form(x, kind):
    """That of a number and a name, or of their types."""
    if isinstance(kind, str):
        return form(kind, SINGLE if x.itemsize == 4 else DOUBLE)
    return form(name_of(kind), SINGLE if x == types.float32 else DOUBLE)


def name_of(kind: Any) -> str:
    """That of a literal, or of a choice that is compiled in, from its type; "" where it is neither."""
    if isinstance(kind, types.StringLiteral):
        return kind.literal_value
    return kind.instance_class.__name__ if isinstance(kind, types.BaseNamedTuple) else ""


def value(x, kind):
    """f(x) of the activation `kind`."""
    return _form(x, kind).value(x)


def value_and_slope(x, kind):
    """(f(x), f'(x)) of the activation `kind`."""
    return _form(x, kind).both(x)


def slope_of(a, kind):
    """f'(x) from a = f(x), for the activations where it can be had from there."""
    return _form(a, kind).slope_of(a)


def chain(a, delta, kind):
    """delta f'(x), with f'(x) as `slope_of` gives it."""
    return _form(a, kind).chain(a, delta)


@overload(value, jit_options=ALWAYS_INLINE, prefer_literal=True)
def _value(x, kind):
    if name_of(kind):
        function = _form(x, kind).value
        return lambda x, kind: function(x)


@overload(value_and_slope, jit_options=ALWAYS_INLINE, prefer_literal=True)
def _value_and_slope(x, kind):
    if name_of(kind):
        function = _form(x, kind).both
        return lambda x, kind: function(x)


@overload(slope_of, jit_options=ALWAYS_INLINE, prefer_literal=True)
def _slope_of(a, kind):
    if name_of(kind):
        function = _form(a, kind).slope_of
        return lambda a, kind: function(a)


@overload(chain, jit_options=ALWAYS_INLINE, prefer_literal=True)
def _chain(a, delta, kind):
    if name_of(kind):
        function = _form(a, kind).chain
        return lambda a, delta, kind: function(a, delta)


def _by_width(name, single, double):
    """A function of that name for both widths: only the form for the type in hand is compiled."""

    def function(x):
        return (single if x.itemsize == 4 else double)(x)

    function.__name__ = name
    overload(function, jit_options=ALWAYS_INLINE)(lambda x: (single if x == types.float32 else double).py_func)
    return function


exp = _by_width("exp", exp32, exp64)
log1p = _by_width("log1p", log1p32, log1p64)
