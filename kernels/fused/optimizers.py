"""The step of gradient descent, with and without momentum, and with L2: one pass over the memory of w and v."""

from __future__ import annotations

from fastfc.kernels.fused.compiler.jit import kernel
from fastfc.kernels.fused.llvm.views import flat


@kernel
def step(parameters, velocity, gradient, rule):
    """Move parameters and velocity along the gradient, in place: v = b v + c g, w -= lr (d g + e v), g with L2.

    All (rows, columns), C-contiguous; rule = (b, c, d, e, decay, lr).
    """
    w, v, gradients = flat(parameters), flat(velocity), flat(gradient)
    b, c, d, e, decay, lr = rule[0], rule[1], rule[2], rule[3], rule[4], rule[5]
    for i in range(w.size):
        g = gradients[i] + decay * w[i]
        v[i] = b * v[i] + c * g
        w[i] -= lr * (d * g + e * v[i])
