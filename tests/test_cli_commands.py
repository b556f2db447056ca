"""The command line: what the commands other than train print and write, and the progress of a training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import ahead
from fastfc.cli import main
from fastfc.cli.parser import COMMANDS
from fastfc.results import EpochRecord, TrainResult
from fastfc.training.progress import epoch_line
from tests.command_line import error_line, shell
from tests.small import python

# predict, plot, compare, bench, info, warmup


def test_predict_measures_the_accuracy_on_a_data_set(
    run_folder: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["predict", str(run_folder / "model.safetensors"), "--data", str(data)]) == 0
    content, model = np.load(data), fastfc.load(run_folder / "model.safetensors")
    right = int((model.predict(content["x_test"].reshape(40, 64)) == content["y_test"]).sum())
    assert f"test accuracy {100 * right / 40:.2f} % ({right} of 40)" in " ".join(capsys.readouterr().out.split())


def test_a_regression_is_measured_by_its_r2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In every command: a line an epoch, the end, the files, the picture, --data, the comparison."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = np.rint(100 * X[:, 0]).astype(int)
    np.savez(tmp_path / "numbers.npz", X=X[:150], y=y[:150], X_test=X[150:], y_test=y[150:])
    options = ["--data", str(tmp_path / "numbers.npz"), "--loss", "mse", "--hidden", "none", "--epochs", "9"]
    folder = tmp_path / "run"
    assert main(["train", *options, "--out", str(folder), "--backend", "numpy", "--batch-size", "9", "--lr", "0.01"]) == 0
    model = fastfc.load(folder / "model.safetensors")
    r2 = model.score(X[150:], y[150:])
    assert model.regression and 0.9 < r2 < 1
    lines = capsys.readouterr().out.splitlines()
    assert f"  test R2 {r2:.4f}  " in lines[8] and f"; test R2 {r2:.4f}" in " ".join(lines[9:])
    content = json.loads((folder / "history.json").read_text())
    assert content["test_r2"] == content["history"][-1]["test_r2"] == pytest.approx(r2, abs=1e-6)
    assert content["test_accuracy"] is None

    assert main(["predict", str(folder / "model.safetensors"), "--data", str(tmp_path / "numbers.npz")]) == 0
    assert f"test R2 {r2:.4f} (50 samples)" in " ".join(capsys.readouterr().out.split())
    assert main(["plot", str(folder), "--data", str(tmp_path / "numbers.npz")]) == 0
    assert "no samples.png, confusion.png: the model is a regression" in capsys.readouterr().out
    assert main(["compare", *options, "--repeats", "1"]) == 0
    _, head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[5] == "R2" and all(re.fullmatch(r"-?\d+\.\d{4}", row.split()[3]) for row in rows)


def test_numbers_are_read_from_an_image(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, biases = [np.zeros((784, 2))], [[0.25, -70_000.0]]
    model = fastfc.Network((784, 2), loss="mse", weights=weights, biases=biases, image_shape=(28, 28), backend="numpy")
    model.save(tmp_path / "m")
    assert main(["predict", str(tmp_path / "m"), str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}: 0.25 -70000\n"


@pytest.mark.parametrize("both", [False, True])
def test_predict_wants_images_or_data(both: bool, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    arguments = ["image.png", "--data", "digits"] if both else []
    assert main(["predict", str(run_folder / "model.safetensors"), *arguments]) == 2
    assert "either image files or --data" in error_line(capsys)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """A model of images that answers 7 to all of them, with probability 1/2."""
    bias = np.zeros(10)
    bias[7] = np.log(9)
    file = tmp_path / "reader.safetensors"
    weights = [np.zeros((784, 10))]
    fastfc.Network((784, 10), weights=weights, biases=[bias], image_shape=(28, 28), backend="numpy").save(file)
    return file


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A dark upright stroke on white, as a PNG file."""
    Image = pytest.importorskip("PIL.Image")
    pixels = np.full((60, 60), 255, np.uint8)
    pixels[10:50, 27:33] = 0
    Image.fromarray(pixels).save(tmp_path / "stroke.png")
    return tmp_path / "stroke.png"


def test_predict_prints_digit_and_probabilities(
    reader: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(reader), str(picture), str(picture)]) == 0
    first, *shares = capsys.readouterr().out.splitlines()[:3]
    assert first == f"{picture}: 7"
    found = dict(re.findall(r"(\d): +(\d+\.\d) %", " ".join(shares)))
    assert found == {str(i): "50.0" if i == 7 else "5.6" for i in range(10)}
    assert max(map(len, shares)) < 80


def test_predict_shows_what_the_network_saw(reader: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(reader), str(picture), "--show", "--ink", "dark"]) == 0
    drawn = capsys.readouterr().out.splitlines()[3:]
    assert len(drawn) == 28
    assert [bool(line) for line in drawn] == [4 <= y < 24 for y in range(28)]
    assert max(map(len, drawn)) < 40


def test_predict_says_what_is_wrong_with_an_image(
    reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    for name in ("text.png", "none.png"):
        assert main(["predict", str(reader), str(tmp_path / name)]) == 2
        assert name in error_line(capsys)


def test_plot_draws_what_a_training_wrote(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder / "training.png").unlink()
    assert main(["plot", str(run_folder)]) == 0
    pictures = {path.name for path in run_folder.glob("*.png")}
    assert pictures == {"training.png", "weights.png", "samples.png", "confusion.png"}
    for path in run_folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("saved ") == 4


@pytest.mark.parametrize("content", ["{", "[]", '{"history": []}'])
def test_plot_refuses_a_history_of_another_kind(
    content: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    (run_folder / "history.json").write_text(content)
    assert main(["plot", str(run_folder)]) == 2
    assert "expected the history.json of a training" in error_line(capsys)


def test_plot_of_an_empty_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(tmp_path)]) == 2
    assert error_line(capsys) == f"{tmp_path / 'history.json'}: No such file or directory"


def test_compare_prints_a_table_and_writes_json(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "comparison.json"
    arguments = ["--data", str(data), "--hidden", "8", "--repeats", "1", "--json", str(file)]
    assert main(["compare", *arguments]) == 0
    text = capsys.readouterr().out
    assert "numpy" in text and "numba" in text
    assert max(map(len, text.splitlines()[1:])) < 80  # the first one has the path of the data
    assert {row["backend"] for row in json.loads(file.read_text())["rows"]} == {"numpy", "numba"}


def test_info_names_versions_machine_and_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FASTFC_DATA_DIR", str(tmp_path))
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if not line.startswith(" "))
    assert rows["numpy"] == np.__version__
    assert rows["python"] == sys.version.split()[0]
    assert {"fastfc", "numba", "llvmlite", "CPU", "SIMD", "kernels", "BLAS", "threads", "cache", "data"} <= rows.keys()
    assert str(tmp_path) in "".join(text.split()) or str(tmp_path) in text
    assert fastfc.info().keys() == rows.keys()
    monkeypatch.setenv("FASTFC_NUM_THREADS", "1")
    assert fastfc.info()["threads"].startswith("1 at most (FASTFC_NUM_THREADS; ")


def test_warmup_says_how_long_it_took_and_what_it_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warmup"]) == 0
    said = capsys.readouterr()
    assert re.match(r"kernels ready in \d+\.\d s, kept in\s", said.out)  # a long path is on a line of its own
    there, of, made = map(int, re.findall(r"(\d+) of (\d+) were there, (\d+) were compiled", said.out)[0])
    assert there + made == of == len(ahead.usual())
    assert sum(int(n) for n in re.findall(r"^  (\d+) forms? of [a-z_.]+$", said.out, re.MULTILINE)) == made
    assert main(["warmup"]) == 0
    said = capsys.readouterr()
    assert f"{of} of {of} were there, 0 were compiled" in said.out and said.err == ""


def test_info_and_warmup_need_no_numba_where_all_is_there() -> None:
    assert main(["warmup"]) == 0
    code = "import sys; sys.modules['numba'] = None\nfrom fastfc.cli import main\nprint(main(['info']), main(['warmup']))"
    assert python(code).splitlines()[-1] == "0 0"


def test_version_and_help_are_quick_to_load() -> None:
    code = "import sys; from fastfc.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in output for name in COMMANDS)
    assert not {"numpy", "numba", "matplotlib"} & set(output.splitlines()[-1].split())
    assert shell("--version").stdout == f"fastfc {fastfc.__version__}\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m fastfc info | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


# progress

RECORD = EpochRecord(epoch=7, loss=0.51234, penalty=0.01, test_loss=0.1, test_accuracy=0.98765, lr=0.1, seconds=0.0812)


def test_an_epoch_is_one_short_line() -> None:
    assert epoch_line(RECORD, 10) == "epoch  7/10  loss 0.5123  test loss 0.1000  test accuracy 98.77 %  0.081 s"


def training_of(samples: int, **settings: Any) -> TrainResult:
    model = fastfc.Network((2, 2))
    return TrainResult(model, fastfc.Settings(**settings), "numpy", 1, 0, "arrays", "dense", "", samples)


def test_on_a_terminal_a_bar_counts_samples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with fastfc.ProgressBar() as progress:
        progress.start(training_of(1000, epochs=3, top_loss_fraction=0.3))
        for epoch, done, n, expected in ((1, 900, 1000, 900), (2, 100, 300, 1100), (3, 300, 300, 1600)):
            progress.on_steps(epoch, done, n, [0.7])
            assert progress._bar.n == expected and progress._bar.total == 1600
    with progress:
        progress.start(training_of(1000, epochs=10))
        progress.on_steps(7, 500, 1000, [0.7, 0.6])
        assert progress._bar.n == 6500
        progress.on_epoch_end(RECORD)
    captured = capsys.readouterr()
    assert captured.out == epoch_line(RECORD, 10) + "\n"
    assert "epoch 7/10" in captured.err and "loss 0.6000" in captured.err
