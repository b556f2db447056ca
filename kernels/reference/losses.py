"""The heads of the network: a loss, and its gradient with respect to the logits z of the last layer.

In all of them: z (batch, outputs), target (batch, outputs), delta (batch, outputs) and losses (batch,) are written;
row i of delta is scaled by scale[i], (batch,): 1/batch for the mean over the batch and 1 for the sum.
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.plan import LOWEST
from fastfc.kernels.reference.activations import chain


def softmax_cross_entropy(
    z: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray
) -> None:
    """Softmax and cross-entropy: p = exp(z) / sum exp(z),  L = -sum_j y_j ln p_j,  and, with sum_j y_j = 1:

        dL/dz_j = sum_i dL/dp_i dp_i/dz_j = sum_i (-y_i / p_i) p_i ([i = j] - p_j) = p_j - y_j

    The largest logit is taken off first, which changes no p and lets no exponential overflow. ln p_j = z_j - ln sum exp(z),
    so no logarithm of 0 is taken either; nor is a difference of finite logits infinite.
    """
    shifted = np.maximum(z - z.max(axis=1, keepdims=True), LOWEST)
    exponential = np.exp(shifted)
    total = exponential.sum(axis=1, keepdims=True)
    losses[:] = (target * (np.log(total) - shifted)).sum(axis=1)
    delta[:] = (exponential / total - target) * scale[:, None]


def sigmoid_cross_entropy(
    z: np.ndarray, target: np.ndarray, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray
) -> None:
    """A sigmoid and a binary cross-entropy for each output: s = 1 / (1 + exp(-z)),  L = -sum_j y_j ln s_j + (1-y_j) ln(1-s_j),

        dL/dz_j = s_j - y_j

    The loss is computed as max(z, 0) - z y + ln(1 + exp(-|z|)), which is the same and finite for every z.
    """
    small = np.exp(-np.abs(z))
    losses[:] = (np.maximum(z, 0) - z * target + np.log1p(small)).sum(axis=1)
    sigmoid = np.where(z >= 0, 1, small) / (1 + small)
    delta[:] = (sigmoid - target) * scale[:, None]


def mean_squared_error(
    y: np.ndarray, target: np.ndarray, activation: int, scale: np.ndarray, delta: np.ndarray, losses: np.ndarray
) -> None:
    """Mean squared error of report 003 over the n outputs y = f(z): E = 1/n sum_j (t_j - y_j)²,

    dE/dy_j = 2/n (y_j - t_j),   dE/dz_j = dE/dy_j f'(z_j)
    """
    outputs = y.shape[1]
    difference = y - target
    losses[:] = (difference * difference).sum(axis=1) / outputs
    delta[:] = difference * (2 / outputs * scale[:, None])
    chain(y, delta, activation)
