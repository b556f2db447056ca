"""Early stopping, callbacks and what they leave: against the history, with each way that a training can end."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import BestCheckpoint, CSVLog, EarlyStopping, EpochRecord, TrainResult
from fastfc.cli import main
from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.storage.checkpoint import read_checkpoint, write_checkpoint
from fastfc.training.monitor import Monitor
from tests.command_line import SMALL as OPTIONS
from tests.small import BACKENDS, SMALL, blobs, digest

# Labels of which many are wrong: soon the loss of other samples grows.
X, Y = blobs(120, classes=3)
Y = np.where(np.random.default_rng(1).random(120) < 0.4, (Y + 1) % 3, Y)
OVERFITS: dict[str, Any] = {**SMALL, "hidden": (32,), "epochs": 30, "lr": 0.1, "schedule": "constant", "validation": 0.3}


def best_of(history: list[EpochRecord], monitor: str = "validation_loss") -> int:
    """The epoch with the smallest value, the first of equal ones."""
    return 1 + int(np.argmin([getattr(record, monitor) for record in history]))


def networks(keep: list[str]) -> Callable[[Any], None]:
    """on_train_begin and on_epoch_end of a callback that keeps the digest of the network after each epoch."""

    class Keep:
        def on_train_begin(self, result: TrainResult) -> None:
            self.model = result.model

        def on_epoch_end(self, record: EpochRecord) -> None:
            keep.append(digest(self.model))

    return Keep()  # type: ignore[return-value]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("restore", [True, False])
def test_training_ends_so_many_epochs_after_the_best_and_keeps_that(
    backend: str, patience: int, restore: bool
) -> None:
    kept: list[str] = []
    stopping = EarlyStopping(patience=patience, restore_best=restore)
    result = fastfc.train((X, Y), early_stopping=stopping, callbacks=[networks(kept)], backend=backend, **OVERFITS)
    best = best_of(result.history)
    assert result.stopped_early and result.best_epoch == best == len(result.history) - patience < 29
    assert not result.interrupted and digest(result.model) == kept[best - 1 if restore else -1] and len(set(kept)) > 1
    assert result.record == result.history[best - 1 if restore else -1] and result.is_restored == restore
    whole = fastfc.train((X, Y), backend=backend, **OVERFITS)
    assert whole.best_epoch is None and not whole.stopped_early and len(whole.history) == 30
    seconds = {"seconds": 0.0}
    of_both = [[replace(r, **seconds) for r in h] for h in (result.history, whole.history[: len(result.history)])]
    assert of_both[0] == of_both[1]
    again = fastfc.train((X, Y), early_stopping=stopping, backend=backend, **OVERFITS)
    assert digest(again.model) == digest(result.model)


def test_the_test_accuracy_is_that_of_the_network() -> None:
    result = fastfc.train((X, Y), (X, Y), early_stopping=2, backend="numpy", **OVERFITS)
    assert result.test_accuracy == result.model.score(X, Y) != result.history[-1].test_accuracy


def test_patience_that_lasts_to_the_end_is_no_early_stop() -> None:
    result = fastfc.train((X, Y), early_stopping=99, backend="numpy", **OVERFITS)
    best = best_of(result.history)
    assert not result.stopped_early and len(result.history) == 30 and result.best_epoch == best < 30
    assert result.model.loss_and_accuracy(X, Y) != pytest.approx(result.history[-1].loss)


class Numbers(Monitor):
    def __init__(self, monitor: str = "validation_loss", min_delta: float = 0.0, mode: str | None = None) -> None:
        self.monitor, self.min_delta, self.mode = monitor, min_delta, mode


def followed(values: list[float], monitor: Numbers) -> tuple[list[bool], float | None, int]:
    """Whether each was the best, the best at last, and how many have come since."""
    empty = EpochRecord(0, 0.0, 0.0, None, None, 0.1, 0.0)
    history = [replace(empty, epoch=k, metrics={monitor.monitor: value}) for k, value in enumerate(values, 1)]
    monitor.begin([])
    return [monitor.follow(record) for record in history], monitor.best, monitor.waited


def test_what_counts_as_better() -> None:
    assert followed([3, 2, 2, 4, 1], Numbers()) == ([True, True, False, False, True], 1, 0)
    assert followed([3, 2, 2, 4, 1], Numbers("validation_accuracy")) == ([True, False, False, True, False], 4, 1)
    assert followed([3, 2.9, 2.6, 2.5, 2.4], Numbers(min_delta=0.3)) == ([True, False, True, False, False], 2.6, 2)
    assert followed([3, 4, 2], Numbers("f1", mode="max")) == ([True, True, False], 4, 1)
    assert followed([3, 4, 2], Numbers("mine", mode="min")) == ([True, False, True], 2, 0)
    assert followed([5, 4], Numbers("penalty")) == ([True, True], 4, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_metric_of_ones_own_can_be_followed(backend: str) -> None:
    values = iter([0.5, 0.7, 0.7, 0.6, 0.9])
    stopping = EarlyStopping("mine", patience=2, mode="max")
    metrics = {"mine": lambda y, predicted: next(values)}
    result = fastfc.train((X, Y), metrics=metrics, early_stopping=stopping, backend=backend, **OVERFITS)
    assert [r.metrics["mine"] for r in result.history] == [0.5, 0.7, 0.7, 0.6] and result.best_epoch == 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["on_epoch", "callback"])
def test_only_true_itself_ends_a_training(backend: str, form: str) -> None:
    class Stop:
        answers = iter([1, "yes", np.True_, None, True])

        def on_epoch_end(self, record: EpochRecord) -> object:
            return next(self.answers)

    stop = Stop()
    how: dict[str, Any] = {"on_epoch": stop.on_epoch_end} if form == "on_epoch" else {"callbacks": [stop]}
    result = fastfc.train((X, Y), backend=backend, **{**SMALL, "epochs": 9}, **how)
    assert len(result.history) == 5 and result.stopped_early and not result.interrupted and result.best_epoch is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_callbacks_are_called_in_turn(backend: str) -> None:
    seen: list[Any] = []

    class All:
        def on_train_begin(self, result: TrainResult) -> None:
            seen.append(("begin", list(result.history), digest(result.model)))
            self.result = result

        def on_steps(self, epoch: int, done: int, n: int, losses: list[float]) -> None:
            seen.append((epoch, done, n, len(losses)))

        def on_epoch_end(self, record: EpochRecord) -> None:
            seen.append(record)
            assert self.result.history[-1] is record

        def on_train_end(self, result: TrainResult) -> None:
            seen.append(result)

    class Begin:
        def on_train_begin(self, result: TrainResult) -> None:
            seen.append("another")

    start = fastfc.train((X, Y), backend=backend, **SMALL).model
    result = fastfc.train(
        (X, Y), network=start, callbacks=[All(), Begin()], steps_per_call=2, backend=backend, batch_size=64, epochs=1
    )
    assert seen == [("begin", [], digest(start)), "another", (1, 120, 120, 2), result.history[0], result]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_best_network_is_saved_and_the_epochs_logged(backend: str, tmp_path: Path) -> None:
    best, log = tmp_path / "best.safetensors", tmp_path / "log.csv"
    log.write_text("what was there before")
    result = fastfc.train(
        (X, Y), (X, Y), callbacks=[BestCheckpoint(best), CSVLog(log)], metrics={"one": lambda y, p: 1.0},
        early_stopping=EarlyStopping(patience=4), backend=backend, **OVERFITS,
    )  # fmt: skip
    assert result.stopped_early and digest(fastfc.load(best)) == digest(result.model)
    rows = rows_of(log)
    expected = [{**{k: v for k, v in asdict(r).items() if k != "metrics"}, "one": 1.0} for r in result.history]
    assert rows == [{k: "" if v is None else str(v) for k, v in row.items()} for row in expected]


def rows_of(log: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(log.read_text(encoding="utf-8").splitlines()))


class Cut(Exception):
    pass


def cut_after(epoch: int) -> Callable[[EpochRecord], None]:
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise Cut

    return on_epoch


RESUMED: dict[str, dict[str, Any]] = {
    "stopping": {"early_stopping": 4},
    "stopping, the last": {"early_stopping": EarlyStopping(patience=4, restore_best=False)},
    "averages": {"early_stopping": 4, "ema": 0.9},
    "plateau": {"schedule": "plateau", "plateau_patience": 1, "plateau_factor": 0.3, "warmup": 2},
    "plateau of the training loss": {
        "validation": None, "schedule": "plateau", "plateau_patience": 1, "lr": 2.0, "epochs": 12
    },
    "(X, y)": {"validation": (X[:30], Y[:30]), "early_stopping": 2, "metrics": {"one": lambda y, p: 1.0}},
    "the hardest": {"early_stopping": 4, "top_loss_fraction": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path: Path, name: str, backend: str) -> None:
    options = {**OVERFITS, "backend": backend, **RESUMED[name]}
    logs = [tmp_path / "whole.csv", tmp_path / "parts.csv"]
    saved = [tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"]
    monitor = "loss" if options["validation"] is None else "validation_loss"

    def train(which: int, **more: Any) -> TrainResult:
        callbacks = [CSVLog(logs[which]), BestCheckpoint(saved[which], monitor)]
        return fastfc.train((X, Y), callbacks=callbacks, **options, **more)

    whole = train(0)
    last = len(whole.history)
    assert last > 4
    for epoch in (1, 4, last):
        with pytest.raises(Cut):
            train(1, checkpoint=tmp_path / "state", checkpoint_every=3, on_epoch=cut_after(epoch))
    resumed = train(1, checkpoint=tmp_path / "state", checkpoint_every=3)
    assert read_checkpoint(tmp_path / "state")["epoch"] == last
    read = train(1, checkpoint=tmp_path / "state", checkpoint_every=3)
    for other in (resumed, read):
        assert digest(other.model) == digest(whole.model)
        assert [replace(r, seconds=0) for r in other.history] == [replace(r, seconds=0) for r in whole.history]
        ended = (other.best_epoch, other.stopped_early, other.is_restored, other.test_accuracy)
        assert ended == (whole.best_epoch, whole.stopped_early, whole.is_restored, whole.test_accuracy)
        assert other.state["steps"] == whole.state["steps"]
        for a, b in zip(other.state["velocity"], whole.state["velocity"], strict=True):
            assert np.array_equal(a, b)
    rows = [[{**row, "seconds": ""} for row in rows_of(log)] for log in logs]
    assert rows[0] == rows[1] and len(rows[0]) == last
    assert saved[0].read_bytes() == saved[1].read_bytes()
    if options["schedule"] == "plateau":
        assert len({record.lr for record in whole.history}) > 3


def test_more_patience_goes_on_where_a_training_stopped(tmp_path: Path) -> None:
    options = {**OVERFITS, "backend": "numpy"}
    short = fastfc.train((X, Y), early_stopping=2, checkpoint=tmp_path, **options)
    longer = fastfc.train((X, Y), early_stopping=5, checkpoint=tmp_path, **options)
    assert len(longer.history) == len(short.history) + 3 and digest(longer.model) == digest(short.model)
    assert read_checkpoint(tmp_path)["epoch"] == len(longer.history)


TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no loss": (lambda c: c["history"][1].pop("validation_loss"), "validation_loss of epoch 2: given None, expected a nu"),
    "a text": (lambda c: c["history"][0].update(validation_loss="low"), "validation_loss of epoch 1: given 'low', expec"),
    "no metrics": (lambda c: c["history"][0].update(metrics=3), "checkpoint: given a history of other records"),
    "other epochs": (lambda c: c["history"][0].update(epoch=7), "checkpoint: given a history of other records"),
    "an epoch less": (lambda c: c["history"].pop(), "checkpoint: given a history of other records"),
    "no average": (lambda c: c["state"].pop("average"), "checkpoint: given no average of the parameters"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_checkpoint_of_other_content_is_one_line(tmp_path: Path, name: str) -> None:
    change, message = TAMPERED[name]
    options = {**OVERFITS, "epochs": 3, "early_stopping": 9, "ema": 0.9, "backend": "numpy", "checkpoint": tmp_path}
    fastfc.train((X, Y), **options)
    content = read_checkpoint(tmp_path)
    change(content)
    write_checkpoint(tmp_path, content)
    with pytest.raises(FastFCError, match=f"^{message}"):
        fastfc.train((X, Y), **options)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"validation": 0.2}, "validation"),
        ({"validation": None, "early_stopping": None}, "early_stopping, validation"),
        ({"early_stopping": EarlyStopping("loss")}, "early_stopping"),
        ({"ema": 0.5}, "ema"),
    ],
)
def test_another_validation_or_stopping_is_another_training(tmp_path: Path, other: dict[str, Any], named: str) -> None:
    options = {**OVERFITS, "epochs": 2, "early_stopping": 4, "backend": "numpy"}
    fastfc.train((X, Y), checkpoint=tmp_path, **options)
    with pytest.raises(InvalidArgument, match=f"^checkpoint: given one of a training with other {named}, expected"):
        fastfc.train((X, Y), checkpoint=tmp_path, **{**options, **other})


def test_each_training_counts_for_itself() -> None:
    stopping, options = EarlyStopping(patience=3), {**OVERFITS, "backend": "numpy"}
    alone = digest(fastfc.train((X, Y), early_stopping=stopping, **options).model)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(digest(fastfc.train((X, Y), callbacks=[stopping], **options).model)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 3


def test_progress_is_a_callback_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of `progress=True`, once."""
    options, bar, shown = {**SMALL, "backend": "numpy"}, fastfc.ProgressBar(), []
    for how in ({"progress": True}, {"callbacks": [bar]}, {"callbacks": [bar], "progress": True}):
        fastfc.train((X, Y), validation=0.2, **how, **options)
        shown.append([line.rpartition("  ")[0] for line in capsys.readouterr().out.splitlines()])  # without seconds
    assert all(lines == shown[0] for lines in shown)
    assert len(shown[0]) == 2 and all("validation loss" in line and "accuracy" in line for line in shown[0])


BAD: list[tuple[dict[str, Any], type[FastFCError], str]] = [
    ({"early_stopping": 0}, InvalidArgument, "early_stopping: given 0, expected a whole number >= 1"),
    ({"early_stopping": 1.5}, InvalidType, "early_stopping: given 1.5, expected a number of epochs, or an EarlyStop"),
    ({"early_stopping": True}, InvalidType, "early_stopping: given True, expected a number of epochs"),
    ({"early_stopping": 3}, InvalidArgument, "monitor: given 'validation_loss', expected one of loss, penalty; a val"),
    ({"early_stopping": EarlyStopping("f1")}, InvalidArgument, "monitor: given 'f1', expected one of loss, penalty"),
    (
        {"early_stopping": EarlyStopping("validation_r2"), "validation": 0.3},
        InvalidArgument,
        "monitor: given 'validation_r2', expected one of loss, penalty, validation_loss, validation_accuracy; a val",
    ),
    (
        {"early_stopping": EarlyStopping("f1"), "validation": 0.3, "metrics": {"f1": lambda y, p: 0.0}},
        InvalidArgument,
        "mode: given None, expected 'min' or 'max', which of 'f1' is better",
    ),
    ({"early_stopping": 3, "callbacks": [EarlyStopping()]}, InvalidArgument, "early_stopping: given 2 of them, expect"),
    ({"callbacks": [BestCheckpoint("best")]}, InvalidArgument, "monitor: given 'validation_loss', expected one of loss"),
    ({"callbacks": EarlyStopping()}, InvalidType, "callbacks: given EarlyStopping, expected a list of objects"),
    ({"callbacks": [CSVLog]}, InvalidType, r"callbacks\[0\]: given <class .*CSVLog'>, expected an object with methods"),
    ({"callbacks": [print]}, InvalidType, r"callbacks\[0\]: given <built-in function print>, expected an object with"),
    ({"state": {}}, InvalidArgument, "state: given no network, expected the network that it goes with"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=lambda value: str(value)[:30])
def test_what_cannot_be_used_is_said_before_any_kernel(
    options: dict[str, Any], error: type[FastFCError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastfc.training.run, "load_backend", None)
    with pytest.raises(error, match=f"^{message}") as caught:
        fastfc.train((X, Y), backend="numpy", **{**SMALL, **options})
    assert "\n" not in str(caught.value)


MADE: list[tuple[Callable[[], Any], str]] = [
    (lambda: EarlyStopping(patience=0), "patience: given 0, expected a whole number >= 1"),
    (lambda: EarlyStopping(patience=2.0), "patience: given 2.0, expected a whole number >= 1"),  # type: ignore[arg-type]
    (lambda: EarlyStopping(min_delta=-1), "min_delta: given -1, expected a finite number >= 0"),
    (lambda: EarlyStopping(3), "monitor: given 3, expected the name of what is measured"),  # type: ignore[arg-type]
    (lambda: EarlyStopping(mode="up"), "mode: given 'up', expected one of min, max"),
    (lambda: EarlyStopping(restore_best=1), "restore_best: given 1, expected True or False"),  # type: ignore[arg-type]
    (lambda: BestCheckpoint("none-such/best"), "BestCheckpoint: given 'none-such/best', expected a file in an existing"),
    (lambda: BestCheckpoint(3), "BestCheckpoint: given 3, expected the name of a file"),  # type: ignore[arg-type]
    (lambda: CSVLog("tests"), "CSVLog: given 'tests', expected a file in an existing folder"),
]


@pytest.mark.parametrize(("make", "message"), MADE)
def test_a_callback_that_cannot_be_is_refused_when_it_is_made(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(FastFCError, match=f"^{message}"):
        make()


def test_the_command_line_stops_and_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(data), *OPTIONS, "--validation", "0.2", "--out", str(tmp_path), "--monitor", "penalty"]
    growing = ["--weight-decay", "1e-3", "--early-stopping", "1", "--epochs", "30", "--schedule", "constant"]
    assert main(["train", *arguments, *growing]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all("validation loss" in line and ", accuracy" in line for line in lines if line.startswith("epoch"))
    shown = [line for line in lines if not line.startswith("saved")]
    assert max(map(len, shown)) < 80 and "stopped early after 2 epochs: the model is that of the best, epoch 1" in shown
    assert main(["train", *arguments]) == 2
    assert "--monitor: given 'penalty', expected --early-stopping with it" in capsys.readouterr().err
