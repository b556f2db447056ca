"""Training by epochs: which samples come when, what an epoch is judged by, and when it is enough."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastfc.estimators.callbacks import Tasks
from fastfc.estimators.fitting import Fitting
from fastfc.estimators.heldout import HeldOut
from fastfc.machine.interrupts import deferred_interrupts
from fastfc.training.limits import Limits


def train(estimator: Any, fitting: Fitting, held: HeldOut | None, tasks: Tasks | None, incremental: bool) -> None:
    """Epochs until the loss, or the score of what is held out, gets no better, or a limit comes; one if `incremental`.

    The estimator gets its parameters, its counts and its curves. Where it stops early by the score, the parameters are those of
    the best epoch. Ctrl-C leaves it with what it has, and a warning.
    """
    solver, watched = fitting.solver, Watch(estimator, fitting, held)
    order, places = fitting.samples.rows, np.arange(fitting.n)
    estimator.n_iter_ = 0
    with deferred_interrupts() as interrupts, np.errstate(all="ignore"):
        limits = Limits(estimator.max_seconds, interrupts)
        limits.begin()
        try:
            while not interrupts.came:
                if tasks:
                    tasks.begin()
                if estimator.shuffle:  # as sklearn.utils.shuffle draws it, of the order of the epoch before
                    drawn = places.copy()
                    estimator._random_state.shuffle(drawn)
                    order = order[drawn]
                loss = fitting.epoch(order, solver.t // fitting.steps, limits)
                if loss is None:
                    break
                estimator.n_iter_ += 1
                estimator.t_ += fitting.n
                watched.note(loss)
                solver.epoch_ends(estimator.t_)
                is_enough = watched.is_enough()
                if (tasks and tasks.end(fitting.parameters)) or is_enough or incremental:
                    break
                if estimator.n_iter_ == estimator.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization "
                        "hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
                    break
                if limits.is_over():
                    break
        except KeyboardInterrupt:  # of a handler that is not Python's own
            interrupts.came = True
        finally:  # a warning may be made an error
            watched.end()
        if interrupts.came:
            warnings.warn("Training interrupted by user.", stacklevel=2)


def begin_curves(estimator: Any, anew: bool) -> None:
    """Give the estimator what `Watch` writes to, where it does not have it yet, or `anew`."""
    early = estimator.early_stopping
    empty = {
        "loss_curve_": [],
        "_no_improvement_count": 0,
        "best_loss_": None if early else np.inf,
        "validation_scores_": [] if early else None,
        "best_validation_score_": -np.inf if early else None,
        "_best": None,
    }
    own = vars(estimator)
    own.update({name: value for name, value in empty.items() if anew or name not in own})


class Watch:
    """What an estimator knows of its epochs: the curves, the best of them, and since when none was better."""

    def __init__(self, estimator: Any, fitting: Fitting, held: HeldOut | None) -> None:
        self.estimator, self.fitting, self.held = estimator, fitting, held
        self.stops_by_score = estimator.early_stopping
        begin_curves(estimator, anew=False)
        self.best = estimator._best
        self.best_is_last = self.best is None or self.best is estimator._parameters
        if held is not None and estimator.validation_scores_ is None:  # the fit before, which is gone on with, had none
            estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf
        if not self.stops_by_score and estimator.best_loss_ is None:
            estimator.best_loss_ = np.inf

    def note(self, loss: float) -> None:
        """The loss of the epoch that has just ended."""
        estimator = self.estimator
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if self.held is not None:
            self._score(self.held)
        if self.stops_by_score:
            return
        self._count(loss > estimator.best_loss_ - estimator.tol)
        if loss < estimator.best_loss_:
            estimator.best_loss_ = loss

    def _score(self, held: HeldOut) -> None:
        estimator, parameters = self.estimator, self.fitting.parameters()
        score = held.score(estimator, parameters)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        if self.stops_by_score:
            self._count(score < estimator.best_validation_score_ + estimator.tol)
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            self.best, self.best_is_last = parameters, False

    def _count(self, is_bad: bool) -> None:
        self.estimator._no_improvement_count = self.estimator._no_improvement_count + 1 if is_bad else 0

    def is_enough(self) -> bool:
        """Whether too many epochs were no better, and the solver has no smaller rate to go on with."""
        estimator = self.estimator
        if estimator._no_improvement_count <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if self.stops_by_score else "Training loss"
        epochs = int(estimator.n_iter_no_change)
        message = f"{what} did not improve more than tol={estimator.tol:f} for {epochs} consecutive epochs."
        if self.fitting.solver.is_enough(message, estimator.verbose):
            return True
        estimator._no_improvement_count = 0
        return False

    def end(self) -> None:
        """The estimator gets its parameters."""
        last = self.fitting.finish()
        if not self.stops_by_score:
            self.estimator._parameters, self.estimator._best = last, None
            return
        best = last if self.best_is_last else self.best
        self.estimator._parameters = self.estimator._best = best
