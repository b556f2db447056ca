"""`fastfc plot` and `report`: pictures, and a page, of what `fastfc train --out` has written."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastfc.cli.common import CURVES, HISTORY, MODEL, REPORT, load
from fastfc.cli.watch import content_of
from fastfc.machine.terminal import wrapped

if TYPE_CHECKING:
    from fastfc.data import Dataset
    from fastfc.network import Network


def plot(options: argparse.Namespace) -> None:
    import fastfc
    from fastfc.reports import plots
    from fastfc.storage.files import atomic_write

    content = content_of(options.folder / HISTORY)
    model = fastfc.load(options.folder / MODEL)
    pictures = {CURVES: lambda: curves(content)}
    if model.image_shape:
        pictures["weights.png"] = lambda: plots.first_layer(model, title="first-layer weights")
    source = _source(options, content)
    if source is None:
        print(wrapped("no samples.png, confusion.png: trained on arrays; --data names the data to draw"))
    elif model.regression:
        print("no samples.png, confusion.png: the model is a regression")
    else:
        pictures.update(_prediction_pictures(model, load(source)))
    for name, draw in pictures.items():
        atomic_write(options.folder / name, plots.png(draw()))
        print(f"saved {options.folder / name}")


def _source(options: argparse.Namespace, content: dict[str, Any]) -> str | None:
    """The data that are named, or those trained on; None where those were arrays."""
    known: dict[str, str | None] = {"generated digits": "digits", "arrays": None}
    return options.data or known.get(content["data"], content["data"])


def curves(content: dict[str, Any]) -> Any:
    """content: `TrainResult.to_dict`"""
    from fastfc.reports import plots

    title = f"{content['data']}: {'-'.join(map(str, content['layers']))}, {content['backend']} {content['dtype']}"
    label = plots.LOSS_LABELS[content["settings"]["loss"]]
    return plots.training_curves(content["history"], title=title, loss_label=label)


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


def report(options: argparse.Namespace) -> None:
    import fastfc
    from fastfc.reports.training import html
    from fastfc.storage.files import atomic_write

    content = content_of(options.folder / HISTORY)
    model = fastfc.load(options.folder / MODEL)
    source = _source(options, content)
    if source is None:
        print(wrapped("no mistakes in it: trained on arrays; --data names the data to look for them in"))
    page = html(content, model, None if source is None else load(source), fastfc.info())
    path = options.out or options.folder / REPORT
    atomic_write(path, page.encode())
    print(f"saved {path}")
