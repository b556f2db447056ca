"""Training: the loop over epochs around either backend."""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any, Unpack

import numpy as np

from fastfc.backend import load_backend
from fastfc.data import Dataset, load_data
from fastfc.errors import DivergenceError, InvalidType, invalid
from fastfc.machine.blas import blas_threads
from fastfc.machine.interrupts import Interrupts, deferred_interrupts
from fastfc.machine.threads import check_threads
from fastfc.network import PIXEL, Network
from fastfc.results import EpochRecord, TrainResult, json_settings
from fastfc.settings import Settings, SettingsDict
from fastfc.training.initializers import check_init, initialize
from fastfc.training.input_kernel import background_of, choose_input_kernel
from fastfc.training.sampling import Sampling
from fastfc.training.schedules import learning_rates
from fastfc.validation import check_inputs, check_shifts, check_targets, number, one_of, whole

SLICE_SECONDS = 0.1  # compiled code returns so often: to look at the clock, for Ctrl-C, and for NaN
WORTHWHILE = 300_000  # multiplications in a step from which a second thread pays for its waiting


def train(
    data: Any = None,
    test_data: Any = None,
    *,
    recipe: str | None = None,
    backend: str = "numba",
    threads: int | None = None,
    seed: int = 0,
    network: Network | None = None,
    progress: bool = False,
    on_epoch: Callable[[EpochRecord], object] | None = None,
    on_steps: Callable[[int, int, int, list[float]], object] | None = None,
    steps_a_call: int | None = None,
    max_seconds: float | None = None,
    on_interrupt: str = "return",
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 1,
    **settings: Unpack[SettingsDict],
) -> TrainResult:
    """Train a fully connected network.

    data, test_data   what to train and to test on, see `fastfc.data.load_data`; by default MNIST
    recipe            a name from `fastfc.recipes`, whose settings replace the defaults
    backend           "numba", compiled, or "numpy", the reference; both give the same up to rounding
    threads           how many threads compute; None: one for each core. The result does not depend on it with "numba"
    seed              of the initial weights, the order of the samples and the shifts: the same for both backends
    network           a Network to start from, which is not changed; layers, activations, loss and dtype are then its own,
                      and settings that contradict it are refused
    progress          print a line an epoch, and on a terminal show a bar
    on_epoch          is called with each EpochRecord
    on_steps          is called with (epoch, samples done, samples, [mean loss of each step since the last call]), every
                      `steps_a_call` steps, or some ten times a second
    max_seconds       from the first step on, evaluation included, after which training ends as with Ctrl-C
    on_interrupt      what Ctrl-C does once training has begun: "return" the model so far, with `interrupted` set, or
                      "raise" KeyboardInterrupt
    checkpoint        folder for a checkpoint before the first epoch and after each `every` epochs; if it has one, training
                      goes on from there, and ends with the very weights that it would have had uninterrupted
    settings          the fields of `fastfc.settings.Settings`

    Raises InvalidArgument or InvalidType for what cannot be used, before anything is computed; DataError for data that
    cannot be read; DivergenceError as soon as a loss is not finite.
    """
    whole("seed", seed, 0)
    whole("every", every, 1)
    if steps_a_call is not None:
        whole("steps_a_call", steps_a_call, 1)
    if max_seconds is not None:
        number("max_seconds", max_seconds, above=0)
    one_of("on_interrupt", on_interrupt, ("return", "raise"))
    for what, function in (("on_epoch", on_epoch), ("on_steps", on_steps)):
        if function is not None and not callable(function):
            raise InvalidType(f"{what}: given {function!r}, expected a function")
    if checkpoint is not None and not isinstance(checkpoint, (str, os.PathLike)):
        raise InvalidType(f"checkpoint: given {checkpoint!r}, expected the name of a folder")
    threads = check_threads(threads)
    load_backend(backend)
    chosen, dataset = _settings_and_data(recipe, data, test_data, network, settings)
    run = _Run(chosen, dataset, backend, threads, int(seed), network)
    with ExitStack() as stack:
        if progress:
            from fastfc.machine.terminal import announce
            from fastfc.training.progress import Progress

            announce(dataset.notice)
            bar = stack.enter_context(Progress(chosen.epochs, run.n, run.sampling.later))
            on_epoch, on_steps = _both(bar.on_epoch, on_epoch), _both(bar.on_steps, on_steps)
        stack.enter_context(blas_threads(backend, threads))
        run.prepare(checkpoint)
        if progress and run.first_epoch > 1:
            bar.say(f"the checkpoint has {run.first_epoch - 1} of {chosen.epochs} epochs")
        stack.callback(run.trainer.close)
        interrupts = stack.enter_context(deferred_interrupts())
        run.epochs(on_epoch, on_steps, steps_a_call, max_seconds, checkpoint, every, interrupts)
    if interrupts.came and on_interrupt == "raise":
        raise KeyboardInterrupt
    return run.result


class _Run:
    """The state of one training between its steps."""

    def __init__(
        self, settings: Settings, data: Dataset, backend: str, threads: int, seed: int, network: Network | None
    ) -> None:
        dtype = np.dtype(settings.dtype)
        self.rng = np.random.default_rng(seed)
        self.X = check_inputs(data.X, dtype)
        self.n, features = self.X.shape
        loss = settings.loss
        self.targets, outputs = check_targets(data.y, self.n, settings.outputs, loss, dtype)
        self.test: tuple[Any, Any] | None = None
        if data.X_test is not None:
            X_test = check_inputs(data.X_test, dtype, "X of test_data", features)
            y_test, _ = check_targets(data.y_test, X_test.shape[0], outputs, loss, dtype, "y of test_data")
            self.test = X_test, y_test
        if network is not None and network.layers[0] != features:
            raise invalid("network", f"{network.layers[0]} inputs", f"{features}, as many as the data has features")
        scale = PIXEL if settings.scale is None else settings.scale
        check_init(settings.init)
        check_shifts(settings.augment, data.image_shape, self.X)
        layers = (features, *settings.hidden, outputs)
        weights, biases = (
            (network.weights, network.biases) if network else initialize(layers, settings.init, dtype, self.rng)
        )
        self.model = Network(
            layers,
            activation=settings.activations,
            loss=loss,
            output_activation=settings.output_activation,
            weights=weights,
            biases=biases,
            dtype=settings.dtype,
            scale=scale if network is None or settings.scale is not None else network.scale,
            image_shape=data.image_shape,
            backend=backend,
        )
        self.settings = settings
        self.batch_size = min(settings.batch_size or self.n, self.n)
        self.sampling = Sampling(settings, self.n, dtype, self.rng)
        steps = self._steps(1) + self._steps(2) * (settings.epochs - 1)
        self.rates = learning_rates(settings.schedule, settings.lr, steps, dtype)
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
        self.count = 1

    def prepare(self, checkpoint: str | os.PathLike[str] | None) -> None:
        """Make the backend's state, from the checkpoint if there is one, and compile what is not compiled yet."""
        plan = replace(self.model.plan(self.settings, self.batch_size), background=self.background)
        if plan.smoothing and self.targets.ndim == 2:  # labels are smoothed where they are made targets
            off, on = plan.off_and_on()
            self.targets = (off + (on - off) * self.targets).astype(plan.dtype)
        velocities: list[np.ndarray] = []
        self.first_epoch = 1
        if checkpoint is not None:  # it tells the data by the targets as they are now
            velocities = self._resume(checkpoint)
        trainer_class, _ = load_backend(self.result.backend)
        start = time.perf_counter()
        self.trainer = trainer_class(
            plan,
            self.X,
            self.targets,
            self.model.weights,
            self.model.biases,
            velocities,
            self.threads,
            self.result.input_kernel,
        )
        self.result.train_seconds = time.perf_counter() - start
        start = time.perf_counter()
        self.trainer.run(np.arange(self.n), self.sampling.shifts(np.arange(0), 1), self.rates, self.losses, 0, 0)
        if self.test is not None:
            self.model._outputs(self.test[0][:1], self.threads)
        self.result.compile_seconds = time.perf_counter() - start

    def epochs(
        self,
        on_epoch: Callable[[EpochRecord], object] | None,
        on_steps: Callable[[int, int, int, list[float]], object] | None,
        steps_a_call: int | None,
        max_seconds: float | None,
        checkpoint: str | os.PathLike[str] | None,
        every: int,
        interrupts: Interrupts,
    ) -> None:
        """All epochs that are left, or as many as time and Ctrl-C allow."""
        self.end = math.inf if max_seconds is None else time.perf_counter() + max_seconds
        self.interrupts, self.on_steps, self.steps_a_call = interrupts, on_steps, steps_a_call
        for epoch in range(self.first_epoch, self.settings.epochs + 1):
            seconds, whole_epoch = self._epoch(epoch)
            self.model.weights, self.model.biases, velocities = self.trainer.parameters()
            self._check_parameters(epoch)
            if not whole_epoch:
                return self._stop()
            record = self._record(epoch, seconds)
            self.result.history.append(record)
            if on_epoch:
                interrupts.call(on_epoch, record)
            last = epoch == self.settings.epochs
            if checkpoint is not None and (epoch % every == 0 or last):
                self._save(checkpoint, epoch, velocities)
            if interrupts.came or (self._is_over() and not last):
                return self._stop()

    def _is_over(self) -> bool:
        return self.interrupts.came or time.perf_counter() >= self.end

    def _stop(self) -> None:
        self.result.interrupted, self.result.out_of_time = True, not self.interrupts.came

    def _epoch(self, epoch: int) -> tuple[float, bool]:
        """One epoch of training, or the part of it that time and Ctrl-C allow: its seconds, and whether it is whole."""
        start = time.perf_counter()
        order = self.sampling.order(epoch)
        shifts = self.sampling.shifts(order, epoch)
        n, steps, end = len(order), self._steps(epoch), self._end(epoch)
        rates, self.losses = self.rates[end - steps : end], np.zeros(n, self.rates.dtype)
        done = 0
        while done == 0 or (done < steps and not self._is_over()):
            stop = min(done + (self.steps_a_call or self.count), steps)
            began = time.perf_counter()
            with np.errstate(all="ignore"):  # what is not finite is found in the losses
                self.trainer.run(order, shifts, rates, self.losses, done, stop)
            took = time.perf_counter() - began
            self._check_divergence(epoch, done, stop, rates)
            if self.on_steps:
                losses = self._step_losses(done, stop)
                self.interrupts.call(self.on_steps, epoch, min(stop * self.batch_size, n), n, losses)
            left = min(SLICE_SECONDS, max(self.end - time.perf_counter(), 0.01))
            self.count = max(1, int((stop - done) * left / max(took, 1e-6)))
            done = stop
        self.sampling.remember(order, self.losses)
        seconds = time.perf_counter() - start
        self.result.train_seconds += seconds
        return seconds, done == steps

    def _steps(self, epoch: int) -> int:
        return math.ceil(self.sampling.size(epoch) / self.batch_size)

    def _end(self, epoch: int) -> int:
        """How many steps there are until the end of an epoch."""
        return self._steps(1) + self._steps(2) * (epoch - 1)

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
        return [float(self.losses[s * size : (s + 1) * size].mean(dtype=np.float64)) for s in range(start, stop)]

    def _check_parameters(self, epoch: int) -> None:
        """The last step may have ruined the weights though the losses, which are of before it, were finite."""
        parameters = (*self.model.weights, *self.model.biases)
        self.penalty = self._penalty()
        if not all(np.isfinite(p).all() for p in parameters) or not math.isfinite(self.penalty):
            raise self._diverged("weights", "not finite", epoch)

    def _penalty(self) -> float:
        with np.errstate(over="ignore"):
            squares = sum(float(np.square(w, dtype=np.float64).sum()) for w in self.model.weights)
        return self.settings.weight_decay / 2 * squares

    def _diverged(self, what: str, given: object, epoch: int) -> DivergenceError:
        return DivergenceError(
            f"{what}: given {given} at the end of epoch {epoch}, with a learning rate of {self._last_rate(epoch):.6g}, "
            "expected a finite number: a smaller lr may help"
        )

    def _last_rate(self, epoch: int) -> float:
        return float(self.rates[self._end(epoch) - 1])

    def _record(self, epoch: int, seconds: float) -> EpochRecord:
        test_loss = test_accuracy = None
        if self.test is not None:
            test_loss, test_accuracy = self.model._loss_and_accuracy(*self.test, self.threads)
            if not math.isfinite(test_loss):
                raise self._diverged("test loss", test_loss, epoch)
        loss = float(self.losses.mean(dtype=np.float64))
        return EpochRecord(epoch, loss, self.penalty, test_loss, test_accuracy, self._last_rate(epoch), seconds)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be of this training; the rates stand for a schedule's function."""
        data = (self.X,) if isinstance(self.X, np.ndarray) else (self.X.data, self.X.indices, self.X.indptr)
        return {
            **json_settings(self.settings),
            "backend": self.result.backend,
            "seed": self.result.seed,
            "layers": list(self.model.layers),
            "scale": self.model.scale,
            "rates": zlib.crc32(self.rates.data),
            "data": [zlib.crc32(np.ascontiguousarray(array).data) for array in (*data, self.targets)],
        }

    def _resume(self, folder: str | os.PathLike[str]) -> list[np.ndarray]:
        """Take up the checkpoint in `folder`, or write the first; returns the velocities."""
        from fastfc.storage.checkpoint import FILE_NAME, read_checkpoint

        if not os.path.exists(os.path.join(folder, FILE_NAME)):
            self._save(folder, 0, [])
            return []
        state, own = read_checkpoint(folder), self._identity()
        if state["settings"] != own:
            different = sorted(k for k in own if k not in state["settings"] or state["settings"][k] != own[k])
            raise invalid("checkpoint", f"one of a training with other {', '.join(different)}", "one of this training")
        self.model.weights, self.model.biases = state["weights"], state["biases"]
        self.result.history = [EpochRecord(**record) for record in state["history"]]
        self.rng.bit_generator.state = state["generator"]
        self.first_epoch = state["epoch"] + 1
        if state["losses"]:
            self.sampling.losses = state["losses"][0]
        return state["velocities"]

    def _save(self, folder: str | os.PathLike[str], epoch: int, velocities: list[np.ndarray]) -> None:
        from fastfc.storage.checkpoint import write_checkpoint

        state = {
            "weights": self.model.weights,
            "biases": self.model.biases,
            "velocities": velocities,
            "losses": [self.sampling.losses] if self.settings.hardest is not None else [],
            "epoch": epoch,
            "history": [asdict(record) for record in self.result.history],
            "generator": self.rng.bit_generator.state,
            "settings": self._identity(),
        }
        write_checkpoint(folder, state)


def _settings_and_data(
    recipe: str | None, data: Any, test_data: Any, network: Network | None, given: SettingsDict
) -> tuple[Settings, Dataset]:
    unknown = sorted(set(given) - set(Settings.names()))
    if unknown:
        raise InvalidType(
            f"train: given unknown {', '.join(unknown)}, expected settings among {', '.join(Settings.names())}"
        )
    own = _settings_of(network)
    if recipe is None:
        settings = Settings(**{**own, **given})
        dataset = load_data(data, test_data)
    else:
        from fastfc.recipes import get_recipe

        chosen = get_recipe(recipe)
        settings = replace(chosen.settings, **{**own, **given})
        dataset = chosen.select(load_data(data, test_data))
    if network is not None and settings.activations != network.activations:
        raise invalid("activation", repr(settings.activation), f"{network.activations}, as network has")
    for name in given.keys() & own.keys() - {"activation"}:
        if getattr(settings, name) != own[name]:
            raise invalid(name, repr(getattr(settings, name)), f"{own[name]!r}, as network has")
    return settings, dataset


def _settings_of(network: Network | None) -> dict[str, Any]:
    """The settings that a network to start from brings with it."""
    if network is None:
        return {}
    if not isinstance(network, Network):
        raise InvalidType(f"network: given {type(network).__name__}, expected a Network")
    return {
        "hidden": network.layers[1:-1],
        "activation": network.activations,
        "loss": network.loss,
        "output_activation": network.output_activation,
        "outputs": network.layers[-1],
        "dtype": network.dtype.name,
    }


def _both(first: Callable[..., object], second: Callable[..., object] | None) -> Callable[..., object]:
    if second is None:
        return first

    def call(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call
