"""`fastfc.train`: checks of its arguments, and what surrounds a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
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
from fastfc.results import EpochRecord, TrainResult
from fastfc.settings import Settings, SettingsDict
from fastfc.training.progress import Progress
from fastfc.training.resume import CheckpointPlan
from fastfc.training.run import Limits, Listeners, OnSteps, Run
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
    progress: bool = False,
    on_epoch: Callable[[EpochRecord], object] | None = None,
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
    progress          print a line an epoch, and on a terminal show a bar
    on_epoch          is called with each EpochRecord
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
    whole("checkpoint_every", checkpoint_every, 1)
    if steps_per_call is not None:
        whole("steps_per_call", steps_per_call, 1)
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
    plan = None if checkpoint is None else CheckpointPlan(checkpoint, int(checkpoint_every))
    listeners = Listeners(steps_per_call=steps_per_call)
    run = Run(chosen, dataset, backend, threads, int(seed), network)
    with ExitStack() as stack:
        if progress:
            announce(dataset.notice)
            bar = stack.enter_context(Progress(chosen.epochs, run.n, run.sampling.later))
            listeners.add(bar.on_epoch, bar.on_steps)
        listeners.add(on_epoch, on_steps)
        stack.enter_context(blas_threads(backend, threads))
        run.prepare(plan)
        if progress and run.first_epoch > 1:
            bar.say(f"the checkpoint has {run.first_epoch - 1} of {chosen.epochs} epochs")
        stack.callback(run.trainer.close)
        interrupts = stack.enter_context(deferred_interrupts())
        run.epochs(listeners, Limits(max_seconds, interrupts))
    if interrupts.came and on_interrupt == "raise":
        raise KeyboardInterrupt
    if interrupts.came and not progress:
        print(INTERRUPTED, file=sys.stderr)
    return run.result


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
