"""`fastfc train`: a training, what is said of it, and the files that it leaves."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastfc.cli.common import (
    CURVES,
    HISTORY,
    INTERRUPTED,
    MODEL,
    RUNNING,
    check_outputs,
    chosen,
    redirected,
    test_data,
    write_json,
)
from fastfc.errors import FastFCError, invalid
from fastfc.machine.terminal import columns, counted, painted, wrapped

if TYPE_CHECKING:
    from fastfc.data import Dataset
    from fastfc.network import Network
    from fastfc.results import TrainResult

LONGEST_SPARKLINE = 40  # columns


def train(options: argparse.Namespace) -> int:
    comm = _communicator(options)
    try:
        with redirected(options):
            result, files = _train(options, comm)
    except FastFCError:
        if comm and comm.rank:
            return 0  # rank 0 has the same error, and says it
        raise
    if comm and comm.rank:
        return 0
    if options.json:
        write_json(options.json, result.to_dict() | {"files": {name: str(path) for name, path in files.items()}})
    return INTERRUPTED if result.interrupted and not result.out_of_time else 0


def _train(options: argparse.Namespace, comm: Any) -> tuple[TrainResult, dict[str, Path]]:
    """The result, and the files that were written, by what they hold."""
    import fastfc
    from fastfc.cli.options import given_settings
    from fastfc.training.running import RunningFile

    settings = given_settings(options)
    check_outputs(options)
    data = _data_of_page(options) if options.page else options.data
    is_first = not (comm and comm.rank)
    with RunningFile(options.out / RUNNING) if options.out and is_first else nullcontext() as running:
        result = fastfc.train(
            data,
            test_data(options, comm),
            progress=True,
            callbacks=[running] if running else None,
            early_stopping=_early_stopping(options),
            **chosen(options, "validation", "class_weight", "recipe", "backend", "threads", "seed"),
            **chosen(options, "max_seconds", "checkpoint", "checkpoint_every", "average_every"),
            comm=comm,
            **settings,
        )
        files: dict[str, Path] = _save(result, options.out) if running else {}
    if is_first:
        _print_result(result)
        if options.out:
            files |= _draw(result, options.out)
        if options.page:
            files["page"] = _write_page(result.model, data, options.page)
    for path in files.values():
        print(f"saved {path}")
    return result, files


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


def _write_page(model: Network, data: Dataset, path: Path) -> Path:
    from fastfc.export import export
    from fastfc.export.names import columns_of
    from fastfc.export.webpage import drawn_side

    drawn = drawn_side(model.layers[0], model.image_shape, model.input_kind)
    export(model, path, columns=None if drawn else columns_of(data.X))
    return path


def _early_stopping(options: argparse.Namespace) -> Any:
    if options.monitor is None:
        return options.early_stopping
    if options.early_stopping is None:
        raise invalid("--monitor", repr(options.monitor), "--early-stopping with it")
    from fastfc.training.callbacks import EarlyStopping

    return EarlyStopping(options.monitor, options.early_stopping)


def _print_result(result: TrainResult) -> None:
    from fastfc.results import test_score

    if len(result.history) > 1:
        print(_loss_line([record.loss for record in result.history]))
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


def _loss_line(losses: list[float]) -> str:
    """Its first and last value, and between them how it went."""
    from fastfc.reports.textplot import sparkline

    first, last = f"loss {losses[0]:.4f} ", f" {losses[-1]:.4f}"
    width = min(columns() - 1 - len(first + last), LONGEST_SPARKLINE)
    return first + painted(sparkline(losses, width), "cyan") + last


def _save(result: TrainResult, folder: Path) -> dict[str, Path]:
    files = {"model": folder / MODEL, "history": folder / HISTORY}
    result.model.save(files["model"])
    write_json(files["history"], result.to_dict())
    return files


def _draw(result: TrainResult, folder: Path) -> dict[str, Path]:
    from fastfc.cli.runs import curves
    from fastfc.reports import plots
    from fastfc.storage.files import atomic_write

    if not plots.available():
        print(f"no {CURVES}: {plots.MISSING}")
        return {}
    if not result.history:
        return {}
    atomic_write(folder / CURVES, plots.png(curves(result.to_dict())))
    return {"curves": folder / CURVES}
