"""The HTML page of one training: `fastfc report`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fastfc.data import Dataset
from fastfc.errors import invalid
from fastfc.machine.terminal import counted
from fastfc.network import Network
from fastfc.reports import drawing
from fastfc.reports.document import document, image, table
from fastfc.results import EpochRecord, json_settings
from fastfc.settings import Settings

MOST_CLASSES = 30  # of a confusion matrix
MOST_CONFUSIONS = 12
MOST_PICTURES = 24
MOST_UNITS = 40
MOST_INPUTS = 20
MOST_CHARTS = 6  # of a regression, one for each output
MOST_POINTS = 2000  # of a scatter
MOST_ERRORS = 10
FOR, AGAINST = (70, 120, 255), (235, 100, 30)  # red, green, blue, on light and on dark


def html(content: dict[str, Any], model: Network, data: Dataset | None, machine: dict[str, str]) -> str:
    """The page of a training.

    content  `TrainResult.to_dict`, with EpochRecords
    data     what to look for mistakes in, on its test samples where it has any
    machine  `fastfc.info`

    Raises InvalidArgument or InvalidType where the network is of another training, or does not fit the data.
    """
    if content["layers"] != list(model.layers):
        raise invalid("model", f"layers {list(model.layers)}", f"{content['layers']}, as the history has")
    layers, epochs = "\N{EN DASH}".join(map(str, model.layers)), counted(len(content["history"]), "epoch")
    how = f"{content['backend']}, {content['dtype']}, {counted(content['threads'], 'thread')}, seed {content['seed']}"
    intro = f"<p>{epochs} of {escape(content['data'])} in {_seconds(content['train_seconds'])}: {escape(how)}.</p>"
    sections = [_facts(content), _curves(content["history"])]
    if data is not None:
        sections += _on(model, data)
    sections += [_first_layer(model, data), _about(content, machine)]
    title = f"{layers} on {Path(content['data']).name}"
    return document(title, [intro], filter(None, sections), "fastfc report")


def _section(title: str, *parts: str) -> str:
    return "\n".join([f"<section>\n<h2>{title}</h2>", *parts, "</section>"])


def _facts(content: dict[str, Any]) -> str:
    """The figures of the network that was kept, and its times."""
    history: list[EpochRecord] = content["history"]
    facts = []
    if history:
        kept = history[(content["best_epoch"] or len(history)) - 1]
        for part in ("test", "validation"):
            accuracy, r2 = getattr(kept, f"{part}_accuracy"), getattr(kept, f"{part}_r2")
            if accuracy is not None:
                facts.append((f"{part.capitalize()} accuracy", f"{100 * accuracy:.2f} %"))
            elif r2 is not None:
                facts.append((f"{part.capitalize()} R²", f"{r2:.4f}"))
        facts.append(("Training loss", f"{kept.loss:.4g}"))
        facts.append(("An epoch", _seconds(statistics.median(record.seconds for record in history))))
    facts.append(("Training", _seconds(content["train_seconds"])))
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<section aria-label="Figures">\n<dl class="facts">{rows}</dl>\n</section>'


def _curves(history: list[EpochRecord]) -> str:
    if not history:
        return ""
    loss: dict[str, list[float | None]] = {"training": [record.loss for record in history]}
    loss |= _measured(history, "loss")
    charts = [drawing.curves("Loss", loss, logarithmic=True)]
    accuracy = {part: [v and 100 * v for v in values] for part, values in _measured(history, "accuracy").items()}
    for title, scores, unit in (("Accuracy", accuracy, " %"), ("R²", _measured(history, "r2"), "")):
        if scores:
            charts.append(drawing.curves(title, scores, unit=unit))
    rates: list[float | None] = [record.lr for record in history]
    if len(set(rates)) > 1:
        charts.append(drawing.curves("Learning rate", {"rate": rates}))
    return _section("By epoch", '<div class="charts">', *charts, "</div>", _epochs(history))


def _measured(history: list[EpochRecord], what: str) -> dict[str, list[float | None]]:
    found = {part: [getattr(record, f"{part}_{what}") for record in history] for part in ("test", "validation")}
    return {part: values for part, values in found.items() if any(value is not None for value in values)}


def _epochs(history: list[EpochRecord]) -> str:
    names = [field.name for field in fields(EpochRecord) if field.name not in ("epoch", "metrics", "threads")]
    names = [name for name in names if any(getattr(record, name) is not None for record in history)]
    own = sorted({name for record in history for name in record.metrics})
    rows = []
    for record in history:
        values = [*(getattr(record, name) for name in names), *(record.metrics.get(name) for name in own)]
        rows.append([str(record.epoch), *("" if value is None else f"{value:.5g}" for value in values)])
    heads = ["epoch", *(name.replace("_", " ") for name in names), *map(escape, own)]
    return f"<details><summary>All numbers</summary>\n{table(heads, rows)}</details>"


def _on(model: Network, data: Dataset) -> Iterator[str]:
    """What the network makes of the data."""
    X, y, part = data.held_out()
    loss, score = model.loss_and_accuracy(X, y)  # and whether they fit
    name = "R²" if model.regression else "accuracy"
    value = f"{score:.4f}" if model.regression else f"{100 * score:.2f} %"
    where = f"{len(y):,} {part} samples of {escape(data.name)}: loss {loss:.4g}, {name} {value}."
    if model.regression:
        yield _predictions(model, X, y.reshape(len(y), -1), where)
        return
    true = _classes(y)
    predicted = model.predict(X)
    yield _mistakes(true, predicted, where)
    if data.image_shape:
        yield _hardest(model, data, true, predicted)


def _classes(y: np.ndarray) -> np.ndarray:
    """(n,) the class that targets of a network that tells classes mean."""
    if y.ndim == 2 and y.shape[1] > 1:
        return y.argmax(axis=1)
    flat = y.reshape(len(y))
    return flat.astype(np.int64) if flat.dtype.kind in "biu" else (flat > 0.5).astype(np.int64)


def _mistakes(true: np.ndarray, predicted: np.ndarray, where: str) -> str:
    classes = int(max(true.max(), predicted.max())) + 1
    counts = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)
    wrong = counts * ~np.eye(classes, dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(k), classes) for k in order if wrong.flat[k]]
    rows = [[str(a), str(b), f"{wrong[a, b]:,}", f"{100 * wrong[a, b] / counts[a].sum():.2f} %"] for a, b in pairs]
    frequent = f"<div><h3>Most frequent mistakes</h3>\n{table(['is', 'read as', 'times', 'of the class'], rows)}</div>"
    parts = [_confusion(counts)] if classes <= MOST_CLASSES else []
    text = f"<p>{int(wrong.sum()):,} are read wrongly, of {where}</p>"
    return _section("Mistakes", text, '<div class="split">', *parts, frequent if rows else "", "</div>")


def _confusion(counts: np.ndarray) -> str:
    """counts (classes, classes): rows are the true class. A mistake is shaded by its share of the row."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    top = max(float((share * ~np.eye(len(counts), dtype=bool)).max()), 1e-9)
    rows = ["<tr><th></th>" + "".join(f'<th scope="col">{b}</th>' for b in range(len(counts))) + "</tr>"]
    for a, row in enumerate(counts):
        cells = [f'<tr><th scope="row">{a}</th>']
        for b, count in enumerate(row):
            if a == b:
                cells.append(f'<td class="right">{count}</td>')
            else:
                style = f' style="--share:{0.7 * share[a, b] / top:.3f}"' if count else ""
                cells.append(f"<td{style}>{count or ''}</td>")
        rows.append("".join(cells) + "</tr>")
    head = "<h3>Confusion matrix: rows what it is, columns what is read</h3>"
    return f'<div>{head}\n<div class="wide"><table class="confusion">\n' + "\n".join(rows) + "\n</table></div></div>"


def _hardest(model: Network, data: Dataset, true: np.ndarray, predicted: np.ndarray) -> str:
    """Samples of which the network gives least for what they are."""
    X, _, _ = data.held_out()
    values = model.predict_proba(X)
    if values.shape[1] == 1:
        values = np.hstack([1 - values, values])
    own = values[np.arange(len(X)), true]
    figures = []
    for k in np.argsort(own, kind="stable")[:MOST_PICTURES]:
        pixels = X[k].reshape(data.image_shape)
        if pixels.dtype != np.uint8:
            span = float(pixels.max() - pixels.min()) or 1.0
            pixels = ((pixels - pixels.min()) * (255 / span)).astype(np.uint8)
        read = f"<b>{true[k]}, read {predicted[k]}</b>" if true[k] != predicted[k] else f"<b>{true[k]}</b>"
        sure = f"{100 * own[k]:.1g} %" if model.loss in ("softmax_ce", "sigmoid_bce") else f"{own[k]:.3g}"
        picture = image(drawing.png(pixels), f"sample {k}, a {true[k]}")
        figures.append(f"<figure>{picture}<figcaption>{read}<br>{true[k]}: {sure}</figcaption></figure>")
    return _section("Hardest samples", '<div class="pictures">', *figures, "</div>")


def _predictions(model: Network, X: Any, y: np.ndarray, where: str) -> str:
    """Of a regression. y: (n, outputs)"""
    predicted = model.predict(X).reshape(y.shape)
    drawn = np.random.default_rng(0).permutation(len(y))[:MOST_POINTS]
    outputs = y.shape[1]
    charts = [
        drawing.scatter(f"Output {k}" if outputs > 1 else "Prediction against target", y[drawn, k], predicted[drawn, k])
        for k in range(min(outputs, MOST_CHARTS))
    ]
    errors = np.abs(y - predicted)
    rows = []
    for place in np.argsort(-errors, axis=None, kind="stable")[:MOST_ERRORS]:
        i, k = divmod(int(place), outputs)
        output = [str(k)] if outputs > 1 else []
        rows.append([str(i), *output, f"{y[i, k]:.5g}", f"{predicted[i, k]:.5g}", f"{predicted[i, k] - y[i, k]:+.3g}"])
    heads = ["sample", *(["output"] if outputs > 1 else []), "target", "prediction", "error"]
    shown = f" {len(drawn):,} of them are drawn." if len(drawn) < len(y) else ""
    largest = f"<div><h3>Largest errors</h3>\n{table(heads, rows)}</div>"
    return _section("Predictions", f"<p>{where}{shown}</p>", '<div class="charts">', *charts, "</div>", largest)


def _first_layer(model: Network, data: Dataset | None) -> str:
    """Of images the weights into each unit as a picture; of other data what each input moves."""
    weights = np.asarray(model.weights[0])  # (inputs, units)
    if model.image_shape:
        order = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:MOST_UNITS]
        limit = float(np.quantile(np.abs(weights[:, order]), 0.999)) or 1.0
        units = [_unit(weights[:, k].reshape(model.image_shape) / limit, int(k)) for k in order]
        text = "Weights into the units that have the largest: blue are those above 0, orange those below."
        return _section("First layer", f"<p>{text}</p>", '<div class="pictures weights">', *units, "</div>")
    if data is None or hasattr(data.X, "tocsr"):
        return ""
    moved = np.linalg.norm(weights, axis=1) * data.X.std(axis=0, dtype=np.float64)
    order = np.argsort(-moved, kind="stable")[:MOST_INPUTS]
    top = float(moved[order[0]]) or 1.0
    bars = [f'<i class="bar" style="width:{100 * moved[k] / top:.1f}%"></i>' for k in order]
    rows = [[str(k), f"{moved[k]:.3g}", bar] for k, bar in zip(order, bars, strict=True)]
    text = "The norm of the weights of each input, times its standard deviation in the training samples."
    return _section("First layer", f"<p>{text}</p>", table(["input", "size", ""], rows))


def _unit(weights: np.ndarray, k: int) -> str:
    """weights: (height, width), which are drawn fully from -1 and 1 on."""
    pixels = np.empty((*weights.shape, 4), np.uint8)
    pixels[..., :3] = np.where(weights[..., None] > 0, np.array(FOR, np.uint8), np.array(AGAINST, np.uint8))
    pixels[..., 3] = 255 * np.minimum(np.abs(weights), 1)
    return f"<figure>{image(drawing.png(pixels), f'weights of unit {k}')}</figure>"


def _about(content: dict[str, Any], machine: dict[str, str]) -> str:
    """Settings, times, and the machine."""
    default = json_settings(Settings())
    settings = []
    for name, value in content["settings"].items():
        text = escape(", ".join(map(str, value)) if isinstance(value, list) else str(value)) or "-"
        shown = text if value == default.get(name) else f"<b>{text}</b>"
        settings.append(f"<div><dt>{escape(name)}</dt><dd>{shown}</dd></div>")
    seconds = [record.seconds for record in content["history"]]
    times = {"training": _seconds(content["train_seconds"]), "kernels ready in": _seconds(content["compile_seconds"])}
    if seconds:
        times["an epoch, median"] = _seconds(statistics.median(seconds))
        times["fastest, slowest"] = f"{_seconds(min(seconds))}, {_seconds(max(seconds))}"
    early = "early" if content["stopped_early"] else "after the last epoch"
    times["ended"] = "interrupted" if content["interrupted"] else early
    times["best epoch"], times["first layer"] = content["best_epoch"] or "-", content["input_kernel"]
    times |= {f"with {name}": version for name, version in content["versions"].items()}
    return _section(
        "Settings, times, machine",
        "<h3>Settings; bold where they are not the default</h3>",
        f'<dl class="settings">{"".join(settings)}</dl>\n<div class="split">',
        _list("Training", times),
        _list("Machine on which this page was made", machine),
        "</div>",
    )


def _list(title: str, rows: dict[str, Any]) -> str:
    cells = [[escape(name), escape(str(value))] for name, value in rows.items()]
    return f"<div><h3>{title}</h3>\n{table((), cells, 'words')}</div>"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"
