"""Activation functions and their derivatives on matrices: loops over `elementary`, which the compiler turns into vectors."""

from __future__ import annotations

from fastfc.kernels.fused import elementary
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.llvm.views import flat


@kernel
def activate(z, slopes, activation):
    """z (batch, units) becomes f(z), in place, and slopes (batch, units) f'(z), unless it has no rows; both C-contiguous."""
    x, s = flat(z), flat(slopes)
    if s.size > 0:
        for i in range(x.size):
            x[i], s[i] = elementary.value_and_slope(x[i], activation)
    else:
        for i in range(x.size):
            x[i] = elementary.value(x[i], activation)


@kernel
def softmax(z):
    """z (n, outputs) becomes exp(z) / sum exp(z), by rows and in place; the largest of a row is taken off first."""
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        largest = z[i, 0]
        for j in range(1, z.shape[1]):
            largest = max(largest, z[i, j])
        for j in range(z.shape[1]):
            z[i, j] -= largest
    exponential(z)
    for i in range(z.shape[0]):
        total = zero
        for j in range(z.shape[1]):
            total += z[i, j]
        for j in range(z.shape[1]):
            z[i, j] /= total


@kernel
def sigmoid(z):
    """z (n, outputs) becomes 1 / (1 + exp(-z)), in place."""
    x = flat(z)
    for i in range(x.size):
        x[i] = elementary.value(x[i], "sigmoid")


@kernel
def exponential(z):
    """z (n, outputs) becomes exp(z), in place."""
    x = flat(z)
    for i in range(x.size):
        x[i] = elementary.exp(x[i])


@kernel
def chain(saved, delta, activation):
    """delta (batch, units) = dL/da becomes dL/dz, in place; saved = a = f(z); both C-contiguous."""
    a, d = flat(saved), flat(delta)
    for i in range(d.size):
        d[i] = elementary.chain(a[i], d[i], activation)


@kernel
def multiply(slopes, delta):
    """delta (batch, units) = dL/da becomes dL/dz, in place; slopes = f'(z); both C-contiguous."""
    s, d = flat(slopes), flat(delta)
    for i in range(d.size):
        d[i] *= s[i]
