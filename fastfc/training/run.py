"""One training: its state, and the loop over epochs around either backend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastfc.backend import load_backend
from fastfc.data import Dataset
from fastfc.data.dataset import load_pair
from fastfc.errors import DivergenceError, invalid
from fastfc.initializers import initialize
from fastfc.kernels.plan import REGRESSIONS, Epoch
from fastfc.machine.interrupts import Interrupts
from fastfc.network import PIXEL, Network
from fastfc.results import EpochRecord, TrainResult
from fastfc.settings import Settings
from fastfc.training.average import Average
from fastfc.training.callbacks import Listeners
from fastfc.training.evaluation import HeldOut, Watch, classes_of, evaluate, split
from fastfc.training.input_kernel import background_of, choose_input_kernel
from fastfc.training.resume import CheckpointPlan, Checkpoints, Snapshot, digest, parts_of
from fastfc.training.sampling import Sampling
from fastfc.training.schedules import Plateau, learning_rates
from fastfc.validation import check_init, check_inputs, check_shifts, check_state, check_targets, input_kind

SLICE_SECONDS = 0.1  # compiled code returns so often: to look at the clock, for Ctrl-C, and for NaN
WORTHWHILE = 300_000  # multiplications in a step from which a second thread pays for its waiting

OnEpoch = Callable[[EpochRecord], object]
OnSteps = Callable[[int, int, int, list[float]], object]


@dataclass
class Limits:
    """What ends a training early: the clock, from `begin` on, and Ctrl-C."""

    max_seconds: float | None
    interrupts: Interrupts
    end: float = math.inf

    def begin(self) -> None:
        if self.max_seconds is not None:
            self.end = time.perf_counter() + self.max_seconds

    def is_over(self) -> bool:
        return self.interrupts.came or self.seconds_left() <= 0

    def seconds_left(self) -> float:
        return self.end - time.perf_counter()


class Run:
    """The state of one training between its steps.

    X            (samples, features), and targets (samples,) or (samples, outputs), as the kernels take them
    rows         (n,) those of the samples that are trained on: all but a share for validation
    validation, test   HeldOut samples, or None
    state        "weights", "biases" and what the optimiser keeps, as the backend's Trainer takes and gives it
    steps_done   by the optimiser, those of a state to go on with included, which are first_step
    rates        (steps,) learning rates of all epochs
    average      of the parameters, which is then what the model has
    first_epoch  1, or the first that the checkpoint does not have
    """

    def __init__(
        self,
        settings: Settings,
        data: Dataset,
        backend: str,
        threads: int,
        seed: int,
        network: Network | None = None,
        state: dict[str, Any] | None = None,
        watch: Watch | None = None,
    ) -> None:
        dtype = np.dtype(settings.dtype)
        self.settings, self.rng, self.watch = settings, np.random.default_rng(seed), watch or Watch()
        outputs = self._take(data, dtype, network)
        self._hold_out(data, outputs, seed)
        self.model = self._make_model(data, backend, network, outputs)
        parameters = [*self.model.weights, *self.model.biases]
        self.state = {"weights": list(self.model.weights), "biases": list(self.model.biases)}
        self.first_step = 0
        if state is not None:
            names = self.model.plan(settings).optimizer.states
            kept, self.first_step = check_state(state, names, [p.shape for p in parameters], dtype)
            self.state |= kept
        self.steps_done = self.first_step
        self.average = None if settings.ema is None else Average(settings.ema, parameters)
        self.batch_size = min(settings.batch_size or self.n, self.n)
        self.sampling = Sampling(settings, self.rows, self.X.shape[0], dtype, self.rng)
        self.rates = self._planned_rates(dtype)
        of_validation = "validation_loss" if self.validation else "loss"
        self.plateau = Plateau(of_validation, settings.plateau_factor, settings.plateau_patience)
        self.losses = np.zeros(self.n, dtype)
        work = self.batch_size * sum(w.size for w in self.model.weights)
        self.threads = threads if work >= WORTHWHILE or backend == "numpy" else 1
        self.background = background_of(self.X)
        kernel, reason = (
            choose_input_kernel(self.X, settings.input_kernel, self.background)
            if backend == "numba"
            else ("dense", "NumPy multiplies all")
        )
        self.result = TrainResult(self.model, settings, backend, self.threads, seed, data.name, kernel, reason)
        self.checkpoints: Checkpoints | None = None
        self.first_epoch, self.count = 1, 1
        self.kept: list[np.ndarray] = []  # parameters of the best epoch that the checkpoint has

    def _planned_rates(self, dtype: np.dtype) -> np.ndarray:
        settings, steps = self.settings, self._end(self.settings.epochs)
        share = min(round(settings.warmup * steps), steps - 1)
        warmup = self._end(int(settings.warmup)) if settings.warmup >= 1 else share
        return learning_rates(settings.schedule, settings.lr, steps, dtype, warmup, self._steps(1))

    def _take(self, data: Dataset, dtype: np.dtype, network: Network | None) -> int:
        """Check the data and keep it; gives the number of outputs."""
        loss = self.settings.loss
        trained_on = network.input_kind if network else None
        self.X, kind = check_inputs(data.X, dtype, trained_on=trained_on), input_kind(data.X)
        self.input_kind = trained_on if trained_on and kind == "float" else kind
        self.targets, outputs = check_targets(data.y, self.X.shape[0], self.settings.outputs, loss, dtype)
        self.regression = loss in REGRESSIONS and self.targets.ndim == 2
        self.weights = data.sample_weight
        return outputs

    def _hold_out(self, data: Dataset, outputs: int, seed: int) -> None:
        """Set apart what is not trained on."""
        self.test = None if data.X_test is None else self._held_out(data.X_test, data.y_test, outputs, "test_data")
        given, self.rows = self.watch.validation, np.arange(self.X.shape[0])
        self.validation: HeldOut | None = None
        if isinstance(given, (tuple, list)):
            self.validation = self._held_out(*load_pair(given, "validation"), outputs, "validation")
        elif given is not None:
            classes = classes_of(self.targets, self.settings.loss, self.regression)
            self.rows, rows = split(given, classes, self.X.shape[0], seed)
            self.validation = HeldOut(self.X[rows], self.targets[rows], np.asarray(data.y)[rows])
        self.n = len(self.rows)
        self.metrics_on = self.validation or self.test
        if self.watch.metrics and not self.metrics_on:
            raise invalid("metrics", ", ".join(self.watch.metrics), "none without a validation set or test data")

    def _held_out(self, X: Any, y: Any, outputs: int, what: str) -> HeldOut:
        dtype = np.dtype(self.settings.dtype)
        inputs = check_inputs(X, dtype, f"X of {what}", self.X.shape[1], self.input_kind)
        loss, what = self.settings.loss, f"y of {what}"
        targets, _ = check_targets(y, inputs.shape[0], outputs, loss, dtype, what, self.regression)
        return HeldOut(inputs, targets, np.asarray(y))

    @property
    def measured(self) -> list[str]:
        """Names of what each EpochRecord has for a Monitor."""
        score = "r2" if self.regression else "accuracy"
        parts = [name for name, held in (("validation", self.validation), ("test", self.test)) if held]
        return ["loss", "penalty", *(f"{p}_{w}" for p in parts for w in ("loss", score)), *self.watch.metrics]

    def _make_model(self, data: Dataset, backend: str, network: Network | None, outputs: int) -> Network:
        settings, features = self.settings, self.X.shape[1]
        if network is not None and network.layers[0] != features:
            raise invalid("network", f"{network.layers[0]} inputs", f"{features}, as many as the data has features")
        scale = PIXEL if settings.scale is None else settings.scale
        check_init(settings.init)
        check_shifts(settings.augment, data.image_shape, self.X)
        layers, dtype = (features, *settings.hidden, outputs), np.dtype(settings.dtype)
        weights, biases = (
            (network.weights, network.biases) if network else initialize(layers, settings.init, dtype, self.rng)
        )
        return Network(
            layers,
            activation=settings.activations,
            loss=settings.loss,
            output_activation=settings.output_activation,
            weights=weights,
            biases=biases,
            dtype=settings.dtype,
            scale=scale if network is None or settings.scale is not None else network.scale,
            image_shape=data.image_shape,
            backend=backend,
            regression=self.regression,
            huber_delta=settings.huber_delta,
            input_kind=self.input_kind,
        )

    def prepare(self, checkpoint: CheckpointPlan | None) -> None:
        """Make the backend's Trainer, from the checkpoint if there is one, and compile what is not compiled yet."""
        plan = replace(self.model.plan(self.settings, self.batch_size), background=self.background)
        if plan.smoothing and self.targets.ndim == 2:  # labels are smoothed where they are made targets
            off, on = plan.off_and_on()
            self.targets = (off + (on - off) * self.targets).astype(plan.dtype)
        if checkpoint is not None:  # it tells the data by the targets as they are now
            self._go_on(checkpoint)
        trainer_class, _ = load_backend(self.result.backend)
        start = time.perf_counter()
        self.trainer = trainer_class(plan, self.X, self.targets, self.state, self.threads, self.result.input_kernel)
        self.result.train_seconds = time.perf_counter() - start
        start = time.perf_counter()
        self.optimizer = plan.optimizer
        self.plan = plan
        nothing = Epoch(self.rows, self.sampling.shifts(np.arange(0), 1), self._rules(0, 1), plan.scales(0), self.losses)
        self.trainer.run(nothing, 0, 0)
        for held in (self.validation, self.test):
            if held:
                self.model._outputs(held.X[:1], self.threads)
        self.result.compile_seconds = time.perf_counter() - start

    def _go_on(self, plan: CheckpointPlan) -> None:
        """Take up the checkpoint, or write the first."""
        weights = None if self.weights is None else digest(self.weights)
        more: dict[str, Any] = {"sample_weight": weights, "first_step": self.first_step, "validation": None, "early_stopping": None}
        if self.validation:
            more["validation"] = [digest(a) for a in (*parts_of(self.validation.X), self.validation.targets)]
        if self.watch.stopping:
            more["early_stopping"] = self.watch.stopping.identity
        self.checkpoints = Checkpoints(plan, self.result, self.X, self.targets, self.rates, self._end, more)
        snapshot = self.checkpoints.read()
        if snapshot is None:
            self.checkpoints.write(self._snapshot(0))
            return
        self.kept = snapshot.state.pop("best", [])
        if self.average:
            if "average" not in snapshot.state:
                raise invalid("checkpoint", "no average of the parameters", "one of this training")
            self.average.arrays = snapshot.state.pop("average")
        self._take_parameters(snapshot.state)
        self.result.history, self.first_epoch = snapshot.history, snapshot.epoch + 1
        self.steps_done = self.first_step + self._end(snapshot.epoch)
        for record in snapshot.history:
            self._lower_rates(record)
        self.rng.bit_generator.state = snapshot.generator
        if snapshot.losses is not None:
            self.sampling.losses = snapshot.losses

    def _snapshot(self, epoch: int) -> Snapshot:
        losses = None if self.settings.top_loss_fraction is None else self.sampling.losses
        state = dict(self.state)
        if self.average:
            state["average"] = self.average.arrays
        if self.watch.stopping and self.watch.stopping.kept:
            state["best"] = self.watch.stopping.kept
        return Snapshot(epoch, state, self.result.history, self.rng.bit_generator.state, losses)

    def _take_parameters(self, state: dict[str, list[np.ndarray]]) -> None:
        self.state = state
        layers = len(state["weights"])
        shown = self.average.arrays if self.average else [*state["weights"], *state["biases"]]
        self.model.weights, self.model.biases = shown[:layers], shown[layers:]

    def train(self, listeners: Listeners, limits: Limits) -> None:
        """All epochs that are left, or as many as the limits and early stopping allow."""
        limits.begin()
        listeners.call("on_train_begin", limits.interrupts, self.result)
        if self.watch.stopping:
            self.watch.stopping.kept = self.kept
        self._epochs(listeners, limits)
        names = self.trainer.plan.optimizer.states
        self.result.state = {name: self.state[name] for name in names if name in self.state}
        self.result.state["steps"] = self.steps_done
        listeners.call("on_train_end", limits.interrupts, self.result)

    def _epochs(self, listeners: Listeners, limits: Limits) -> None:
        is_enough = self.watch.stopping is not None and self.watch.stopping.is_over
        for epoch in range(self.first_epoch, self.settings.epochs + 1):
            if is_enough:
                self.result.stopped_early = True
                return
            seconds, whole_epoch = self._epoch(epoch, listeners, limits)
            state = self.trainer.state()
            self._check_parameters(epoch, state)
            self._take_parameters(state)
            if not whole_epoch:
                return self._stop(limits)
            record = self._record(epoch, seconds)
            self.result.history.append(record)
            self._lower_rates(record)
            is_enough = listeners.call("on_epoch_end", limits.interrupts, record)
            last = is_enough or epoch == self.settings.epochs
            if self.checkpoints and (last or self.checkpoints.plan.is_due(epoch, self.settings.epochs)):
                self.checkpoints.write(self._snapshot(epoch))
            if limits.interrupts.came or (limits.is_over() and not last):
                return self._stop(limits)

    def _stop(self, limits: Limits) -> None:
        self.result.interrupted, self.result.out_of_time = True, not limits.interrupts.came

    def _epoch(self, epoch: int, listeners: Listeners, limits: Limits) -> tuple[float, bool]:
        """One epoch of training, or the part of it that the limits allow: its seconds, and whether it is whole."""
        start = time.perf_counter()
        order = self.sampling.order(epoch)
        shifts = self.sampling.shifts(order, epoch)
        n, steps, end = len(order), self._steps(epoch), self._end(epoch)
        rates, self.losses = self.rates[end - steps : end], np.zeros(n, self.rates.dtype)
        self.weights_now = None if self.weights is None else self.weights[order]
        scale = self.plan.scales(n, self.weights_now)
        of_kernels, done = Epoch(order, shifts, self._rules(end - steps, end), scale, self.losses), 0
        while done == 0 or (done < steps and not limits.is_over()):
            stop = min(done + (listeners.steps_per_call or self.count), steps)
            began = time.perf_counter()
            with np.errstate(all="ignore"):  # what is not finite is found in the losses
                self._run(of_kernels, done, stop)
            took = time.perf_counter() - began
            self._check_divergence(epoch, done, stop, rates)
            if listeners.functions["on_steps"]:
                losses = self._step_losses(done, stop)
                listeners.call("on_steps", limits.interrupts, epoch, min(stop * self.batch_size, n), n, losses)
            left = min(SLICE_SECONDS, max(limits.seconds_left(), 0.01))
            self.count = max(1, int((stop - done) * left / max(took, 1e-6)))
            done = stop
        self.sampling.remember(order, self.losses)
        seconds = time.perf_counter() - start
        self.result.train_seconds += seconds
        return seconds, done == steps

    def _run(self, epoch: Epoch, start: int, stop: int) -> None:
        """Steps `start` to `stop` of an epoch, one at a time where an average follows them."""
        for s in (start,) if self.average is None else range(start, stop):
            end = stop if self.average is None else s + 1
            self.trainer.run(epoch, s, end)
            if self.average:
                state = self.trainer.state()
                self.average.follow([*state["weights"], *state["biases"]], self.steps_done)
            self.steps_done += end - s

    def _rules(self, start: int, stop: int) -> np.ndarray:
        return self.optimizer.rules(self.rates[start:stop], self.first_step + start)

    def _lower_rates(self, record: EpochRecord) -> None:
        if self.settings.schedule == "plateau":
            self.plateau.lower(record, self.rates[self._end(record.epoch) :])

    def _steps(self, epoch: int) -> int:
        return math.ceil(self.sampling.size(epoch) / self.batch_size)

    def _end(self, epoch: int) -> int:
        """How many steps there are until the end of an epoch; 0 is the begin of the first."""
        return self._steps(1) + self._steps(2) * (epoch - 1) if epoch else 0

    def _check_divergence(self, epoch: int, start: int, stop: int, rates: np.ndarray) -> None:
        part = self.losses[start * self.batch_size : stop * self.batch_size]
        finite = np.isfinite(part)
        if not finite.all():
            step = start + int(np.argmin(finite)) // self.batch_size
            raise DivergenceError(
                f"loss: given {part[~finite][0]} in epoch {epoch}, step {step + 1} of {len(rates)}, at a learning rate of "
                f"{rates[step]:.6g}, expected a finite number: a smaller lr may help"
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
        with np.errstate(over="ignore"):
            squares = sum(float(np.square(w, dtype=np.float64).sum()) for w in weights)
        return 0.0 if self.settings.optimizer == "adamw" else self.settings.weight_decay / 2 * squares

    def _diverged(self, what: str, given: object, epoch: int) -> DivergenceError:
        return DivergenceError(
            f"{what}: given {given} at the end of epoch {epoch}, with a learning rate of {self._last_rate(epoch):.6g}, "
            "expected a finite number: a smaller lr may help"
        )

    def _last_rate(self, epoch: int) -> float:
        return float(self.rates[self._end(epoch) - 1])

    def _record(self, epoch: int, seconds: float) -> EpochRecord:
        loss = self._mean_loss(0, len(self.losses))
        record = EpochRecord(epoch, loss, self.penalty, None, None, self._last_rate(epoch), seconds)
        for part, held in (("validation", self.validation), ("test", self.test)):
            if held is None:
                continue
            own = self.watch.metrics if held is self.metrics_on else {}
            held_loss, score, metrics = evaluate(self.model, held, own, self.threads)
            if not math.isfinite(held_loss):
                raise self._diverged(f"{part} loss", held_loss, epoch)
            measured: dict[str, Any] = {f"{part}_loss": held_loss, "metrics": metrics or record.metrics}
            measured[f"{part}_r2" if self.regression else f"{part}_accuracy"] = score
            record = replace(record, **measured)
        return record
