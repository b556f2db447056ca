"""`fastfc reproduce`: each recipe in a shortened form, the table, the JSON file and the HTML report."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastfc.cli import main
from fastfc.data import Dataset, load_data
from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.images import prepare
from fastfc.recipes import RECIPES, REPORTED
from fastfc.reports import plots
from fastfc.reports.reproduce import reproduce, table
from fastfc.reports.reproduction import Reproduction

pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

BACKENDS = ("numpy", "numba")
SPEED = ("fast-97", "fast-98", "fast-99", "best", "best-wide")


def signs() -> NDArray[np.uint8]:
    """(10, 784): a thick upright stroke and a bar across it, at ten heights, fitted and centred as MNIST is."""
    sheets = np.zeros((10, 60, 60), np.uint8)
    for i, sheet in enumerate(sheets):
        sheet[10:50, 20:27] = 255
        sheet[10 + 4 * i : 16 + 4 * i, 20:48] = 255
    return prepare(list(sheets), ink="light")


def strokes(n: int = 400) -> Dataset:
    """`n` images (28, 28) of ten signs, with 100 of them to test on: ink on black, brighter and darker."""
    y = np.arange(n, dtype=np.int64) % 10
    bright = np.random.default_rng(0).uniform(0.7, 1, (n, 1))
    X = np.rint(signs()[y] * bright).astype(np.uint8)
    return Dataset(X[100:], y[100:], X[:100], y[:100], name="strokes", image_shape=(28, 28))


@pytest.fixture(scope="module", autouse=True)
def _small_pictures() -> Iterator[None]:
    """What is in them is for tests/test_plots.py."""
    draw = plots.png

    def small(figure: Any) -> bytes:
        figure.set_layout_engine("none")
        return draw(figure, dpi=25)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "png", small)
        yield


@pytest.fixture(scope="module")
def all_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Reproduction], Path]:
    folder = tmp_path_factory.mktemp("reproduction")
    return reproduce(data=strokes(), epochs=2, backend="numpy", threads=1, drawings=20, out=folder), folder


class Page(HTMLParser):
    """What a page holds: its tags, with their attributes, those that are not closed, and its text."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# The trainings


@pytest.mark.parametrize(
    "name", [*REPORTED, *(pytest.param(name, marks=() if name in ("fast-97", "best") else pytest.mark.slow) for name in SPEED)]
)
def test_a_shortened_recipe_gives_the_same_on_both_backends(name: str) -> None:
    data = strokes()
    (reference,), (fused,) = (
        reproduce([name], data=data, epochs=2, backend=backend, drawings=10) for backend in BACKENDS
    )
    for run, backend in zip((reference, fused), BACKENDS, strict=True):
        assert (run.epochs, run.result.backend, len(run.loss)) == (
            min(2, RECIPES[name].settings.epochs),
            backend,
            run.epochs,
        )
        assert 0 <= run.train_accuracy <= 1 and 0 <= (run.test_accuracy or 0) <= 1
        assert run.train_seconds > 0 and (run.test_seconds or 0) > 0
    np.testing.assert_allclose(fused.loss, reference.loss, rtol=2e-3)


def test_figures_are_those_of_the_trained_network() -> None:
    data = strokes()
    (run,) = reproduce(["000"], data=data, epochs=3, backend="numpy")
    model = run.result.model
    assert run.train_accuracy == (model.predict(data.X) == data.y).mean()
    assert run.test_accuracy == (model.predict(data.X_test) == data.y_test).mean() == run.result.test_accuracy
    assert run.loss == [record.loss for record in run.result.history]
    # The report took 258.0469 s for ten epochs.
    assert run.speed_up == pytest.approx(0.3 * 258.0469 / run.train_seconds)


def test_the_loss_has_the_penalty_where_the_report_has_it() -> None:
    (run,) = reproduce(["001-plain"], data=strokes(), epochs=2, backend="numpy")
    history = run.result.history
    squares = sum(float((w.astype(np.float64) ** 2).sum()) for w in run.result.model.weights)
    assert run.loss[-1] == pytest.approx(history[-1].loss + 0.5e-3 * squares, rel=1e-9)


def test_the_time_of_001_is_that_of_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastfc.reports import reproduce as module

    trained = []
    train = module.train

    def spy(data: Dataset, *arguments: Any, **options: Any) -> Any:
        trained.append((len(data.y), data.X_test is None, train(data, *arguments, **options)))
        return trained[-1][2]

    monkeypatch.setattr(module, "train", spy)
    data = strokes(6400)  # 6,300 to train on
    (run,) = reproduce(["001-momentum"], data=data, epochs=1, backend="numpy")
    assert [(n, untested) for n, untested, _ in trained] == [(6000, False), (6300, True)]
    assert run.result is trained[0][2]
    assert run.train_seconds == trained[1][2].train_seconds
    assert trained[0][2].settings == trained[1][2].settings


def test_own_images_are_read_about_as_well_as_the_originals() -> None:
    (run,) = reproduce(["003-own-image"], data=strokes(), epochs=20, backend="numba", drawings=30)
    own = run.own_images
    assert own is not None
    assert own.pixels.shape == (30, 784) and own.pixels.dtype == np.uint8
    assert own.accuracy_before == 1
    assert own.accuracy_after == (run.result.model.predict(own.pixels) == own.labels).mean() > 0.8
    assert len(np.unique(own.labels)) == 10


def test_names_are_run_once_and_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    runs = reproduce(["003", "000", "003"], data=strokes(), epochs=1, backend="numpy")
    assert [run.recipe.name for run in runs] == ["003", "000"]


def test_generated_digits_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    data = dataclasses.replace(strokes(), name="generated digits", notice="Using generated digits: no network")
    reproduce(["004-neuron"], data=data, epochs=1, backend="numpy")
    captured = capsys.readouterr()
    assert captured.err == "fastfc: Using generated digits: no network\n"
    assert "data: generated digits" in captured.out


# What is printed


def test_the_table_has_all_figures_and_fits_80_columns(all_runs: tuple[list[Reproduction], Path]) -> None:
    lines = table(all_runs[0]).splitlines()
    assert max(map(len, lines)) < 80
    rows = {line.split()[0]: line.split()[1:] for line in lines if line[:3].isdigit() and ":" not in line}
    assert list(rows) == list(REPORTED)
    assert rows["000"][:4:2] == ["98.37", "97.06"]
    assert rows["000"][4] == "258.05" and rows["003"][4] == "-"
    for run in all_runs[0]:
        assert rows[run.recipe.name][1] == f"{100 * run.train_accuracy:.2f}"
    at = lines.index("001-momentum: loss with L2 penalty by epoch")
    assert lines[at + 2].split()[:3] == ["reported", "1.4276", "0.5259"]
    ours = next(run for run in all_runs[0] if run.recipe.name == "001-momentum")
    assert lines[at + 3].split() == ["ours", *(f"{value:.4f}" for value in ours.loss), *["-"] * 8]
    assert any("20 test digits" in line for line in lines)


def test_the_end_of_a_training_is_told_as_in_the_reports(capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = reproduce(["002"], data=strokes(), epochs=25, backend="numpy")
    text = capsys.readouterr().out
    right = round(run.train_accuracy * 300)
    assert f"train accuracy {right}/300 ({100 * right / 300:.3f}%)" in text
    values = " ".join(f"{100 * run.result.history[i].test_accuracy:.2f}" for i in (0, 10, 20))
    assert f"test accuracy every 10 epochs (%): {values}\n" in text
    assert re.search(r"training time \d+\.\d+ s, testing time \d+\.\d+ s", text)
    assert max(map(len, text.splitlines())) < 80


@pytest.mark.parametrize(
    ("name", "n", "done"),
    [
        ("000", 3000, [1280, 2560, 2900]),  # every 10 batches of 128, and at the end
        ("003", 2500, [1280, 2000]),  # every 1,280 samples of the first 2,000
    ],
)
def test_verbose_prints_the_error_every_ten_batches(
    name: str, n: int, done: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = reproduce([name], data=strokes(n), epochs=2, backend="numba", verbose=True)
    lines = re.findall(
        r"Train Epoch: (\d+) \[(\d+)/(\d+) \((\d+\.\d{3})%\)\] Error: (\d\.\d{6})", capsys.readouterr().out
    )
    total = done[-1]
    assert [(int(epoch), int(samples)) for epoch, samples, *_ in lines] == [(e, d) for e in (1, 2) for d in done]
    for _, samples, whole, share, _ in lines:
        assert (int(whole), share) == (total, f"{100 * int(samples) / total:.3f}")
    mean = np.average([float(line[4]) for line in lines[: len(done)]], weights=np.diff([0, *done]))
    assert mean == pytest.approx(run.result.history[0].loss, rel=0.05)


def test_verbose_prints_every_tenth_epoch_of_full_batches(capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(["004-neuron"], data=strokes(), epochs=20, backend="numpy", verbose=True)
    assert re.findall(r"Train Epoch: (\d+)", capsys.readouterr().out) == ["10", "20"]


# What is written


def test_the_json_file_has_reported_ours_and_assumptions(all_runs: tuple[list[Reproduction], Path]) -> None:
    runs, folder = all_runs
    content = json.loads((folder / "reproduce.json").read_text())
    assert list(content) == ["recipes"] and list(content["recipes"]) == list(REPORTED)
    for run in runs:
        entry = content["recipes"][run.recipe.name]
        assert set(entry) == {"reported", "ours", "assumptions"}
        assert entry["assumptions"] == list(run.recipe.assumptions)
        assert entry["reported"] == json.loads(json.dumps(run.recipe.reported))
        ours = entry["ours"]
        own = {"originals_accuracy", "drawings_accuracy"} if run.recipe.name == "003-own-image" else set()
        assert set(ours) == {"train_accuracy", "test_accuracy", "train_seconds", "loss"} | own
        assert ours["train_accuracy"] == run.train_accuracy
        assert ours["test_accuracy"] == run.test_accuracy
        assert ours["loss"] == run.loss


def test_the_report_is_one_page_that_loads_nothing(all_runs: tuple[list[Reproduction], Path]) -> None:
    runs, folder = all_runs
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == [] and source.startswith("<!DOCTYPE html>")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert "url(" not in source and "@import" not in source and "://" not in source
    for tag, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or tag != "img"
        assert attributes.get("href", "#").startswith("#")
    anchors = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert anchors == {attributes["id"] for _, attributes in page.tags if "id" in attributes} == set(REPORTED)
    for run in runs:
        assert f"{run.recipe.name}: {run.recipe.title}" in page.text
        for sentence in run.recipe.assumptions:
            assert sentence in page.text


def test_the_report_has_the_pictures(all_runs: tuple[list[Reproduction], Path]) -> None:
    page = Page((all_runs[1] / "report.html").read_text(encoding="utf-8"))
    pictures: dict[str, list[str]] = {}
    for tag, attributes in page.tags:
        if tag == "img":
            name, _, caption = attributes["alt"].partition(": ")
            pictures.setdefault(name, []).append(caption)
            assert base64.b64decode(attributes["src"].partition(",")[2], validate=True).startswith(b"\x89PNG")
    assert set(pictures) == set(REPORTED)
    wanted = [
        *((name, "Loss") for name in REPORTED),
        *((name, "Seconds an epoch") for name in ("000", "001-momentum", "001-plain", "001-full-batch")),
        *(("002", word) for word in ("accuracy trend", "Confusion matrix")),
        *(("000", word) for word in ("mistakes first", "Confusion matrix", "weights as images")),
        ("003", "mistakes first"),
        ("003-own-image", "drawings"),
        ("004-neuron", "weights as images"),
    ]
    for name, word in wanted:
        assert any(word in caption for caption in pictures[name]), (name, word)


def test_a_recipe_of_no_report_is_reported_too(tmp_path: Path) -> None:
    reproduce(["fast-97"], data=strokes(), backend="numpy", out=tmp_path / "new" / "folder")
    entry = json.loads((tmp_path / "new" / "folder" / "reproduce.json").read_text())["recipes"]["fast-97"]
    assert entry["reported"] == {} and entry["assumptions"] == []
    assert Page((tmp_path / "new" / "folder" / "report.html").read_text(encoding="utf-8")).open == []


def test_without_test_data_the_test_figures_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = dataclasses.replace(strokes(), X_test=None, y_test=None)
    names = ["000", "002", "004-neuron"]
    runs = reproduce(names, data=data, epochs=2, backend="numpy", out=tmp_path)
    assert [(run.test_accuracy, run.test_seconds) for run in runs] == [(None, None)] * 3
    text = capsys.readouterr().out
    assert "test accuracy every" not in text and "testing time" not in text
    lines = text[text.index("002: test accuracy (%) by epoch") :].splitlines()
    assert lines[2].split()[:2] == ["reported", "8.47"] and lines[3].split() == ["ours", *["-"] * 10]
    content = json.loads((tmp_path / "reproduce.json").read_text())["recipes"]
    assert [content[name]["ours"]["test_accuracy"] for name in names] == [None] * 3
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).open == []


# The command, and what is refused


def test_the_command_writes_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = strokes()
    np.savez(
        tmp_path / "strokes.npz",
        x_train=data.X.reshape(-1, 28, 28),
        y_train=data.y,
        x_test=data.X_test.reshape(-1, 28, 28),
        y_test=data.y_test,
    )
    out = tmp_path / "report"
    options = ["--data", str(tmp_path / "strokes.npz"), "--out", str(out), "--backend", "numpy", "--epochs", "1"]
    assert main(["reproduce", "003", "004-hidden", *options, "--seed", "3", "--threads", "1", "--verbose"]) == 0
    text = capsys.readouterr().out
    assert "Train Epoch: 1 [300/300 (100.000%)]" in text
    assert f"saved {out / 'report.html'}" in text
    assert {path.name for path in out.iterdir()} == {"report.html", "reproduce.json"}
    assert list(json.loads((out / "reproduce.json").read_text())["recipes"]) == ["003", "004-hidden"]


def test_without_names_all_recipes_of_the_reports_are_meant() -> None:
    assert set(REPORTED) | set(SPEED) == set(RECIPES)
    assert len(REPORTED) == 10


def test_an_unknown_recipe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "000", "005", "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("fastfc: error: recipe: given '005', expected one of 000, 001-momentum")
    assert captured.out == "" and captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("module", "message"), [("matplotlib", "plots need matplotlib"), ("PIL", "need Pillow")])
def test_a_missing_package_is_told_before_any_training(
    module: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest))
    with pytest.raises(FastFCError, match=f"{message}.*pip install"):
        reproduce(["003-own-image"], data=strokes(), out=tmp_path, backend="numpy", epochs=1)
    assert capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    data = strokes()
    with pytest.raises(InvalidType, match=r"^names: given '000', expected a list of recipes$"):
        reproduce("000", data=data)
    with pytest.raises(InvalidArgument, match=r"^epochs: given 0, expected"):
        reproduce(["000"], data=data, epochs=0)
    with pytest.raises(InvalidArgument, match=r"^drawings: given 0, expected"):
        reproduce(["003-own-image"], data=data, drawings=0)
    with pytest.raises(InvalidArgument, match=r"^data: given arrays, expected uint8 images of 28x28"):
        reproduce(["003-own-image"], data=(np.ones((20, 4)), np.arange(20) % 2))
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        reproduce(["000"], data=data, out=tmp_path / "file")


@pytest.mark.slow
@pytest.mark.mnist
def test_drawn_mnist_digits_are_read_as_well_as_the_originals(mnist_dir: Path) -> None:
    (run,) = reproduce(["003-own-image"], data=load_data(mnist_dir), epochs=10, threads=1, drawings=100)
    assert run.own_images is not None
    assert len(run.own_images.labels) == 100
    assert run.own_images.accuracy_after >= run.own_images.accuracy_before - 0.05
