"""The HTML report of `fastfc.reports.reproduce`: one file with its pictures inside, that loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any

from fastfc.machine import info
from fastfc.reports import plots
from fastfc.reports.document import document, image, table
from fastfc.reports.reproduction import data_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastfc.reports.reproduction import Reproduction

__all__ = ["html"]

WITH_SAMPLES = ("000", "003", "004-multiclass")
WITH_CONFUSION = ("000", "002", "004-multiclass")
WITH_WEIGHTS = ("000", "004-neuron", "004-multiclass")


def html(runs: Sequence[Reproduction]) -> str:
    """The report of `runs` as one HTML page. Needs matplotlib."""
    sections = ["\n".join(["<section>", *_section(run), "</section>"]) for run in runs]
    return document("The reports reproduced with fastfc", _intro(runs), [_overview(runs), *sections], "fastfc reproduce")


def _intro(runs: Sequence[Reproduction]) -> Iterator[str]:
    result, data = runs[0].result, runs[0].data
    versions = ", ".join(f"{name} {version}" for name, version in info.versions().items())
    yield (
        f"<p>Each experiment with the figures of its report and with ours: backend {result.backend}, {result.dtype}, "
        f"seed {result.seed}, on {escape(info.cpu_name())}; {escape(versions)}. Data: {escape(data_name(data))}.</p>"
    )
    if data.notice:
        yield f"<p>{escape(data.notice)}</p>"


def _overview(runs: Sequence[Reproduction]) -> str:
    rows = [
        [
            f'<a href="#{run.recipe.name}">{run.recipe.name}</a>',
            *_pair(run.recipe.reported.get("train_accuracy"), run.train_accuracy, _share),
            *_pair(run.recipe.reported.get("test_accuracy"), run.test_accuracy, _share),
            *_pair(run.recipe.reported.get("train_seconds"), run.train_seconds, _seconds),
            "-" if run.speed_up is None else f"{run.speed_up:.1f} x",
        ]
        for run in runs
    ]
    names = ("train accuracy", "test accuracy", "training time")
    heads = ["recipe", *(head for name in names for head in (f"{name}, reported", "ours")), "faster"]
    return table(heads, rows)


def _section(run: Reproduction) -> Iterator[str]:
    recipe = run.recipe
    yield f'<h2 id="{recipe.name}">{recipe.name}: {escape(recipe.title)}</h2>'
    if recipe.source:
        yield f'<p class="source">{escape(recipe.source)}</p>'
    yield '<div class="beside">'
    yield table(["", "reported", "ours"], _figures(run))
    yield "<div><p><b>Assumptions</b></p>\n<ul>" if recipe.assumptions else "<div>"
    yield from (f"<li>{escape(sentence)}</li>" for sentence in recipe.assumptions)
    yield ("</ul>" if recipe.assumptions else "") + "</div>\n</div>"
    for caption, figure in _pictures(run):
        picture = image(plots.png(figure), f"{recipe.name}: {caption}")
        yield f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def _figures(run: Reproduction) -> list[list[str]]:
    """Rows of name, reported and ours: all that the report gives, and what there is besides."""
    reported, result = run.recipe.reported, run.result
    rows = [
        ["train accuracy", *_pair(reported.get("train_accuracy"), run.train_accuracy, _share)],
        ["test accuracy", *_pair(reported.get("test_accuracy"), run.test_accuracy, _share)],
        [
            "training time" + ", all samples" * run.recipe.time_all,
            *_pair(reported.get("train_seconds"), run.train_seconds, _seconds),
        ],
        ["testing time", *_pair(reported.get("test_seconds"), run.test_seconds, _seconds)],
    ]
    own = run.own_images
    if own:
        rows.append([f"{len(own.labels)} test digits as they are", "-", _share(own.accuracy_before)])
        rows.append(["the same, drawn as pictures", "-", _share(own.accuracy_after)])
    loss = dict(reported.get("loss", []))
    what = "loss with L2 penalty" if run.recipe.penalty else "loss"
    for epoch in sorted({*loss} or {1, len(run.loss)}):
        if epoch <= len(run.loss):
            rows.append([f"{what}, epoch {epoch}", *_pair(loss.get(epoch), run.loss[epoch - 1], "{:.4f}".format)])
    for epoch, value in reported.get("accuracy", [])[::5]:
        if epoch <= len(run.loss):
            ours = result.history[epoch - 1].test_accuracy
            rows.append([f"test accuracy, epoch {epoch}", *_pair(value, ours, _share)])
    return rows


def _pictures(run: Reproduction) -> Iterator[tuple[str, Figure]]:
    """(caption, figure) of what suits this recipe."""
    name, data, model = run.recipe.name, run.data, run.result.model
    yield "Loss and accuracy by epoch.", _curves(run)
    if "accuracy" in run.recipe.reported and run.test_accuracy is not None:
        points = [{"epoch": epoch, "test_accuracy": value} for epoch, value in run.recipe.reported["accuracy"]]
        histories: dict[str, Sequence[Any]] = {"ours": run.result.history, "reported": points}
        yield "The accuracy trend.", plots.accuracy_trend(histories, title=f"{name}: accuracy trend")
    if run.own_images:
        own = run.own_images
        yield (
            "The drawings as the network sees them; the mistakes first.",
            plots.samples(own.pixels, own.labels, own.readings, title=f"{name}: drawings"),
        )
    if name in WITH_SAMPLES and data.image_shape:
        yield from _samples(run, data.image_shape)
    if name in WITH_CONFUSION:
        X, y, part = run.data.held_out()
        title = f"{name}: {part} set"
        yield "Confusion matrix.", plots.confusion_matrix(y, model.predict(X), title=title)
    if name in WITH_WEIGHTS and data.image_shape:
        yield "First-layer weights as images.", plots.first_layer(model, title=f"{name}: first-layer weights")
    if run.speed_up is not None:
        bars = {
            "reported": run.recipe.reported["train_seconds"] / run.recipe.settings.epochs,
            f"fastfc, {run.result.backend}": run.train_seconds / run.epochs,
        }
        yield "Seconds an epoch.", plots.seconds_an_epoch(bars, title=f"{name}: seconds an epoch")


def _curves(run: Reproduction) -> Figure:
    """Loss and accuracy of each epoch, with what the report gives of the loss."""
    penalty = run.recipe.penalty
    history = [asdict(record) for record in run.result.history]
    for record, loss in zip(history, run.loss, strict=True):
        if penalty and record["test_loss"] is not None:
            record["test_loss"] += record["penalty"]
        record["loss"] = loss
    label = plots.LOSS_LABELS[run.recipe.settings.loss] + (" + L2" if penalty else "")
    figure = plots.training_curves(history, title=run.recipe.name, loss_label=label)
    points = run.recipe.reported.get("loss")
    if points:
        axis = figure.axes[0]
        color, _, marker = plots.STYLES[2]
        hollow: dict[str, Any] = {"marker": marker, "markersize": 9, "markerfacecolor": "none", "linestyle": ""}
        axis.plot(*zip(*points, strict=True), color=color, label="training, reported", **hollow)
        axis.legend(fontsize=8)
    return figure


def _samples(run: Reproduction, shape: tuple[int, int]) -> Iterator[tuple[str, Figure]]:
    X, y, part = run.data.held_out()
    model = run.result.model
    probabilities = None if model.loss not in ("softmax_ce", "sigmoid_bce") else model.predict_proba(X)
    title = f"{run.recipe.name}: {part} set"
    yield (
        "Samples and what the network reads; the mistakes first.",
        plots.samples(X, y, model.predict(X), probabilities=probabilities, image_shape=shape, title=title),
    )


def _pair(reported: float | None, ours: float | None, text: Any) -> tuple[str, str]:
    return "-" if reported is None else text(reported), "-" if ours is None else text(ours)


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value:.3g} s"
