"""The page of a training: what it says, and that it is one file which a browser shows at every width and in both themes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.cli import main
from fastfc.reports import drawing
from tests.browser import chromium
from tests.command_line import SMALL, error_line


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `fastfc train --out` has written, without the picture, which takes time."""
    monkeypatch.setattr("fastfc.reports.plots.available", lambda: False)
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL]) == 0
    return tmp_path / "run"


def test_a_browser_shows_the_page_of_a_training(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(["report", str(run)]) == 0
    page, model, content = run / "report.html", fastfc.load(run / "model.safetensors"), np.load(data)
    predicted, true = model.predict(content["x_test"].reshape(40, 64)), content["y_test"]
    probability = model.predict_proba(content["x_test"].reshape(40, 64))[np.arange(40), true]
    with chromium(tmp_path / "profile") as browser:
        for width, theme in ((1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")):
            browser.look(width, theme)
            if (width, theme) == (1440, "light"):
                browser.open(page)
            assert browser.run("document.documentElement.scrollWidth - innerWidth") == 0
            shades = browser.run("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
            assert (min(shades) > 200, max(shades) < 70) == (theme == "light", theme == "dark")
        assert browser.messages == [] and [u for u in browser.requests if not u.startswith("data:")] == [page.as_uri()]
        cells = browser.run("[...document.querySelectorAll('.confusion td')].map(e => Number(e.textContent))")
        assert cells == [int(((true == a) & (predicted == b)).sum()) for a in range(3) for b in range(3)]
        sizes = browser.run("[...document.querySelectorAll('.pictures:not(.weights) img')].map(e => [e.naturalWidth, e.alt])")
        hardest = np.argsort(probability, kind="stable")[:24]
        assert sizes == [[8, f"sample {k}, a {true[k]}"] for k in hardest]
        assert browser.run("document.querySelectorAll('.weights img').length") == 8
        tops = "[...document.querySelectorAll('.chart .plot')].map(e => e.querySelectorAll('.dots.test, .dots.rate').length)"
        assert browser.run(tops) == [1, 1, 1]  # loss, accuracy, learning rate
        assert f"{content['x_test'].shape[0]} test samples of {data}" in browser.run("document.body.textContent")


def test_of_a_regression_predictions_are_drawn_against_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 5))
    y = np.c_[3 * X[:, 0], X[:, 1]]
    np.savez(tmp_path / "a <b>.npz", X=X[:100], y=y[:100], X_test=X[100:], y_test=y[100:])
    monkeypatch.setattr("fastfc.reports.plots.available", lambda: False)
    options = ["--loss", "mse", "--hidden", "none", "--backend", "numpy", "--epochs", "2", "--out", str(tmp_path)]
    assert main(["train", "--data", str(tmp_path / "a <b>.npz"), *options, "--quiet"]) == 0
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    r2 = fastfc.load(tmp_path / "model.safetensors").score(X[100:], y[100:])
    assert f"R² {r2:.4f}" in page and "Test R²" in page and "accuracy" not in page
    points = re.findall(r'<path class="points" d="([^"]*)"', page)
    assert [part.count("h0") for part in points] == [50, 50]
    assert "a &lt;b&gt;.npz" in page and "<b>.npz" not in page and "Hardest" not in page
    assert len(re.findall('class="bar"', page)) == 5


def test_what_the_files_do_not_fit_is_said(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = np.load(data)
    np.savez(tmp_path / "more.npz", X=content["x_test"], y=content["y_test"] + 2)
    capsys.readouterr()
    assert main(["report", str(run), "--data", str(tmp_path / "more.npz")]) == 2
    assert error_line(capsys) == "y: given label 4, expected labels from 0 to 2, with 3 outputs"
    history: dict[str, Any] = json.loads((run / "history.json").read_text())
    (run / "history.json").write_text(json.dumps(history | {"data": "arrays"}))
    assert main(["report", str(run)]) == 0
    assert "no mistakes in it: trained on arrays; --data names the data" in " ".join(capsys.readouterr().out.split())
    assert "Mistakes" not in (run / "report.html").read_text(encoding="utf-8")
    (run / "history.json").write_text(json.dumps(history | {"layers": [64, 3]}))
    assert main(["report", str(run)]) == 2
    assert error_line(capsys) == "model: given layers [64, 8, 3], expected [64, 3], as the history has"


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 4)])
def test_pixels_are_read_back_as_they_were(shape: tuple[int, ...]) -> None:
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(drawing.png(pixels)))), pixels)


@pytest.mark.parametrize(
    ("values", "logarithmic", "middle"),
    [([1.0, 0.1, 0.01], True, 50.0), ([3.0, 2.0, 1.0], True, 50.0), ([1.0, 0.1, 0.01], False, 87.88), ([2.0, 2.0, 2.0], False, 50.0)],
)
def test_a_curve_goes_through_its_values(values: list[float], logarithmic: bool, middle: float) -> None:
    """Downwards in percent of the height, with 4 % of the axis beyond the first and the last, if they differ."""
    text = drawing.curves("Loss", {"training": values}, logarithmic)
    points = [tuple(map(float, p.split())) for p in re.findall(r'class="training" d="M([^"]*)"', text)[0].split("L")]
    edge = 0.04 / 1.08 * 100 if values[0] > values[2] else 50
    assert [x for x, _ in points] == [0, 50, 100]
    assert [y for _, y in points] == pytest.approx([edge, middle, 100 - edge], abs=0.1)
    ticks = {float(t): float(p) for p, t in re.findall(r'class="y" style="top:([\d.]+)%">([^<]*)<', text)}
    assert all(0 <= place <= 100 for place in ticks.values()) and 2 <= len(ticks) <= 8
    assert "logarithmic" in text if logarithmic and values[0] > 10 * values[2] else "logarithmic" not in text
    assert re.findall(r'class="x" style="left:([\d.]+)%">(\d)<', text) == [("0.00", "1"), ("50.00", "2"), ("100.00", "3")]
