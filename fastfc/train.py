"""Training: the loop over epochs around either backend."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Unpack

import numpy as np

from fastfc.backend import blas_threads, check_threads, load_backend
from fastfc.data import Dataset, load_data
from fastfc.density import choose_input_kernel
from fastfc.errors import DivergenceError, InvalidType, invalid
from fastfc.initializers import check_init
from fastfc.network import PIXEL, Network
from fastfc.schedules import learning_rates
from fastfc.settings import Settings, SettingsDict, number, whole
from fastfc.validation import check_inputs, check_targets, is_csr

SLICE_SECONDS = 0.1  # compiled code returns so often: to look at the clock, for Ctrl-C, and for NaN
WORTHWHILE = 300_000  # multiplications in a step from which a second thread pays for its waiting


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training.

    epoch    1-based
    loss     mean over the samples as they were trained on (nats, or squared error), without the L2 penalty
    penalty  weight_decay / 2 * sum(w²) at the end of the epoch
    test_loss, test_accuracy   at the end of the epoch; None without test data
    lr       learning rate of the last step
    seconds  of training; evaluation is not counted
    """

    epoch: int
    loss: float
    penalty: float
    test_loss: float | None
    test_accuracy: float | None
    lr: float
    seconds: float


@dataclass
class TrainResult:
    """What a training gives.

    model            the trained Network
    history          one EpochRecord an epoch
    train_seconds    of training: making the state, and all epochs; without compiling, checking and evaluating
    compile_seconds  until the kernels were ready: compiled, or read from the cache
    threads          that computed
    input_kernel     "sparse" or "dense" first layer, and input_kernel_reason why
    interrupted      whether Ctrl-C or max_seconds ended it early: the model is what it was then
    """

    model: Network
    settings: Settings
    backend: str
    threads: int
    seed: int
    data_name: str
    input_kernel: str
    input_kernel_reason: str
    history: list[EpochRecord] = field(default_factory=list)
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    interrupted: bool = False

    @property
    def dtype(self) -> str:
        return self.settings.dtype

    @property
    def test_accuracy(self) -> float | None:
        """After the last epoch; None without test data."""
        return self.history[-1].test_accuracy if self.history else None

    def to_dict(self) -> dict[str, Any]:
        """All but the parameters, as JSON can hold it."""
        from fastfc.info import versions

        return {
            "backend": self.backend,
            "dtype": self.dtype,
            "threads": self.threads,
            "layers": list(self.model.layers),
            "data": self.data_name,
            "seed": self.seed,
            "input_kernel": self.input_kernel,
            "input_kernel_reason": self.input_kernel_reason,
            "history": [asdict(record) for record in self.history],
            "test_accuracy": self.test_accuracy,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "interrupted": self.interrupted,
            "settings": _json_settings(self.settings),
            "versions": versions(),
        }


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
    network           a Network to start from, which is not changed; layers, activations, loss and dtype are then its own
    progress          print a line an epoch, and on a terminal show a bar
    on_epoch          is called with each EpochRecord
    on_steps          is called with (epoch, samples done, samples, [mean loss of each step since the last call]), every
                      `steps_a_call` steps, or some ten times a second
    max_seconds       of training, after which it ends as with Ctrl-C
    on_interrupt      "return" the model so far, with `interrupted` set, or "raise" KeyboardInterrupt
    checkpoint        folder for a checkpoint after each `every` epochs; if it has one, training goes on from there, and
                      ends with the very weights that it would have had uninterrupted
    settings          the fields of `fastfc.settings.Settings`

    Raises InvalidArgument or InvalidType for what cannot be used, before anything is computed; DataError for data that
    cannot be read; DivergenceError as soon as a loss is not finite.
    """
    chosen, dataset = _settings_and_data(recipe, data, test_data, settings)
    whole("seed", seed, 0)
    whole("every", every, 1)
    if max_seconds is not None:
        number("max_seconds", max_seconds, above=0)
    if on_interrupt not in ("return", "raise"):
        raise invalid("on_interrupt", repr(on_interrupt), "'return' or 'raise'")
    threads = check_threads(threads)
    load_backend(backend)
    run = _Run(chosen, dataset, backend, threads, seed, network)
    with ExitStack() as stack:
        if progress:
            from fastfc.progress import Progress

            if dataset.notice:
                print(dataset.notice)
            bar = stack.enter_context(Progress(chosen.epochs, run.n))
            on_epoch, on_steps = _both(bar.on_epoch, on_epoch), _both(bar.on_steps, on_steps)
        stack.enter_context(blas_threads(backend, threads))
        interrupts = stack.enter_context(_deferred_interrupt())
        run.prepare(checkpoint)
        stack.callback(run.trainer.close)
        run.epochs(on_epoch, on_steps, steps_a_call, max_seconds, checkpoint, every, interrupts)
    if run.result.interrupted and interrupts.came and on_interrupt == "raise":
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
        self.targets, outputs = check_targets(
            data.y, self.n, network.layers[-1] if network else settings.outputs, loss, dtype
        )
        self.test: tuple[Any, Any] | None = None
        if data.X_test is not None:
            X_test = check_inputs(data.X_test, dtype, "X of test_data", features)
            check_targets(data.y_test, X_test.shape[0], outputs, loss, dtype, "y of test_data")
            self.test = X_test, data.y_test
        if network is not None and network.layers[0] != features:
            raise invalid("network", f"{network.layers[0]} inputs", f"{features}, as many as the data has features")
        scale = PIXEL if settings.scale is None else settings.scale
        check_init(settings.init)
        _check_shifts(settings.augment, data.image_shape, self.X)
        self.model = Network(
            (features, *settings.hidden, outputs),
            activation=settings.activations,
            loss=loss,
            output_activation=settings.output_activation,
            weights=network.weights if network else None,
            biases=network.biases if network else None,
            dtype=settings.dtype,
            scale=scale if network is None or settings.scale is not None else network.scale,
            image_shape=data.image_shape,
            backend=backend,
        )
        if network is None:
            from fastfc.initializers import initialize

            self.model.weights, self.model.biases = initialize(self.model.layers, settings.init, dtype, self.rng)
        self.settings = settings
        self.batch_size = min(settings.batch_size or self.n, self.n)
        self.steps = math.ceil(self.n / self.batch_size)
        self.rates = learning_rates(settings.schedule, settings.lr, self.steps * settings.epochs, dtype)
        self.losses = np.zeros(self.n, dtype)
        work = self.batch_size * sum(w.size for w in self.model.weights)
        self.threads = threads if work >= WORTHWHILE or backend == "numpy" else 1
        kernel, reason = (
            choose_input_kernel(self.X, settings.input_kernel)
            if backend == "numba"
            else ("dense", "NumPy multiplies all")
        )
        self.result = TrainResult(self.model, settings, backend, self.threads, seed, data.name, kernel, reason)
        self.interrupted = False

    def prepare(self, checkpoint: str | os.PathLike[str] | None) -> None:
        """Make the backend's state, from the checkpoint if there is one, and compile what is not compiled yet."""
        velocities: list[np.ndarray] = []
        self.first_epoch = 1
        if checkpoint is not None:
            velocities = self._resume(checkpoint)
        trainer_class, _ = load_backend(self.result.backend)
        plan = self.model.plan(self.settings, self.batch_size)
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
        self.trainer.run(np.arange(self.n), self._no_shifts(), self.rates[: self.steps], self.losses, 0, 0)
        if self.test is not None:
            self.model._outputs(self.test[0][:1])
        self.result.compile_seconds = time.perf_counter() - start

    def epochs(
        self,
        on_epoch: Callable[[EpochRecord], object] | None,
        on_steps: Callable[[int, int, int, list[float]], object] | None,
        steps_a_call: int | None,
        max_seconds: float | None,
        checkpoint: str | os.PathLike[str] | None,
        every: int,
        interrupts: _Interrupts,
    ) -> None:
        """All epochs that are left, or as many as time and Ctrl-C allow."""
        self.deadline = math.inf if max_seconds is None else max_seconds
        self.interrupts, self.on_steps, self.steps_a_call = interrupts, on_steps, steps_a_call
        for epoch in range(self.first_epoch, self.settings.epochs + 1):
            seconds = self._epoch(epoch)
            self.model.weights, self.model.biases, velocities = self.trainer.parameters()
            if self.result.interrupted:
                return
            record = self._record(epoch, seconds)
            self.result.history.append(record)
            if on_epoch:
                on_epoch(record)
            if checkpoint is not None and (epoch % every == 0 or epoch == self.settings.epochs):
                self._save(checkpoint, epoch, velocities)

    def _epoch(self, epoch: int) -> float:
        """One epoch of training; its seconds."""
        start = time.perf_counter()
        before = self.result.train_seconds
        order = self.rng.permutation(self.n) if self.settings.shuffle else np.arange(self.n)
        shifts = self._no_shifts()
        if self.settings.augment:
            shifts = self.rng.integers(
                -self.settings.augment, self.settings.augment, (self.n, 2), np.int8, endpoint=True
            )
        rates = self.rates[(epoch - 1) * self.steps : epoch * self.steps]
        done, count = 0, self.steps_a_call or min(8, self.steps)
        while done < self.steps and not self.result.interrupted:
            stop = min(done + count, self.steps)
            began = time.perf_counter()
            self.trainer.run(order, shifts, rates, self.losses, done, stop)
            took = time.perf_counter() - began
            self._check_divergence(epoch, done, stop, rates)
            if self.on_steps:
                self.on_steps(epoch, min(stop * self.batch_size, self.n), self.n, self._step_losses(done, stop))
            done = stop
            self.result.train_seconds = before + time.perf_counter() - start
            self.result.interrupted = self.interrupts.came or self.result.train_seconds >= self.deadline
            if not self.steps_a_call:
                left = min(SLICE_SECONDS, max(self.deadline - self.result.train_seconds, 0.01))
                count = max(1, int((stop - done + count) * left / max(took, 1e-6)))
        return time.perf_counter() - start

    def _check_divergence(self, epoch: int, start: int, stop: int, rates: np.ndarray) -> None:
        part = self.losses[start * self.batch_size : min(stop * self.batch_size, self.n)]
        finite = np.isfinite(part)
        if not finite.all():
            step = start + int(np.argmin(finite)) // self.batch_size
            raise DivergenceError(
                f"loss: {part[~finite][0]} in epoch {epoch}, step {step + 1} of {self.steps}, at a learning rate of "
                f"{rates[step]:.6g}, expected a finite number: a smaller lr may help"
            )

    def _step_losses(self, start: int, stop: int) -> list[float]:
        size = self.batch_size
        return [
            float(self.losses[s * size : min((s + 1) * size, self.n)].mean(dtype=np.float64))
            for s in range(start, stop)
        ]

    def _record(self, epoch: int, seconds: float) -> EpochRecord:
        test_loss = test_accuracy = None
        if self.test is not None:
            test_loss, test_accuracy = self.model.loss_and_accuracy(*self.test)
        squares = sum(float(np.square(w, dtype=np.float64).sum()) for w in self.model.weights)
        penalty = self.settings.weight_decay / 2 * squares
        if not math.isfinite(penalty + squares):
            raise DivergenceError(
                f"weights: not finite after epoch {epoch}, at a learning rate of {self.rates[epoch * self.steps - 1]:.6g}, "
                "expected finite numbers: a smaller lr may help"
            )
        lr = float(self.rates[epoch * self.steps - 1])
        return EpochRecord(
            epoch, float(self.losses.mean(dtype=np.float64)), penalty, test_loss, test_accuracy, lr, seconds
        )

    def _no_shifts(self) -> np.ndarray:
        return np.zeros((0, 2), np.int8)

    def _resume(self, folder: str | os.PathLike[str]) -> list[np.ndarray]:
        """Take up the checkpoint in `folder`, if there is one; returns the velocities."""
        from fastfc.checkpoint import FILE_NAME, read_checkpoint

        if not os.path.exists(os.path.join(folder, FILE_NAME)):
            return []
        state = read_checkpoint(folder)
        own = {**_json_settings(self.settings), "backend": self.result.backend, "samples": self.n}
        if state["settings"] != own:
            different = sorted(k for k in own if state["settings"].get(k) != own[k])
            raise invalid(
                "checkpoint", f"one of a training with other {', '.join(different)}", "the same settings as now"
            )
        self.model.weights, self.model.biases = state["weights"], state["biases"]
        self.result.history = [EpochRecord(**record) for record in state["history"]]
        self.rng.bit_generator.state = state["generator"]
        self.first_epoch = state["epoch"] + 1
        return state["velocities"]

    def _save(self, folder: str | os.PathLike[str], epoch: int, velocities: list[np.ndarray]) -> None:
        from fastfc.checkpoint import write_checkpoint

        state = {
            "weights": self.model.weights,
            "biases": self.model.biases,
            "velocities": velocities,
            "epoch": epoch,
            "history": [asdict(record) for record in self.result.history],
            "generator": self.rng.bit_generator.state,
            "settings": {**_json_settings(self.settings), "backend": self.result.backend, "samples": self.n},
        }
        write_checkpoint(folder, state)


@dataclass
class _Interrupts:
    came: bool = False


@contextmanager
def _deferred_interrupt() -> Iterator[_Interrupts]:
    """Ctrl-C is noted instead of raised, so that it never comes between two threads that wait for each other.

    Only in the main thread, which alone gets signals, and only while Python's own handler is in place.
    """
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield interrupts
        return

    def note(number: int, frame: object) -> None:
        interrupts.came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _settings_and_data(recipe: str | None, data: Any, test_data: Any, given: SettingsDict) -> tuple[Settings, Dataset]:
    unknown = sorted(set(given) - set(Settings.names()))
    if unknown:
        raise InvalidType(
            f"train: given unknown {', '.join(unknown)}, expected settings among {', '.join(Settings.names())}"
        )
    if recipe is None:
        return Settings(**given), load_data(data, test_data)  # type: ignore[arg-type]
    from fastfc.recipes import get_recipe

    chosen = get_recipe(recipe)
    settings = replace(chosen.settings, **given)  # type: ignore[arg-type]
    return settings, chosen.select(load_data(data, test_data))


def _check_shifts(augment: int | None, image_shape: tuple[int, int] | None, X: Any) -> None:
    if not augment:
        return
    if image_shape is None or is_csr(X):
        raise invalid("augment", augment, "None for data that are not images: arrays of shape (n, height, width) are")
    if augment >= min(image_shape):
        raise invalid("augment", augment, f"shifts smaller than the image, {image_shape[0]}x{image_shape[1]}")


def _json_settings(settings: Settings) -> dict[str, Any]:
    schedule = settings.schedule
    shown = replace(settings, schedule="constant") if callable(schedule) else settings
    plain = {**asdict(shown), "schedule": getattr(schedule, "__name__", "callable") if callable(schedule) else schedule}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def _both(first: Callable[..., object], second: Callable[..., object] | None) -> Callable[..., object]:
    if second is None:
        return first

    def call(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call
