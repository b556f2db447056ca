"""Checkpoints: a training that was cut off and resumed ends as if it never had been, bit for bit."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastfc
from fastfc import EpochRecord, TrainResult
from fastfc.errors import FastFCError, InvalidArgument, ModelFileError
from fastfc.storage.checkpoint import FILE_NAME, read_checkpoint
from tests.promises import Cases
from tests.small import BACKENDS, BUSY, SMALL, blobs, digest, images

pytestmark = pytest.mark.promise(5)
X, Y = blobs(100)
FIVE: dict[str, Any] = {**SMALL, "epochs": 5}
TRAININGS: dict[str, tuple[Any, dict[str, Any]]] = {  # data, settings
    "nesterov, one_cycle": ((X, Y), {}),
    "ema, cosine, weight decay": ((X, Y), {"momentum_kind": "ema", "schedule": "cosine", "weight_decay": 0.1}),
    "heavy ball, step, in order": ((X, Y), {"momentum_kind": "heavy_ball", "schedule": "step", "shuffle": False}),
    "none, callable": ((X, Y), {"momentum_kind": "none", "schedule": lambda step, steps: 1 - step / steps}),
    "shifted images": (images(), {"augment": 1}),
    "the hardest": (images(), {"augment": 1, "top_loss_fraction": 0.3}),
    "float32": ((X.astype("f"), Y), {"dtype": "float32"}),
    "averages, cosine_restarts": ((X, Y), {"ema": 0.99, "schedule": "cosine_restarts"}),
    "plateau": ((X, Y), {"schedule": "plateau", "plateau_patience": 1, "lr": 2.0, "warmup": 0.2}),
    "targets, smoothed": ((X, np.eye(3)[Y]), {"label_smoothing": 0.1}),
    "two threads": ((X, Y), {**BUSY, "epochs": 5}),
    "dropout, clipped": ((X, Y), {"dropout": 0.5, "input_dropout": 0.1, "clip_norm": 0.5, "activation": "gelu"}),
    "shifts, dropout, L1": (images(), {"augment": 1, "dropout": 0.2, "input_dropout": 0.2, "l1": 1e-3, "activation": "selu"}),
    "adam, averages, L1": ((X, Y), {"optimizer": "adam", "ema": 0.9, "l1": 1e-3, "lr": 0.01, "activation": "mish"}),
    "the rate in the velocity": ((X, Y), {"velocity_has_rate": True, "decay_per_batch": True, "weight_decay": 0.1}),
    "numbers": ((X, X[:, :2]), {"loss": "huber", "huber_delta": 0.5, "optimizer": "rmsprop", "lr": 0.01}),
}


class Cut(Exception):
    pass


def cut_after(epoch: int) -> Any:
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise Cut

    return on_epoch


def without_seconds(result: TrainResult) -> list[EpochRecord]:
    return [dataclasses.replace(record, seconds=0.0) for record in result.history]


def on_backends(names: Iterable[str], *rare: str) -> pytest.MarkDecorator:
    """Each by both; those whose rules no other test compiles for such data by numba in `make soak` alone."""
    every = [(name, backend) for name in names for backend in BACKENDS]
    slow = [name in rare and backend == "numba" for name, backend in every]
    parameters = [pytest.param(*one, marks=pytest.mark.slow if long else ()) for one, long in zip(every, slow, strict=True)]
    return pytest.mark.parametrize(("name", "backend"), parameters)


@on_backends(TRAININGS, "shifts, dropout, L1", "adam, averages, L1")
def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path: Path, name: str, backend: str) -> None:
    """It is cut after each epoch, before that is written; with checkpoint_every=2 up to two epochs are done again."""
    data, options = TRAININGS[name]
    whole_folder, folder = tmp_path / "whole", tmp_path / "cut"
    options = {**FIVE, **options, "backend": backend, "threads": 2 if backend == "numba" else 1, "seed": 6}
    plain = fastfc.train(data, data, **options)
    whole = fastfc.train(data, data, checkpoint=whole_folder, checkpoint_every=2, **options)
    for epoch in (1, 2, 3, 4, 5):
        with pytest.raises(Cut):
            fastfc.train(data, data, checkpoint=folder, checkpoint_every=2, on_epoch=cut_after(epoch), **options)
        assert read_checkpoint(folder)["epoch"] == (epoch - 1) // 2 * 2
    resumed = fastfc.train(data, data, checkpoint=folder, checkpoint_every=2, **options)
    assert digest(resumed.model) == digest(whole.model) == digest(plain.model)
    assert without_seconds(resumed) == without_seconds(whole) == without_seconds(plain)
    states = [read_checkpoint(f) for f in (whole_folder, folder)]
    assert states[0]["generator"] == states[1]["generator"] and states[0]["epoch"] == states[1]["epoch"] == 5
    ours, theirs = (s["state"] for s in states)
    assert list(ours) == list(theirs)
    assert all(np.array_equal(a, b) for name in ours for a, b in zip(ours[name], theirs[name], strict=True))
    kept = [name for name in ours if name not in ("weights", "biases")]
    assert (options.get("momentum_kind") == "none") != bool(kept) and all(a[0].any() for a in map(ours.get, kept))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_finished_training_is_only_read(tmp_path: Path, backend: str) -> None:
    first = fastfc.train((X, Y), checkpoint=tmp_path, backend=backend, **FIVE)
    called: list[object] = []
    again = fastfc.train((X, Y), checkpoint=tmp_path, backend=backend, on_epoch=called.append, **FIVE)
    assert digest(again.model) == digest(first.model) and again.history == first.history and not called
    assert not again.interrupted and again.model.predict(X).tolist() == first.model.predict(X).tolist()


@pytest.mark.parametrize("how", ["Ctrl-C", "max_seconds"])
def test_an_interrupted_training_goes_on_from_its_last_whole_epoch(tmp_path: Path, how: str) -> None:
    def stop(epoch: int, done: int, n: int, losses: list[float]) -> None:
        if epoch == 3 and done > 40:
            signal.raise_signal(signal.SIGINT)

    whole = fastfc.train((X, Y), **FIVE)
    limit: dict[str, Any] = {"on_steps": stop, "steps_per_call": 1} if how == "Ctrl-C" else {"max_seconds": 1e-9}
    part = fastfc.train((X, Y), checkpoint=tmp_path, **limit, **FIVE)
    assert part.interrupted and len(part.history) == (2 if how == "Ctrl-C" else 0)
    resumed = fastfc.train((X, Y), checkpoint=tmp_path, **FIVE)
    assert digest(resumed.model) == digest(whole.model) != digest(part.model) and not resumed.interrupted


PROGRAM = """
import sys, time
import fastfc
from tests.small import BUSY, blobs, digest
folder, backend, epochs, last = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
print("started", flush=True)
def wait(record):  # for the kill, which may come late
    if record.epoch == last:
        time.sleep(600)
r = fastfc.train(blobs(192), checkpoint=folder, backend=backend, on_epoch=wait, **{**BUSY, "epochs": epochs})
print(digest(r.model), flush=True)
"""


def epochs_done(folder: Path) -> int:
    return read_checkpoint(folder)["epoch"] if (folder / FILE_NAME).exists() else 0


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_training_killed_again_and_again_goes_on_in_other_processes(
    tmp_path: Path, backend: str, cases: Cases
) -> None:
    kills, moment, done = cases(1, 15), random.Random(backend), 0
    epochs = 50 * kills
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), backend, str(epochs)]
    root = Path(__file__).parents[1]
    for _ in range(kills):
        with subprocess.Popen([*command, str(done + 30)], stdout=subprocess.PIPE, text=True, cwd=root) as process:
            while process.poll() is None and epochs_done(tmp_path) <= done + 3:
                time.sleep(0.001)
            time.sleep(moment.uniform(0, 0.01))
            process.kill()
        assert process.returncode == -signal.SIGKILL and done + 3 < epochs_done(tmp_path) < epochs
        done = epochs_done(tmp_path)
    resumed = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=600, cwd=root)
    whole = fastfc.train(blobs(192), backend=backend, **{**BUSY, "epochs": epochs})
    assert resumed.stdout.split() == ["started", digest(whole.model)], resumed.stderr


def test_the_first_checkpoint_is_written_before_the_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        fastfc.train((X, Y), checkpoint=tmp_path / "a" / "b", checkpoint_every=10, on_epoch=cut_after(1), **FIVE)
    state = read_checkpoint(tmp_path / "a" / "b")
    assert state["epoch"] == 0 and state["history"] == [] and list(state["state"]) == ["weights", "biases"]


def changed_data() -> Any:
    other = X.copy()
    other[50, 3] += 1e-9
    return other, Y


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "lr": ({"lr": 0.2}, "lr"),
    "hidden": ({"hidden": (9,)}, "hidden, layers"),
    "seed": ({"seed": 1}, "seed"),
    "backend": ({"backend": "numpy"}, "backend"),
    "data": ({"data": changed_data()}, "data"),
    "labels": ({"data": (X, (Y + 1) % 3)}, "data"),
    "features": ({"data": (X[:, 1:], Y)}, "data, layers"),
    "dropout": ({"dropout": 0.5}, "dropout"),
    "averages": ({"ema": 0.9}, "ema"),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, name: str) -> None:
    given, different = OTHER[name]
    options = {**FIVE, "data": (X, Y), "schedule": lambda step, steps: 0.5}
    fastfc.train(checkpoint=tmp_path, **{**options, "epochs": 5})
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(
        InvalidArgument, match=rf"^checkpoint: given one of a training with other {different}, expected"
    ):
        fastfc.train(checkpoint=tmp_path, **{**options, **given})
    assert (tmp_path / FILE_NAME).read_bytes() == before


EXTENDED: dict[str, dict[str, Any]] = {
    "constant": {"schedule": "constant"},
    "warm-up": {"schedule": "constant", "warmup": 1},
    "inverse_scaling": {"schedule": "inverse_scaling"},
    "averages": {"schedule": "constant", "ema": 0.9},
    "callable": {"schedule": lambda step, steps: 1 / (1 + step)},
    "shifts of the largest losses": {"schedule": "constant", "augment": 1, "top_loss_fraction": 0.3},
    "the same rates by another name": {"schedule": "constant", "then": {"schedule": lambda step, steps: 1}},
    "without momentum": {"schedule": "constant", "momentum_kind": "none"},
    "dropout": {"schedule": "constant", "dropout": 0.5, "optimizer": "adam"},
}


@on_backends(EXTENDED, "averages", "dropout")
def test_a_finished_training_is_extended(tmp_path: Path, name: str, backend: str) -> None:
    """Twice, and then it is what it would have been with all epochs from the start."""
    data, options = images(), {**SMALL, "backend": backend, **EXTENDED[name]}
    later = {**options, **options.pop("then", {})}
    later.pop("then", None)
    whole = fastfc.train(data, data, **{**options, "epochs": 5})
    fastfc.train(data, data, checkpoint=tmp_path, **{**options, "epochs": 2})
    for epochs in (3, 5):
        extended = fastfc.train(data, data, checkpoint=tmp_path, checkpoint_every=2, **{**later, "epochs": epochs})
    assert digest(extended.model) == digest(whole.model)
    assert without_seconds(extended) == without_seconds(whole)
    assert read_checkpoint(tmp_path)["epoch"] == 5


def test_a_training_that_was_cut_may_be_extended_too(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        fastfc.train((X, Y), checkpoint=tmp_path, on_epoch=cut_after(3), schedule="constant", **FIVE)
    extended = fastfc.train((X, Y), checkpoint=tmp_path, schedule="constant", **{**FIVE, "epochs": 7})
    whole = fastfc.train((X, Y), schedule="constant", **{**FIVE, "epochs": 7})
    assert digest(extended.model) == digest(whole.model)


@pytest.mark.parametrize(
    ("schedule", "name"),
    [(name, name) for name in ("one_cycle", "cosine", "step")] + [(lambda step, steps: 1 - step / steps, "<lambda>")],
)
def test_other_rates_for_the_epochs_done_are_refused(tmp_path: Path, schedule: Any, name: str) -> None:
    fastfc.train((X, Y), checkpoint=tmp_path, schedule=schedule, **FIVE)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(InvalidArgument) as caught:
        fastfc.train((X, Y), checkpoint=tmp_path, schedule=schedule, **{**FIVE, "epochs": 6})
    given = f"checkpoint: given 5 epochs at the learning rates of 5 epochs of '{name}'"
    expected = f"the rates of 6 epochs of '{name}', which differ; schedule 'constant' can be extended"
    assert str(caught.value) == f"{given}, expected {expected}"
    with pytest.raises(InvalidArgument, match="expected the rates of 5 epochs of 'constant', which differ"):
        fastfc.train((X, Y), checkpoint=tmp_path, schedule="constant", **FIVE)
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_fewer_epochs_than_are_done_are_refused(tmp_path: Path, schedule: str) -> None:
    fastfc.train((X, Y), checkpoint=tmp_path, schedule=schedule, **FIVE)
    with pytest.raises(InvalidArgument, match=r"^epochs: given 4, expected at least 5, which the checkpoint has$"):
        fastfc.train((X, Y), checkpoint=tmp_path, schedule=schedule, **{**FIVE, "epochs": 4})


def test_the_data_is_read_once_for_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many checkpoints are written."""
    crc32, sizes = zlib.crc32, []

    def counted(data: Any, *start: int) -> int:
        sizes.append(memoryview(data).nbytes)
        return crc32(data, *start)

    monkeypatch.setattr(zlib, "crc32", counted)
    fastfc.train((X, Y), checkpoint=tmp_path, **FIVE)
    assert sizes.count(X.nbytes) == 1


def damaged(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut off": content[:-1],
        "too long": content + b"\0",
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "text": b"not a checkpoint",
    }[how]


@pytest.mark.parametrize("how", ["empty", "cut off", "too long", "one bit", "text"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_damaged_checkpoint_is_a_clear_error_and_stays(tmp_path: Path, how: str, backend: str) -> None:
    fastfc.train((X, Y), checkpoint=tmp_path, backend=backend, **SMALL)
    bad = damaged((tmp_path / FILE_NAME).read_bytes(), how)
    (tmp_path / FILE_NAME).write_bytes(bad)
    with pytest.raises(ModelFileError) as caught:
        fastfc.train((X, Y), checkpoint=tmp_path, backend=backend, **SMALL)
    assert FILE_NAME in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / FILE_NAME).read_bytes() == bad


def test_a_place_that_cannot_be_written_is_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    called: list[object] = []
    with pytest.raises(FastFCError, match=r"checkpoint: given '.*file', which is a file, expected a folder"):
        fastfc.train((X, Y), checkpoint=tmp_path / "file", on_steps=lambda *a: called.append(a), **SMALL)
    with pytest.raises(FastFCError, match=r"cannot make the folder '.*file/more'"):
        fastfc.train((X, Y), checkpoint=str(tmp_path / "file" / "more"), on_epoch=called.append, **SMALL)
    assert not called and (tmp_path / "file").read_text() == "mine"
