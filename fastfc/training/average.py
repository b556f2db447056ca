"""The exponential moving average of the parameters."""

from __future__ import annotations

import numpy as np


class Average:
    """Follows the parameters from step to step:  average += (1 - d) (parameters - average).

    With t steps done before, d is the smaller of `decay` and (1 + t) / (10 + t), so that the first parameters are soon
    forgotten (TensorFlow's ExponentialMovingAverage).

    arrays  the average of each of the parameters, and of their dtype: weights, then biases
    """

    def __init__(self, decay: float, parameters: list[np.ndarray]) -> None:
        self.decay, self.arrays = decay, [array.copy() for array in parameters]

    def follow(self, parameters: list[np.ndarray], done: int) -> None:
        """Take the parameters after a step into account, with `done` steps before it."""
        fresh = 1 - min(self.decay, (1 + done) / (10 + done))
        for average, array in zip(self.arrays, parameters, strict=True):
            average += fresh * (array - average)
