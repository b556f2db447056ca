"""The heads of the network: a loss and its gradient with respect to the logits, in one pass over a sample.

y, delta (batch, padded outputs), C-contiguous; target (batch, outputs); scale, losses (batch,); threshold is huber's.
Padding of delta is set to 0.
"""

from __future__ import annotations

import math

import numpy as np

from fastfc.kernels.fused.activations import exponential
from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.plan import LOWEST


@kernel
def softmax_cross_entropy(y, target, scale, delta, losses, threshold):
    """delta = (softmax(y) - target) * scale, losses = -sum_j target_j ln softmax(y)_j; the largest logit is taken off first.

    All exponentials of the batch are computed in one loop, which is vectorised, in the memory of delta.
    """
    batch, outputs = target.shape
    zero, lowest = delta.dtype.type(0), delta.dtype.type(LOWEST)
    for i in range(batch):
        largest = y[i, 0]
        for j in range(1, outputs):
            largest = max(largest, y[i, j])
        loss = zero
        for j in range(outputs):
            delta[i, j] = max(y[i, j] - largest, lowest)
            loss -= target[i, j] * delta[i, j]
        losses[i] = loss
    exponential(delta)
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
def sigmoid_cross_entropy(y, target, scale, delta, losses, threshold):
    """delta = (sigmoid(y) - target) * scale, losses = sum_j max(y, 0) - y target + ln(1 + exp(-|y|)), finite for every y."""
    batch, outputs = target.shape
    zero, one = delta.dtype.type(0), delta.dtype.type(1)
    for i in range(batch):
        for j in range(delta.shape[1]):
            delta[i, j] = -abs(y[i, j])
    exponential(delta)
    for i in range(batch):
        loss = zero
        for j in range(outputs):
            small = delta[i, j]
            loss += max(y[i, j], zero) - y[i, j] * target[i, j] + math.log1p(small)
            delta[i, j] = ((one if y[i, j] >= 0 else small) / (one + small) - target[i, j]) * scale[i]
        losses[i] = loss
        for j in range(outputs, delta.shape[1]):
            delta[i, j] = zero


@kernel
def mean_squared_error(y, target, scale, delta, losses, threshold):
    """delta = 2/n (y - target) * scale, losses = 1/n sum_j (y_j - target_j)², over the n outputs."""
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


@kernel
def mean_absolute_error(y, target, scale, delta, losses, threshold):
    """delta = 1/n sign(y - target) * scale, losses = 1/n sum_j |y_j - target_j|, over the n outputs."""
    batch, outputs = target.shape
    zero = delta.dtype.type(0)
    for i in range(batch):
        loss = zero
        for j in range(outputs):
            difference = y[i, j] - target[i, j]
            loss += abs(difference)
            delta[i, j] = np.sign(difference) * (scale[i] / outputs)
        losses[i] = loss / outputs
        for j in range(outputs, delta.shape[1]):
            delta[i, j] = zero


@kernel
def huber(y, target, scale, delta, losses, threshold):
    """Half the square of d = y - target up to the threshold t, beyond it t (|d| - t/2); delta = 1/n d, within ±t, * scale."""
    batch, outputs = target.shape
    zero = delta.dtype.type(0)
    half = delta.dtype.type(0.5)
    for i in range(batch):
        loss = zero
        for j in range(outputs):
            difference = y[i, j] - target[i, j]
            within = max(min(difference, threshold), -threshold)
            loss += within * (difference - half * within)
            delta[i, j] = within * (scale[i] / outputs)
        losses[i] = loss / outputs
        for j in range(outputs, delta.shape[1]):
            delta[i, j] = zero


@kernel
def poisson(y, target, scale, delta, losses, threshold):
    """delta = 1/n (exp(y) - target) * scale, losses = 1/n sum_j exp(y_j) - target_j y_j, over the n outputs."""
    batch, outputs = target.shape
    zero = delta.dtype.type(0)
    for i in range(batch):
        for j in range(delta.shape[1]):
            delta[i, j] = y[i, j]
    exponential(delta)
    for i in range(batch):
        loss = zero
        for j in range(outputs):
            loss += delta[i, j] - target[i, j] * y[i, j]
            delta[i, j] = (delta[i, j] - target[i, j]) * (scale[i] / outputs)
        losses[i] = loss / outputs
        for j in range(outputs, delta.shape[1]):
            delta[i, j] = zero
