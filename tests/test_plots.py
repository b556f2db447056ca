"""Pictures: what is drawn, that it is labelled and not clipped, and that it survives greyscale."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastfc.errors import FastFCError, InvalidArgument

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb
from matplotlib.image import imread

from fastfc.reports import plots

HISTORY = [
    {"epoch": i, "loss": 1 / i, "test_loss": 0.8 / i, "test_accuracy": 1 - 0.1 / i, "seconds": 0.1}
    for i in range(1, 11)
]


def digits(n: int = 60) -> tuple[Any, Any, Any, Any]:
    """X (n, 784) uint8, labels, predictions of which every seventh is wrong, probabilities (n, 10)."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, 784), dtype=np.uint8)
    labels = rng.integers(0, 10, n)
    predicted = np.where(np.arange(n) % 7 == 3, (labels + 1) % 10, labels)
    probabilities = np.full((n, 10), 0.01)
    probabilities[np.arange(n), predicted] = rng.uniform(0.5, 0.9, n)
    return X, labels, predicted, probabilities


def pixels(axes: Any) -> Any:
    return axes.images[0].get_array()


def network(units: int) -> Any:
    weights = np.random.default_rng(0).normal(size=(784, units))
    return SimpleNamespace(weights=[weights], image_shape=(28, 28))


X, LABELS, PREDICTED, PROBABILITIES = digits()
FIGURES: dict[str, Callable[[], Any]] = {
    "curves": lambda: plots.training_curves(HISTORY, title="mnist: 784-200-50-10, numba float32"),
    "validation": lambda: plots.training_curves([{**r, "validation_loss": 1, "validation_accuracy": 1} for r in HISTORY]),
    "one epoch": lambda: plots.training_curves(HISTORY[:1]),
    "no test set": lambda: plots.training_curves([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]),
    "trend": lambda: plots.accuracy_trend({"002": HISTORY, "004": HISTORY[:5]}, title="Test accuracy"),
    "bars": lambda: plots.seconds_an_epoch({"numpy float64": 1.02, "numba float32": 0.081, "numpy float32": 0.4}),
    "samples": lambda: plots.samples(X, LABELS, PREDICTED, probabilities=PROBABILITIES, title="wrong ones first"),
    "few samples": lambda: plots.samples(X[:3], LABELS[:3], PREDICTED[:3]),
    "confusion": lambda: plots.confusion_matrix(LABELS, PREDICTED, title="accuracy"),
    "weights": lambda: plots.first_layer(network(50), title="first-layer weights"),
    "one unit": lambda: plots.first_layer(network(1), title="first-layer weights"),
}


def darkest_at_the_edge(figure: Any) -> float:
    """Lightness in 0 ... 1 within 3 pixels of the border: what runs over it leaves something there."""
    image = imread(io.BytesIO(plots.png(figure, dpi=60)))
    image[3:-3, 3:-3] = 1
    return float(image.min())


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_clipped(name: str) -> None:
    assert darkest_at_the_edge(FIGURES[name]()) == 1


def test_the_check_for_clipping_sees_clipped_text() -> None:
    figure = FIGURES["bars"]()
    figure.axes[0].set_xlabel("a label that is far too long for the picture " * 4)
    assert darkest_at_the_edge(figure) < 0.5


@pytest.mark.parametrize("name", ["curves", "one epoch", "no test set", "trend", "bars"])
def test_axes_are_labelled_with_units(name: str) -> None:
    for axes in FIGURES[name]().axes:
        label = axes.get_ylabel() or axes.get_xlabel()
        assert axes.get_xlabel() in ("epoch", "time an epoch (s)")
        assert any(unit in label for unit in ("(%)", "(s)", "loss")), label


def test_a_picture_is_a_png_file() -> None:
    content = plots.png(plots.training_curves(HISTORY))
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")


def test_curves_show_the_history() -> None:
    loss, accuracy = plots.training_curves(HISTORY).axes
    training, test = loss.lines
    assert np.array_equal(training.get_ydata(), [record["loss"] for record in HISTORY])
    assert np.array_equal(test.get_ydata(), [record["test_loss"] for record in HISTORY])
    assert np.allclose(accuracy.lines[0].get_ydata(), [100 * record["test_accuracy"] for record in HISTORY])
    assert [text.get_text() for text in accuracy.texts] == ["99.00 %"]


def test_curves_show_training_validation_and_test() -> None:
    history = [{**r, "validation_loss": 0.9 / r["epoch"], "validation_accuracy": 0.5} for r in HISTORY]
    loss, accuracy = plots.training_curves(history).axes
    names = [line.get_label() for line in loss.lines]
    assert names == ["training (as seen while training)", "validation", "test"]
    assert np.array_equal(loss.lines[1].get_ydata(), [record["validation_loss"] for record in history])
    assert [line.get_label() for line in accuracy.lines] == ["validation", "test"]
    assert accuracy.get_ylabel() == "accuracy (%)" and [text.get_text() for text in accuracy.texts] == ["99.00 %"]
    alone = [{k: v for k, v in record.items() if not k.startswith("test")} for record in history]
    assert plots.training_curves(alone).axes[1].get_ylabel() == "validation accuracy (%)"


def test_curves_of_a_regression_show_its_r2() -> None:
    history = [{**record, "test_accuracy": None, "test_r2": record["test_accuracy"]} for record in HISTORY]
    _, r2 = plots.training_curves(history).axes
    assert np.allclose(r2.lines[0].get_ydata(), [record["test_r2"] for record in history])
    assert r2.get_ylabel() == "test R²" and [text.get_text() for text in r2.texts] == ["0.9900"]


def test_epochs_without_a_measurement_leave_a_gap_and_not_a_zero() -> None:
    history = [{**record, "test_accuracy": 0.9 if record["epoch"] % 3 == 0 else None} for record in HISTORY]
    (axes,) = plots.accuracy_trend({"002": history}).axes
    assert np.array_equal(axes.lines[0].get_xdata(), [3, 6, 9])


def test_samples_show_the_surest_mistakes_first() -> None:
    labels, predicted, probabilities = LABELS, PREDICTED, PROBABILITIES
    axes = plots.samples(X, labels, predicted, probabilities=probabilities, rows=2, columns=5).axes
    wrong = np.flatnonzero(labels != predicted)
    order = sorted(wrong, key=lambda i: -probabilities[i].max())
    assert len(order) == 9
    for axis, i in zip(axes, order, strict=False):
        assert axis.get_title().startswith(f"read {predicted[i]}, is {labels[i]}\n")
        assert np.array_equal(pixels(axis), X[i].reshape(28, 28))
    assert "is" not in axes[9].get_title()


def test_confusion_counts_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 4, 200), rng.integers(0, 5, 200)
    expected = np.zeros((6, 6), int)
    for true, read in zip(labels, predicted, strict=True):
        expected[true, read] += 1
    assert np.array_equal(plots.confusion_counts(labels, predicted, classes=6), expected)
    assert np.array_equal(plots.confusion_counts(labels, predicted), expected[:5, :5])


def test_weights_show_the_largest_units_first() -> None:
    weights = np.zeros((6, 3))
    weights[:, 0], weights[:, 1], weights[:, 2] = 0.1, 2.0, np.arange(6) - 2.5
    axes = plots.first_layer(SimpleNamespace(weights=[weights], image_shape=(2, 3))).axes  # type: ignore[arg-type]
    assert [axis.get_title() for axis in axes[:3]] == ["unit 1", "unit 2", "unit 0"]
    assert np.array_equal(pixels(axes[1]), weights[:, 2].reshape(2, 3))


def test_bars_start_with_the_fastest_and_say_the_ratio() -> None:
    (axes,) = plots.seconds_an_epoch({"slow": 0.5, "fast": 0.1}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fast", "slow"]
    assert [text.get_text() for text in axes.texts] == ["0.1 s", "0.5 s  (5.0 x)"]


def test_lines_can_be_told_apart_in_greyscale() -> None:
    assert len({str(style) for _, style, _ in plots.STYLES}) == len({marker for _, _, marker in plots.STYLES}) == 6
    lightness = [np.dot(to_rgb(color), [0.299, 0.587, 0.114]) for color, _, _ in plots.STYLES]
    assert np.abs(np.diff(lightness)).min() > 0.2


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: plots.training_curves([]), "history: given no epochs"),
        (lambda: plots.seconds_an_epoch({}), "seconds: given no rows"),
        (lambda: plots.samples(np.zeros((3, 4)), [0, 1], [0, 1]), "samples: given 3 images, 2 labels"),
        (lambda: plots.confusion_matrix([0, 1], [0]), "labels, predicted: given shapes"),
        (lambda: plots.confusion_matrix([0, 7], [0, 1], classes=3), "labels, predicted: given 0 to 7, expected 0 to 2"),
        (lambda: plots.first_layer(SimpleNamespace(weights=[np.ones((5, 2))], image_shape=None)), "image_shape: given"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_drawn_is_said(draw: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        draw()


def test_without_matplotlib_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not plots.available()
    with pytest.raises(FastFCError, match=r"pip install 'fastfc\[plots\]'"):
        plots.training_curves(HISTORY)


def test_pyplot_is_not_imported() -> None:
    code = f"import sys; from fastfc.reports import plots; plots.png(plots.training_curves({HISTORY[:2]!r})); "
    code += "print('matplotlib.pyplot' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"
