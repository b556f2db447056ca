"""One training: its state, and the loop over epochs around either backend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastfc.backend import compile_seconds, load_backend
from fastfc.data import Dataset
from fastfc.errors import DivergenceError, invalid
from fastfc.kernels.plan import Epoch, Plan
from fastfc.machine.threads import check_threads, threads_to_train
from fastfc.network import Network
from fastfc.results import EpochRecord, TrainResult
from fastfc.settings import Settings
from fastfc.training import lbfgs
from fastfc.training.callbacks import Listeners
from fastfc.training.evaluation import Watch, evaluate
from fastfc.training.input_kernel import choose_input_kernel
from fastfc.training.limits import Limits
from fastfc.training.pace import Pace
from fastfc.training.problem import Problem
from fastfc.training.resume import CheckpointPlan, Checkpoints, Snapshot, digest
from fastfc.training.sampling import Sampling, dropout_key
from fastfc.training.schedules import Plateau, learning_rates
from fastfc.validation import check_state, parts_of

SLICE_SECONDS = 0.1  # compiled code returns so often: to look at the clock, for Ctrl-C, and for NaN

OnEpoch = Callable[[EpochRecord], object]
OnSteps = Callable[[int, int, int, list[float]], object]


class Run:
    """The state of one training between its steps.

    problem      what it is about
    state        "weights", "biases" and what the optimiser keeps, as the backend's Trainer takes and gives it
    steps_done   by the optimiser, those of a state to go on with included, which are first_step
    rates        (steps,) learning rates of all epochs
    first_epoch  1, or the first that the checkpoint does not have
    """

    def __init__(
        self,
        settings: Settings,
        data: Dataset,
        backend: str,
        threads: int | None,
        seed: int,
        network: Network | None = None,
        state: dict[str, Any] | None = None,
        watch: Watch | None = None,
    ) -> None:
        dtype = np.dtype(settings.dtype)
        self.settings, self.rng, self.watch, self.seed = settings, np.random.default_rng(seed), watch or Watch(), seed
        problem = self.problem = self._make_problem(data, network)
        self.model = problem.make_model(backend, network, self.rng)
        self.batch_size = min(settings.batch_size or problem.n, problem.n)
        self.plan = replace(self.model.plan(settings, self.batch_size), background=problem.background)
        self.optimizer, self.is_averaged = self.plan.optimizer, settings.ema is not None
        self.state, self.first_step = problem.start(self.model, self.optimizer.states), 0
        if state is not None:
            self._go_on_with(state)
        self.steps_done = self.first_step
        self.sampling = Sampling(settings, problem.rows, problem.samples, dtype, self.rng)
        self.rates = self._planned_rates(dtype)
        of_validation = "validation_loss" if problem.validation else "loss"
        self.plateau = Plateau(of_validation, settings.plateau_factor, settings.plateau_patience)
        self.losses = np.zeros(problem.n, dtype)
        self.threads, most = self._threads(threads, backend)
        self.pace = Pace(self.threads, most)
        kernel, reason = (
            choose_input_kernel(problem.X, settings.input_kernel, problem.background)
            if backend == "numba"
            else ("dense", "NumPy multiplies all")
        )
        self.result = TrainResult(
            self.model, settings, backend, self.threads, seed, data.name, kernel, reason, samples=problem.n
        )
        self.checkpoints: Checkpoints | None = None
        self.first_epoch, self.count = 1, 1
        self.hint = "smaller inputs" if settings.optimizer == "lbfgs" else "a smaller lr"
        self.kept: list[np.ndarray] = []  # parameters of the best epoch that the checkpoint has

    def _threads(self, given: int | None, backend: str) -> tuple[int, int | None]:
        """How many threads compute at first, and at most; None: always as many, as they are given, or BLAS looks to that."""
        most = check_threads(given)
        if given is not None or backend == "numpy":
            return most, None
        steps = 1 if self.settings.optimizer == "lbfgs" else self._steps(1)
        first = threads_to_train(most, self.model.layers, self.batch_size, steps)
        return first, most if first > 1 else None

    def _make_problem(self, data: Dataset, network: Network | None) -> Problem:
        return Problem(self.settings, data, self.seed, network, self.watch)

    def _make_trainer(self, plan: Plan) -> Any:
        trainer_class, _ = load_backend(self.result.backend)
        problem, kernel = self.problem, self.result.input_kernel
        trainer = trainer_class(plan, problem.X, problem.targets, self.state, self.pace.rungs[-1], kernel)
        if trainer.threads < self.pace.rungs[-1]:  # a sample a step is work for one
            self.pace = Pace(trainer.threads, None)
        trainer.threads = self.pace.threads
        return trainer

    def _go_on_with(self, state: dict[str, Any]) -> None:
        """Take up the state of another training; one that kept no average begins it with the network's parameters."""
        if self.settings.optimizer == "lbfgs":
            raise invalid("state", "one", "None with optimizer 'lbfgs', which begins anew")
        weights, biases = ([array.shape for array in arrays] for arrays in (self.model.weights, self.model.biases))
        has_average = isinstance(state, dict) and "average" in state
        names = [name for name in self.optimizer.states if name != "average" or has_average]
        shapes = {name: [*weights, *biases] for name in names}
        if "average" in names:
            shapes |= {"weights": weights, "biases": biases}
        kept, self.first_step = check_state(state, shapes, np.dtype(self.settings.dtype))
        self._take_parameters({**self.state, **kept})

    def _planned_rates(self, dtype: np.dtype) -> np.ndarray:
        settings, steps = self.settings, self._end(self.settings.epochs)
        share = min(round(settings.warmup * steps), steps - 1)
        warmup = self._end(int(settings.warmup)) if settings.warmup >= 1 else share
        return learning_rates(settings.schedule, settings.lr, steps, dtype, warmup, self._steps(1))

    def prepare(self, checkpoint: CheckpointPlan | None) -> None:
        """Make the backend's Trainer, from the checkpoint if there is one, and compile what is not compiled yet."""
        problem = self.problem
        problem.smooth(self.plan)
        if checkpoint is not None:  # it tells the data by the targets as they are now
            self._go_on(checkpoint)
        start, spent = time.perf_counter(), compile_seconds()
        self.trainer = self._make_trainer(self.plan)
        rules, shifts = self.optimizer.rules(self.rates[:1], self.first_step), self.sampling.shifts(problem.rows[:1], 1)
        self.trainer.run(Epoch(problem.rows, shifts, rules, self.plan.scales(0), self.losses), 0, 0)
        self.result.train_seconds = time.perf_counter() - start - (compile_seconds() - spent)
        for held in (problem.validation, problem.test):
            if held:
                self.model._outputs(held.X[:1], self.threads)
        self.result.compile_seconds = compile_seconds() - spent

    def _go_on(self, plan: CheckpointPlan) -> None:
        """Take up the checkpoint, or write the first."""
        problem = self.problem
        weights = None if problem.weights is None else digest(problem.weights)
        more: dict[str, Any] = {"sample_weight": weights, "first_step": self.first_step}
        more |= {"validation": None, "early_stopping": None}
        if problem.validation:
            X, targets, _, own, rows = problem.validation
            parts = [*(parts_of(X) if rows is None else [rows]), targets, *([] if own is None else [own])]
            more["validation"] = [digest(part) for part in parts]
        if self.watch.stopping:
            more["early_stopping"] = self.watch.stopping.identity
        self.checkpoints = self._open(plan, more)
        snapshot = self.checkpoints.read()
        if snapshot is None:
            self.checkpoints.write(self._snapshot(0))
            return
        self.kept = snapshot.state.pop("best", [])
        if self.is_averaged and "average" not in snapshot.state:
            raise invalid("checkpoint", "no average of the parameters", "one of this training")
        self._take_parameters(snapshot.state)
        self.result.history, self.first_epoch = snapshot.history, snapshot.epoch + 1
        self.steps_done = self.first_step + self._end(snapshot.epoch)
        for record in snapshot.history:
            self._lower_rates(record)
        self.rng.bit_generator.state = snapshot.generator
        if snapshot.losses is not None:
            self.sampling.losses = snapshot.losses

    def _open(self, plan: CheckpointPlan, more: dict[str, Any]) -> Checkpoints:
        problem = self.problem
        return Checkpoints(plan, self.result, problem.X, problem.targets, self.rates, self._end, more)

    def _snapshot(self, epoch: int) -> Snapshot:
        losses = None if self.settings.top_loss_fraction is None else self.sampling.losses
        state = dict(self.state)
        if self.watch.stopping and self.watch.stopping.kept:
            state["best"] = self.watch.stopping.kept
        return Snapshot(epoch, state, self.result.history, self.rng.bit_generator.state, losses)

    def _take_parameters(self, state: dict[str, list[np.ndarray]]) -> None:
        self.state = state
        layers = len(state["weights"])
        shown = state["average"] if self.is_averaged else [*state["weights"], *state["biases"]]
        self.model.weights, self.model.biases = shown[:layers], shown[layers:]

    def train(self, listeners: Listeners, limits: Limits) -> None:
        """All epochs that are left, or as many as the limits and early stopping allow."""
        self.listeners, self.limits = listeners, limits
        limits.begin()
        listeners.call("on_train_begin", limits.interrupts, self.result)
        stopping, left = self.watch.stopping, self.first_epoch <= self.settings.epochs
        if stopping:
            stopping.kept = self.kept
        if stopping and stopping.is_over:
            self.result.stopped_early = left
        elif self.settings.optimizer == "lbfgs":
            self._iterations()
        else:
            self._epochs()
        names = [*self.optimizer.states, *(("weights", "biases") if self.is_averaged else ())]
        self.result.state = {name: self.state[name] for name in names if name in self.state}
        self.result.state["steps"] = self.steps_done
        listeners.call("on_train_end", limits.interrupts, self.result)

    def _epochs(self) -> None:
        for epoch in range(self.first_epoch, self.settings.epochs + 1):
            seconds, is_whole = self._epoch(epoch)
            if self._finish(epoch, seconds, is_whole):
                return

    def _finish(self, epoch: int, seconds: float, is_whole: bool) -> bool:
        """After an epoch, or the part of it that the limits allowed: measure, say and keep it; whether it was the last."""
        listeners, limits, settings = self.listeners, self.limits, self.settings
        self.result.train_seconds += seconds
        state = self.trainer.state()
        self._check_parameters(epoch, state)
        self._take_parameters(state)
        if not is_whole:
            return self._stop()
        record = self._record(epoch, seconds)
        self.result.history.append(record)
        self._lower_rates(record)
        is_enough = listeners.call("on_epoch_end", limits.interrupts, record)
        last = is_enough or epoch == settings.epochs
        if self.checkpoints and (last or self.checkpoints.plan.is_due(epoch, settings.epochs)):
            self.checkpoints.write(self._snapshot(epoch))
        if limits.is_over() and (limits.came or not last):
            return self._stop()
        self.result.stopped_early = epoch < settings.epochs and is_enough
        return last

    def _stop(self) -> bool:
        self.result.interrupted, self.result.out_of_time = True, not self.limits.came
        return True

    def _drawn(self, epoch: int, order: np.ndarray, shifts: np.ndarray) -> Epoch:
        """What the kernels are told of an epoch of these samples; they write `losses`."""
        weights = self.problem.weights
        self.weights_now = None if weights is None else weights[order]
        self.losses = np.zeros(len(order), self.rates.dtype)
        totals = self.plan.totals(len(order), self.weights_now) if self.settings.decay_per_batch else None
        self.decay_share = 1.0 if totals is None else 1 / float(totals.mean())
        steps = slice(self._end(epoch - 1), self._end(epoch))
        rules = self.optimizer.rules(self.rates[steps], self.first_step + steps.start, totals)
        key = dropout_key(self.seed, epoch) if self.plan.dropout else 0
        return Epoch(order, shifts, rules, self.plan.scales(len(order), self.weights_now), self.losses, key)

    def _epoch(self, epoch: int) -> tuple[float, bool]:
        """One epoch of training, or the part of it that the limits allow: its seconds, and whether it is whole."""
        start, listeners, limits = time.perf_counter(), self.listeners, self.limits
        order = self.sampling.order(epoch)
        drawn = self._drawn(epoch, order, self.sampling.shifts(order, epoch))
        n, steps, done, pace = len(order), self._steps(epoch), 0, self.pace
        while done == 0 or (done < steps and not limits.is_over()):
            stop = min(done + (listeners.steps_per_call or self.count), steps)
            if len(pace.rungs) > 1 and pace.threads != self.trainer.threads:
                self.trainer.threads = pace.threads
                self.trainer.run(drawn, done, done)  # binds its calls
            began = time.perf_counter()
            with np.errstate(all="ignore"):  # what is not finite is found in the losses
                self.trainer.run(drawn, done, stop)
            took = time.perf_counter() - began
            pace.note(stop - done, took)
            self.steps_done += stop - done
            self._check_divergence(epoch, done, stop)
            if listeners.functions["on_steps"]:
                losses = self._step_losses(done, stop)
                listeners.call("on_steps", limits.interrupts, epoch, min(stop * self.batch_size, n), n, losses)
            left = min(pace.seconds or SLICE_SECONDS, max(limits.seconds_left(), 0.01))
            self.count = self._next_count(max(1, int((stop - done) * left / max(took, 1e-6))))
            done = stop
        self.sampling.remember(order, self.losses)
        return time.perf_counter() - start, done == steps

    def _next_count(self, steps: int) -> int:
        """How many steps are made before the clock is looked at again, where so many seem right."""
        return steps

    def _iterations(self) -> None:
        """An iteration of L-BFGS is an epoch, and its loss that of the parameters to which it led."""
        n, listeners, limits, began = self.problem.n, self.listeners, self.limits, time.perf_counter()
        drawn = self._drawn(1, self.problem.rows, self.sampling.shifts(np.arange(0), 1))

        def watch() -> None:
            if self.steps_done == 0:
                self._check_divergence(1, 0, 1)
            listeners.call("on_steps", limits.interrupts, self.steps_done + 1, n, n, self._step_losses(0, 1))
            if limits.is_over():
                raise lbfgs.Stopped

        def after() -> bool:
            nonlocal began
            self.steps_done += 1
            self._check_divergence(self.steps_done, 0, 1)
            is_last = self._finish(self.steps_done, time.perf_counter() - began, is_whole=True)
            began = time.perf_counter()
            return is_last

        decay = self.settings.weight_decay * self.decay_share
        objective = lbfgs.Objective(self.trainer, drawn, decay, watch)
        try:
            lbfgs.minimise(objective, self.settings.epochs, self.settings.tolerance, after)
        except lbfgs.Stopped:
            self._stop()
        else:
            self.result.stopped_early |= self.steps_done < self.settings.epochs and not self.result.interrupted

    def _lower_rates(self, record: EpochRecord) -> None:
        if self.settings.schedule == "plateau":
            self.plateau.lower(record, self.rates[self._end(record.epoch) :])

    def _steps(self, epoch: int) -> int:
        return math.ceil(self.sampling.size(epoch) / self.batch_size)

    def _end(self, epoch: int) -> int:
        """How many steps there are until the end of an epoch; 0 is the begin of the first."""
        return self._steps(1) + self._steps(2) * (epoch - 1) if epoch else 0

    def _check_divergence(self, epoch: int, start: int, stop: int) -> None:
        part = self.losses[start * self.batch_size : stop * self.batch_size]
        finite = np.isfinite(part)
        if not finite.all():
            step = start + int(np.argmin(finite)) // self.batch_size
            rates = self.rates[self._end(epoch - 1) : self._end(epoch)]
            raise DivergenceError(
                f"loss: given {part[~finite][0]} in epoch {epoch}, step {step + 1} of {len(rates)}, at a learning rate of "
                f"{rates[step]:.6g}, expected a finite number: {self.hint} may help"
            )

    def _step_losses(self, start: int, stop: int) -> list[float]:
        size = self.batch_size
        return [self._mean_loss(s * size, (s + 1) * size) for s in range(start, stop)]

    def _mean_loss(self, start: int, stop: int) -> float:
        """Of some samples in the order of the epoch, each counting as its weight; 0 where none counts."""
        losses = self.losses[start:stop].astype(np.float64)
        if self.weights_now is None:
            return float(losses.mean())
        weights = self.weights_now[start:stop]
        return float((losses * weights).sum() / (weights.sum() or 1))

    def _check_parameters(self, epoch: int, state: dict[str, list[np.ndarray]]) -> None:
        """The last step may have ruined the weights though the losses, which are of before it, were finite."""
        parameters = (*state["weights"], *state["biases"])
        self.penalty = self._penalty(state["weights"])
        if not all(np.isfinite(p).all() for p in parameters) or not math.isfinite(self.penalty):
            raise self._diverged("weights", "not finite", epoch)

    def _penalty(self, weights: list[np.ndarray]) -> float:
        settings = self.settings
        with np.errstate(over="ignore"):
            squares = sum(float(np.square(w, dtype=np.float64).sum()) for w in weights)
            sizes = sum(float(np.abs(w).sum(dtype=np.float64)) for w in weights) if settings.l1 else 0.0
        decay = 0.0 if settings.optimizer == "adamw" else settings.weight_decay
        return (decay / 2 * squares + settings.l1 * sizes) * self.decay_share

    def _diverged(self, what: str, given: object, epoch: int) -> DivergenceError:
        return DivergenceError(
            f"{what}: given {given} at the end of epoch {epoch}, with a learning rate of {self._last_rate(epoch):.6g}, "
            f"expected a finite number: {self.hint} may help"
        )

    def _last_rate(self, epoch: int) -> float:
        return float(self.rates[self._end(epoch) - 1])

    def _record(self, epoch: int, seconds: float) -> EpochRecord:
        loss = self._mean_loss(0, len(self.losses))
        threads = self.threads if self.settings.optimizer == "lbfgs" else self.pace.end_epoch()
        self.result.threads = threads
        record = EpochRecord(epoch, loss, self.penalty, None, None, self._last_rate(epoch), seconds, threads=threads)
        for part, held in (("validation", self.problem.validation), ("test", self.problem.test)):
            if held is None:
                continue
            own = self.watch.metrics if held is self.problem.metrics_on else {}
            held_loss, score, metrics = evaluate(self.model, held, own, self.threads)
            if not math.isfinite(held_loss):
                raise self._diverged(f"{part} loss", held_loss, epoch)
            measured: dict[str, Any] = {f"{part}_loss": held_loss, "metrics": metrics or record.metrics}
            measured[f"{part}_r2" if self.problem.regression else f"{part}_accuracy"] = score
            record = replace(record, **measured)
        return record
