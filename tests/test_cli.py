"""The command line: the options, training, and what goes wrong."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import fastfc
from fastfc.cli import main, options
from fastfc.data import mnist
from fastfc.reports import plots
from fastfc.settings import Settings
from tests.command_line import SMALL, error_line, shell
from tests.promises import HANGS

# The options


def test_every_setting_is_an_option_of_train_and_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(options.OPTIONS) == list(Settings.names())
    for command in ("train", "compare"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        text = capsys.readouterr().out
        for name in Settings.names():
            assert "--" + name.replace("_", "-") in text


def test_an_option_that_is_not_given_sets_nothing() -> None:
    assert given([]) == {}


def test_defaults_in_the_help_read_back_as_the_defaults() -> None:
    for field in fields(Settings):
        if not isinstance(field.default, bool):
            text = options._written(field.name, field.default)
            assert given(["--" + field.name.replace("_", "-"), text]) == {field.name: field.default}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--hidden 30", {"hidden": (30,)}),
        ("--hidden 30,20,10", {"hidden": (30, 20, 10)}),
        ("--hidden none", {"hidden": ()}),
        ("--activation tanh,relu", {"activation": ("tanh", "relu")}),
        ("--init normal:0.1", {"init": ("normal", 0.1)}),
        ("--batch-size all", {"batch_size": None}),
        ("--augment 1 --no-shuffle", {"augment": 1, "shuffle": False}),
        ("--top-loss-fraction 0.5", {"top_loss_fraction": 0.5}),
        ("--top-loss-fraction all", {"top_loss_fraction": None}),
        ("--ema none --warmup 2", {"ema": None, "warmup": 2.0}),
        ("--ema 0.99 --plateau-patience 4", {"ema": 0.99, "plateau_patience": 4}),
        ("--scale 0.5 --lr 1e-3", {"scale": 0.5, "lr": 1e-3}),
        ("--optimizer adam --dropout 0.2", {"optimizer": "adam", "dropout": 0.2}),
        ("--dropout 0.2,0.5 --input-dropout 0.1", {"dropout": (0.2, 0.5), "input_dropout": 0.1}),
        ("--clip-norm 1 --l1 1e-4", {"clip_norm": 1.0, "l1": 1e-4}),
        ("--clip-norm none --no-velocity-has-rate", {"clip_norm": None, "velocity_has_rate": False}),
        ("--loss huber --huber-delta 0.5 --decay-per-batch", {"loss": "huber", "huber_delta": 0.5, "decay_per_batch": True}),
        ("--optimizer lbfgs --tolerance 1e-4", {"optimizer": "lbfgs", "tolerance": 1e-4}),
        ("--activation gelu,mish", {"activation": ("gelu", "mish")}),
    ],
)
def test_options_become_settings(arguments: str, expected: dict[str, Any]) -> None:
    assert given(arguments.split()) == expected
    Settings(**expected)


def given(arguments: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    options.add_settings(parser)
    return options.given_settings(parser.parse_args(arguments))


# train


def test_train_prints_one_line_an_epoch_in_80_columns(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(data), *SMALL]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line[:9] for line in lines[:3]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert captured.err == ""
    assert "64-8-3, softmax_ce; numpy, float32" in captured.out
    assert "test accuracy" in lines[-1]
    assert max(map(len, lines)) < 80


def test_train_with_what_people_expect(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Validation loss and accuracy in each line, and in the picture beside training and test."""
    options = "--optimizer adam --dropout 0.2 --early-stopping 5 --validation 0.1 --class-weight balanced --activation gelu"
    assert main(["train", "--data", str(data), *SMALL, *options.split(), "--out", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    shape = r"epoch \d/3  loss \d\.\d{4}  validation loss \d\.\d{4}, accuracy \d+\.\d\d %  \d\.\d{3} s"
    assert len(lines) == 3 and all(re.fullmatch(shape, line) for line in lines)
    content = json.loads((tmp_path / "history.json").read_text())
    assert content["settings"]["dropout"] == 0.2 and content["settings"]["optimizer"] == "adam"
    figure = plots.training_curves(content["history"])
    assert [line.get_label() for line in figure.axes[0].lines] == ["training (as seen while training)", "validation", "test"]
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


def test_train_by_lbfgs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(data), "--hidden", "8", "--backend", "numpy", "--optimizer", "lbfgs", "--epochs", "5"]
    assert main(["train", *arguments]) == 0
    assert capsys.readouterr().out.count("test accuracy") == 6
    assert main(["train", *arguments, "--batch-size", "16"]) == 2
    assert error_line(capsys) == "batch_size: given 16, expected None with optimizer 'lbfgs'"


def test_train_learns_what_it_says(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert main(["train", "--data", str(data), "--json", str(file), *SMALL, "--epochs", "20"]) == 0
    assert json.loads(file.read_text())["test_accuracy"] > 0.9


def test_train_writes_model_history_and_picture(run_folder: Path) -> None:
    assert {path.name for path in run_folder.iterdir()} == {"model.safetensors", "history.json", "training.png"}
    assert fastfc.load(run_folder / "model.safetensors").layers == (64, 8, 3)
    assert len(json.loads((run_folder / "history.json").read_text())["history"]) == 3
    assert (run_folder / "training.png").read_bytes().startswith(b"\x89PNG")


def test_json_of_train_has_its_keys(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    assert main(["train", "--data", str(data), "--json", str(file), "--seed", "3", *SMALL]) == 0
    content = json.loads(file.read_text())
    needed = {"backend", "dtype", "threads", "layers", "data", "history", "test_accuracy", "train_seconds"}
    assert needed | {"compile_seconds"} <= content.keys()
    assert (content["backend"], content["dtype"], content["layers"]) == ("numpy", "float32", [64, 8, 3])
    assert content["data"] == str(data)
    assert [record["epoch"] for record in content["history"]] == [1, 2, 3]
    for record in content["history"]:
        assert {"loss", "test_loss", "test_accuracy", "seconds"} <= record.keys()
    assert content["test_accuracy"] == content["history"][-1]["test_accuracy"]


def test_settings_reach_the_training(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    arguments = ["--activation", "tanh", "--lr", "0.01", "--batch-size", "all", "--no-shuffle", "--dtype", "float64"]
    assert main(["train", "--data", str(data), "--json", str(file), *SMALL, *arguments]) == 0
    settings = json.loads(file.read_text())["settings"]
    assert (settings["activation"], settings["lr"], settings["batch_size"]) == ("tanh", 0.01, None)
    assert (settings["shuffle"], settings["dtype"], settings["momentum"]) == (False, "float64", Settings().momentum)


def test_the_same_seed_gives_the_same_model(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["train", "--data", str(data), "--out", str(tmp_path / name), "--seed", seed, *SMALL]) == 0
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_a_test_set_of_its_own(data: Path, tmp_path: Path) -> None:
    content = np.load(data)
    np.savez(tmp_path / "plain.npz", X=content["x_train"], y=content["y_train"])
    np.savez(tmp_path / "other.npz", X=content["x_test"], y=(content["y_test"] + 1) % 3)
    file = tmp_path / "result.json"
    arguments = ["--data", str(tmp_path / "plain.npz"), "--json", str(file), *SMALL, "--epochs", "20"]
    assert main(["train", *arguments]) == 0
    assert json.loads(file.read_text())["test_accuracy"] is None
    assert main(["train", *arguments, "--test-data", str(tmp_path / "other.npz")]) == 0
    assert json.loads(file.read_text())["test_accuracy"] < 0.1


def test_without_matplotlib_the_picture_is_skipped_and_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert "no training.png: plots need matplotlib: pip install 'fastfc[plots]'" in capsys.readouterr().out
    assert not (tmp_path / "run" / "training.png").exists()
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("stop", ["result", "exception"])
def test_ctrl_c_exits_with_130(
    stop: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the training hands back what it has, that is saved."""
    real = fastfc.train

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        if stop == "exception":
            raise KeyboardInterrupt
        result = real(*arguments, **{**keywords, "epochs": 1})
        object.__setattr__(result, "interrupted", True)
        return result

    monkeypatch.setattr(fastfc, "train", interrupted)
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL]) == 130
    assert (tmp_path / "run" / "model.safetensors").exists() == (stop == "result")
    captured = capsys.readouterr()
    assert ("stopped early" in captured.out) if stop == "result" else (captured.err == "fastfc: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_real_ctrl_c_leaves_a_model_that_loads(data: Path, tmp_path: Path) -> None:
    import_module("matplotlib.font_manager")  # makes a list of fonts on a new machine, and says so if that takes 5 s
    arguments = ["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL, "--epochs", "1000000"]
    command = [sys.executable, "-m", "fastfc", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline().startswith("epoch       1/1000000")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=HANGS)
    assert (process.returncode, err) == (130, "")
    assert "stopped early" in out
    assert fastfc.load(tmp_path / "run" / "model.safetensors").layers == (64, 8, 3)


def test_a_time_limit_is_no_interrupt(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--max-seconds", "0.05", "--epochs", "1000000"]
    assert main(["train", "--data", str(data), *SMALL, *arguments]) == 0
    assert "stopped early" in capsys.readouterr().out


def test_a_training_goes_on_from_its_checkpoint(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In two parts or in one: the same model. A constant rate does not depend on the number of epochs."""
    arguments = ["--data", str(data), *SMALL, "--schedule", "constant"]
    assert main(["train", *arguments, "--out", str(tmp_path / "whole")]) == 0
    for epochs in ("1", "3"):
        parts = ["--checkpoint", str(tmp_path / "state"), "--checkpoint-every", "2", "--out", str(tmp_path / "parts")]
        assert main(["train", *arguments, *parts, "--epochs", epochs]) == 0
    whole, parts_ = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts_
    assert capsys.readouterr().out.count("the checkpoint has 1 of 3 epochs\n") == 1


def test_missing_mnist_is_said_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = [np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10] * 2
    reason = "; ".join(f"{urlsplit(url).netloc}: no answer" for url in mnist.SOURCES["mnist"].mirrors)

    def unreachable(*_: Any, **__: Any) -> None:
        raise mnist._cannot_have("mnist", reason)

    monkeypatch.setattr(mnist, "load", unreachable)
    monkeypatch.setattr("fastfc.data.digits.load", lambda: arrays)
    for arguments in (["train", *SMALL], ["compare", *SMALL[:2], "--backends", "numpy"]):
        assert main(arguments) == 0
        captured = capsys.readouterr()
        first, *rest = captured.err.splitlines()
        assert first.startswith("fastfc: Using generated digits: ") and all(line.startswith("  ") for line in rest)
        assert max(map(len, [first, *rest])) < 80 and len(rest) < 6
        assert "ubyte.gz" in captured.err
        shown = " ".join(captured.err.split())
        assert reason in shown and "FASTFC_DATA_DIR=FOLDER" in shown


# Errors: one line, exit code 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--lr 0", "lr: given 0.0, expected a finite number > 0"),
        ("--loss hinge", "loss: given 'hinge', expected one of softmax_ce, sigmoid_bce, mse"),
        ("--backend cuda", "backend: given 'cuda'"),
        ("--threads 0", "threads: given 0"),
        ("--epochs 0", "epochs: given 0"),
        ("--dropout 1.0", "dropout: given 1.0, expected a finite number >= 0 and < 1"),
        ("--early-stopping 5", "monitor: given 'validation_loss', expected one of loss, penalty"),
        ("--class-weight fair", "class_weight: given 'fair', expected 'balanced'"),
        ("--recipe none-such", "recipe: given 'none-such'"),
        ("--data none-such.npz", "none-such.npz"),
        ("--json none-such/result.json", "--json: given "),
    ],
)
def test_bad_values_are_one_line(arguments: str, says: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(data), *SMALL, *arguments.split()]) == 2
    assert says in error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "the following arguments are required: COMMAND (see fastfc --help)"),
        ("fly", "invalid choice: 'fly'"),
        ("train --lr fast", "argument --lr: given 'fast', expected RATE"),
        ("train --hidden 3,x", "argument --hidden: given '3,x', expected N,N,..."),
        ("train --speed 3", "unrecognized arguments: --speed 3"),
        ("train --epoch 3", "unrecognized arguments: --epoch 3"),
    ],
)
def test_bad_options_are_one_line(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    assert says in error_line(capsys)


def test_a_terminal_gets_an_error_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--recipe", "none-such"]
    assert main(arguments) == 2
    line = error_line(capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1 and max(map(len, lines)) < 80
    assert " ".join(part.strip() for part in lines) == f"fastfc: error: {line}"


def test_a_folder_that_cannot_be_made_is_said_before_the_training(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(data), "--out", str(data), *SMALL]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"fastfc: error: {data}: File exists\n"


def test_a_shell_sees_no_traceback(tmp_path: Path) -> None:
    done = shell("predict", str(tmp_path / "none.safetensors"), "--data", "digits")
    assert done.returncode == 2
    assert done.stderr.startswith("fastfc: error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
