"""`fastfc.train`: checks of its arguments, and what surrounds a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Unpack

from fastfc.backend import BACKENDS, load_backend
from fastfc.data import Dataset, load_data
from fastfc.data.dataset import loading
from fastfc.distributed.peers import peers_of
from fastfc.errors import InvalidType, invalid
from fastfc.machine.blas import blas_threads
from fastfc.machine.interrupts import deferred_interrupts
from fastfc.machine.terminal import announce
from fastfc.machine.threads import check_threads
from fastfc.network import Network
from fastfc.renamed import old_keywords
from fastfc.results import TrainResult, json_settings
from fastfc.settings import Settings, SettingsDict
from fastfc.training.callbacks import EarlyStopping, Listeners, check_callbacks, check_early_stopping
from fastfc.training.evaluation import Metric, Watch, check_metrics, check_validation
from fastfc.training.lbfgs import check_scipy
from fastfc.training.limits import Limits
from fastfc.training.monitor import Monitor
from fastfc.training.progress import ProgressBar
from fastfc.training.resume import CheckpointPlan
from fastfc.training.run import OnEpoch, OnSteps, Run
from fastfc.training.weights import ClassWeight, class_factors
from fastfc.validation import check_weights, number, one_of, whole

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
    validation: float | tuple[Any, ...] | None = None,
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
    comm: Any = None,
    average_every: int | None = None,
    **settings: Unpack[SettingsDict],
) -> TrainResult:
    """Train a fully connected network.

    data, test_data   what to train and to test on, see `fastfc.data.load_data`; by default MNIST. X of uint8 is scaled (see
                      `fastfc.settings.Settings`), other integers are not: test data, and data of the model later, may
                      not be integers of the other kind. With the losses "mse", "mae" and "huber" y are numbers, whatever
                      their dtype, but for integers (n,) with more than one of `outputs` given, which are classes; with
                      "poisson" numbers >= 0. X of uint8 or of the training's dtype, C-contiguous, is not copied: it may
                      be larger than memory, as np.load(file, mmap_mode="r") gives it
    recipe            a name from `fastfc.recipes`, whose settings replace the defaults
    backend           "numba", compiled, or "numpy", the reference; both give the same up to rounding
    threads           how many threads compute, at most one for each CPU that there is; None: as many as pay, up to what
                      `fastfc info` says, found out while they compute. The result does not depend on it with "numba"
    seed              of the initial weights, the order of the samples and the shifts: the same for both backends
    network           a Network to start from, which is not changed; layers, activations, loss and dtype are then its own,
                      and settings that contradict it are refused
    state             TrainResult.state of the training that gave `network`: the optimiser goes on with it, where it is that
                      network's, which with a best epoch restored it is not; with `ema` also the parameters, of which the
                      network has the average
    validation        what each epoch is measured on, apart from the test data: a share of the samples, drawn by the seed, of
                      each class alike, which is then not trained on; or (X, y), with a sample of each class that is
                      trained on; or (X, y, sample_weight)
    metrics           functions of (y, predicted) by name, as {"f1": f}, which give a number: of the validation set, or without
                      one of the test data; EpochRecord.metrics has them. predicted is what `Network.predict` gives
    sample_weight     (n,) what each training sample counts for, in the gradient and in the loss: over the sum of its batch's
                      weights, where the gradient is a mean; and in the loss and score of a share for validation. Figures
                      of the test data, and metrics of one's own, are not weighted
    class_weight      a factor of it by class, in training alone: {class: weight}, 1 for those left out, or "balanced" for
                      n / (classes * samples of the class)
    early_stopping    epochs without a smaller validation loss after which training ends, with the network of the best; or
                      a `fastfc.EarlyStopping`, which may watch other numbers
    callbacks         objects with methods on_train_begin, on_steps, on_epoch_end, on_train_end, or some of them, see
                      `fastfc.training.callbacks`; among them fastfc.EarlyStopping, fastfc.BestCheckpoint, fastfc.CSVLog,
                      fastfc.ProgressBar
    progress          print a line an epoch, and on a terminal show a bar: a fastfc.ProgressBar, unless callbacks have one
    on_epoch          is called with each EpochRecord; what gives True ends the training
    on_steps          is called with (epoch, samples done, samples, [mean loss of each step since the last call]), every
                      `steps_per_call` steps, or some ten times a second
    max_seconds       from the first step on, evaluation included, after which training ends as with Ctrl-C
    on_interrupt      what Ctrl-C does once training has begun: "return" the model so far, with `interrupted` set, and
                      without `progress` a line on standard error that says so; or "raise" KeyboardInterrupt
    checkpoint        folder for a checkpoint before the first epoch and after each `checkpoint_every` epochs; if it has
                      one, training goes on from there, and ends with the very weights that it would have had
                      uninterrupted. A training that is finished goes on with more epochs, if its schedule gives the
                      epochs done the rates that they had, as "constant" does. Not with optimizer "lbfgs"
    comm              an MPI communicator of mpi4py, such as MPI.COMM_WORLD, in each of whose processes this function is called
                      with the same arguments, but for the data: arrays, also of test data, validation and weights, are the
                      samples of this process, of which there may be none; what is named is divided among them. batch_size is that
                      of all together. Callbacks are called, and lines and files are written, by rank 0 alone; each gets the
                      whole result. `docs/mpi.md` says more
    average_every     None: the steps are those of one process, up to rounding. k: each process makes k steps alone, then
                      parameters and the optimiser's state are averaged (local SGD, Stich 2019)
    settings          the fields of `fastfc.settings.Settings`

    Raises InvalidArgument or InvalidType for what cannot be used, before anything is computed; DataError for data that
    cannot be read; DivergenceError as soon as a loss is not finite; DistributedError where processes no longer have the same bits.
    """
    with peers_of(comm) as peers, ExitStack() as stack:
        whole("seed", seed, 0)
        _check_limits(steps_per_call, max_seconds, on_interrupt)
        plan = _checkpoint_plan(checkpoint, checkpoint_every)
        functions = _functions(on_epoch, on_steps)
        watch, others = _watch(validation, metrics, early_stopping, callbacks)
        threads = peers.threads(threads) if peers else threads
        most = check_threads(threads)
        if state is not None and network is None:
            raise invalid("state", "no network", "the network that it goes with")
        one_of("backend", backend, tuple(BACKENDS))
        read = partial(load_data, data, test_data) if peers else loading(data, test_data)
        load_backend(backend)
        load = partial(_settings_and_data, recipe, read, network, settings)
        chosen, dataset = peers.root_first(load) if peers else load()
        if chosen.optimizer == "lbfgs":
            _check_lbfgs(settings, checkpoint, steps_per_call)
        _check_average(average_every, comm, chosen)
        given = backend, threads, int(seed), network, state, watch
        if peers:
            from fastfc.distributed.data import shared
            from fastfc.distributed.run import SharedRun

            limits = {"seed": seed, "backend": backend, "max_seconds": max_seconds, "steps_per_call": steps_per_call}
            limits |= {"average_every": average_every, "checkpoint_every": plan and plan.every}
            limits |= {"early_stopping": watch.stopping, "validation": type(validation).__name__}
            peers.same("train", json_settings(chosen) | limits)
            is_named = data is None or isinstance(data, (str, os.PathLike))
            dataset = shared(peers, dataset, is_named, sample_weight, class_weight)
            run: Run = SharedRun(peers, average_every, chosen, dataset, *given)
        else:
            run = Run(chosen, _weighted(dataset, sample_weight, class_weight), *given)
        for monitor in (watch.stopping, *others):
            if isinstance(monitor, Monitor):
                monitor.check_name(run.problem.measured, watch.metrics)
        if peers and not peers.is_root:
            progress, others, functions = False, [], SimpleNamespace()
        processes = peers.processes() if peers else ""
        if progress:
            announce(dataset.notice)
            announce(processes)
        bars = [callback for callback in others if isinstance(callback, ProgressBar)]
        bars = bars or [ProgressBar()] * bool(progress)
        listeners = Listeners(steps_per_call=steps_per_call)
        for bar in bars:
            stack.enter_context(bar)
            bar.start(run.result)
        for callback in (*bars, watch.stopping, functions, *(each for each in others if each not in bars)):
            listeners.add(callback)
        if backend == "numpy" or chosen.optimizer == "lbfgs":  # else BLAS is there for callbacks alone
            stack.enter_context(blas_threads(backend, most))
        run.prepare(plan)
        for bar in bars if run.first_epoch > 1 else ():
            bar.say(f"the checkpoint has {run.first_epoch - 1} of {chosen.epochs} epochs")
        stack.callback(run.trainer.close)
        interrupts = stack.enter_context(deferred_interrupts())
        run.train(listeners, Limits(max_seconds, interrupts))
    if interrupts.came and on_interrupt == "raise":
        raise KeyboardInterrupt
    if interrupts.came and not bars and (peers is None or peers.is_root):
        print(INTERRUPTED, file=sys.stderr)
    return run.result


def _check_average(average_every: Any, comm: Any, settings: Settings) -> None:
    if average_every is None:
        return
    whole("average_every", average_every, 1)
    if comm is None or settings.optimizer == "lbfgs":
        without = "without comm" if comm is None else "with optimizer 'lbfgs'"
        raise invalid("average_every", average_every, f"None {without}")


def _check_lbfgs(given: SettingsDict, checkpoint: Any, steps_per_call: Any) -> None:
    """Raise for what lbfgs cannot do, and would not be seen to have been asked for."""
    check_scipy()
    batch_size = given.get("batch_size")
    for name, value in (("batch_size", batch_size), ("checkpoint", checkpoint), ("steps_per_call", steps_per_call)):
        if value is not None:
            raise invalid(name, repr(value), "None with optimizer 'lbfgs'")


def _weighted(dataset: Dataset, sample_weight: Any, class_weight: Any) -> Dataset:
    """With the weights that are given; those of a Dataset stay where none are."""
    if sample_weight is not None:
        dataset = replace(dataset, sample_weight=check_weights(sample_weight, len(dataset.y)))
    if class_weight is not None:
        dataset = replace(dataset, class_factor=class_factors(dataset.y, class_weight))
    return dataset


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
    recipe: str | None, read: Callable[[], Dataset], network: Network | None, given: SettingsDict
) -> tuple[Settings, Dataset]:
    unknown = sorted(set(given) - set(Settings.names()))
    if unknown:
        raise InvalidType(
            f"train: given unknown {', '.join(unknown)}, expected settings among {', '.join(Settings.names())}"
        )
    own = _settings_of(network)
    if recipe is None:
        settings = Settings(**{**own, **given})
        dataset = read()
    else:
        from fastfc.recipes import get_recipe

        chosen = get_recipe(recipe)
        settings = replace(chosen.settings, **{**own, **given})
        dataset = chosen.select(read())
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
