"""The stochastic solvers as rules of the kernels' optimisers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.optimizers import Optimizer, of_adam, of_momentum, of_squares, of_velocity

EPOCHS, STEPS = 32, 4096  # for how many epochs, but not more than so many steps, rules are made at a time
SMALLEST_RATE = 1e-6  # at which the adaptive rate is no longer lowered


class Solver:
    """An optimiser between two epochs. It can be pickled, and `partial_fit` goes on with it.

    learning_rate  of the next epoch
    t              steps done
    state          arrays by name, as the backend's Trainer takes and gives them
    """

    def __init__(self, estimator: Any) -> None:
        self.name, self.is_own = estimator.optimizer or estimator.solver, estimator.optimizer is not None
        self.momentum, self.nesterov = float(estimator.momentum), bool(estimator.nesterovs_momentum)
        self.betas = float(estimator.beta_1), float(estimator.beta_2)
        self.epsilon, self.power_t = float(estimator.epsilon), float(estimator.power_t)
        self.learning_rate_init = self.learning_rate = float(estimator.learning_rate_init)
        self.rate_schedule = estimator.learning_rate if self.is_own or self.name == "sgd" else "constant"
        self.rates: np.ndarray | None = None  # of all steps, where a schedule has them
        self.t = 0
        self.state: dict[str, list[np.ndarray]] = {}
        self._ready: list[np.ndarray] = []  # rules of the next epochs, the last first, at the rate _ready_at
        self._ready_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": []}

    def optimizer(self, alpha: float) -> Optimizer:
        """As the kernels take it for a fit that begins, with the L2 factor `alpha`."""
        self._ready = []
        if self.name in ("adam", "adamw"):
            decoupled = self.name == "adamw"
            return of_adam(*self.betas, self.epsilon, alpha, decoupled, epsilon_inside=not self.is_own)
        if self.name == "rmsprop":
            return of_squares(self.betas[1], 1 - self.betas[1], self.epsilon, alpha)
        if self.name == "adagrad":
            return of_squares(1.0, 1.0, self.epsilon, alpha)
        if self.momentum == 0 or self.name == "lbfgs":  # which makes its steps by itself
            return of_momentum("none", 0.0, alpha)
        make = of_momentum if self.is_own else of_velocity
        return make("nesterov" if self.nesterov else "heavy_ball", self.momentum, alpha)

    def rules(self, optimizer: Optimizer, totals: np.ndarray, dtype: np.dtype, are_fixed: bool) -> np.ndarray:
        """(steps, numbers) the rules of the steps of the next epoch, which is then counted as done.

        totals (steps,) the sum of the weights of each batch; are_fixed: it is the same in every epoch.
        """
        if not self._ready or self._ready_at != self.learning_rate or not are_fixed:
            epochs = max(1, min(EPOCHS, STEPS // len(totals))) if are_fixed else 1
            rules = optimizer.rules(self._rates(epochs * len(totals)), self.t, np.tile(totals, epochs)).astype(dtype)
            self._ready = [rules[s : s + len(totals)] for s in range(0, len(rules), len(totals))][::-1]
            self._ready_at = self.learning_rate
        self.t += len(totals)
        return self._ready.pop()

    def _rates(self, steps: int) -> np.ndarray:
        if self.rates is None:
            return np.full(steps, self.learning_rate)
        return self.rates[np.minimum(self.t + np.arange(steps), len(self.rates) - 1)]  # beyond the last epoch no step comes

    def epoch_ends(self, samples: int) -> None:
        """`samples` have been trained on so far, each as often as it was."""
        if self.rate_schedule == "invscaling":
            self.learning_rate = self.learning_rate_init / (samples + 1) ** self.power_t

    def is_enough(self, message: str, verbose: bool) -> bool:
        """Whether training stops, now that it gets no better; otherwise it goes on with a lower rate."""
        adaptive = self.rate_schedule == "adaptive"
        if adaptive and self.learning_rate > SMALLEST_RATE:
            self.learning_rate /= 5
            if verbose:
                print(f"{message} Setting learning rate to {self.learning_rate:f}")
            return False
        if verbose:
            print(f"{message}{' Learning rate too small.' if adaptive else ''} Stopping.")
        return True
