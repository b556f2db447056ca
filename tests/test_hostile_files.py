"""Hostile files: whatever a model file or a checkpoint holds, it is read right or refused with one clear line."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastfc.errors import ModelFileError
from fastfc.storage.checkpoint import FILE_NAME, read_checkpoint, write_checkpoint
from fastfc.storage.modelfile import read_parameters, save_parameters
from tests.promises import Cases
from tests.small import DESCRIBED, parameters

pytestmark = pytest.mark.promise(3)
Header = dict[str, Any]


def encoded(header: Header | bytes, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file by its published layout: length of the header, header, data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def split(file: bytes) -> tuple[Header, Header, bytes]:
    """Header, description and data of a file."""
    (length,) = struct.unpack("<Q", file[:8])
    header = json.loads(file[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["fastfc"]), file[8 + length :]


def signed(header: Header, description: Header, data: bytes) -> bytes:
    """The file with a SHA-256 that agrees with its contents, as one who forges a file would have it."""
    plain = {key: value for key, value in description.items() if key not in ("format", "version", "sha256")}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    groups = ["weights", "biases", "velocity", "losses"]
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name in sorted(entries, key=lambda name: (groups.index(name.split(".")[0]), int(name.split(".")[1]))):
        begin, end = entries[name]["data_offsets"]
        digest.update(data[begin:end])
    text = json.dumps({**description, "sha256": digest.hexdigest()})
    return encoded({**header, "__metadata__": {"fastfc": text}}, data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    save_parameters(path, DESCRIBED, *parameters((3, 2, 4), "float32"))
    return path


def test_a_checkpoint_of_an_older_version_is_refused_as_that(tmp_path: Path) -> None:
    """As the first version wrote it, with velocities that had no names in the description."""
    names = {"weights.0": [2, 1], "biases.0": [1], "velocities.0": [2, 1], "velocities.1": [1]}
    header, end = {}, 0
    for name, shape in names.items():
        begin, end = end, end + 4 * shape[0]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    generator = np.random.default_rng(0).bit_generator.state
    description = {"layers": [2, 1], "dtype": "float32", "velocities": True, "losses": [], "epoch": 1, "history": []}
    description |= {"generator": generator, "settings": {}, "format": "fastfc-checkpoint", "version": "1"}
    text = json.dumps({**description, "sha256": "0" * 64})
    file = encoded({**header, "__metadata__": {"fastfc": text}}, struct.pack("<6f", *range(6)))
    (tmp_path / FILE_NAME).write_bytes(file)
    with pytest.raises(ModelFileError) as caught:
        read_checkpoint(tmp_path)
    what = f"checkpoint {str(tmp_path / FILE_NAME)!r}"
    assert str(caught.value) == f"{what}: metadata version: given '1', of an older fastfc, expected '2'"


def test_a_file_written_by_hand_is_read(tmp_path: Path) -> None:
    data = struct.pack("<3f", 0.5, 2.0, -1.0)
    header = {
        "weights.0": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
        "biases.0": {"shape": [1], "dtype": "F32", "data_offsets": [8, 12]},
    }
    description = {**DESCRIBED, "layers": [2, 1], "activations": [], "image_shape": None}
    description |= {"format": "fastfc", "version": "1"}
    (tmp_path / "m").write_bytes(signed(header, description, data))
    found, weights, biases = read_parameters(tmp_path / "m")
    assert found["layers"] == (2, 1) and weights[0].tolist() == [[0.5], [2.0]] and biases[0].tolist() == [-1.0]


# damage by hand: each kind has an error that names it


def at(*keys: Any, value: Any = None) -> Callable[[Header, Header, bytes], bytes]:
    """A file in which one entry of the header is another, or gone."""

    def change(header: Header, description: Header, data: bytes) -> bytes:
        place = header
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        if value is None:
            del place[keys[-1]]
        return encoded(header, data)

    return change


def described(**change: Any) -> Callable[[Header, Header, bytes], bytes]:
    """A file with another description and the SHA-256 that fits it."""
    return lambda header, description, data: signed(header, {**description, **change}, data)


def text(edit: Callable[[bytes], bytes]) -> Callable[[Header, Header, bytes], bytes]:
    """A file with the header's text edited."""
    return lambda header, description, data: encoded(edit(json.dumps(header).encode()), data)


def numbers(index: int, value: float) -> Callable[[Header, Header, bytes], bytes]:
    """A file with another number and the SHA-256 that fits it."""
    number = struct.pack("<f", value)
    return lambda header, description, data: signed(
        header, description, data[: 4 * index] + number + data[4 * index + 4 :]
    )


def reordered(header: Header, description: Header, data: bytes) -> bytes:
    names = list(header)
    return encoded({name: header[name] for name in [names[0], *reversed(names[1:])]}, data)


DAMAGE: dict[str, tuple[Callable[[Header, Header, bytes], bytes], str]] = {
    "empty": (lambda *_: b"", "length: given 0 bytes, expected at least the 8"),
    "7 bytes": (lambda *_: bytes(7), "length: given 7 bytes"),
    "only a length": (lambda *_: bytes(8), "header: given a text that begins with ''"),
    "header longer than the file": (
        lambda header, _, data: encoded(header, data, 10**6),
        r"header length: given 1000000 bytes, expected at most \d{3}$",
    ),
    "header of 2^64 - 1": (lambda header, _, data: encoded(header, data, 2**64 - 1), "header length: given 1844674407"),
    "header over the cap": (
        text(lambda header: header + b" " * 2**18),
        "header length: given 262... bytes, expected at most 262144",
    ),
    "header not JSON": (text(lambda header: header[:-1]), "header: given a text that is not JSON"),
    "header of two values": (text(lambda header: header + b"{}"), "header: given a text that is not JSON"),
    "header a list": (text(lambda header: b"[" + header + b"]"), r"header: given a text that begins with '\['"),
    "header not UTF-8": (text(lambda header: header.replace(b"F32", b"F3\xff")), "header: .* not JSON .*utf-8"),
    "header UTF-16": (text(lambda header: header.decode().encode("utf-16")), "header: .* not JSON .*utf-8"),
    "nested too deep": (text(lambda _: b'{"a":' * 9 + b"1" + b"}" * 9), "header: given a deeper nesting, .* 8 levels"),
    "nested far too deep": (text(lambda _: b'{"a":' + b"[" * 200_000), "header: given a deeper nesting"),
    "key twice": (text(lambda header: b'{"a":1,' + b'"a":2,' + header[1:]), "header: given the key 'a' twice"),
    "huge whole number": (text(lambda _: b'{"a":1' + b"0" * 4000 + b"}"), "header: .*a whole number of 13288 bits"),
    "endless whole number": (text(lambda _: b'{"a":1' + b"0" * 99_000 + b"}"), "header: given a text that is not JSON"),
    "endless text": (text(lambda _: b'{"' + rb"\"" * 100_000), "header: given a text that is not JSON"),
    "NaN in the header": (text(lambda _: b'{"a":NaN}'), "header: .*'NaN' is not a finite number"),
    "overflow in the header": (text(lambda _: b'{"a":1e999}'), "header: .*'1e999' is not a finite number"),
    "no metadata": (at("__metadata__"), "metadata: given None, expected one entry 'fastfc', the description"),
    "metadata of another": (at("__metadata__", value={"format": "pt"}), "metadata: given {'format': 'pt'}"),
    "metadata has more": (
        lambda h, _, data: encoded({**h, "__metadata__": {**h["__metadata__"], "more": "x"}}, data),
        "metadata: given {'fastfc': .*, 'more': 'x'}, expected one entry",
    ),
    "metadata a list": (at("__metadata__", value=["fastfc"]), r"metadata: given \['fastfc'\]"),
    "description not text": (at("__metadata__", "fastfc", value={"layers": [3]}), "metadata: .*description as text"),
    "description not JSON": (at("__metadata__", "fastfc", value="{layers}"), "metadata: given a text that is not JSON"),
    "other format": (described(format="other"), "metadata format: given 'other', expected one of fastfc$"),
    "version to come": (described(version="2"), "metadata version: given '2', expected one of 1$"),
    "version a number": (described(version=1), "metadata version: given 1, expected"),
    "description lacks": (
        lambda h, d, data: signed(h, {key: d[key] for key in d if key != "loss"}, data),
        r"description: given missing \['loss'\]",
    ),
    "description has more": (described(extra=1), r"description: given unknown \['extra'\]"),
    "unknown activation": (described(activations=["swish"]), "activations: given 'swish', expected one of relu"),
    "endless activation": (described(activations=["x" * 100_000]), "activations: given 'xxxxxxx"),
    "activation a list": (described(activations=[["relu"]]), r"activations: given \['relu'\], expected one of"),
    "too few activations": (described(activations=[]), "activations: .*a name for each of 1 hidden layers"),
    "unknown loss": (described(loss="hinge"), "loss: given 'hinge'"),
    "head that does not fit": (described(loss="softmax_ce"), "output_activation: given 'sigmoid', expected one of id"),
    "scale zero": (described(scale=0), "scale: given 0, expected a finite number"),
    "scale true": (described(scale=True), "scale: given True, expected a number"),
    "unknown dtype": (described(dtype="int32"), "dtype: given 'int32', expected one of float32, float64"),
    "image of another size": (described(image_shape=[28, 28]), r"image_shape: given \(28, 28\), expected height and width of 3 pixels"),
    "one layer": (described(layers=[3]), r"layers: given \[3\], expected 2 to 1000 sizes"),
    "layers text": (described(layers="784"), "layers: given '784', expected 2 to 1000 sizes"),
    "layers of zero": (described(layers=[3, 0, 4]), "layers: given 0, expected a whole number >= 1"),
    "layers negative": (described(layers=[3, -2, 4]), "layers: given -2, expected a whole number >= 1"),
    "layers true": (described(layers=[3, True, 4]), "layers: given True, expected a whole number"),
    "layers absurd": (described(layers=[3, 10**18, 4]), "layers: given 1000000000000000000, expected sizes of at most"),
    "layers too large": (
        described(layers=[2**31 - 1, 2**31 - 1, 4], image_shape=None),
        r"tensor biases.0 shape: given \[2\], expected \[2147483647\]",
    ),
    "fewer layers": (described(layers=[3, 2], activations=[]), r"tensors: given unknown \['biases.1', 'weights.1'\]"),
    "tensor missing": (at("weights.1"), r"tensors: given missing \['weights.1'\]"),
    "tensor too many": (at("weights.2", value={}), r"tensors: given unknown \['weights.2'\]"),
    "tensor a number": (at("weights.0", value=5), "tensor weights.0: given 5, expected an object"),
    "tensor without shape": (at("weights.0", "shape"), r"tensor weights.0: given missing \['shape'\]"),
    "tensor with more": (at("weights.0", "strides", value=[1]), r"tensor weights.0: given unknown \['strides'\]"),
    "other dtype": (at("weights.0", "dtype", value="I32"), "tensor weights.0 dtype: given 'I32', expected 'F32'"),
    "other shape": (
        at("weights.0", "shape", value=[2, 3]),
        r"tensor weights.0 shape: given \[2, 3\], expected \[3, 2\]",
    ),
    "shape in floats": (at("weights.0", "shape", value=[3.0, 2]), r"tensor weights.0 shape: given \[3.0, 2\]"),
    "shape flat": (at("weights.0", "shape", value=[6]), r"tensor weights.0 shape: given \[6\], expected \[3, 2\]"),
    "shape negative": (at("weights.0", "shape", value=[-3, -2]), r"tensor weights.0 shape: given \[-3, -2\]"),
    "overlap": (
        at("biases.1", "data_offsets", value=[0, 16]),
        r"tensor biases.1 data_offsets: given \[0, 16\], expected \[8, 24\]",
    ),
    "gap": (
        at("biases.0", "data_offsets", value=[4, 12]),
        r"tensor biases.0 data_offsets: given \[4, 12\], .*\[0, 8\]",
    ),
    "offset out of range": (at("biases.0", "data_offsets", value=[0, 2**63]), "tensor biases.0 data_offsets: given"),
    "offset negative": (at("biases.0", "data_offsets", value=[-8, 0]), "tensor biases.0 data_offsets: given"),
    "offsets reversed": (at("biases.0", "data_offsets", value=[8, 0]), "tensor biases.0 data_offsets: given"),
    "offsets three": (at("biases.0", "data_offsets", value=[0, 8, 8]), "tensor biases.0 data_offsets: given"),
    "out of order": (reordered, r"tensor weights.1 data_offsets: given \[48, 80\], expected \[0, 32\]"),
    "truncated": (lambda h, d, data: encoded(h, data[:-1]), "length: given .* bytes, expected .* for the tensors"),
    "data missing": (lambda h, d, data: encoded(h, b""), "length: given .* bytes, expected"),
    "over-long": (lambda h, d, data: encoded(h, data + b"x"), "length: given .* bytes, expected"),
    "NaN": (numbers(3, np.nan), r"tensor biases.1: given nan at \(\d,\), expected finite numbers"),
    "infinity": (numbers(19, -np.inf), r"tensor weights.1: given -inf at \(\d, \d\), expected finite"),
    "a bit of a number": (lambda h, d, data: encoded(h, bytes([data[0] ^ 1]) + data[1:]), "SHA-256 of the contents"),
    "another scale": (text(lambda header: header.replace(b"0.25", b"0.75")), "SHA-256 of the contents: given"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(path: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    file = change(*split(path.read_bytes()))
    path.write_bytes(file)
    begin = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message) as e:
            read_parameters(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(e.value).startswith(f"model file {str(path)!r}: ")
    assert "\n" not in str(e.value) and len(str(e.value)) < 330 + len(str(path))
    assert peak < 2 * len(file) + 2**18 and time.process_time() - begin < 60


def test_the_helpers_of_the_damage_make_good_files(path: Path) -> None:
    expected = read_parameters(path)
    header, description, data = split(path.read_bytes())
    for file in (encoded(header, data), signed(header, description, data), described()(header, description, data)):
        path.write_bytes(file)
        description, weights, biases = read_parameters(path)
        assert description == expected[0] and all(map(np.array_equal, weights + biases, expected[1] + expected[2]))


# damage by chance: each file is refused, or read as it was written; where the forger also makes the SHA-256 fit, what
# is read must at least be a network that can be used

VALUES = json.loads('[null, true, -1, 0, 1, 2, 2147483648, 0.5, -0.0, 1e308, "", "x", "F64", "relu", "1", [], [0], {}]')
NUMBERS = [0, 1, 7, 8, 24, 255, 2**16, 2**31 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30]
FLOATS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 3e38, 1.0]


def mutate_bytes(rng: random.Random, file: bytes) -> bytes:
    """Change, insert, remove or repeat some bytes, most of them in the header."""
    (length,) = struct.unpack("<Q", file[:8])
    result = bytearray(file)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        begin = rng.choice([rng.randrange(8), rng.randrange(8 + length), rng.randrange(len(file))])
        end = begin + rng.choice([0, 1, 1, 1, 2, 8, 50])
        sign = rng.choice(b'{}[]",:0 9').to_bytes()
        result[begin:end] = rng.choice([rng.randbytes(end - begin), sign, b"", result[begin:end] * 2])
    return bytes(result[: rng.randrange(len(result) + 1)] if rng.random() < 0.1 else result)


def mutate_numbers(rng: random.Random, file: bytes) -> bytes:
    """Put another whole number in place of one in the text of the header, which keeps a right length."""
    header, _, data = split(file)
    text = json.dumps(header)
    place = rng.choice(list(re.finditer(r"\d+", text)))
    return encoded((text[: place.start()] + str(rng.choice(NUMBERS)) + text[place.end() :]).encode(), data)


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree of dicts and lists."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    return [(tree, key) for key in keys] + [node for key in keys for node in nodes(tree[key])]


def forge(rng: random.Random, file: bytes) -> bytes:
    """Change an entry of the header or the description, or a number, and make the SHA-256 fit where there is one."""
    header, description, data = split(file)
    if rng.random() < 0.2:
        place = 4 * rng.randrange(len(data) // 4)
        data = data[:place] + struct.pack("<f", rng.choice(FLOATS)) + data[place + 4 :]
    else:
        container, key = rng.choice(nodes(rng.choice([header, description])))
        change = rng.randrange(4)
        if change == 0:
            del container[key]
        elif change == 1 and isinstance(container, list):
            container.insert(key, rng.choice([container[key], rng.choice(VALUES)]))
        else:
            container[key] = rng.choice(VALUES)
    try:
        return signed(header, description, data)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):  # no such file can have a SHA-256
        return encoded(header, data)


def read_any(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    if path.name == FILE_NAME:
        state = read_checkpoint(path.parent)
        arrays = [*state.pop("state").values(), state.pop("losses")]
        return state, [array for some in arrays for array in some]
    description, weights, biases = read_parameters(path)
    return description, weights + biases


def usable(description: dict[str, Any], arrays: list[np.ndarray]) -> bool:
    """Arrays that fit each other, and a generator that can be set."""
    if "generator" in description:
        bit_generator = getattr(np.random, description["generator"]["bit_generator"])()
        bit_generator.state = description["generator"]
        assert bit_generator.state == description["generator"]
        return description["epoch"] >= 0 and all(np.isfinite(array).all() for array in arrays)
    shapes = list(pairwise(description["layers"])) + [(size,) for size in description["layers"][1:]]
    names = set(description["activations"]) | {description["output_activation"]}
    return (
        [array.shape for array in arrays] == shapes
        and all(np.isfinite(array).all() and array.dtype == description["dtype"] for array in arrays)
        and names <= {"relu", "tanh", "sigmoid", "identity"}
    )


@pytest.fixture(params=["model", "checkpoint"])
def good(request: pytest.FixtureRequest, tmp_path: Path, path: Path) -> Path:
    if request.param == "model":
        return path
    weights, biases = parameters((3, 2, 4), "float32")
    parts = {"weights": weights, "biases": biases, "velocity": weights + biases}
    state: dict[str, Any] = {"state": parts, "losses": [biases[0]], "epoch": 2}
    state |= {"history": [{"epoch": 1, "loss": 0.5, "test_loss": None}], "settings": {"lr": 0.1, "hidden": [2]}}
    write_checkpoint(tmp_path, {**state, "generator": np.random.default_rng(1).bit_generator.state})
    return tmp_path / FILE_NAME


def test_mutated_files_are_refused_or_read_right(good: Path, cases: Cases) -> None:
    tries = cases(500, 10_000)
    rng = random.Random(20)
    original, expected = good.read_bytes(), read_any(good)
    bits = [array.tobytes() for array in expected[1]]
    mutations = [mutate_bytes, mutate_bytes, mutate_numbers, forge]
    counts = {"refused": 0, "as written": 0, "forged and usable": 0}
    tracemalloc.start()
    try:
        for _ in range(tries):
            mutation = rng.choice(mutations)
            file = mutation(rng, original)
            with open(good, "r+b") as stream:  # the file system is slower where the old length is cut to 0 first
                stream.write(file)
                stream.truncate()
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            try:
                description, arrays = read_any(good)
            except ModelFileError as error:
                counts["refused"] += 1
                assert "\n" not in str(error) and "given" in str(error) and str(error).isprintable()
            else:
                same = description == expected[0] and [array.tobytes() for array in arrays] == bits
                assert same or (mutation is forge and usable(description, arrays)), file
                counts["as written" if same else "forged and usable"] += 1
            assert tracemalloc.get_traced_memory()[1] - before < 2 * len(file) + 200_000
    finally:
        tracemalloc.stop()
    assert all(counts.values())
