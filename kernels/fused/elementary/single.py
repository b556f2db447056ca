"""Functions of a float32, and what the forms need to know of it; `double` has the same of a float64.

"Fit": a rational function of least relative error of the result, by Loeb's linearisation with Lawson's weights on Chebyshev
points, in 60 digits; its coefficients were rounded one after the other from the highest power down, and those left fitted again.
"""

from __future__ import annotations

import math

import numpy as np

from fastfc.kernels.fused.elementary.scalar import scalar

F = real = np.float32

# The tails of x exp(x), of the normal density times x, and of x sigmoid(A x + B x³) of gelu_tanh, are 0 beyond.
END, NORMAL_END, CUBIC_END = 110.0, 15.0, 11.0
# A = 2 sqrt(2 / pi), B = 0.044715 A, each as its first 12 bits and the rest.
A = 1.595703125, 6.599660573071176e-05
B = 0.07135009765625, 4.718616350248776e-06


@scalar
def reduce(a, b):
    """(n + 254, r) with a + b = n ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite), n + 254 > 0. b is small, or -0.0: none."""
    shifted = (a + b) * F(1.44269504) + F(12582912.0)  # 1.5 * 2**23: the sum's last bits are the rounded integer
    n = shifted - F(12582912.0)
    r = ((a - n * F(0.693359375)) + n * F(2.12194440e-4)) + b
    return np.int32(F(shifted).view(np.int32) - np.int32(0x4B400000 - 254)), r


@scalar
def grow(r):
    """exp(r) - 1 for |r| <= ln 2 / 2, by a polynomial (Cephes expf)."""
    p = F(1.9875691500e-4) * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    return p * (r * r) + r


@scalar
def exp_parts(a, b):
    """(g, low, high): exp(a + b) = (1 + g) low high. 2**n has two factors, since n reaches beyond the exponents of a float."""
    biased, r = reduce(a, b)
    half = biased >> 1
    low = np.int32(half << 23).view(F)
    return grow(r), low, np.int32((biased - half) << 23).view(F)


@scalar
def exp(x):
    """exp(x)."""
    g, low, high = exp_parts(min(max(x, F(-104.0)), F(89.0)), F(-0.0))
    return x if x != x else (g + F(1.0)) * low * high


@scalar
def expm1(x):
    """exp(x) - 1 for x <= 0."""
    biased, r = reduce(F(-20.0) if x < F(-20.0) else x, F(-0.0))
    power = np.int32((biased - 127) << 23).view(F)
    return power * grow(r) + (power - F(1.0))


@scalar
def log1p(x):
    """ln(1 + x) for 0 <= x <= 1: x times a polynomial (fit, 2**-27.5)."""
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
def tail(t):
    """p = exp(t²/2) Phi(-t) and t p for 0 <= t <= 15: p = 1 / (sqrt(2 pi) t + N(t) / D(t)) (fit, 2**-28), in one division.

    The error of D nearly cancels for large t. D(0) and N(0) are 1.5 and 3, not 0.5 and 1: numbers just above a power of two
    have the largest relative error of rounding.
    """
    d = ((F(0.0037538363) * t + F(0.04488621)) * t + F(0.25672224)) * t + F(0.85012084)
    d = (d * t + F(1.6296884)) * t + F(1.5)
    n = ((F(0.009410362) * t + F(0.1124678)) * t + F(0.62568635)) * t + F(1.8930879)
    product = t * d
    denominator = F(2.5066283) * product + (n * t + F(3.0))
    return d / denominator, product / denominator


@scalar
def tanh(x):
    """tanh(x): |x| + |x|³ P(x²) for |x| < 0.625 (Cephes tanhf), else 1 - 2 / (exp(2|x|) + 1), with the sign of x."""
    size = abs(x)
    square = x * x
    p = F(-5.70498872745e-3) * square + F(2.06390887954e-2)
    p = p * square + F(-5.37397155531e-2)
    p = p * square + F(1.33314422036e-1)
    p = p * square + F(-3.33332819422e-1)
    small = size < F(0.625)
    numerator = p * square * size if small else F(-2.0)
    denominator = F(1.0) if small else exp(size + size) + F(1.0)
    return F(math.copysign((size if small else F(1.0)) + numerator / denominator, x))


@scalar
def head(x):
    """The first 12 bits of x: a product of two such is exact."""
    return np.int32(F(x).view(np.int32) & np.int32(-(1 << 12))).view(F)
