"""Activations and their slopes, each written once for both widths: w is `single` or `double`.

Where f'(x) can be had from a = f(x), that is the only formula of the slope; softplus alone has a cheaper one beside it. A
left tail is formed as a product whose last factor is a power of two: no number on the way is below the normal ones before
the result is. In it t = |x|, no larger than where the tail has become 0, so that no infinity meets a 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastfc.kernels.fused.elementary.scalar import positive, scalar

LEAK = 0.01
SELU = 1.0507009873554805, 1.7580993408473768  # scale and scale alpha (Klambauer et al. 2017)


class Form(NamedTuple):
    """f(x); f(x) and f'(x); and where they can be had from a = f(x): f'(x), and delta f'(x) as chain(a, delta)."""

    value: Callable[..., Any]
    both: Callable[..., Any]
    slope_of: Callable[..., Any] | None = None
    chain: Callable[..., Any] | None = None


def _of_value(value, slope_of, both=None):
    """The form whose slope is that of the value, unless `both` has it from elsewhere."""

    @scalar
    def together(x):
        a = value(x)
        return a, slope_of(a)

    @scalar
    def chain(a, delta):
        return delta * slope_of(a)

    return Form(value, both or together, slope_of, chain)


def _of_both(both):
    """The form whose slope cannot be had from the value. What the value alone does not need is left out by the compiler."""

    @scalar
    def value(x):
        return both(x)[0]

    return Form(value, both)


def relu(w):
    """At 0 the slope is 0, and so it is for NaN."""
    zero, one = w.real(0), w.real(1)

    @scalar
    def value(x):
        return positive(x)

    @scalar
    def slope_of(a):
        return one if a > zero else zero

    return _of_value(value, slope_of)


def identity(w):
    one = w.real(1)

    @scalar
    def value(x):
        return x

    @scalar
    def slope_of(a):
        return one

    return _of_value(value, slope_of)


def tanh(w):
    one = w.real(1)

    @scalar
    def slope_of(a):
        return one - a * a

    return _of_value(w.tanh, slope_of)


def sigmoid(w):
    zero, one, exp = w.real(0), w.real(1), w.exp

    @scalar
    def value(x):
        small = exp(-abs(x))
        return (one if x >= zero else small) / (one + small)

    @scalar
    def slope_of(a):
        return a * (one - a)

    return _of_value(value, slope_of)


def leaky_relu(w):
    """At 0 the slope is the left one, and so it is for NaN."""
    zero, one, leak = w.real(0), w.real(1), w.real(LEAK)

    @scalar
    def value(x):
        return x if x > zero else leak * x

    @scalar
    def slope_of(a):
        return one if a > zero else leak

    return _of_value(value, slope_of)


def elu(w, scale=1.0, scale_alpha=1.0):
    """scale x for x > 0, else scale alpha (exp(x) - 1). At 0 the slope is the left one."""
    zero, right, left, expm1 = w.real(0), w.real(scale), w.real(scale_alpha), w.expm1

    @scalar
    def value(x):
        below = left * expm1(zero if x > zero else x)
        return right * x if x >= zero else below

    @scalar
    def slope_of(a):
        return right if a > zero else a + left

    return _of_value(value, slope_of)


def selu(w):
    return elu(w, *SELU)


def softplus(w):
    """max(x, 0) + ln(1 + exp(-|x|)). The slope is sigmoid(x), from the same exponential, and 1 - exp(-a)."""
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

    return _of_value(value, slope_of, both=both)


def silu(w):
    """x s with s = sigmoid(x), and s + x s (1 - s): for x < 0 s is e q, 1 - s is q, with e = exp(-t) and q = 1 / (1 + e).

    The slope for x > 0 is 1 - that for -x.
    """
    zero, none, one, end, exp_parts = w.real(0), w.real(-0.0), w.real(1), w.real(w.END), w.exp_parts

    @scalar
    def both(x):
        size = abs(x)
        t = end if size > end else size
        g, low, high = exp_parts(-t, none)
        e = (one + g) * low * high
        q = one / (one + e)
        left = (e * q) * (one - t * q)
        return (x * q, one - left) if x >= zero else (-(t + t * g) * q * low * high, left)

    return _of_both(both)


def mish(w):
    """x tanh(softplus(x)) = x n / (n + 2) with e = exp(x) and n = e (e + 2); the slope has n' = 2 e (e + 1).

    For x < 0 the factor of x is e (1 - e (e + 1) / (n + 2)), which has less error. Beyond 40 it is 1.
    """
    zero, none, one, two, four = w.real(0), w.real(-0.0), w.real(1), w.real(2), w.real(4)
    lowest, highest, exp_parts = w.real(-w.END), w.real(40), w.exp_parts

    @scalar
    def both(x):
        t = lowest if x < lowest else x
        t = highest if t > highest else t
        g, low, high = exp_parts(t, none)
        e = (one + g) * low * high
        n = e * (e + two)
        q = one / (n + two)
        share, change = n * q, e * (e + one) * q
        left = t + t * g
        return x * share if x >= zero else (left - left * change) * low * high, share + change * (four * t * q)

    return _of_both(both)


def gelu(w):
    """x Phi(x) = max(x, 0) - t Phi(-t), and Phi(x) + x phi(x): for x > 0 this is 1 - that for -x.

    The square in the exponent is h² + (t - h)(t + h), h² without error: one of the rounding of t² would grow by t² / 2.
    """
    zero, one, half, density = w.real(0), w.real(1), w.real(0.5), w.real(0.3989422804014327)
    end, head, tail, exp_parts = w.real(w.NORMAL_END), w.head, w.tail, w.exp_parts

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


def gelu_tanh(w):
    """x (1 + tanh(z / 2)) / 2 = x sigmoid(z), z = A x + B x³; the slope is as in silu, with z' beside x.

    z = t (A + B t²) has two parts, h u without error and the small rest, for the reason that the square has in gelu.
    """
    zero, one, three, end = w.real(0), w.real(1), w.real(3), w.real(w.CUBIC_END)
    (A, a), (B, b) = ((w.real(high), w.real(low)) for high, low in (w.A, w.B))
    linear, cubic, head, exp_parts = w.real(sum(w.A)), w.real(sum(w.B)), w.head, w.exp_parts

    @scalar
    def both(x):
        size = abs(x)
        t = end if size > end else size
        h, square = head(t), t * t
        s, whole = head(square), linear + cubic * square
        u = head(whole)
        rest_of_square = (h * h - s) + (t - h) * (t + h)
        rest = ((A - u) + B * s) + (a + b * s + cubic * rest_of_square)
        g, low, high = exp_parts(-(h * u), -(h * rest + (t - h) * whole))
        e = (one + g) * low * high
        q = one / (one + e)
        left = (e * q) * (one - t * q * (linear + three * cubic * square))
        return (x * q, one - left) if x >= zero else (-(t + t * g) * q * low * high, left)

    return _of_both(both)


FORMS = {
    f.__name__: f for f in (relu, tanh, sigmoid, identity, leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, softplus)
}
