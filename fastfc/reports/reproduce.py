"""The experiments of the reports, run again: what was reported next to what fastfc gets.

`reproduce` trains the recipes, prints one table, and writes `reproduce.json` and `report.html` (`fastfc.reports.page`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastfc.data import Dataset, load_data
from fastfc.errors import DataError, FastFCError, InvalidType, invalid
from fastfc.machine.terminal import announce, counted, wrapped
from fastfc.recipes import REPORTED, Recipe, get_recipe
from fastfc.reports.reproduction import OwnImages, Reproduction, data_name
from fastfc.results import TrainResult
from fastfc.train import train
from fastfc.validation import whole

__all__ = ["reproduce", "table"]

RESULTS, REPORT = "reproduce.json", "report.html"
OWN_IMAGE = "003-own-image"
BATCHES, SAMPLES = 10, 1280  # between two progress lines: so many batches, or samples where the batches are small
SKIPPED = 10  # epochs from one printed accuracy to the next
COLUMNS = 10  # values in a line


def reproduce(
    names: Sequence[str] | None = None,
    *,
    backend: str = "numba",
    out: str | os.PathLike[str] | None = None,
    data: Any = None,
    epochs: int | None = None,
    threads: int | None = None,
    seed: int = 0,
    drawings: int = 500,
    verbose: bool = False,
) -> list[Reproduction]:
    """Run recipes, print how each went and a table of all, and write a report.

    names     of recipes; by default all that come from a report
    out       folder for `report.html` (opens from disk; needs matplotlib) and `reproduce.json`; None writes nothing
    data      see `fastfc.data.load_data`; by default MNIST
    epochs    at most so many, to try things out
    drawings  how many test digits "003-own-image" draws and reads
    verbose   print a line every 10 batches (or 1,280 samples, if that is more) with their mean loss
    backend, threads, seed   as in `fastfc.train`

    Raises what `fastfc.train` raises, and FastFCError where matplotlib or Pillow is needed and missing: all of it
    before the first training.
    """
    if isinstance(names, str):
        raise InvalidType(f"names: given {names!r}, expected a list of recipes")
    recipes = [get_recipe(name) for name in dict.fromkeys(names or REPORTED)]
    whole("drawings", drawings, 1)
    if epochs is not None:
        whole("epochs", epochs, 1)
    folder = None if out is None else Path(out)
    dataset = load_data(data)
    _check(recipes, folder, dataset)
    announce(dataset.notice)
    how = {"backend": backend, "threads": threads, "seed": seed}
    start = time.perf_counter()
    runs = [_run(recipe, dataset, epochs, how, drawings, verbose) for recipe in recipes]
    print(table(runs))
    if folder:
        _write(folder, runs)
    print(f"\nAll in {time.perf_counter() - start:.1f} s.")
    return runs


def _check(recipes: Sequence[Recipe], folder: Path | None, dataset: Dataset) -> None:
    """Find out before the trainings, not after them, what is missing."""
    if folder:
        from fastfc.reports import plots

        if not plots.available():
            raise FastFCError(plots.MISSING)
        folder.mkdir(parents=True, exist_ok=True)
    if any(recipe.name == OWN_IMAGE for recipe in recipes):
        from fastfc.images import picture

        if importlib.util.find_spec("PIL") is None:
            raise FastFCError(picture.MISSING)
        if dataset.X_test is None or dataset.image_shape != (28, 28) or dataset.X_test.dtype != np.uint8:
            raise invalid("data", dataset.name, f"uint8 images of 28x28 with a test set for recipe {OWN_IMAGE}")


def _run(
    recipe: Recipe, dataset: Dataset, epochs: int | None, how: dict[str, Any], drawings: int, verbose: bool
) -> Reproduction:
    print(wrapped(f"{recipe.name}: {recipe.title}"), flush=True)
    selected = recipe.select(dataset)
    on_steps, steps_per_call = _progress(recipe, len(selected.y)) if verbose else (None, None)
    settings: Any = asdict(recipe.settings)
    settings["epochs"] = min(epochs or recipe.settings.epochs, recipe.settings.epochs)
    result = train(selected, **how, on_steps=on_steps, steps_per_call=steps_per_call, on_interrupt="raise", **settings)
    seconds = result.train_seconds
    if recipe.time_all and len(dataset.y) > len(selected.y):
        everything = replace(replace(recipe, rows=None).select(dataset), X_test=None, y_test=None)
        seconds = train(everything, **how, on_interrupt="raise", **settings).train_seconds
    test_accuracy = test_seconds = None
    if selected.X_test is not None and selected.y_test is not None:
        start = time.perf_counter()
        result.model.predict(selected.X_test)
        test_seconds = time.perf_counter() - start
        test_accuracy = result.model.score(selected.X_test, selected.y_test)
    run = Reproduction(
        recipe,
        selected,
        result,
        result.model.score(selected.X, selected.y),
        test_accuracy,
        seconds,
        test_seconds,
        _own_images(result, selected, drawings, how["seed"]) if recipe.name == OWN_IMAGE else None,
    )
    print("\n".join(_summary(run)) + "\n", flush=True)
    return run


def _progress(recipe: Recipe, n: int) -> tuple[Callable[[int, int, int, list[float]], None], int]:
    """What prints the lines of --verbose, and how many steps it is called after."""
    batch = min(recipe.settings.batch_size or n, n)
    every = max(BATCHES, SAMPLES // batch)
    whole_set = batch == n  # a step is an epoch

    def on_steps(epoch: int, done: int, n: int, losses: list[float]) -> None:
        if not whole_set or epoch % BATCHES == 0:
            error = sum(losses) / len(losses)
            print(f"Train Epoch: {epoch} [{done}/{n} ({100 * done / n:.3f}%)] Error: {error:.6f}", flush=True)

    return on_steps, every


def _own_images(result: TrainResult, data: Dataset, count: int, seed: int) -> OwnImages:
    """Draw `count` digits of the test set, bring the drawings into the form of MNIST, and read both."""
    from fastfc.images import draw, prepare

    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(data.X_test))[:count]
    digits = data.X_test[chosen]
    pixels = np.zeros_like(digits)
    found = np.ones(len(chosen), bool)
    for i, digit in enumerate(digits):
        try:
            pixels[i] = prepare(draw(digit, rng))
        except DataError:  # the drawing looks blank: not read, which counts as a mistake
            found[i] = False
    predict = result.model.predict
    labels = np.asarray(data.y_test)[chosen]
    return OwnImages(labels, predict(digits), np.where(found, predict(pixels), -1), pixels)


def _summary(run: Reproduction) -> list[str]:
    """What the reports print at the end of a training."""
    lines = []
    parts = (("train", run.train_accuracy, run.data.y), ("test", run.test_accuracy, run.data.y_test))
    for part, accuracy, y in parts:
        if accuracy is not None and y is not None:
            lines.append(f"  {part:5} accuracy {round(accuracy * len(y))}/{len(y)} ({100 * accuracy:.3f}%)")
    if run.own_images:
        lines.append(f"  {_own_image_line(run.own_images)}")
    if "accuracy" in run.recipe.reported and run.test_accuracy is not None:
        values = [_percent(record.test_accuracy) for record in run.result.history[::SKIPPED]]
        text = f"test accuracy every {SKIPPED} epochs (%): " + " ".join(values)
        lines.append(wrapped(text, "  ", "    "))
    testing = "" if run.test_seconds is None else f", testing time {run.test_seconds:.4f} s"
    where = " (on all samples)" if run.recipe.time_all else ""
    return [*lines, f"  training time {run.train_seconds:.3f} s{where}{testing}"]


def _own_image_line(own: OwnImages) -> str:
    before, after = 100 * own.accuracy_before, 100 * own.accuracy_after
    return f"{len(own.labels)} test digits: {before:.1f} % as they are, {after:.1f} % drawn as pictures"


# --- the table


def table(runs: Sequence[Reproduction]) -> str:
    """All figures of `runs`, reported and ours, in lines of less than 80 columns."""
    first = runs[0].result
    lines = [
        f"Reported, and ours ({first.backend}, {first.dtype}; data: {data_name(runs[0].data)})",
        "",
        f"{'':15}{'train accuracy (%)':>18}{'test accuracy (%)':>19}{'training time (s)':>27}",
        f"{'recipe':15}{'reported':>10}{'ours':>8}{'reported':>11}{'ours':>8}{'reported':>11}{'ours':>8}{'faster':>8}",
    ]
    for run in runs:
        reported = run.recipe.reported
        lines.append(
            f"{run.recipe.name:15}"
            f"{_percent(reported.get('train_accuracy')):>10}{_percent(run.train_accuracy):>8}"
            f"{_percent(reported.get('test_accuracy')):>11}{_percent(run.test_accuracy):>8}"
            f"{_seconds(reported.get('train_seconds')):>11}{run.train_seconds:8.2f}{_times(run.speed_up):>8}"
        )
    if any(run.epochs < run.recipe.settings.epochs for run in runs):
        most = counted(max(run.epochs for run in runs), "epoch")
        lines += ["", f"Shortened to at most {most}; the reported times are of all epochs."]
    for run in runs:
        lines += ["", *_trajectory(run)]
    return "\n".join(lines)


def _trajectory(run: Reproduction) -> list[str]:
    """The points of a curve that the report gives, and ours at the same epochs; else how the loss went."""
    reported, name = run.recipe.reported, run.recipe.name
    if "loss" in reported:
        what = "loss with L2 penalty" if run.recipe.penalty else "loss"
        return [f"{name}: {what} by epoch", *_points(reported["loss"], run.loss, _loss)]
    if "accuracy" in reported:
        accuracy = [record.test_accuracy for record in run.result.history]
        return [f"{name}: test accuracy (%) by epoch", *_points(reported["accuracy"], accuracy, _percent)]
    what = "mean squared error" if run.recipe.settings.loss == "mse" else "loss"
    ends = dict.fromkeys((1, len(run.loss)))
    lines = [f"{name}: {what} " + ", ".join(f"{run.loss[epoch - 1]:.4f} in epoch {epoch}" for epoch in ends)]
    return [*lines, f"{'':{len(name) + 2}}{_own_image_line(run.own_images)}"] if run.own_images else lines


def _points(
    points: Sequence[tuple[int, float]], ours: Sequence[float | None], text: Callable[[float | None], str]
) -> list[str]:
    lines = []
    for start in range(0, len(points), COLUMNS):
        epochs, reported = zip(*points[start : start + COLUMNS], strict=True)
        own = [ours[epoch - 1] if epoch <= len(ours) else None for epoch in epochs]
        lines.append(f"{'epoch':8}" + "".join(f"{epoch:7}" for epoch in epochs))
        lines.append(f"{'reported':8}" + "".join(f"{text(value):>7}" for value in reported))
        lines.append(f"{'ours':8}" + "".join(f"{text(value):>7}" for value in own))
    return lines


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def _times(factor: float | None) -> str:
    return "-" if factor is None else f"{factor:.0f} x" if factor >= 100 else f"{factor:.1f} x"


def _write(folder: Path, runs: Sequence[Reproduction]) -> None:
    from fastfc.reports.page import html
    from fastfc.storage.files import atomic_write

    content = {"recipes": {run.recipe.name: run.to_dict() for run in runs}}
    atomic_write(folder / RESULTS, (json.dumps(content, indent=2) + "\n").encode())
    atomic_write(folder / REPORT, html(runs).encode())
    print(f"\nsaved {folder / REPORT}\nsaved {folder / RESULTS}")
