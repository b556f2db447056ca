"""Functions of a float64: those of `single`, where they are explained, with more terms."""

from __future__ import annotations

import math

import numpy as np

from fastfc.kernels.fused.elementary.scalar import scalar

D = real = np.float64
U = np.uint64

END, NORMAL_END, CUBIC_END = 760.0, 38.75, 22.0
A = 1.5957691073417664, 1.426396435433791e-08  # the first 26 bits and the rest
B = 0.071354815736413, 5.361872467621785e-10


@scalar
def reduce(a, b):
    """As in `single`, but (n + 2046, r)."""
    shifted = (a + b) * D(1.4426950408889634) + D(6755399441055744.0)  # 1.5 * 2**52
    n = shifted - D(6755399441055744.0)
    r = ((a - n * D(6.93145751953125e-1)) - n * D(1.42860682030941723212e-6)) + b
    return D(shifted).view(U) - U(0x4338000000000000 - 2046), r


@scalar
def grow(r):
    """exp(r) - 1 for |r| <= ln 2 / 2, by a rational function (Cephes exp)."""
    square = r * r
    p = r * (
        (D(1.26177193074810590878e-4) * square + D(3.02994407707441961300e-2)) * square + D(9.99999999999999999910e-1)
    )
    q = (D(3.00198505138664455042e-6) * square + D(2.52448340349684104192e-3)) * square
    q = (q + D(2.27265548208155028766e-1)) * square + D(2.0)
    return D(2.0) * (p / (q - p))


@scalar
def exp_parts(a, b):
    """As in `single`: (g, low, high)."""
    biased, r = reduce(a, b)
    half = biased >> U(1)
    low = U(half << U(52)).view(D)
    return grow(r), low, U((biased - half) << U(52)).view(D)


@scalar
def exp(x):
    """exp(x)."""
    g, low, high = exp_parts(min(max(x, D(-746.0)), D(710.0)), D(-0.0))
    return x if x != x else (D(1.0) + g) * low * high


@scalar
def expm1(x):
    """exp(x) - 1 for x <= 0. That of r, 2 r P / (Q - r P), has less error as r + r (V + r P) / (Q - r P), V = 2 P - Q."""
    biased, r = reduce(D(-40.0) if x < D(-40.0) else x, D(-0.0))
    square = r * r
    p = (D(1.26177193074810590878e-4) * square + D(3.02994407707441961300e-2)) * square + D(1.0)
    q = (D(3.00198505138664455042e-6) * square + D(2.52448340349684104192e-3)) * square
    q = (q + D(2.27265548208155028766e-1)) * square + D(2.0)
    v = (D(-3.00198505138664455042e-6) * square + D(-2.27212901734721986e-3)) * square + D(-1.66666666666666636513e-1)
    small = r + r * ((v * square + r * p) / (q - r * p))
    power = U((biased - U(1023)) << U(52)).view(D)
    return power * small + (power - D(1.0))


@scalar
def log1p(x):
    """ln(1 + x) for 0 <= x <= 1: x - x² times a rational function (fit, 2**-56)."""
    p = (D(0.0015994293128814504) * x + D(0.04306924832733782)) * x + D(0.3191937380368773)
    p = ((p * x + D(0.9306432684484622)) * x + D(1.1473293183820736)) * x + D(0.4999999999999998)
    q = (D(0.0016232930290070832) * x + D(0.05009546457176974)) * x + D(0.4571794240488076)
    q = ((q * x + D(1.7813937614856998)) * x + D(3.3355034058558903)) * x + D(2.961325303430711)
    return x - (x * x) * (p / (q * x + D(1.0)))


@scalar
def tail(t):
    """As in `single`, for 0 <= t <= 38.75 (fit, 2**-57.8, and 2**-53.6 by sqrt(2 pi) as a float64)."""
    d = (D(8.60107776988824e-07) * t + D(2.5807032202394274e-05)) * t + D(0.0003823041870052719)
    d = ((d * t + D(0.003629743521146755)) * t + D(0.02426240079440595)) * t + D(0.11876832636772387)
    d = ((d * t + D(0.4304344448254484)) * t + D(1.1414041193165898)) * t + D(2.127981495503434)
    d = (d * t + D(2.5403765977720463)) * t + D(1.5)
    n = (D(2.1559704728547014e-06) * t + D(6.46886366361667e-05)) * t + D(0.0009539825408537887)
    n = ((n * t + D(0.00896904061433056)) * t + D(0.05892178537335978)) * t + D(0.2801582294622396)
    n = ((n * t + D(0.9667263018336776)) * t + D(2.3518970318976766)) * t + D(3.7144644660061896)
    product = t * d
    denominator = D(2.5066282746310007) * product + (n * t + D(3.0))
    return d / denominator, product / denominator


@scalar
def tanh(x):
    """tanh(x): as in `single`, with |x| + |x|³ P(x²) / Q(x²) for |x| < 0.625 (Cephes tanh)."""
    size = abs(x)
    square = x * x
    p = (D(-9.64399179425052238628e-1) * square + D(-9.92877231001918586564e1)) * square + D(-1.61468768441708447952e3)
    q = ((square + D(1.12811678491632931402e2)) * square + D(2.23548839060100448583e3)) * square + D(
        4.84406305325125486048e3
    )
    small = size < D(0.625)
    numerator = p * square * size if small else D(-2.0)
    denominator = q if small else exp(size + size) + D(1.0)
    return D(math.copysign((size if small else D(1.0)) + numerator / denominator, x))


@scalar
def head(x):
    """The first 26 bits of x: a product of two such is exact."""
    return np.int64(D(x).view(np.int64) & np.int64(-(1 << 27))).view(D)
