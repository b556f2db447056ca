"""The exported page in a real Chromium: drawn on by pointer events, and read as `fastfc predict` reads the same picture."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fastfc
from fastfc.cli import main
from fastfc.data import digits
from fastfc.export import export
from fastfc.export.webpage import quantise
from fastfc.images import prepare
from fastfc.kernels.plan import ACTIVATIONS
from tests.browser import Browser, chromium
from tests.small import parameters

SHEET = 224  # pixels a side of the mask that the page prepares
KINDS = ("mouse", "pen", "touch")
MOST_BYTES = 250_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def model() -> fastfc.Network:
    """784-200-50-10, trained on generated digits."""
    data = digits.generate(10_000, np.random.default_rng(0))
    return fastfc.train(data, epochs=3).model


@pytest.fixture(scope="module")
def page(model: fastfc.Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "digits.html"
    export(model, path)
    return path


def quantised(of: fastfc.Network) -> fastfc.Network:
    """The network that a page has, in float64."""
    weights = [q.T * scale.astype(float) for q, scale in map(quantise, of.weights)]
    return fastfc.Network(
        of.layers, of.activations, of.loss, of.output_activation, weights, of.biases, "float64", of.scale,
        regression=of.regression, input_kind=of.input_kind, backend="numpy",
    )  # fmt: skip


def strokes(digit: int, rng: np.random.Generator) -> list[np.ndarray]:
    """(points, 2) each, x and y in the unit square: one of the digit's styles, moved, slanted and sized at random."""
    styles = digits.STYLES[digit]
    style = styles[rng.integers(len(styles))]
    moved = {point: point + rng.normal(0, 0.025, 2) for stroke in style for point in stroke}
    slant, size, place = rng.normal(0, 0.15), rng.uniform(0.4, 0.62, 2), rng.uniform(-0.08, 0.08, 2)
    curves = []
    for stroke in style:
        neighbours, weights = digits._catmull_rom(np.arange(len(stroke)), steps=5)
        points = np.einsum("kj,kjd->kd", weights, np.array([moved[point] for point in stroke])[neighbours]) - 0.5
        points[:, 0] -= slant * points[:, 1]
        curves.append(0.5 + place + size * points)
    return curves


def shown(browser: Browser) -> str:
    return browser.run("byId('label').textContent")


def sent(browser: Browser) -> list[str]:
    """What a page has asked for, but for data: within it."""
    return [url for url in browser.requests if not url.startswith("data:")]


@pytest.mark.parametrize("drawn", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_drawn_digits_are_read_as_predict_reads_them(
    browser: Browser, page: Path, model: fastfc.Network, tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: int
) -> None:
    """What is on the pad as a PNG, to the command; and its mask to `prepare`, whose pixels are the page's within 1."""
    browser.look(360, "light")
    browser.open(page)
    rng, labels, furthest = np.random.default_rng(0), [], 0
    for k in range(drawn):
        browser.draw(strokes(k % 10, rng), KINDS[k % 3])
        label, picture = browser.run("[byId('label').textContent, pad.toDataURL()]")
        labels.append(label)
        (tmp_path / f"{k}.png").write_bytes(base64.b64decode(picture.partition(",")[2]))
        if k % 3 == 0:  # costs time
            mask, pixels = browser.run("[mask.join(''), prepare(mask, SIDE).join()]")
            sheet = 255 * (np.frombuffer(mask.encode(), np.uint8) - ord("0")).reshape(SHEET, SHEET)
            difference = np.array(pixels.split(","), int) - prepare(sheet.astype(np.uint8), ink="light")
            furthest = max(furthest, int(np.abs(difference).max()))
        browser.press("x")
        assert shown(browser) == "?"
    assert furthest <= 1
    model.save(tmp_path / "m.safetensors")
    assert main(["predict", str(tmp_path / "m.safetensors"), *(str(tmp_path / f"{k}.png") for k in range(drawn))]) == 0
    read = re.findall(r"\.png: (\d)$", capsys.readouterr().out, re.MULTILINE)
    assert len(read) == drawn and sum(a == b for a, b in zip(labels, read, strict=True)) >= 0.99 * drawn
    assert sum(int(label) == k % 10 for k, label in enumerate(labels)) >= 0.9 * drawn
    assert browser.messages == [] and sent(browser) == [page.as_uri()]


def test_eight_bits_cost_no_accuracy_and_little_room(browser: Browser, page: Path, model: fastfc.Network) -> None:
    """Of 10,000 digits: the quantised network here, and each answer of the page is its."""
    assert page.stat().st_size <= MOST_BYTES
    X, y = digits.generate(10_000, np.random.default_rng(1))
    own, X = quantised(model), X.reshape(len(X), -1)
    assert abs(own.score(X, y) - model.score(X, y)) <= 0.001
    browser.open(page)
    script = """(pixels => {
      const bytes = Uint8Array.from(atob(pixels), c => c.charCodeAt(0)), found = [];
      for (let i = 0; i < bytes.length; i += 784) {
        const x = Float64Array.from(bytes.subarray(i, i + 784), level => level * MODEL.scale);
        found.push(read(MODEL, forward(layers, x).at(-1).a).label);
      }
      return found.join("");
    })"""
    found = browser.run(f"{script}('{base64.b64encode(X[:2000].tobytes()).decode()}')")
    np.testing.assert_array_equal([int(label) for label in found], own.predict(X[:2000]))


def test_both_themes_and_widths(browser: Browser, page: Path) -> None:
    """Nothing lies over anything else or beside the window, and the theme is the system's."""
    browser.open(page)
    inside = """(() => {
    const boxes = [...document.querySelectorAll("header, section, footer, figure canvas, figcaption, button, #bars span")]
      .map(e => [e, e.getBoundingClientRect()]), over = [];
    for (const [a, p] of boxes) for (const [b, q] of boxes) {
      const apart = p.right <= q.left + 1 || q.right <= p.left + 1 || p.bottom <= q.top + 1 || q.bottom <= p.top + 1;
      if (a !== b && !a.contains(b) && !b.contains(a) && !apart) over.push(a.outerHTML + b.outerHTML);
    }
    return [document.documentElement.scrollWidth - innerWidth, over];
    })()"""
    for width in (1440, 360):
        for theme in ("light", "dark"):
            browser.look(width, theme)
            if not browser.run("strokes.length"):
                browser.draw(strokes(3, np.random.default_rng(0)), "mouse")
            picture = browser.screenshot()
            assert picture.shape[1] == width
            assert (picture.mean() > 200, picture.mean() < 70) == (theme == "light", theme == "dark")
            assert browser.run(inside) == [0, []]


def test_keys_buttons_and_what_is_spoken(browser: Browser, page: Path) -> None:
    browser.look(1440, "light")
    browser.open(page)
    disabled = "[byId('undo').disabled, byId('clear').disabled]"
    assert browser.run(disabled) == [True, True]
    first, second = strokes(4, np.random.default_rng(1)), strokes(1, np.random.default_rng(1))
    browser.draw(first[:1], "mouse")
    once = browser.run("mask.join('')")
    browser.draw(second[:1], "pen")
    assert browser.run("strokes.length") == 2 and browser.run("mask.join('')") != once
    spoken = browser.run("byId('spoken').textContent")
    assert re.fullmatch(r"\d (> )?\d+\.\d %", spoken) and spoken[0] == shown(browser)
    assert browser.run("byId('spoken').ariaLive") == "polite"
    browser.press("z")
    assert browser.run("strokes.length") == 1 and browser.run("mask.join('')") == once
    browser.press("Escape")
    assert browser.run(disabled) == [True, True] and shown(browser) == "?"
    browser.draw(first, "touch")
    browser.press("Tab")
    focused = "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
    assert browser.run(focused) == ["undo", "solid"]
    browser.press("Enter")  # the button that has the focus
    assert browser.run("strokes.length") == len(first) - 1


def random_networks() -> list[fastfc.Network]:
    """One of each activation, of several losses, with 12 inputs."""
    made = []
    heads = [("softmax_ce", 4), ("sigmoid_bce", 1), ("sigmoid_bce", 3), ("mse", 2), ("poisson", 1), ("softmax_ce", 2)]
    for k, name in enumerate(ACTIVATIONS):
        loss, outputs = heads[k % len(heads)]
        weights, biases = parameters((12, 9, 8, outputs), "float64", k)
        layers, weights = (12, 9, 8, outputs), [w / len(w) ** 0.5 for w in weights]
        made.append(
            fastfc.Network(
                layers, name, loss, "identity", weights, biases, "float64", input_kind="float", backend="numpy"
            )
        )
    return made


def odds(of: fastfc.Network, x: np.ndarray) -> float:
    """What `evidence` is of: with softmax_ce the logarithm of the odds, else the output that is meant."""
    z = of.outputs(x[None])[0]
    if of.loss == "softmax_ce":
        label = int(of.predict(ANSWERED[None])[0])
        return float(z[label] - np.log(np.exp(np.delete(z, label)).sum()))
    if of.regression:
        return float(z[0])
    label = int(of.predict(ANSWERED[None])[0])
    return float(z[label] if len(z) > 1 else z[0] * (1 if label else -1))


ANSWERED = np.random.default_rng(3).standard_normal(12)


def test_every_activation_gives_what_the_quantised_network_gives(browser: Browser, tmp_path: Path) -> None:
    """Outputs, labels, and gradient times input against central differences."""
    networks, models = random_networks(), []
    for k, network in enumerate(networks):
        export(network, tmp_path / f"{k}.html")
        text = (tmp_path / f"{k}.html").read_text(encoding="utf-8")
        models.append(json.loads(text.split("const MODEL = ")[1].split(";\n")[0]))
    browser.open(tmp_path / "0.html")
    script = """((models, given) => models.map(model => {
      const x = Float64Array.from(given);
      const layers = readLayers(model), steps = forward(layers, x), found = read(model, steps.at(-1).a);
      return [found.values, found.label ?? null, Array.from(evidence(model, layers, steps, x, found.label))];
    }))"""
    answers = browser.run(f"{script}({json.dumps(models)}, {ANSWERED.tolist()})")
    for network, (values, label, spoken) in zip(networks, answers, strict=True):
        own = quantised(network)
        expected = own.predict_proba(ANSWERED[None])[0]
        if network.layers[-1] == 1 and not network.regression:
            expected = [1 - expected[0], expected[0]]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5, err_msg=repr(network))
        assert network.regression or label == own.predict(ANSWERED[None])[0]
        steps = 1e-5 * np.eye(12)
        slopes = [(odds(own, ANSWERED + step) - odds(own, ANSWERED - step)) / 2e-5 for step in steps]
        np.testing.assert_allclose(spoken, slopes * ANSWERED, rtol=1e-3, atol=1e-3, err_msg=repr(network))


def test_a_form_answers_for_what_is_set(browser: Browser, tmp_path: Path) -> None:
    network = random_networks()[0]
    columns = [("age <b>", 18, 90), *((f"c{k}", -1, 1) for k in range(11))]
    export(network, tmp_path / "form.html", columns=columns, classes=["low", "middle", "high", "very high indeed"])
    browser.open(tmp_path / "form.html")
    for width in (360, 1440):
        browser.look(width, "dark")
        assert browser.run("document.documentElement.scrollWidth - innerWidth") == 0
    before = shown(browser)
    set_one = """((label, type, value) => {
      const row = [...document.querySelectorAll(".column")].find(e => e.textContent === label);
      const input = row.querySelector(`input[type=${type}]`);
      input.focus();
      input.value = value;
      input.dispatchEvent(new Event("input"));
    })"""
    browser.run(f"{set_one}('c0', 'range', 1)")
    browser.run(f"{set_one}('age <b>', 'number', 20)")
    x = np.array([[20.0, 1.0, *(10 * [0.0])]])
    found = browser.run("[Array.from(values), [...document.querySelectorAll('.share')].map(e => e.textContent)]")
    assert found[0] == x[0].tolist()
    p = quantised(network).predict_proba(x)[0]
    for text, value in zip(found[1], p, strict=True):
        assert float(text.strip("> %")) == pytest.approx(100 * value, abs=0.11)
    assert shown(browser) == ["low", "middle", "high", "very high indeed"][p.argmax()]
    browser.run("document.activeElement.blur()")  # a number that is typed has keys of its own
    browser.press("z")
    assert browser.run("Array.from(values)")[:2] == [54, 1]
    browser.press("x")
    assert browser.run("Array.from(values)") == [54] + 11 * [0] and shown(browser) == before
    assert browser.messages == [] and sent(browser) == [(tmp_path / "form.html").as_uri()]
