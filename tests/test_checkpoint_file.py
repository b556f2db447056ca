"""Checkpoints: a state comes back bit for bit, and one that could not, or was tampered with, is refused."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfc.errors import FastFCError, InvalidArgument, InvalidType, ModelFileError
from fastfc.settings import Settings
from fastfc.storage import checkpoint
from fastfc.storage.checkpoint import FILE_NAME, read_checkpoint, write_checkpoint
from fastfc.storage.files import WriteError
from fastfc.storage.modelfile import encode, read_parameters, save_parameters

State = dict[str, Any]
exact = pytest.mark.promise(5)


def make_state(
    layers: tuple[int, ...] = (5, 3, 2), dtype: str = "float32", kept: tuple[str, ...] = ("velocity",)
) -> State:
    rng = np.random.default_rng(7)
    weights = [rng.standard_normal(shape).astype(dtype) for shape in pairwise(layers)]
    biases = [rng.standard_normal(size).astype(dtype) for size in layers[1:]]
    weights[0].flat[0], biases[0][0] = -0.0, np.finfo(dtype).smallest_subnormal
    velocities = {name: [rng.standard_normal(p.shape).astype(dtype) for p in weights + biases] for name in kept}
    return {
        "state": {"weights": weights, "biases": biases, **velocities},
        "losses": [rng.random(7).astype(dtype)] * bool(kept),
        "epoch": 2,
        "history": [{"epoch": k, "loss": 1 / 3**k, "test_loss": None, "lr": 5e-324} for k in (1, 2)],
        "generator": rng.bit_generator.state,
        "settings": {"lr": 0.1, "hidden": [3], "seed": 2**100, "nested": {"a": [{"b": [True, "ü\ud800\n"]}]}},
    }


def arrays_of(state: State) -> dict[str, list[np.ndarray]]:
    return {**state["state"], "losses": state["losses"]}


def assert_same(found: State, expected: State) -> None:
    assert list(found) == list(expected)
    ours, theirs = arrays_of(found), arrays_of(expected)
    assert list(ours) == list(theirs)
    for key in theirs:
        assert [(a.dtype, a.shape, a.tobytes()) for a in ours[key]] == [
            (a.dtype, a.shape, a.tobytes()) for a in theirs[key]
        ]
    rest = [key for key in expected if key not in ("state", "losses")]
    assert repr([found[key] for key in rest]) == repr([expected[key] for key in rest])  # 1.0 is not 1, nor -0.0 0.0


@exact
@pytest.mark.parametrize("kept", [(), ("velocity",), ("second_moment", "a", "first_moment2")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [(1, 1), (784, 10), (5, 3, 2), (2,) * 13])
def test_a_state_comes_back_bit_for_bit(
    tmp_path: Path, layers: tuple[int, ...], dtype: str, kept: tuple[str, ...]
) -> None:
    state = make_state(layers, dtype, kept)
    before = copy.deepcopy(state)
    write_checkpoint(tmp_path, state)
    assert_same(read_checkpoint(str(tmp_path)), state)
    assert_same(state, before)
    assert os.listdir(tmp_path) == [FILE_NAME]
    file = (tmp_path / FILE_NAME).read_bytes()
    write_checkpoint(tmp_path, read_checkpoint(tmp_path))
    assert (tmp_path / FILE_NAME).read_bytes() == file


@exact
@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM"])
@pytest.mark.parametrize("drawn", [0, 1, 2, 1001])
def test_a_generator_goes_on_where_it_was(tmp_path: Path, kind: str, drawn: int) -> None:
    rng = np.random.Generator(getattr(np.random, kind)(3))
    rng.integers(0, 2**32, drawn, dtype=np.uint32)  # an odd number leaves half of 64 bits for the next draw
    write_checkpoint(tmp_path, {**make_state(), "generator": rng.bit_generator.state})
    resumed = np.random.Generator(getattr(np.random, kind)(0))
    resumed.bit_generator.state = read_checkpoint(tmp_path)["generator"]
    for draw in (lambda g: g.integers(0, 9, 5, dtype=np.uint32), lambda g: g.permutation(50), lambda g: g.random(9)):
        assert np.array_equal(draw(resumed), draw(rng))


def test_settings_make_the_same_settings(tmp_path: Path) -> None:
    settings = Settings(
        hidden=(7, 5), activation=("relu", "tanh"), init=("normal", 0.01), lr=0.1 + 0.2, batch_size=None
    )
    write_checkpoint(tmp_path, {**make_state(), "settings": dataclasses.asdict(settings)})
    assert Settings(**read_checkpoint(tmp_path)["settings"]) == settings


def test_numpy_scalars_and_tuples_are_taken(tmp_path: Path) -> None:
    given = {"a": np.float32(0.1), "b": np.int64(-3), "c": np.bool_(True), "d": np.str_("x"), "e": ((1, 2), [])}
    write_checkpoint(tmp_path, {**make_state(), "epoch": np.int64(4), "history": (given,), "settings": given})
    found = read_checkpoint(tmp_path)
    expected = {"a": float(np.float32(0.1)), "b": -3, "c": True, "d": "x", "e": [[1, 2], []]}
    assert found["settings"] == expected and found["history"] == [expected] and found["epoch"] == 4
    assert [type(value) for value in found["settings"].values()] == [float, int, bool, str, list]


def test_the_folder_is_made_and_an_old_checkpoint_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    for epoch in (1, 2):
        write_checkpoint(folder, {**make_state(), "epoch": epoch})
        assert read_checkpoint(folder)["epoch"] == epoch and os.listdir(folder) == [FILE_NAME]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(InvalidArgument, match=r"checkpoint: given '.*file', which is a file, expected a folder"):
        write_checkpoint(tmp_path / "file", make_state())
    with pytest.raises(WriteError, match=r"cannot make the folder '.*': given Not a directory, expected a place"):
        write_checkpoint(tmp_path / "file" / "folder", make_state())
    with pytest.raises(ModelFileError, match="given Not a directory"):
        read_checkpoint(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            ModelFileError, match=r"checkpoint '.*checkpoint.safetensors': given a name that does not ex"
        ):
            read_checkpoint(folder)


def test_a_model_is_no_checkpoint_and_a_checkpoint_no_model(tmp_path: Path) -> None:
    state = make_state()
    write_checkpoint(tmp_path, state)
    with pytest.raises(ModelFileError, match=r"metadata format: given 'fastfc-checkpoint', expected one of fastfc$"):
        read_parameters(tmp_path / FILE_NAME)
    description: State = {"layers": (5, 3, 2), "activations": ["relu"], "loss": "mse", "output_activation": "tanh"}
    description |= {"scale": 0.5, "dtype": "float32", "image_shape": None}
    save_parameters(tmp_path / FILE_NAME, description, state["state"]["weights"], state["state"]["biases"])
    with pytest.raises(ModelFileError, match=r"metadata format: given 'fastfc', expected one of fastfc-checkpoint$"):
        read_checkpoint(tmp_path)


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


def circular() -> State:
    result: State = {}
    result["self"] = result
    return result


def with_entry(name: Any, arrays: Any) -> State:
    return {"state": {**make_state()["state"], name: arrays}}


def with_array(name: str, array: Any) -> State:
    return with_entry(name, [array, *make_state()["state"][name][1:]])


REFUSED: dict[str, tuple[Callable[[], State], str]] = {
    "callable": (
        lambda: {"settings": {"schedule": len}},
        r"settings\['schedule'\]: given <built-in .*, expected None, ",
    ),
    "array": (lambda: {"settings": {"x": np.zeros(2)}}, r"settings\['x'\]: given array"),
    "bytes": (lambda: {"settings": {"x": b"x"}}, r"settings\['x'\]: given b'x'"),
    "NaN": (lambda: {"history": [{"loss": np.nan}]}, r"history\[0\]\['loss'\]: given nan, expected None, .* finite"),
    "infinity": (lambda: {"history": [{}, {"loss": np.float32(np.inf)}]}, r"history\[1\]\['loss'\]: given inf"),
    "key": (lambda: {"settings": {"x": {3: 4}}}, r"settings\['x'\]: given the key 3, expected str"),
    "huge int": (lambda: {"settings": {"x": 2**1023}}, r"settings\['x'\]: given 898846567431"),
    "too deep": (lambda: {"settings": {"x": nested(7)}}, r"settings\['x'\](\[0\]){6}: given .*at most 8 deep"),
    "circular": (lambda: {"settings": circular()}, r"settings\['self'\].*at most 8 deep"),
    "settings a list": (lambda: {"settings": []}, r"settings: given \[\], expected a dict"),
    "history a dict": (lambda: {"history": {}}, "history: given {}, expected a list of dicts"),
    "history of numbers": (lambda: {"history": [1]}, r"history: given \[1\], expected a list of dicts"),
    "epoch -1": (lambda: {"epoch": -1}, "epoch: given -1, expected a whole number >= 0"),
    "epoch 1.0": (lambda: {"epoch": 1.0}, "epoch: given 1.0, expected a whole number >= 0"),
    "generator itself": (
        lambda: {"generator": np.random.default_rng(0)},
        "generator: .*expected rng.bit_generator.sta",
    ),
    "other generator": (
        lambda: {"generator": np.random.MT19937(0).state},
        "generator: given 'MT19937', expected one of PCG64, PCG64DXSM",
    ),
    "extra": (lambda: {"extra": 1}, r"checkpoint: given unknown \['extra'\], expected exactly \['state', "),
    "state a list": (lambda: {"state": []}, r"state: given \[\], expected a dict of lists of arrays"),
    "no biases": (lambda: {"state": {"weights": []}}, "state: given no biases, expected weights and biases"),
    "no weights": (lambda: with_entry("weights", []), r"layers: given \[\], expected 2 to 1000 sizes"),
    "weights None": (lambda: with_entry("weights", None), "weights: given None, expected a list of numpy arrays"),
    "weights flat": (lambda: with_array("weights", np.zeros(5)), r"weights\[0\]: given an array of shape \(5,\), expe"),
    "weights int": (
        lambda: with_array("weights", np.ones((5, 3), int)),
        "dtype: given 'int64', expected one of float32",
    ),
    "mixed": (
        lambda: with_array("biases", np.zeros(3)),
        r"biases\[0\]: given float64 of shape \(3,\), expected float32",
    ),
    "not a chain": (
        lambda: with_array("weights", np.ones((5, 4), "f4")),
        r"weights\[1\]: given float32 of shape \(3, 2\), expected float32 of shape \(4, 2\)",
    ),
    "velocities few": (
        lambda: with_entry("velocity", make_state()["state"]["weights"]),
        "velocity: given 2 arrays, expected 4",
    ),
    "velocities of no array": (lambda: with_entry("velocity", []), "velocity: given 0 arrays, expected 4"),
    "a name with a dot": (lambda: with_entry("a.0", []), "optimizer_state: given 'a.0', expected another short name"),
    "a long name": (lambda: with_entry("a" * 33, []), "optimizer_state: given 'aaaa.*', expected another short name"),
    "a name that is taken": (lambda: with_entry("losses", []), "optimizer_state: given 'losses', expected another"),
    "a name that is none": (lambda: with_entry(3, []), "optimizer_state: given 3, expected another short name"),
    "many names": (
        lambda: {"state": {**make_state()["state"], **{f"n{k}": [] for k in range(8)}}},
        r"optimizer_state: given \['velocity', 'n0', .*, expected a list of at most 8 names",
    ),
    "losses two": (lambda: {"losses": [np.ones(7, "f4")] * 2}, r"losses: given \[7, 7\], expected \[\] or \[the number"),
    "losses of another dtype": (lambda: {"losses": [np.ones(7)]}, r"losses\[0\]: given float64 of shape \(7,\)"),
    "velocity NaN": (lambda: with_array("velocity", np.full((5, 3), np.nan, "f4")), r"velocity\[0\]: given nan at"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_come_back_is_not_written(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    write_checkpoint(tmp_path, make_state())
    with pytest.raises((InvalidArgument, InvalidType), match=f"^{message}") as e:
        write_checkpoint(tmp_path, {**make_state(), **change()})
    assert "\n" not in str(e.value) and "expected" in str(e.value)
    assert_same(read_checkpoint(tmp_path), make_state())
    with pytest.raises(FastFCError):
        write_checkpoint(tmp_path / "other", {**make_state(), **change()})
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_the_deepest_and_largest_values_come_back(tmp_path: Path) -> None:
    state = {**make_state(), "settings": {"x": nested(6), "y": 2**1023 - 1, "z": -(2**1023) + 1}}
    write_checkpoint(tmp_path, state)
    assert_same(read_checkpoint(tmp_path), state)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    state = make_state()
    del state["generator"]
    with pytest.raises(InvalidArgument, match=r"checkpoint: given missing \['generator'\]"):
        write_checkpoint(tmp_path, state)


def test_a_history_too_long_is_refused_and_the_old_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, make_state())
    monkeypatch.setattr(checkpoint, "CHECKPOINT", dataclasses.replace(checkpoint.CHECKPOINT, header_limit=10_000))
    with pytest.raises(InvalidArgument, match=r"header length: given \d+ bytes, expected at most 10000"):
        write_checkpoint(tmp_path, {**make_state(), "history": [{"epoch": 1, "loss": 0.5}] * 300})
    assert_same(read_checkpoint(tmp_path), make_state())


GENERATOR = make_state()["generator"]
FORGED: dict[str, tuple[State, str]] = {
    "inc even": (
        {"generator": {**GENERATOR, "state": {"state": 1, "inc": 2}}},
        "generator inc: given 2, expected an odd",
    ),
    "inc huge": ({"generator": {**GENERATOR, "state": {"state": 1, "inc": 2**128 + 1}}}, "generator inc: given 3402"),
    "state negative": (
        {"generator": {**GENERATOR, "state": {"state": -1, "inc": 1}}},
        "generator state: given -1, expec",
    ),
    "state float": (
        {"generator": {**GENERATOR, "state": {"state": 1.0, "inc": 1}}},
        "generator state: given 1.0, expect",
    ),
    "no inc": ({"generator": {**GENERATOR, "state": {"state": 1}}}, r"generator state: given missing \['inc'\]"),
    "state a list": (
        {"generator": {**GENERATOR, "state": [1, 1]}},
        r"generator state: given \[1, 1\], expected a dict",
    ),
    "has_uint32 2": (
        {"generator": {**GENERATOR, "has_uint32": 2}},
        "generator has_uint32: given 2, expected less than 2",
    ),
    "uinteger 2^32": (
        {"generator": {**GENERATOR, "uinteger": 2**32}},
        "generator uinteger: given 4294967296, expected",
    ),
    "other kind": ({"generator": {**GENERATOR, "bit_generator": "SFC64"}}, "generator: given 'SFC64', expected one of"),
    "kind a list": ({"generator": {**GENERATOR, "bit_generator": []}}, r"generator: given \[\], expected one of PCG64"),
    "more": ({"generator": {**GENERATOR, "more": 1}}, r"generator: given unknown \['more'\]"),
    "generator None": ({"generator": None}, "generator: given None, expected rng.bit_generator.state"),
    "epoch": ({"epoch": -1}, "epoch: given -1, expected a whole number >= 0"),
    "history": ({"history": [[]]}, r"history: given \[\[\]\], expected a list of dicts"),
    "settings": ({"settings": None}, "settings: given None, expected a dict"),
    "names a number": ({"optimizer_state": 1}, "optimizer_state: given 1, expected a list of at most 8 names"),
    "a name twice": ({"optimizer_state": ["velocity"] * 2}, "optimizer_state: given 'velocity', expected another"),
    "a name that is taken": ({"optimizer_state": ["weights"]}, "optimizer_state: given 'weights', expected another"),
    "a name a list": ({"optimizer_state": [["a"]]}, r"optimizer_state: given \['a'\], expected another short name"),
    "a name of a line": ({"optimizer_state": ["a\n"]}, r"optimizer_state: given 'a\\n', expected another"),
    "losses": ({"losses": 7}, r"losses: given 7, expected \[\] or \[the number of samples\]"),
    "losses of none": ({"losses": [0]}, "losses: given 0, expected a whole number >= 1"),
    "losses of many": ({"losses": [10**15]}, r"tensor losses.0 shape: given \[7\], expected \[1000000000000000\]"),
    "no velocity": ({"optimizer_state": []}, r"tensors: given unknown \['velocity.0', 'velocity.1'"),
    "one more": ({"optimizer_state": ["velocity", "b"]}, r"tensors: given missing \['b.0', 'b.1'"),
    "deep": ({"settings": {"x": nested(7)}}, "metadata: given a deeper nesting, expected JSON of at most 8 levels"),
    "layers": ({"layers": [5, 3, 10**12]}, "layers: given 1000000000000, expected sizes of at most"),
}


@pytest.mark.promise(3)
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_checkpoint_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is whole and its SHA-256 fits; only what it says is not to be believed."""
    change, message = FORGED[name]
    state = make_state()
    description = {key: state[key] for key in state if key not in ("state", "losses")}
    description |= {"layers": [5, 3, 2], "dtype": "float32", "optimizer_state": ["velocity"], "losses": [7], **change}
    good = {"layers": (5, 3, 2), "optimizer_state": ["velocity"], "losses": [7]}
    kind = dataclasses.replace(
        checkpoint.CHECKPOINT, check=lambda given: dict(given), shapes=lambda _: checkpoint.CHECKPOINT.shapes(good)
    )
    monkeypatch.setattr("fastfc.storage.modelfile._layout", lambda *_: None)
    data = encode(kind, description, arrays_of(state))
    monkeypatch.undo()
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(ModelFileError, match=message) as e:
        read_checkpoint(tmp_path)
    assert str(e.value).startswith("checkpoint '") and "\n" not in str(e.value)
