"""What each command of `fastfc` does, once its options are parsed. Output fits 80 columns, on a terminal or without."""

from __future__ import annotations

import argparse
import json
import statistics
import time
import timeit
from collections import Counter
from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastfc.errors import FastFCError, invalid
from fastfc.machine.terminal import announce, counted, wrapped

if TYPE_CHECKING:
    from fastfc.data import Dataset
    from fastfc.network import Network
    from fastfc.results import TrainResult

INTERRUPTED = 130
MODEL, HISTORY, CURVES = "model.safetensors", "history.json", "training.png"


def train(options: argparse.Namespace) -> int:
    import fastfc
    from fastfc.cli.options import given_settings

    settings, comm = given_settings(options), _communicator(options)
    _check_outputs(options)
    data = _data_of_page(options) if options.page else options.data
    try:
        result = fastfc.train(
            data,
            _test_data(options, comm),
            progress=True,
            early_stopping=_early_stopping(options),
            **_chosen(options, "validation", "class_weight", "recipe", "backend", "threads", "seed"),
            **_chosen(options, "max_seconds", "checkpoint", "checkpoint_every", "average_every"),
            comm=comm,
            **settings,
        )
    except FastFCError:
        if comm and comm.rank:
            return 0  # rank 0 has the same error, and says it
        raise
    if comm and comm.rank:
        return 0
    _print_result(result)
    if options.out:
        _write_run(result, options.out)
    if options.page:
        _write_page(result.model, data, options.page)
    if options.json:
        _write_json(options.json, result.to_dict())
    return INTERRUPTED if result.interrupted and not result.out_of_time else 0


def _communicator(options: argparse.Namespace) -> Any:
    """That of all processes with --mpi; else None."""
    if not options.mpi:
        return None
    from fastfc.distributed.peers import world

    return world()


def _data_of_page(options: argparse.Namespace) -> Dataset:
    """The data, where a page can be made for them, and there is a place for it."""
    from fastfc.data import load_data
    from fastfc.export.webpage import drawn_side
    from fastfc.validation import input_kind

    if options.page.suffix.lower() != ".html" or not options.page.absolute().parent.is_dir():
        raise invalid("--page", repr(str(options.page)), "a file that ends in .html, in an existing folder")
    data = load_data(options.data)
    drawn_side(data.X.shape[1], data.image_shape, input_kind(data.X))
    return data


def _write_page(model: Network, data: Dataset, path: Path) -> None:
    from fastfc.export import export
    from fastfc.export.names import columns_of
    from fastfc.export.webpage import drawn_side

    drawn = drawn_side(model.layers[0], model.image_shape, model.input_kind)
    export(model, path, columns=None if drawn else columns_of(data.X))
    print(f"saved {path}")


def export(options: argparse.Namespace) -> None:
    import fastfc
    from fastfc.export import check_kind
    from fastfc.export import export as write

    check_kind(options.out, "OUT")
    write(fastfc.load(options.model), options.out, **_chosen(options, "classes", "columns", "title"))
    print(f"saved {options.out}, {options.out.stat().st_size:,} bytes")


def _early_stopping(options: argparse.Namespace) -> Any:
    if options.monitor is None:
        return options.early_stopping
    if options.early_stopping is None:
        raise invalid("--monitor", repr(options.monitor), "--early-stopping with it")
    from fastfc.training.callbacks import EarlyStopping

    return EarlyStopping(options.monitor, options.early_stopping)


def _print_result(result: TrainResult) -> None:
    from fastfc.results import test_score

    model = result.model
    layers = "-".join(map(str, model.layers))
    how = f"{result.backend}, {result.dtype}, {counted(result.threads, 'thread')}, {result.input_kernel} first layer"
    print(wrapped(f"{layers}, {model.loss}; {how}"))
    times = f"trained in {result.train_seconds:.2f} s, kernels ready in {result.compile_seconds:.2f} s"
    score = test_score(result)
    print(wrapped(f"{times}; test {score[0]} {score[1]}" if score else times))
    if result.is_restored:
        how_far = "stopped early after" if result.stopped_early else "trained"
        epochs = counted(len(result.history), "epoch")
        print(wrapped(f"{how_far} {epochs}: the model is that of the best, epoch {result.best_epoch}"))
    elif result.interrupted:
        epochs = counted(len(result.history), "epoch")
        print(wrapped(f"stopped early: the model is that of {epochs} and what was begun of the next"))


def _write_run(result: TrainResult, folder: Path) -> None:
    from fastfc.reports import plots
    from fastfc.storage.files import atomic_write

    result.model.save(folder / MODEL)
    content = result.to_dict()
    _write_json(folder / HISTORY, content)
    print(f"saved {folder / MODEL}\nsaved {folder / HISTORY}")
    if not plots.available():
        print(f"no {CURVES}: {plots.MISSING}")
    elif result.history:
        atomic_write(folder / CURVES, plots.png(_curves(content)))
        print(f"saved {folder / CURVES}")


def _curves(content: dict[str, Any]) -> Any:
    from fastfc.reports import plots

    title = f"{content['data']}: {'-'.join(map(str, content['layers']))}, {content['backend']} {content['dtype']}"
    label = plots.LOSS_LABELS[content["settings"]["loss"]]
    return plots.training_curves(content["history"], title=title, loss_label=label)


def predict(options: argparse.Namespace) -> None:
    import fastfc

    if bool(options.images) == bool(options.data):
        raise invalid("predict", "both" if options.data else "neither", "either image files or --data")
    model = fastfc.load(options.model)
    if options.data:
        data = _load(options.data)
        X, y, part = data.held_out()
        score, n = model.score(X, y), X.shape[0]
        share = f"accuracy {100 * score:.2f} % ({round(score * n):,} of {n:,})"
        print(wrapped(f"{data.name}: {part} {f'R2 {score:.4f} ({n:,} samples)' if model.regression else share}"))
        return
    from fastfc.images import prepare

    for image in options.images:
        pixels = prepare(image, ink=options.ink, size=model.image_shape[0] if model.image_shape else 28)
        _print_prediction(image, model, pixels)
        if options.show:
            _show(pixels)


def _print_prediction(name: str, model: Network, pixels: Any) -> None:
    """pixels: (height * width,) uint8"""
    row = pixels.reshape(1, -1)
    if model.regression:
        print(f"{name}: {' '.join(f'{value:.6g}' for value in model.predict(row).ravel())}")
        return
    print(f"{name}: {model.predict(row)[0]}")
    shares = [f"{i}: {100 * p:.1f} %" for i, p in enumerate(model.predict_proba(row)[0])]
    half = (len(shares) + 1) // 2
    for part in (shares[:half], shares[half:]):
        if part:
            print("  " + "".join(f"{share:14}" for share in part).rstrip())


def _show(pixels: Any) -> None:
    """pixels: (side * side,) uint8. Two characters a pixel make it about square: 56 columns for 28x28."""
    for line in pixels.reshape(isqrt(pixels.size), -1):
        print("".join(2 * " .:-=+*#%@"[int(value) * 10 // 256] for value in line).rstrip())


def compare(options: argparse.Namespace) -> None:
    import fastfc
    from fastfc.cli.options import given_settings

    settings = {"epochs": 1, **given_settings(options)}
    _check_outputs(options)
    comparison = fastfc.compare(
        data=_load(options.data),
        test_data=_test_data(options),
        backends=tuple(options.backends.split(",")),
        **_chosen(options, "repeats", "threads", "seed"),
        **settings,
    )
    print(comparison)
    if options.json:
        _write_json(options.json, comparison.to_dict())


def info(options: argparse.Namespace) -> None:
    import fastfc

    for name, text in fastfc.info().items():
        print(wrapped(text, f"{name:10}", 10 * " "))


def warmup(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from fastfc import ahead
    from fastfc.kernels.fused.compiler.entry import say_once
    from fastfc.kernels.fused.compiler.making import make, missing_of
    from fastfc.kernels.fused.folder import cache_folder, why_not_kept

    start = time.perf_counter()
    kernels = ahead.everything() if options.all else ahead.usual()
    missing = missing_of(kernels)
    if missing:
        say_once()
        with tqdm(total=len(missing), desc="compiling", unit="kernel", disable=None, leave=False) as bar:
            make(missing, report=lambda kernel: bar.update())
    kept = f"but not kept: {why_not_kept()}" if why_not_kept() else f"kept in {cache_folder()}"
    print(wrapped(f"kernels ready in {time.perf_counter() - start:.1f} s, {kept}"))
    print(wrapped(f"{len(kernels) - len(missing)} of {len(kernels)} were there, {len(missing)} were compiled"))
    for name, count in sorted(Counter(name for name, _ in missing).items()):
        print(f"  {counted(count, 'form')} of {name}")


def reproduce(options: argparse.Namespace) -> None:
    from fastfc.reports.reproduce import reproduce as run

    run(options.names, **_chosen(options, "backend", "out", "data", "epochs", "threads", "seed", "verbose"))


def bench(options: argparse.Namespace) -> None:
    import numpy as np

    import fastfc

    chosen = _chosen(options, "threads", "seed")
    data = _load(options.data)
    rng = np.random.default_rng(options.seed)
    dense = rng.standard_normal(data.X.shape, dtype=np.float32), data.y
    images = fastfc.compare(data, **chosen)
    print(f"{images}\n\nThe same shapes, input without zeros")
    print(f"{fastfc.compare(dense, **chosen)}\n")
    X = data.held_out()[0]
    print(f"{'backend':10}{'predict 1':>14}{f'predict {len(X):,}':>20}")
    for result in images.results:
        one, all_ = (_seconds(result.model.predict, part) for part in (X[:1], X))
        print(f"{result.backend:10}{1e6 * one:11.1f} us{1e3 * all_:17.2f} ms")


def _seconds(function: Callable[[Any], Any], argument: Any) -> float:
    """Median time of a call, over rounds of about 0.1 s."""
    timer = timeit.Timer(lambda: function(argument))
    calls, seconds = timer.autorange()
    calls = max(1, round(0.1 * calls / seconds))
    return statistics.median(timer.repeat(repeat=7, number=calls)) / calls


def plot(options: argparse.Namespace) -> None:
    import fastfc
    from fastfc.reports import plots
    from fastfc.storage.files import atomic_write

    content = _read_history(options.folder / HISTORY)
    model = fastfc.load(options.folder / MODEL)
    pictures = {CURVES: lambda: _curves(content)}
    if model.image_shape:
        pictures["weights.png"] = lambda: plots.first_layer(model, title="first-layer weights")
    source = options.data or {"generated digits": "digits", "arrays": None}.get(content["data"], content["data"])
    if source is None:
        print(wrapped("no samples.png, confusion.png: trained on arrays; --data names the data to draw"))
    elif model.regression:
        print("no samples.png, confusion.png: the model is a regression")
    else:
        pictures.update(_prediction_pictures(model, _load(source)))
    for name, draw in pictures.items():
        atomic_write(options.folder / name, plots.png(draw()))
        print(f"saved {options.folder / name}")


def _prediction_pictures(model: Network, data: Dataset) -> dict[str, Callable[[], Any]]:
    from fastfc.reports import plots

    X, y, _ = data.held_out()
    predicted = model.predict(X)
    wrong = int((predicted != y).sum())
    title = f"{data.name}: {wrong:,} of {len(y):,} read wrongly"
    pictures: dict[str, Callable[[], Any]] = {
        "confusion.png": lambda: plots.confusion_matrix(y, predicted, title=title),
    }
    shape = data.image_shape
    if shape:
        probabilities = None if model.loss not in ("softmax_ce", "sigmoid_bce") else model.predict_proba(X)
        pictures["samples.png"] = lambda: plots.samples(
            X, y, predicted, probabilities=probabilities, image_shape=shape, title=title
        )
    return pictures


def _read_history(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise invalid(str(path), f"a file that is not JSON ({error})", f"the {HISTORY} of a training") from None
    needed = {"data", "layers", "backend", "dtype", "history", "settings"}
    if not isinstance(content, dict) or not needed <= content.keys():
        raise invalid(str(path), "other content", f"the {HISTORY} of a training")
    return content


def _chosen(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}


def _load(name: str | None) -> Dataset:
    from fastfc.data import load_data

    data = load_data(name)
    announce(data.notice)
    return data


def _test_data(options: argparse.Namespace, comm: Any = None) -> tuple[Any, Any] | None:
    if not options.test_data:
        return None
    X, y = _load(options.test_data).held_out()[:2]
    if comm is None:
        return X, y
    from fastfc.distributed import part

    own = part(len(y), comm)
    return X[own], y[own]


def _check_outputs(options: argparse.Namespace) -> None:
    """Find out before a long training, not after it, that its result has nowhere to go."""
    folder = getattr(options, "out", None)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    if options.json and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        raise invalid("--json", repr(str(options.json)), "a file in an existing folder")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from fastfc.storage.files import atomic_write

    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
