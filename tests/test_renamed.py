"""Public names that have changed: the old ones work, and say what they are now; old and new together are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fastfc
from fastfc import Settings
from fastfc.cli import main
from fastfc.errors import InvalidType
from fastfc.recipes import get_recipe
from fastfc.storage.checkpoint import read_checkpoint
from tests.command_line import SMALL as OPTIONS
from tests.command_line import error_line
from tests.small import SMALL, blobs, digest

X, Y = blobs(100)
RENAMED = {"every": "checkpoint_every", "steps_a_call": "steps_per_call", "hardest": "top_loss_fraction"}


def warned(old: str) -> Any:
    return pytest.warns(DeprecationWarning, match=f"^{old} is now {RENAMED[old]}; the old name goes with the next")


def epochs_kept(folder: Path, **names: Any) -> int:
    """The epoch of the checkpoint of a training that was cut at the end of the third of four."""

    def cut(record: Any) -> None:
        if record.epoch == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fastfc.train((X, Y), backend="numpy", checkpoint=folder, on_epoch=cut, **{**SMALL, "epochs": 4}, **names)
    return read_checkpoint(folder)["epoch"]


def test_every(tmp_path: Path) -> None:
    with warned("every"):
        old = epochs_kept(tmp_path / "old", every=1)
    assert old == epochs_kept(tmp_path / "new", checkpoint_every=1) == 2
    assert epochs_kept(tmp_path / "other", checkpoint_every=9) == 0


def test_steps_a_call() -> None:
    seen: list[int] = []
    with warned("steps_a_call"):
        fastfc.train(
            (X, Y), backend="numpy", on_steps=lambda *a: seen.append(len(a[3])), steps_a_call=3, epochs=1, batch_size=10
        )
    assert seen == [3, 3, 3, 1]


MADE: dict[str, tuple[Callable[[], Settings], float]] = {
    "Settings": (lambda: Settings(hardest=0.3, lr=0.1), 0.3),
    "replace": (lambda: replace(Settings(lr=0.1), hardest=0.3), 0.3),
    "replace what was set": (lambda: replace(Settings(top_loss_fraction=0.7, lr=0.1), hardest=0.3), 0.3),
    "replace in a recipe": (lambda: replace(get_recipe("fast-99").settings, hardest=0.5), 0.5),
    "train": (lambda: fastfc.train((X, Y), backend="numpy", hardest=0.3, **SMALL).settings, 0.3),
    "train a recipe": (
        lambda: fastfc.train((X, Y), backend="numpy", recipe="fast-98", hardest=0.3, **SMALL).settings,
        0.3,
    ),
    "compare": (lambda: fastfc.compare((X, Y), backends=["numpy"], repeats=1, hardest=0.3).results[0].settings, 0.3),
}


@pytest.mark.parametrize("name", MADE)
def test_hardest(name: str) -> None:
    make, share = MADE[name]
    with warned("hardest") as caught:
        settings = make()
    assert settings.top_loss_fraction == share and len(caught) == 1
    with warned("hardest"):
        assert settings.hardest == share  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["Settings", "replace", "train"])
def test_the_warning_is_of_the_line_that_has_the_old_name(name: str) -> None:
    with warned("hardest") as caught:
        MADE[name][0]()
    assert caught[0].filename == __file__ or name == "replace"  # which is called by the standard library


@pytest.mark.parametrize("old", RENAMED)
def test_both_names_are_refused(old: str) -> None:
    both: dict[str, Any] = {old: 0.5 if old == "hardest" else 2, RENAMED[old]: 0.5 if old == "hardest" else 2}
    message = f"^{old}: given together with {RENAMED[old]}, its new name, expected one of them$"
    with pytest.raises(InvalidType, match=message):
        fastfc.train((X, Y), **SMALL, **both)
    if old == "hardest":
        for make in (Settings, lambda **names: fastfc.compare((X, Y), **names)):
            with pytest.raises(InvalidType, match=message):
                make(**both)


def test_new_names_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings are errors here."""
    r = fastfc.train((X, Y), backend="numpy", steps_per_call=2, top_loss_fraction=0.5, checkpoint_every=3, **SMALL)
    assert replace(r.settings, lr=0.2).top_loss_fraction == 0.5 and capsys.readouterr() == ("", "")


def train(*arguments: str) -> int:
    return main(["train", *OPTIONS, *arguments])


@pytest.mark.parametrize("old", [["--hardest", "0.5"], ["--hardest=0.5"]])
def test_old_options_of_the_command_line(
    old: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = "--checkpoint", str(tmp_path / "state"), "--data", str(data), "--out"
    assert train(*both, str(tmp_path / "old"), *old, "--every", "2") == 0
    said = "fastfc: --every is now --checkpoint-every\nfastfc: --hardest is now --top-loss-fraction\n"
    assert capsys.readouterr().err == said
    new = ["--top-loss-fraction", "0.5", "--checkpoint-every", "2"]
    assert train("--data", str(data), "--out", str(tmp_path / "new"), *new) == 0
    assert capsys.readouterr().err == ""
    models = [fastfc.load(tmp_path / name / "model.safetensors") for name in ("old", "new")]
    assert digest(models[0]) == digest(models[1])


@pytest.mark.parametrize("new", ["--top-loss-fraction=0.5", "--checkpoint-every=1"])
def test_old_and_new_options_together_are_refused(new: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag = new.partition("=")[0]
    old = {"--top-loss-fraction": "--hardest", "--checkpoint-every": "--every"}[flag]
    assert train("--data", str(data), new, old, "1") == 2
    assert error_line(capsys) == f"{old}: given together with {flag}, its new name, expected one of them"


@pytest.mark.parametrize("command", ["train", "compare"])
def test_old_options_are_not_in_the_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert "--top-loss-fraction" in text and "--hardest" not in text and "--every" not in text
