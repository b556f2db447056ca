"""The heads of the network: a loss and its gradient with respect to the logits, in one pass over a sample.

z, delta (batch, padded outputs), C-contiguous; target (batch, outputs); scale, losses (batch,). Padding of delta is set to 0.
"""

from __future__ import annotations

import math

from fastfc.kernels.fused.activations import chain, exp_into
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.plan import LOWEST


@kernel
def softmax_cross_entropy(z, target, scale, delta, losses):
    """delta = (softmax(z) - target) * scale, losses = -sum_j target_j ln softmax(z)_j; the largest logit is taken off first.

    All exponentials of the batch are computed in one loop, which is vectorised, in the memory of delta.
    """
    batch, outputs = target.shape
    zero, lowest = delta.dtype.type(0), delta.dtype.type(LOWEST)
    for i in range(batch):
        largest = z[i, 0]
        for j in range(1, outputs):
            largest = max(largest, z[i, j])
        loss = zero
        for j in range(outputs):
            delta[i, j] = max(z[i, j] - largest, lowest)
            loss -= target[i, j] * delta[i, j]
        losses[i] = loss
    exp_into(delta)
    for i in range(batch):
        total, mass = zero, zero
        for j in range(outputs):
            total += delta[i, j]
            mass += target[i, j]
        losses[i] += mass * math.log(total)
        for j in range(outputs):
            delta[i, j] = (delta[i, j] / total - target[i, j]) * scale[i]
        for j in range(outputs, delta.shape[1]):
            delta[i, j] = zero


@kernel
def sigmoid_cross_entropy(z, target, scale, delta, losses):
    """delta = (sigmoid(z) - target) * scale, losses = sum_j max(z, 0) - z target + ln(1 + exp(-|z|)), finite for every z."""
    batch, outputs = target.shape
    zero, one = delta.dtype.type(0), delta.dtype.type(1)
    for i in range(batch):
        for j in range(delta.shape[1]):
            delta[i, j] = -abs(z[i, j])
    exp_into(delta)
    for i in range(batch):
        loss = zero
        for j in range(outputs):
            small = delta[i, j]
            loss += max(z[i, j], zero) - z[i, j] * target[i, j] + math.log1p(small)
            delta[i, j] = ((one if z[i, j] >= 0 else small) / (one + small) - target[i, j]) * scale[i]
        losses[i] = loss
        for j in range(outputs, delta.shape[1]):
            delta[i, j] = zero


@kernel
def mean_squared_error(y, target, activation, scale, delta, losses):
    """delta = 2/n (y - target) f'(z) * scale, losses = 1/n sum_j (y_j - target_j)², over the n outputs y = f(z)."""
    batch, outputs = target.shape
    zero = delta.dtype.type(0)
    for i in range(batch):
        loss = zero
        for j in range(outputs):
            difference = y[i, j] - target[i, j]
            loss += difference * difference
            delta[i, j] = difference * (2 * scale[i] / outputs)
        losses[i] = loss / outputs
        for j in range(outputs, delta.shape[1]):
            delta[i, j] = zero
    chain(y, delta, activation)
