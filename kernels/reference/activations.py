"""Activation functions and their derivatives.

Where it can, the derivative is written in terms of the activation a = f(z) itself, so that z need not be kept:

    relu        f(z) = max(0, z)                 f' = 1 where a > 0, else 0
    leaky_relu  f(z) = z, below 0: z/100         f' = 1 where a > 0, else 1/100                   Maas et al. 2013
    elu         f(z) = z, below 0: exp(z) - 1    f' = 1 where a > 0, else a + 1                   Clevert et al. 2016
    selu        f(z) = SCALE z, below 0: SCALE ALPHA (exp(z) - 1)
                                                 f' = SCALE where a > 0, else a + SCALE ALPHA     Klambauer et al. 2017
    tanh        f(z) = tanh(z)                   f' = 1 - a²
    sigmoid     f(z) = 1 / (1 + exp(-z))         f' = a (1 - a)
    softplus    f(z) = ln(1 + exp(z))            f' = sigmoid(z) = 1 - exp(-a)
    identity    f(z) = z                         f' = 1

The others are no monotone functions of z, and their derivative is computed with them, with s = sigmoid(z):

    silu        f(z) = z s                       f' = s + z s (1 - s)                             Elfwing et al. 2018
    gelu        f(z) = z P(z), P the normal distribution, p its density
                                                 f' = P(z) + z p(z)                               Hendrycks and Gimpel 2016
    gelu_tanh   f(z) = z (1 + tanh u)/2,  u = sqrt(2/pi) (z + 0.044715 z³)
                                                 f' = (1 + tanh u)/2 + z (1 - tanh² u)/2 u'       ibid.
    mish        f(z) = z t, t = tanh(softplus(z))
                                                 f' = t + z (1 - t²) s                            Misra 2019
"""

from __future__ import annotations

import math

import numpy as np

from fastfc.kernels.plan import FROM_OUTPUT

LEAK = 0.01
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # of selu: outputs keep mean 0 and variance 1
FAR = 30.0  # from 0, where gelu_tanh is 0 or z to the last bit of either dtype


def activate(z: np.ndarray, slopes: np.ndarray, activation: str) -> None:
    """z (batch, units) becomes f(z), in place; slopes (batch, units) becomes f'(z), or has no rows: it is not wanted."""
    if activation in FROM_OUTPUT:
        _activate(z, activation)
        if len(slopes):
            slopes[:] = 1
            chain(z, slopes, activation)
        return
    share, slope = _shares(z, activation)
    if len(slopes):
        slopes[:] = slope
    z *= share


def softmax(z: np.ndarray) -> None:
    """z (n, outputs) becomes exp(z) / sum exp(z), by rows and in place; the largest of a row is taken off first."""
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


def sigmoid(z: np.ndarray) -> None:
    """z (n, outputs) becomes 1 / (1 + exp(-z)), in place."""
    _activate(z, "sigmoid")


def exponential(z: np.ndarray) -> None:
    """z (n, outputs) becomes exp(z), in place."""
    np.exp(z, out=z)


def chain(saved: np.ndarray, delta: np.ndarray, activation: str) -> None:
    """The chain rule through f: delta (batch, units) = dL/da becomes dL/dz = dL/da * f'(z), in place; saved = a = f(z).

    activation is one of FROM_OUTPUT.
    """
    a = saved
    if activation == "relu":
        delta *= a > 0
    elif activation == "leaky_relu":
        delta *= np.where(a > 0, 1, a.dtype.type(LEAK))
    elif activation == "elu":
        delta *= np.where(a > 0, 1, a + 1)
    elif activation == "selu":
        delta *= np.where(a > 0, a.dtype.type(SCALE), a + a.dtype.type(SCALE * ALPHA))
    elif activation == "tanh":
        delta *= 1 - a * a
    elif activation == "sigmoid":
        delta *= a * (1 - a)
    elif activation == "softplus":
        delta *= -np.expm1(-a)
    else:
        assert activation == "identity"


def multiply(slopes: np.ndarray, delta: np.ndarray) -> None:
    """The chain rule where the derivative is kept: delta (batch, units) *= slopes = f'(z), in place."""
    delta *= slopes


def _activate(z: np.ndarray, activation: str) -> None:
    """Those of FROM_OUTPUT, in place."""
    if activation == "relu":
        np.maximum(z, 0, out=z)
    elif activation == "leaky_relu":
        np.maximum(z, z.dtype.type(LEAK) * z, out=z)
    elif activation == "elu":
        z[:] = np.where(z > 0, z, np.expm1(np.minimum(z, 0)))
    elif activation == "selu":
        z[:] = SCALE * np.where(z > 0, z, ALPHA * np.expm1(np.minimum(z, 0)))
    elif activation == "tanh":
        np.tanh(z, out=z)
    elif activation == "sigmoid":
        z[:] = _sigmoid(z)
    elif activation == "softplus":
        z[:] = _softplus(z)
    else:
        assert activation == "identity"


def _shares(z: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """f(z) / z and f'(z) of those that are not of FROM_OUTPUT."""
    if activation == "silu":
        s = _sigmoid(z)
        return s, s + z * s * (1 - s)
    if activation == "gelu":
        p = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        below = _normal(z)
        return below, below + z * p
    if activation == "gelu_tanh":
        near, c = np.clip(z, -FAR, FAR), math.sqrt(2 / math.pi)
        s = _sigmoid(2 * c * (near + 0.044715 * near**3))  # (1 + tanh u) / 2 = sigmoid(2 u)
        return s, s + near * 2 * s * (1 - s) * c * (1 + 3 * 0.044715 * near * near)
    assert activation == "mish"
    t = np.tanh(_softplus(z))
    return t, t + z * (1 - t * t) * _sigmoid(z)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    """By an exponential that cannot overflow, and to the last digits wherever it is small."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _normal(z: np.ndarray) -> np.ndarray:
    """The normal distribution, by the complementary error function, to the last digits wherever it is small."""
    values = [math.erfc(x) / 2 for x in (-z.astype(np.float64).ravel() / math.sqrt(2)).tolist()]
    return np.array(values, z.dtype).reshape(z.shape)
