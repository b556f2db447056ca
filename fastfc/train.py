"""`fastfc.train`: checks of its arguments, and what surrounds a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Unpack

from fastfc.backend import load_backend
from fastfc.data import Dataset, load_data
from fastfc.errors import InvalidType, invalid
from fastfc.machine.blas import blas_threads
from fastfc.machine.interrupts import deferred_interrupts
from fastfc.machine.terminal import announce
from fastfc.machine.threads import check_threads
from fastfc.network import Network
from fastfc.renamed import old_keywords
from fastfc.results import TrainResult
from fastfc.settings import Settings, SettingsDict
from fastfc.training.callbacks import EarlyStopping, Listeners, check_callbacks, check_early_stopping
from fastfc.training.evaluation import Metric, Watch, check_metrics, check_validation
from fastfc.training.monitor import Monitor
from fastfc.training.progress import Progress
from fastfc.training.resume import CheckpointPlan
from fastfc.training.run import Limits, OnEpoch, OnSteps, Run
from fastfc.training.weights import ClassWeight, sample_weights
from fastfc.validation import number, one_of, whole

INTERRUPTED = 'fastfc: training was interrupted; the model so far is returned (on_interrupt="raise" ends a loop too)'


@old_keywords
def train(
    data: Any = None,
    test_data: Any = None,
    *,
    recipe: str | None = None,
    backend: str = "numba",
    threads: int | None = None,
    seed: int = 0,
    network: Network | None = None,
    state: dict[str, Any] | None = None,
    validation: float | tuple[Any, Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    early_stopping: int | EarlyStopping | None = None,
    callbacks: Sequence[Any] | None = None,
    progress: bool = False,
    on_epoch: OnEpoch | None = None,
    on_steps: OnSteps | None = None,
    steps_per_call: int | None = None,
    max_seconds: float | None = None,
    on_interrupt: str = "return",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    **settings: Unpack[SettingsDict],
) -> TrainResult:
    """Train a fully connected network.

    data, test_data   what to train and to test on, see `fastfc.data.load_data`; by default MNIST. X of uint8 is scaled (see
                      `fastfc.settings.Settings`), other integers are not: test data, and data of the model later, may
                      not be integers of the other kind. With loss "mse" y are numbers, whatever their dtype, but for
                      integers (n,) with more than one of `outputs` given, which are classes
    recipe            a name from `fastfc.recipes`, whose settings replace the defaults
    backend           "numba", compiled, or "numpy", the reference; both give the same up to rounding
    threads           how many threads compute; None: one for each core. The result does not depend on it with "numba"
    seed              of the initial weights, the order of the samples and the shifts: the same for both backends
    network           a Network to start from, which is not changed; layers, activations, loss and dtype are then its own,
                      and settings that contradict it are refused
    state             TrainResult.state of the training that gave `network`: the optimiser goes on with it, where it is that
                      network's, which with `ema` or a best epoch restored it is not
    validation        what each epoch is measured on, apart from the test data: a share of the samples, drawn by the seed, of
                      each class alike, which is then not trained on; or (X, y)
    metrics           functions of (y, predicted) by name, as {"f1": f}, which give a number: of the validation set, or without
                      one of the test data; EpochRecord.metrics has them. predicted is what `Network.predict` gives
    sample_weight     (n,) what each training sample counts for, in the gradient and in the loss: over the sum of its batch's
                      weights, where the gradient is a mean. Validation and test figures are not weighted
    class_weight      the same by class: {class: weight}, or "balanced" for n / (classes * samples of the class)
    early_stopping    epochs without a smaller validation loss after which training ends, with the network of the best; or
                      a `fastfc.EarlyStopping`, which may watch other numbers
    callbacks         objects with methods on_train_begin, on_steps, on_epoch_end, on_train_end, or some of them, see
                      `fastfc.training.callbacks`; among them fastfc.EarlyStopping, fastfc.BestCheckpoint, fastfc.CSVLog
    progress          print a line an epoch, and on a terminal show a bar
    on_epoch          is called with each EpochRecord; what gives True ends the training
    on_steps          is called with (epoch, samples done, samples, [mean loss of each step since the last call]), every
                      `steps_per_call` steps, or some ten times a second
    max_seconds       from the first step on, evaluation included, after which training ends as with Ctrl-C
    on_interrupt      what Ctrl-C does once training has begun: "return" the model so far, with `interrupted` set, and
                      without `progress` a line on standard error that says so; or "raise" KeyboardInterrupt
    checkpoint        folder for a checkpoint before the first epoch and after each `checkpoint_every` epochs; if it has
                      one, training goes on from there, and ends with the very weights that it would have had
                      uninterrupted. A training that is finished goes on with more epochs, if its schedule gives the
                      epochs done the rates that they had, as "constant" does
    settings          the fields of `fastfc.settings.Settings`

    Raises InvalidArgument or InvalidType for what cannot be used, before anything is computed; DataError for data that
    cannot be read; DivergenceError as soon as a loss is not finite.
    """
    whole("seed", seed, 0)
    _check_limits(steps_per_call, max_seconds, on_interrupt)
    plan = _checkpoint_plan(checkpoint, checkpoint_every)
    functions = _functions(on_epoch, on_steps)
    watch, others = _watch(validation, metrics, early_stopping, callbacks)
    threads = check_threads(threads)
    load_backend(backend)
    if state is not None and network is None:
        raise invalid("state", "no network", "the network that it goes with")
    chosen, dataset = _settings_and_data(recipe, data, test_data, network, settings)
    dataset = replace(dataset, sample_weight=sample_weights(dataset.y, sample_weight, class_weight))
    listeners = Listeners(steps_per_call=steps_per_call)
    run = Run(chosen, dataset, backend, threads, int(seed), network, state, watch)
    for monitor in (watch.stopping, *others):
        if isinstance(monitor, Monitor):
            monitor.check_name(run.measured, watch.metrics)
    with ExitStack() as stack:
        if progress:
            announce(dataset.notice)
            bar = stack.enter_context(Progress(chosen.epochs, run.n, run.sampling.later))
            listeners.add(bar)
        for callback in (watch.stopping, functions, *others):
            listeners.add(callback)
        stack.enter_context(blas_threads(backend, threads))
        run.prepare(plan)
        if progress and run.first_epoch > 1:
            bar.say(f"the checkpoint has {run.first_epoch - 1} of {chosen.epochs} epochs")
        stack.callback(run.trainer.close)
        interrupts = stack.enter_context(deferred_interrupts())
        run.train(listeners, Limits(max_seconds, interrupts))
    if interrupts.came and on_interrupt == "raise":
        raise KeyboardInterrupt
    if interrupts.came and not progress:
        print(INTERRUPTED, file=sys.stderr)
    return run.result


def _check_limits(steps_per_call: Any, max_seconds: Any, on_interrupt: Any) -> None:
    if steps_per_call is not None:
        whole("steps_per_call", steps_per_call, 1)
    if max_seconds is not None:
        number("max_seconds", max_seconds, above=0)
    one_of("on_interrupt", on_interrupt, ("return", "raise"))


def _checkpoint_plan(folder: Any, every: Any) -> CheckpointPlan | None:
    whole("checkpoint_every", every, 1)
    if folder is not None and not isinstance(folder, (str, os.PathLike)):
        raise InvalidType(f"checkpoint: given {folder!r}, expected the name of a folder")
    return None if folder is None else CheckpointPlan(folder, int(every))


def _functions(on_epoch: Any, on_steps: Any) -> SimpleNamespace:
    """The two functions as a callback."""
    for what, function in (("on_epoch", on_epoch), ("on_steps", on_steps)):
        if function is not None and not callable(function):
            raise InvalidType(f"{what}: given {function!r}, expected a function")
    return SimpleNamespace(on_epoch_end=on_epoch, on_steps=on_steps)


def _watch(validation: Any, metrics: Any, early_stopping: Any, callbacks: Any) -> tuple[Watch, list[Any]]:
    """What is measured, with the early stopping from wherever it was given, and the other callbacks."""
    check_validation(validation)
    given = check_callbacks(callbacks)
    stoppings = [callback for callback in given if isinstance(callback, EarlyStopping)]
    if early_stopping is not None:
        stoppings.append(check_early_stopping(early_stopping))
    if len(stoppings) > 1:
        raise invalid("early_stopping", f"{len(stoppings)} of them", "one")
    stopping = copy(stoppings[0]) if stoppings else None  # what it counts is this training's alone
    others = [callback for callback in given if not isinstance(callback, EarlyStopping)]
    return Watch(validation, check_metrics(metrics), stopping), others


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
        "huber_delta": network.huber_delta,
        "dtype": network.dtype.name,
    }
