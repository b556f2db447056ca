"""What `fastfc train` and `fastfc watch` show: in terminals of two widths, in a pipe, and to who wants JSON or nothing."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastfc
from fastfc.cli import main, watch
from fastfc.machine.terminal import wants_colour
from fastfc.reports import textplot
from fastfc.training import running
from fastfc.training.progress import epoch_line
from fastfc.training.running import RunningFile
from tests.command_line import SMALL, error_line, terminal
from tests.small import SMALL as SMALL_NET
from tests.small import blobs
from tests.test_cli_commands import RECORD

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def lines_of(shown: str) -> list[str]:
    """Without colours; what is written over an older line of the terminal counts as one."""
    return re.split(r"[\r\n]+", COLOUR.sub("", shown))


# train


@pytest.mark.parametrize(
    ("columns", "environment"),
    [(80, {}), (40, {"NO_COLOR": "1", "PYTHONIOENCODING": "ascii"})],
    ids=["80", "40 in ASCII without colour"],
)
def test_a_terminal_shows_a_bar(data: Path, columns: int, environment: dict[str, str]) -> None:
    with terminal(columns, "train", "--data", str(data), *SMALL, **environment) as running:
        assert running.end() == 0
    shown, lines = running.shown, lines_of(running.shown)
    assert max(map(len, lines)) <= columns
    assert bool(COLOUR.search(shown)) != ("NO_COLOR" in environment) and "\x1b" not in COLOUR.sub("", shown)
    assert shown.isascii() == ("PYTHONIOENCODING" in environment)
    rest = r"loss \d\.\d{4}  \d+\.\d\d %  [\d.?k]+ samples/s  [\d:?]+ left *" if columns == 80 else r"loss \d\.\d{4}  [\d:?]+ *"
    assert any(re.fullmatch(rf"epoch \d/3 \|.*\| {rest}", line) for line in lines)
    assert sum(re.fullmatch(r"epoch \d/3  loss .*\d\d %(  \d\.\d{3} s)?", line) is not None for line in lines) == 3
    assert any(re.fullmatch(r"loss \d\.\d{4} [▁-█]{3} \d\.\d{4}|loss \d\.\d{4} [_.:=+*#-]{3} \d\.\d{4}", line) for line in lines)


def test_a_pipe_gets_plain_lines(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(data), *SMALL]) == 0
    said = capsys.readouterr()
    assert said.err == "" and not set(map(ord, said.out)) & {*range(10), *range(11, 32), 127}
    assert re.fullmatch(r"(epoch .*\n){3}loss .*\n64-8-3.*\ntrained in.*\n", said.out)


def test_where_the_encoding_cannot_names_are_escaped(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    monkeypatch.setattr("fastfc.reports.plots.available", lambda: False)
    assert main(["train", "--data", str(data), *SMALL, "--out", str(tmp_path / "Läufe")]) == 0
    assert rb"L\xe4ufe" in written.getvalue()


def test_quiet_says_errors_alone(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", str(data), "--test-data", str(data), *SMALL, "--quiet"]
    assert main([*arguments, "--page", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "page.html").exists()
    assert main([*arguments, "--lr", "0"]) == 2
    assert "lr: given 0.0" in error_line(capsys)


@pytest.mark.parametrize("quiet", [False, True])
def test_json_is_alone_on_standard_output(
    quiet: bool, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastfc.reports.plots.available", lambda: False)
    arguments = ["--data", str(data), *SMALL, "--out", str(tmp_path / "run"), "--json", "-", *["--quiet"] * quiet]
    assert main(["train", *arguments]) == 0
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert len(content["history"]) == 3 and content["settings"]["hidden"] == [8] and content["test_accuracy"] > 0
    assert {name: Path(file).is_file() for name, file in content["files"].items()} == {"model": True, "history": True}
    assert said.err.count("epoch ") == (0 if quiet else 3)
    assert main(["compare", "--data", str(data), "--hidden", "8", "--backends", "numpy", "--repeats", "1", "--json", "-"]) == 0
    assert [row["backend"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["numpy"]


@pytest.mark.parametrize(
    ("is_terminal", "environment", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_where_they_are_wanted(
    is_terminal: bool, environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TERM": "xterm", "NO_COLOR": "", "FORCE_COLOR": "", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    assert wants_colour(stream) == expected


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, "epoch  7/10  loss 0.5123  test loss 0.1000  test accuracy 98.77 %  0.081 s"),
        (70, "epoch  7/10  loss 0.5123  test loss 0.1000  test accuracy 98.77 %"),
        (40, "epoch  7/10  loss 0.5123  98.77 %"),
    ],
)
def test_an_epoch_is_a_line_of_any_terminal(width: int, expected: str) -> None:
    assert epoch_line(RECORD, 10, width) == expected


# Curves as text


def test_a_sparkline_is_as_high_as_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert textplot.sparkline([7, 6, 5, 4, 3, 2, 1, 0], 80) == "█▇▆▅▄▃▂▁"
    assert textplot.sparkline([7, 5, 0, 0, 1, 1], 3) == "█▁▂"  # means of two
    assert textplot.sparkline([3.0], 80) == textplot.sparkline([3.0, 3.0], 1) == "▁"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert textplot.sparkline([7, 0], 80) == "#_"


def test_a_plot_has_its_values_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    """In ASCII, where a character is a point: loss on a logarithmic axis, as it falls to a hundredth."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    series: dict[str, Any] = {"training": [100, 10, 1], "test": [None, 100, None]}
    assert textplot.plot("loss", series, 60, 5) == [
        "loss (log)   * training 1   o test 100",
        "     100 *******                  o",
        "                ************",
        "                            *************",
        "                                         ************",
        "       1                                             *******",
        "         1                                           epoch 3",
    ]
    assert [line.strip() for line in textplot.plot("R2", {"test": [0.5]}, 30, 3)[1:4]] == ["", "0.5 o", ""]


# watch


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process is there")
def test_a_running_training_is_watched_until_it_is_killed(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "fastfc", "train", "--data", str(data), "--out", str(run), *SMALL, "--epochs", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as training:
        while not (run / "running.json").exists():
            assert training.poll() is None
            time.sleep(0.02)
        with terminal(60, "watch", str(run)) as watching:
            for shown in watching.pieces():
                if len(set(re.findall(r"epoch +(\d+)/1000000", shown))) == 2:
                    break
            training.kill()
            training.wait()
            assert watching.end() == 2
    shown, lines = watching.shown, lines_of(re.sub(r"\x1b\[\d+F\x1b\[J", "\n", watching.shown))
    assert max(len(line) for line in lines if str(run) not in line) <= 60 and re.search(r"\x1b\[22F\x1b\[J", shown)
    assert any(line.startswith("accuracy (%)   test ") for line in lines) and "⠀" < max(shown) < "⣿"
    assert re.search(r"process \d+ is gone, killed after \d+ epochs or more: it has saved no network", " ".join(shown.split()))
    assert {path.name for path in run.iterdir()} == {"running.json"}


def follow(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], Any]) -> None:
    """`fastfc watch` looks once after each of them."""
    left = iter(steps)
    monkeypatch.setattr(watch.time, "sleep", lambda _: next(left)())


def test_a_pipe_gets_a_line_an_epoch_as_it_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PAUSE", 0.0)
    monkeypatch.setattr(running, "SHARE", 1e9)
    result = fastfc.train(blobs(), blobs(), backend="numpy", **SMALL_NET)
    first, second = result.history
    said: list[str] = []

    def note() -> None:
        said.append(capsys.readouterr().out)

    with RunningFile(tmp_path / "running.json") as file:

        def begin() -> None:
            result.history = []
            file.on_train_begin(result)

        def end() -> None:
            result.history = [first, second]
            (tmp_path / "history.json").write_text(json.dumps(result.to_dict()))
            file.__exit__(None, None, None)

        epochs = (lambda: file.on_epoch_end(first), lambda: file.on_epoch_end(second))
        follow(monkeypatch, begin, epochs[0], note, epochs[1], note, end)
        assert main(["watch", str(tmp_path)]) == 0
    assert [text.split()[:2] for text in said] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert re.fullmatch(r"trained 2 epochs in \d\.\d\d s; test accuracy \d+\.\d\d %\n", capsys.readouterr().out)


def test_a_training_that_diverges_leaves_what_was_seen_of_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose settings are refused leaves nothing."""
    arguments = ["train", "--data", str(data), *SMALL, "--out", str(tmp_path / "run")]
    assert main([*arguments, "--lr", "0"]) == 2
    assert list((tmp_path / "run").iterdir()) == []
    assert main([*arguments, "--lr", "1e30"]) == 2
    capsys.readouterr()
    assert main(["watch", str(tmp_path / "run")]) == 2
    assert re.search("run: the training ended by an error: (loss|weights): given .* in epoch 1", error_line(capsys))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"history": [{}]}', '{"history": []}'])
def test_what_is_no_training_is_one_line(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / "history.json").write_text(content)
    assert main(["watch", str(tmp_path)]) == 2
    assert ("the history.json of a training" if content else "without history.json or running.json") in error_line(capsys)


def test_a_training_that_ends_before_its_first_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunningFile(tmp_path / "running.json") as file:
        follow(monkeypatch, lambda: file.__exit__(None, None, None))
        assert main(["watch", str(tmp_path)]) == 2
    assert error_line(capsys) == f"{tmp_path}: the training ended before its first epoch"


@pytest.mark.parametrize(("process", "expected"), [({}, False), ({"host": "another"}, False), ({"pid": 2**22 + 1}, True)])
def test_a_process_of_this_machine_alone_can_be_gone(process: dict[str, Any], expected: bool) -> None:
    here = {"pid": os.getpid(), "host": platform.node()}
    assert watch._is_gone(here | process) == (expected and os.name == "posix")


def test_the_file_of_a_running_training_is_written_some_times_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And its training goes on where it cannot be."""
    stamps = set()
    with RunningFile(tmp_path / "running.json") as file:
        for _ in range(1000):
            file.on_epoch_end(RECORD)
            stamps.add((tmp_path / "running.json").stat().st_ino)
        assert len(file.epochs) == 1000 and len(stamps) <= 3
        (tmp_path / "running.json").unlink()
        (tmp_path / "running.json").mkdir()
        for _ in range(2):
            file.due = 0
            file.on_epoch_end(RECORD)
        said = " ".join(capsys.readouterr().err.split())
        assert said.count("fastfc: cannot write") == 1 and said.endswith("`fastfc watch` does not see this training")
        (tmp_path / "running.json").rmdir()
        file.due = 0
        file.on_epoch_end(RECORD)
        assert len(json.loads((tmp_path / "running.json").read_text())["history"]) == 1003
