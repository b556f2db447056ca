"""Pictures of a training. Each function returns a matplotlib `Figure`; `png` turns one into bytes.

matplotlib is imported when a picture is asked for. Nothing here touches pyplot, so no window and no global state.
Lines differ in style and marker as well as in colour, and colours in lightness, so that all of it survives greyscale.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastfc.errors import FastFCError, invalid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastfc.network import Network

# Colour, line style, marker; dark and light alternate.
STYLES = (
    ("#0b3c6f", "-", "o"),
    ("#e08214", "--", "s"),
    ("#7a0177", "-.", "^"),
    ("#41ab5d", ":", "D"),
    ("#252525", (0, (5, 1)), "v"),
    ("#9ecae1", (0, (1, 1)), "P"),
)
DARK, LIGHT = STYLES[0][0], STYLES[1][0]
LOSS_LABELS = {
    "softmax_ce": "cross-entropy (nats, mean over samples)",
    "sigmoid_bce": "binary cross-entropy (nats, mean over samples)",
    "mse": "squared error (mean over samples)",
    "mae": "absolute error (mean over samples)",
    "huber": "Huber loss (mean over samples)",
    "poisson": "Poisson loss (mean over samples)",
}
MISSING = "plots need matplotlib: pip install 'fastfc[plots]'"


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def training_curves(history: Sequence[Any], *, title: str = "", loss_label: str = "loss (mean a sample)") -> Figure:
    """Loss, and beside it the accuracy or the R² where it was measured, against the epoch: training, validation, test.

    history: `TrainResult.history`, or its records as dicts (`history.json`).
    """
    records = _records(history)
    epochs = [record["epoch"] for record in records]
    parts = {"validation": 2, "test": 1}  # and their styles
    parts = {part: k for part, k in parts.items() if any(r.get(f"{part}_loss") is not None for r in records)}
    is_r2 = any(record.get(f"{part}_r2") is not None for part in parts for record in records)
    scores = {part: _scores(records, part, is_r2) for part in parts}
    scores = {part: values for part, values in scores.items() if any(value is not None for value in values)}
    figure, axes = _figure(1, 2 if scores else 1, size=(9.0 if scores else 5.5, 3.8), title=title)
    _line(axes[0], 0, epochs, [record["loss"] for record in records], "training (as seen while training)")
    for part, k in parts.items():
        _line(axes[0], k, epochs, [record.get(f"{part}_loss") for record in records], part)
    _label(axes[0], "epoch", loss_label, epochs)
    if scores:
        for part in scores:
            _line(axes[1], parts[part], epochs, scores[part], part)
        part, values = list(scores.items())[-1]  # the last one is labelled
        name = part if len(scores) == 1 else ""
        _label(axes[1], "epoch", f"{name} {'R²' if is_r2 else 'accuracy (%)'}".strip(), epochs)
        point = [(e, value) for e, value in zip(epochs, values, strict=True) if value is not None][-1]
        place: dict[str, Any] = {"xytext": (0, -16), "textcoords": "offset points", "ha": "right", "va": "top"}
        over_the_line = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes[1].annotate(f"{point[1]:.4f}" if is_r2 else f"{point[1]:.2f} %", point, bbox=over_the_line, **place)
    return figure


def accuracy_trend(histories: Mapping[str, Sequence[Any]], *, title: str = "") -> Figure:
    """Test accuracy against the epoch, one line for each named history."""
    figure, axes = _figure(1, 1, size=(6.5, 4.0), title=title)
    longest: list[int] = []
    for i, (name, history) in enumerate(histories.items()):
        records = _records(history)
        epochs = [record["epoch"] for record in records]
        longest = max(longest, epochs, key=len)
        _line(axes[0], i, epochs, _percent([record.get("test_accuracy") for record in records]), name)
    _label(axes[0], "epoch", "test accuracy (%)", longest)
    return figure


def seconds_an_epoch(seconds: Mapping[str, float], *, title: str = "") -> Figure:
    """Horizontal bars, the fastest on top; each with its time and how many times the fastest's it is."""
    if not seconds:
        raise invalid("seconds", "no rows", "at least one name with its seconds an epoch")
    rows = sorted(seconds.items(), key=lambda row: row[1])
    fastest = rows[0][1]
    figure, (axis,) = _figure(1, 1, size=(7.5, 1.3 + 0.42 * len(rows)), title=title)
    bars = axis.barh(
        [name for name, _ in rows],
        [value for _, value in rows],
        color=[DARK if value == fastest else "#bdbdbd" for _, value in rows],
        edgecolor="black",
        height=0.65,
    )
    texts = [f"{value:.3g} s" + ("" if value == fastest else f"  ({value / fastest:.1f} x)") for _, value in rows]
    axis.bar_label(bars, texts, padding=4)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.28 * rows[-1][1])
    axis.set_xlabel("time an epoch (s)")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def samples(
    X: ArrayLike,
    labels: ArrayLike,
    predicted: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    image_shape: tuple[int, int] = (28, 28),
    rows: int = 4,
    columns: int = 8,
    title: str = "",
) -> Figure:
    """Images with what the network read and what they are; the wrong ones first, framed.

    X: (n, height * width); labels, predicted: (n,); probabilities: (n, outputs), of which the largest is printed and
    by which the surest mistakes come first.
    """
    X, labels, predicted = np.asarray(X), np.asarray(labels), np.asarray(predicted)
    if not len(X) == len(labels) == len(predicted):
        given = f"{len(X)} images, {len(labels)} labels, {len(predicted)} predictions"
        raise invalid("samples", given, "as many of each")
    sure = np.zeros(len(X)) if probabilities is None else np.asarray(probabilities).max(axis=1)
    wrong = predicted != labels
    order = np.lexsort((-sure, ~wrong))[: rows * columns]
    rows = max(1, -(-len(order) // columns))
    figure, axes = _figure(rows, columns, size=(1.15 * columns, 1.5 * rows + 0.5), title=title)
    for axis in axes:
        _clear(axis)
    for axis, i in zip(axes, order, strict=False):
        axis.imshow(X[i].reshape(image_shape), cmap="gray_r", interpolation="nearest")
        text = f"read {predicted[i]}" + (f", is {labels[i]}" if wrong[i] else "")
        if probabilities is not None:
            text += f"\n{100 * sure[i]:.1f} %"
        axis.set_title(text, fontsize=8, fontweight="bold" if wrong[i] else "normal", pad=3)
        if wrong[i]:
            axis.add_patch(_frame(axis))
    return figure


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, *, classes: int | None = None, title: str = "") -> Figure:
    """Counts by true class (row) and predicted class (column); mistakes shaded by their share of the row.

    labels, predicted: (n,) integers from 0. The diagonal is not shaded: it would drown the rest.
    """
    counts = confusion_counts(labels, predicted, classes)
    classes = len(counts)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.where(np.eye(classes, dtype=bool), 0.0, share)
    size = 2.4 + 0.46 * max(classes, 4)
    figure, (axis,) = _figure(1, 1, size=(size + 0.8, size), title=title)
    top = max(shade.max(), 1e-9)
    image = axis.imshow(shade, cmap="Oranges", vmin=0, vmax=top)
    for i, j in np.ndindex(counts.shape):
        if counts[i, j] or i == j:
            dark = shade[i, j] > 0.6 * top
            text = axis.text(j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=8)
            text.set(color="white" if dark else "black", weight="bold" if i == j else "normal")
    axis.set_xticks(range(classes))
    axis.set_yticks(range(classes))
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    figure.colorbar(image, ax=axis, label="mistakes (% of the true class)", shrink=0.85)
    return figure


def confusion_counts(labels: ArrayLike, predicted: ArrayLike, classes: int | None = None) -> NDArray[np.int64]:
    """(classes, classes) counts: rows are the true class, columns the predicted one."""
    true, read = np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if true.ndim != 1 or true.shape != read.shape or not true.size:
        raise invalid("labels, predicted", f"shapes {true.shape} and {read.shape}", "two vectors of one length > 0")
    needed = int(max(true.max(), read.max())) + 1
    classes = needed if classes is None else classes
    if classes < needed or min(true.min(), read.min()) < 0:
        raise invalid("labels, predicted", f"{min(true.min(), read.min())} to {needed - 1}", f"0 to {classes - 1}")
    return np.bincount(true * classes + read, minlength=classes**2).reshape(classes, classes)


def first_layer(
    network: Network, *, image_shape: tuple[int, int] | None = None, rows: int = 4, columns: int = 10, title: str = ""
) -> Figure:
    """The weights into each first-layer unit as an image, the units with the largest weights first, one grey scale."""
    weights = np.asarray(network.weights[0])  # (pixels, units)
    shape = image_shape or network.image_shape
    if shape is None or shape[0] * shape[1] != weights.shape[0]:
        raise invalid("image_shape", shape, f"height and width of the {weights.shape[0]} inputs")
    order = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[: rows * columns]
    columns = min(columns, len(order))
    rows = -(-len(order) // columns)
    limit = float(np.quantile(np.abs(weights[:, order]), 0.999)) or 1.0
    figure, axes = _figure(rows, columns, size=(max(0.9 * columns, 2) + 1.4, max(1.05 * rows, 2.6) + 0.6), title=title)
    for axis in axes:
        _clear(axis)
    for axis, unit in zip(axes, order, strict=False):
        image = axis.imshow(weights[:, unit].reshape(shape), cmap="gray", vmin=-limit, vmax=limit)
        axis.set_title(f"unit {unit}", fontsize=7, pad=2)
    figure.colorbar(image, ax=list(axes), label="weight", extend="both", shrink=0.9)
    return figure


def png(figure: Figure, dpi: int = 120) -> bytes:
    """`figure` as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _figure(rows: int, columns: int, *, size: tuple[float, float], title: str) -> tuple[Figure, list[Axes]]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FastFCError(MISSING) from error
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)  # inches
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    if title:
        figure.suptitle(title, fontsize=11)
    return figure, axes


def _clear(axis: Axes) -> None:
    """No frame, and no ticks either: where those go is looked for even if they are not shown, half of the time of a page of images."""
    axis.axis("off")
    axis.set(xticks=[], yticks=[])


def _frame(axis: Axes) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, edgecolor=LIGHT, linewidth=2, clip_on=False)


def _records(history: Sequence[Any]) -> list[Mapping[str, Any]]:
    if not history:
        raise invalid("history", "no epochs", "at least one")
    return [asdict(record) if is_dataclass(record) else record for record in history]  # type: ignore[arg-type]


def _scores(records: Sequence[Mapping[str, Any]], part: str, is_r2: bool) -> list[float | None]:
    """R², or the accuracy in percent, of "validation" or "test"; None where it was not measured."""
    values = [record.get(f"{part}_{'r2' if is_r2 else 'accuracy'}") for record in records]
    return [value if is_r2 or value is None else 100 * value for value in values]


def _percent(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else 100 * value for value in values]


def _line(axis: Axes, i: int, x: Sequence[float], y: Sequence[float | None], name: str) -> None:
    """Markers only where they can be told apart, and at points that were measured."""
    color, style, marker = STYLES[i % len(STYLES)]
    points = [(a, b) for a, b in zip(x, y, strict=True) if b is not None and not np.isnan(b)]
    marker = marker if len(points) <= 30 else ""
    axis.plot(*zip(*points, strict=True), color=color, linestyle=style, marker=marker, markersize=4, label=name)


def _label(axis: Axes, x: str, y: str, epochs: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if len(epochs) == 1:
        axis.set_xlim(0.5, 1.5)
    if len(axis.lines) > 1:
        axis.legend(fontsize=8)
