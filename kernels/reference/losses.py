"""The heads of the network: a loss, and its gradient with respect to what the last layer gives.

In all of them: y (batch, outputs), target (batch, outputs); delta (batch, outputs) and losses (batch,) are written. y is z = x W + b
of the last layer, the logits, for the two cross-entropies and poisson. For the other three it is f(z), and dL/dz follows
through `activations`. Row i of delta is scaled by scale[i], (batch,): 1/batch for the mean over the batch and 1 for the sum.
threshold is read by huber alone.
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.plan import LOWEST


def softmax_cross_entropy(
    y: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray, threshold: float
) -> None:
    """Softmax and cross-entropy of logits z: p = exp(z) / sum exp(z),  L = -sum_j t_j ln p_j,  and, with sum_j t_j = 1:

        dL/dz_j = sum_i dL/dp_i dp_i/dz_j = sum_i (-t_i / p_i) p_i ([i = j] - p_j) = p_j - t_j

    The largest logit is taken off first, which changes no p and lets no exponential overflow. ln p_j = z_j - ln sum exp(z),
    so no logarithm of 0 is taken either; nor is a difference of finite logits infinite.
    """
    shifted = np.maximum(y - y.max(axis=1, keepdims=True), LOWEST)
    exponential = np.exp(shifted)
    total = exponential.sum(axis=1, keepdims=True)
    losses[:] = (target * (np.log(total) - shifted)).sum(axis=1)
    delta[:] = (exponential / total - target) * scale[:, None]


def sigmoid_cross_entropy(
    y: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray, threshold: float
) -> None:
    """A sigmoid and a binary cross-entropy for each logit z: s = 1 / (1 + exp(-z)),  L = -sum_j t_j ln s_j + (1-t_j) ln(1-s_j),

        dL/dz_j = s_j - t_j

    The loss is computed as max(z, 0) - z t + ln(1 + exp(-|z|)), which is the same and finite for every z.
    """
    small = np.exp(-np.abs(y))
    losses[:] = (np.maximum(y, 0) - y * target + np.log1p(small)).sum(axis=1)
    sigmoid = np.where(y >= 0, 1, small) / (1 + small)
    delta[:] = (sigmoid - target) * scale[:, None]


def mean_squared_error(
    y: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray, threshold: float
) -> None:
    """Mean squared error of report 003 over the n outputs: E = 1/n sum_j (t_j - y_j)²,

    dE/dy_j = 2/n (y_j - t_j)
    """
    outputs = y.shape[1]
    difference = y - target
    losses[:] = (difference * difference).sum(axis=1) / outputs
    delta[:] = difference * (2 / outputs * scale[:, None])


def mean_absolute_error(
    y: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray, threshold: float
) -> None:
    """E = 1/n sum_j |t_j - y_j| over the n outputs,   dE/dy_j = 1/n sign(y_j - t_j), 0 where they are equal."""
    outputs = y.shape[1]
    difference = y - target
    losses[:] = np.abs(difference).sum(axis=1) / outputs
    delta[:] = np.sign(difference) * (scale[:, None] / outputs)


def huber(
    y: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray, threshold: float
) -> None:
    """With d_j = y_j - t_j and the threshold D: E = 1/n sum_j d_j²/2 where |d_j| <= D, else D (|d_j| - D/2)  (Huber 1964),

    dE/dy_j = 1/n d_j, held between -D and D
    """
    outputs = y.shape[1]
    difference = y - target
    held = np.clip(difference, -threshold, threshold)
    losses[:] = (held * (difference - held / 2)).sum(axis=1) / outputs
    delta[:] = held * (scale[:, None] / outputs)


def poisson(
    y: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray, threshold: float
) -> None:
    """The Poisson deviance of counts t whose expectation is exp(z), z = y, without what depends on t alone:

    E = 1/n sum_j exp(z_j) - t_j z_j,   dE/dz_j = 1/n (exp(z_j) - t_j)
    """
    outputs = y.shape[1]
    expected = np.exp(y)
    losses[:] = (expected - target * y).sum(axis=1) / outputs
    delta[:] = (expected - target) * (scale[:, None] / outputs)
