"""Networks written for elsewhere: ONNX by onnxruntime and C by the compiler of the system, against predictions here."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc.cli import main
from fastfc.export import export
from fastfc.export.names import labels
from fastfc.export.webpage import drawn_side, quantise
from fastfc.kernels.plan import ACTIVATIONS, FROM_LOGITS, LOSSES
from tests.command_line import error_line
from tests.small import parameters

COMPILER = shutil.which("cc")
# (loss, output activation, outputs, regression): each loss, and what there is of one output or of several.
HEADS = [
    ("softmax_ce", "identity", 4, False), ("sigmoid_bce", "identity", 1, False), ("sigmoid_bce", "identity", 3, False),
    ("mse", "identity", 1, True), ("mse", "sigmoid", 3, False), ("mae", "tanh", 3, True), ("huber", "softplus", 1, False),
    ("poisson", "identity", 2, True),
]  # fmt: skip


def network(seed: int, activations: tuple[str, ...], head: tuple[Any, ...] = HEADS[0], **more: Any) -> fastfc.Network:
    """Of random parameters, such that the units are neither all small nor all large."""
    loss, output, outputs, regression = head
    layers, dtype = (12, *(9 + k for k in range(len(activations))), outputs), more.get("dtype", "float32")
    weights, biases = parameters(layers, dtype, seed)
    weights = [w * w.dtype.type(len(w) ** -0.5) for w in weights]
    return fastfc.Network(
        layers, activations, loss, output, weights, biases, regression=regression, backend="numpy", **more
    )


def samples(of: fastfc.Network, n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(1)
    if of.input_kind == "uint8":
        return rng.integers(0, 256, (n, of.layers[0]), dtype=np.uint8)
    return (3 * rng.standard_normal((n, of.layers[0]))).astype(of.dtype)


def every_kind() -> list[Any]:
    """Each activation in both dtypes, and each head; half of them on uint8."""
    kinds = [(name, head, "float32", None) for name, head in zip(ACTIVATIONS, HEADS + HEADS[:4], strict=True)]
    kinds += [(name, HEADS[k % 8], "float64", "uint8") for k, name in enumerate(reversed(ACTIVATIONS))]
    return [pytest.param(*kind, id="-".join(map(str, (kind[0], kind[1][0], kind[2])))) for kind in kinds]


@pytest.mark.parametrize(("name", "head", "dtype", "kind"), every_kind())
def test_onnx_gives_the_same(name: str, head: tuple[Any, ...], dtype: str, kind: str | None, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    model = network(5, (name, name), head, dtype=dtype, input_kind=kind)
    export(model, tmp_path / "m.onnx")
    described = onnx.load(tmp_path / "m.onnx")
    assert [(o.domain, o.version) for o in described.opset_import] == [("", 17)]
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    X = samples(model)
    for rows in (X, X[:1]):
        found = dict(zip((o.name for o in session.get_outputs()), session.run(None, {"X": rows}), strict=True))
        if model.regression:
            assert list(found) == ["prediction"] and found["prediction"].dtype == dtype
            np.testing.assert_allclose(found["prediction"], model.predict(rows), rtol=1e-6, atol=1e-6)
        else:
            assert list(found) == ["label", "probabilities"] and found["probabilities"].dtype == dtype
            np.testing.assert_array_equal(found["label"], model.predict(rows))
            np.testing.assert_allclose(found["probabilities"], model.predict_proba(rows), rtol=0, atol=1e-6)


@pytest.mark.parametrize("classes", [("iris setosa", "Größe", "c", "d"), np.array([7, 3, 11, -1])], ids=["str", "int"])
def test_onnx_gives_names_of_classes(classes: Any, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = network(0, ("tanh",))
    export(model, tmp_path / "m.onnx", classes=classes)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    X = samples(model)
    assert list(session.run(["label"], {"X": X})[0]) == [classes[label] for label in model.predict(X)]


@pytest.mark.skipif(not COMPILER or sys.platform == "win32", reason="needs a C compiler, cc")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_header_compiles_without_warnings_and_gives_the_same(dtype: str, tmp_path: Path) -> None:
    """All kinds in one file of C, which shows too that several headers stand together."""
    models = [network(k, (name, name), HEADS[k % 8], dtype=dtype, input_kind="uint8" if k % 2 else None)
              for k, name in enumerate(ACTIVATIONS)]  # fmt: skip
    models.append(network(3, (), HEADS[0], dtype=dtype))
    real = {"float32": "float", "float64": "double"}[dtype]
    lines = []
    for k, model in enumerate(models):
        names = [f'"{k}" ?\\ä', *map(str, range(1, labels(model)))]
        export(model, tmp_path / f"net-{k}.h", classes=None if model.regression else names)
        kind, call = ("unsigned char", "_uint8") if model.input_kind else (real, "")
        result = f"net_{k}_predict{call}(x, y)"
        lines += [f'#include "net-{k}.h"', f"int run_{k}(const {kind} *x, {real} *y);"]
        body = f"{result}; return 0" if model.regression else f"return {result}"
        lines.append(f"int run_{k}(const {kind} *x, {real} *y) {{ {body}; }}")
    lines += ["const char *name(void);", "const char *name(void) { return net_0_class(0); }"]
    (tmp_path / "all.c").write_text("\n".join(lines) + "\n")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-shared", "-fPIC"]
    command = [str(COMPILER), *strict, "all.c", "-o", "all.so", "-lm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    library = ctypes.CDLL(str(tmp_path / "all.so"))
    library.name.restype = ctypes.c_char_p
    assert library.name().decode() == '"0" ?\\ä'
    for k, model in enumerate(models):
        X = samples(model)
        y = np.empty((len(X), model.layers[-1]), dtype)
        found = [getattr(library, f"run_{k}")(X[i : i + 1].ctypes, y[i : i + 1].ctypes) for i in range(len(X))]
        tolerance = 2e-6 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(y, model.predict_proba(X), rtol=tolerance, atol=tolerance, err_msg=repr(model))
        if not model.regression:
            np.testing.assert_array_equal(found, model.predict(X))


def test_weights_of_a_page_are_within_half_a_level() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((30, 7)) * np.logspace(-9, 9, 7)
    w[:, 3] = 0
    q, scale = quantise(w)
    assert (q.dtype, q.shape, scale.dtype) == (np.int8, (7, 30), np.float32)
    assert (np.abs(q * scale.astype(float)[:, None] - w.T) <= 0.501 * np.abs(w).max(axis=0)[:, None] / 127).all()
    assert (np.abs(q).max(axis=1) == [127, 127, 127, 0, 127, 127, 127]).all()


@pytest.mark.parametrize(
    ("shape", "kind", "inputs", "side"),
    [
        ((28, 28), "uint8", 784, 28), (None, None, 784, 28), ((8, 8), "integer", 64, 0), ((8, 8), "uint8", 64, 8),
        (None, "uint8", 64, 0), ((4, 16), "uint8", 64, 0), ((4, 4), "uint8", 16, 0),
    ],
)  # fmt: skip
def test_what_is_drawn_and_what_is_set(shape: Any, kind: str | None, inputs: int, side: int) -> None:
    assert drawn_side(inputs, shape, kind) == side


def test_every_activation_and_loss_is_tried() -> None:
    assert {head[0] for head in HEADS} == set(LOSSES) and set(LOSSES) > FROM_LOGITS


# Errors


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "m.pdf"}, "path: given 'm.pdf', expected a file name that ends in one of .onnx, .html, .h"),
        ({"classes": ["a", "b"]}, "classes: given 2 different of 2, expected 4, one for each label"),
        ({"classes": ["a", "b", "b", "c"]}, "classes: given 3 different of 4, expected 4"),
        ({"classes": ["a", 1, 2, 3]}, "classes: given other values, expected all str or all int"),
        ({"head": HEADS[3], "classes": ["a"]}, "classes: given 1 of a regression, expected None"),
        ({"columns": ["a"]}, "columns: given 1, expected 12, one for each input"),
        (
            {"columns": [("a", 1, 1)] * 12},
            "columns: given ('a', 1, 1), expected finite numbers, the least below the most",
        ),
        ({"columns": [("a", 1)] * 12}, "columns: given ('a', 1), expected a name, or (name, least, most)"),
    ],
)
def test_what_cannot_be_said(
    options: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = network(0, ("relu",), options.pop("head", HEADS[0]))
    with pytest.raises(fastfc.FastFCError) as error:
        export(model, options.pop("path", "m.html"), **options)
    assert says in str(error.value) and not list(tmp_path.iterdir())


def test_pages_of_too_many_inputs_or_outputs(tmp_path: Path) -> None:
    with pytest.raises(
        fastfc.InvalidArgument, match="page: given 300 inputs, expected a square image, which is drawn, or at most 256"
    ):
        export(fastfc.Network((300, 3)), tmp_path / "m.html")
    with pytest.raises(fastfc.InvalidArgument, match="page: given 101 outputs, expected at most 100"):
        export(fastfc.Network((784, 101)), tmp_path / "m.html")
    with pytest.raises(fastfc.InvalidType, match=r"given str, expected a fastfc\.Network"):
        export("model.safetensors", tmp_path / "m.html")  # type: ignore[arg-type]


# The command


@pytest.fixture
def saved(tmp_path: Path) -> str:
    network(0, ("relu",)).save(tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


def test_the_command_writes_each_kind(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    columns = ",".join(["age:18:90", "b", *(f"c{k}" for k in range(10))])
    for name in ("digits.onnx", "digits.HTML", "digits.h"):
        given = ["--classes", "a,b,c,d", "--columns", columns, "--title", "T <1>"]
        assert main(["export", saved, str(tmp_path / name), *given]) == 0
        assert capsys.readouterr().out.startswith(f"saved {tmp_path / name}")
    page = (tmp_path / "digits.HTML").read_text(encoding="utf-8")
    assert "<h1>T &lt;1&gt;</h1>" in page and '["age",18.0,90.0]' in page and '"classes":["a","b","c","d"]' in page


def test_the_command_says_what_is_wrong_in_a_line(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for out, says in (("m.tflite", "OUT: given "), ("no-such/m.h", "expected an existing folder")):
        assert main(["export", saved, str(tmp_path / out)]) == 2
        assert says in error_line(capsys)
    with pytest.raises(SystemExit, match="2"):
        main(["export", saved, str(tmp_path / "m.html"), "--columns", "a:1"])
    assert "--columns: given 'a:1', expected NAME or NAME:LEAST:MOST" in error_line(capsys)
    monkeypatch.setattr("fastfc.export.onnxfile.find_spec", lambda name: None)
    assert main(["export", str(tmp_path / "missing"), str(tmp_path / "m.onnx")]) == 2
    assert error_line(capsys) == "ONNX files need the package onnx: pip install 'fastfc[onnx]'"


def test_a_training_writes_a_page(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--data", str(data), "--hidden", "8", "--backend", "numpy", "--epochs", "1", "--batch-size", "16"]
    assert main(["train", *small, "--page", str(tmp_path / "page.html")]) == 0
    assert f"saved {tmp_path / 'page.html'}" in capsys.readouterr().out
    assert "Draw" in (tmp_path / "page.html").read_text(encoding="utf-8")
    for page, says in (("page.onnx", "--page: given"), ("none/page.html", "--page: given")):
        assert main(["train", *small, "--page", str(tmp_path / page)]) == 2
        captured = capsys.readouterr()
        assert says in captured.err and not captured.out
