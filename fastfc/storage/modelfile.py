"""Model files: safetensors, with the network's description as JSON in the metadata. Reading believes nothing.

A file holds the tensors weights.0, biases.0, weights.1, ... and the one metadata entry "fastfc": a JSON object of
"format", "version", "sha256" and the description. Every size is checked against the description and against the length
of the file before memory is taken, and nothing in a file is ever run. The SHA-256, over the description and the
numbers, finds damage; it does not say who wrote the file. Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import reprlib
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np

from fastfc.errors import InvalidArgument, InvalidType, ModelFileError, invalid
from fastfc.kernels.plan import FROM_LOGITS
from fastfc.settings import ACTIVATIONS, DTYPES, LOSSES
from fastfc.storage.files import atomic_write, checked_name
from fastfc.validation import (
    check_finite,
    check_image_shape,
    check_input_kind,
    check_regression,
    number,
    one_of,
    whole,
)

KEYS = ("layers", "activations", "loss", "output_activation", "scale", "dtype", "image_shape")
LATER_KEYS = ("regression", "input_kind")  # which files of fastfc 0.1.0 do not have

INT_BITS = 1023  # any whole number in the JSON then has a float64
JSON_DEPTH = 8

_METADATA_KEY = "fastfc"
_CODES = {"float32": "F32", "float64": "F64"}  # safetensors' names
_LAYERS = 1000
_LAYER_SIZE = 2**31 - 1
_MESSAGE = 300  # characters of an error message that may come from a hostile file
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)

Shapes = dict[str, list[tuple[int, ...]]]


@dataclass(frozen=True)
class FileKind:
    """What tells one kind of file from another; reading and writing are the same for all.

    title        for messages, such as "model file"
    format       value of "format" in the metadata
    version      value of "version": a number as text, that goes up when a file of this kind would be read otherwise
    header_limit largest header in bytes
    check        the description -> the same in normal form (tuples for lists), or an InvalidArgument or InvalidType
    shapes       a checked description -> the shapes of the tensors by group, such as {"biases": [(200,), (10,)]};
                 tensor k of a group is named "group.k" and has the description's dtype
    """

    title: str
    format: str
    version: str
    header_limit: int
    check: Callable[[Mapping[str, Any]], dict[str, Any]]
    shapes: Callable[[Mapping[str, Any]], Shapes]


def save_parameters(
    path: str | os.PathLike[str],
    description: Mapping[str, Any],
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
) -> None:
    """Write a network to `path`, atomically. Equal networks give equal bytes.

    description  layers (sizes, input first), activations (a name for each hidden layer), loss, output_activation,
                 scale, dtype ("float32" or "float64"), image_shape ((height, width) or None), and unless the file
                 is to be one of fastfc 0.1.0, regression and input_kind as `Network` has them, and with the loss huber
                 huber_delta: all of them, no other
    weights[k]   (layers[k], layers[k + 1]) and biases[k] (layers[k + 1],), finite, in that dtype

    Raises InvalidArgument or InvalidType before anything is written, and files.WriteError.
    """
    atomic_write(path, encode(MODEL, description, {"weights": weights, "biases": biases}))


def read_parameters(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[np.ndarray], list[np.ndarray]]:
    """Read what `save_parameters` wrote: (description, weights, biases); lists in the description become tuples.

    Where a file of fastfc 0.1.0 has no `regression`, mse with one output is one; what it was trained on is not known.
    Takes the memory of the parameters and a quarter of it for a moment. Raises ModelFileError for a file that is
    missing, damaged, not a fastfc model, or of a version that is not known.
    """
    description, tensors = read_tensors(path, MODEL)
    regression = description["loss"] == "mse" and description["layers"][-1] == 1
    description = {"regression": regression, "input_kind": None, **description}
    return description, tensors["weights"], tensors["biases"]


def encode(kind: FileKind, description: Mapping[str, Any], tensors: Mapping[str, Sequence[np.ndarray]]) -> bytes:
    """The file of a description and its groups of arrays, both checked as `read_tensors` checks them."""
    from safetensors.numpy import save

    description = kind.check(description)
    dtype = np.dtype(description["dtype"]).newbyteorder("<")
    arrays = {}
    for group, shapes in kind.shapes(description).items():
        if len(tensors[group]) != len(shapes):
            raise invalid(group, f"{len(tensors[group])} arrays", f"{len(shapes)}")
        for k, (array, shape) in enumerate(zip(tensors[group], shapes, strict=True)):
            arrays[f"{group}.{k}"] = _storable(f"{group}[{k}]", array, shape, dtype)
    digest = _digest(description, arrays.values())
    head = {"format": kind.format, "version": kind.version, "sha256": digest}
    text = json.dumps({**head, **description}, allow_nan=False)
    data = save(arrays, metadata={_METADATA_KEY: text})  # one entry: the library writes several in any order
    _layout(io.BytesIO(data), len(data), kind)  # whatever could not be read back is refused here
    return data


def read_tensors(path: str | os.PathLike[str], kind: FileKind) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """The description and the groups of arrays of a file of `kind`, or ModelFileError with one line that says why."""
    name = checked_name(path)
    what = f"{kind.title} {name!r}"
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):  # opening a pipe would wait for its other end
            raise invalid("name", "a folder, device or pipe", "a file")
        with open(name, "rb") as file:
            description, digest, names = _layout(file, os.fstat(file.fileno()).st_size, kind)
            shapes = kind.shapes(description)
            tensors: dict[str, list[Any]] = {group: [None] * len(shapes[group]) for group in shapes}
            for group, k in names:
                tensors[group][k] = _array(file, f"tensor {group}.{k}", shapes[group][k], description["dtype"])
        found = _digest(description, chain.from_iterable(tensors.values()))
        if found != digest:
            raise invalid("SHA-256 of the contents", found, f"{reprlib.repr(digest)} as written: the file is damaged")
    except (InvalidArgument, InvalidType) as error:
        message = str(error)
        message = message if len(message) <= _MESSAGE else message[:_MESSAGE] + "..."
        raise ModelFileError(f"{what}: {message}") from None
    except FileNotFoundError:
        raise ModelFileError(f"{what}: given a name that does not exist, expected a file") from None
    except OSError as error:
        raise ModelFileError(f"{what}: given {error.strerror or error}, expected a file that can be read") from error
    return description, tensors


def _layout(file: io.BufferedIOBase, size: int, kind: FileKind) -> tuple[dict[str, Any], Any, list[tuple[str, int]]]:
    """Check all but the numbers themselves, and leave `file` where they begin.

    Returns the description, the SHA-256 that it gives, and the tensors, as (group, k), in the order of the file.
    """
    if size < 8:
        raise invalid("length", f"{size} bytes", "at least the 8 of a safetensors file")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, kind.header_limit):
        raise invalid("header length", f"{length} bytes", f"at most {min(size - 8, kind.header_limit)}")
    header = strict_json("header", file.read(length))
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.keys() != {_METADATA_KEY}:
        raise invalid("metadata", reprlib.repr(metadata), f"one entry {_METADATA_KEY!r}, the description")
    description, digest = _described(metadata[_METADATA_KEY], kind)
    shapes = kind.shapes(description)
    names = {f"{group}.{k}": (group, k) for group in shapes for k in range(len(shapes[group]))}
    same_keys("tensors", header, names)
    code, itemsize = _CODES[description["dtype"]], np.dtype(description["dtype"]).itemsize
    offset = 0
    for name, entry in header.items():
        group, k = names[name]
        shape = list(shapes[group][k])
        end = offset + math.prod(shape) * itemsize
        expected = {"dtype": code, "shape": shape, "data_offsets": [offset, end]}
        if not isinstance(entry, dict):
            raise invalid(f"tensor {name}", reprlib.repr(entry), "an object")
        same_keys(f"tensor {name}", entry, expected)
        for key, value in expected.items():
            if repr(entry[key]) != repr(value):  # not ==, which takes 1.0 and true for 1
                raise invalid(f"tensor {name} {key}", reprlib.repr(entry[key]), f"{value!r}")
        offset = end
    if size != 8 + length + offset:
        raise invalid("length", f"{size} bytes", f"{8 + length + offset} for the tensors of the header")
    return description, digest, [names[name] for name in header]


def _described(text: Any, kind: FileKind) -> tuple[dict[str, Any], Any]:
    if not isinstance(text, str):
        raise invalid("metadata", reprlib.repr(text), "the description as text")
    description = strict_json("metadata", text)
    one_of("metadata format", description.pop("format", None), (kind.format,))
    version = description.pop("version", None)
    if version in [str(older) for older in range(1, int(kind.version))]:
        raise invalid("metadata version", f"{version!r}, of an older fastfc", f"{kind.version!r}")
    one_of("metadata version", version, (kind.version,))
    digest = description.pop("sha256", None)
    return kind.check(description), digest


def _digest(description: Mapping[str, Any], arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 over the description in one form and the arrays, little-endian, in the order of `kind.shapes`."""
    result = hashlib.sha256(json.dumps(description, sort_keys=True, allow_nan=False).encode())
    for array in arrays:
        result.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return result.hexdigest()


def strict_json(what: str, text: str | bytes) -> dict[str, Any]:
    """A JSON object of bounded depth, in UTF-8, without duplicate keys, NaN or infinity, or InvalidArgument."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise invalid(what, f"the key {reprlib.repr(key)} twice", "it once")
            result[key] = value
        return result

    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        if not text.startswith("{"):
            raise invalid(what, f"a text that begins with {text[:1]!r}", "a JSON object")
        depth = 0
        for match in _BRACKETS.finditer(text):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
            if depth > JSON_DEPTH:
                raise invalid(what, "a deeper nesting", f"JSON of at most {JSON_DEPTH} levels")
        return json.loads(
            text, object_pairs_hook=unique, parse_int=_bounded_int, parse_float=_finite, parse_constant=_finite
        )
    except InvalidArgument:
        raise
    except ValueError as error:
        raise invalid(what, f"a text that is not JSON ({error})", "a JSON object in UTF-8") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{reprlib.repr(text)} is not a finite number")
    return value


def _bounded_int(text: str) -> int:
    value = int(text)
    if value.bit_length() > INT_BITS:
        raise ValueError(f"a whole number of {value.bit_length()} bits, more than {INT_BITS}")
    return value


def same_keys(what: str, given: Mapping[str, Any], expected: Mapping[str, Any] | Sequence[str]) -> None:
    """Raise InvalidArgument unless the keys of `given` are those of `expected`."""
    missing = [key for key in expected if key not in given]
    extra = [key for key in given if key not in expected]
    if missing or extra:
        found = [f"{word} {reprlib.repr(names)}" for word, names in (("missing", missing), ("unknown", extra)) if names]
        raise invalid(what, " and ".join(found), f"exactly {reprlib.repr(list(expected))}")


def _storable(what: str, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`array` as the file needs it: contiguous and little-endian."""
    if not isinstance(array, np.ndarray):
        raise InvalidType(f"{what}: given {type(array).__name__}, expected a numpy array")
    if array.dtype.newbyteorder("<") != dtype or array.shape != shape:
        raise invalid(what, f"{array.dtype} of shape {array.shape}", f"{dtype.name} of shape {shape}")
    check_finite(array, what)
    return np.ascontiguousarray(array, dtype)


def _array(file: io.BufferedIOBase, what: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    array = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
    if file.readinto(array.data.cast("B")) != array.nbytes:
        raise invalid(what, "a file that ended while it was read", f"{array.nbytes} bytes")
    check_finite(array, what)
    return array.astype(dtype, copy=False)


def check_layers(given: Any) -> tuple[int, ...]:
    """Layer sizes, input first, as a tuple; bounded, so that no sum or product of them is absurd."""
    if not isinstance(given, (list, tuple)) or not 2 <= len(given) <= _LAYERS:
        raise invalid("layers", reprlib.repr(given), f"2 to {_LAYERS} sizes")
    for size in given:
        whole("layers", size, 1)
        if size > _LAYER_SIZE:
            raise invalid("layers", size, f"sizes of at most {_LAYER_SIZE}")
    return tuple(int(size) for size in given)


def check_dtype(given: Any) -> str:
    """The name of a dtype in which parameters are held."""
    name = given.name if isinstance(given, np.dtype) else given
    one_of("dtype", name, DTYPES)
    return name


def parameter_shapes(layers: Sequence[int]) -> Shapes:
    """Shapes of the weights, (fan_in, fan_out), and of the biases, (fan_out,)."""
    return {"weights": list(pairwise(layers)), "biases": [(size,) for size in layers[1:]]}


def _check_description(given: Mapping[str, Any]) -> dict[str, Any]:
    later = LATER_KEYS if any(key in given for key in LATER_KEYS) else ()
    of_loss = ("huber_delta",) if given.get("loss") == "huber" else ()
    same_keys("description", given, (*KEYS, *later, *of_loss))
    layers = check_layers(given["layers"])
    activations = given["activations"]
    if not isinstance(activations, (list, tuple)) or len(activations) != len(layers) - 2:
        raise invalid("activations", reprlib.repr(activations), f"a name for each of {len(layers) - 2} hidden layers")
    for name in activations:
        one_of("activations", name, ACTIVATIONS)
    one_of("loss", given["loss"], LOSSES)
    one_of("output_activation", given["output_activation"], ("identity",) if given["loss"] in FROM_LOGITS else ACTIVATIONS)
    number("scale", given["scale"], above=0)
    checked = {
        "layers": layers,
        "activations": tuple(activations),
        "loss": given["loss"],
        "output_activation": given["output_activation"],
        "scale": float(given["scale"]),
        "dtype": check_dtype(given["dtype"]),
        "image_shape": check_image_shape(given["image_shape"], layers[0]),
    }
    if later:  # not added to what has none: the SHA-256 is of the description as it is written
        checked["regression"] = check_regression(given["regression"], given["loss"])
        checked["input_kind"] = check_input_kind(given["input_kind"])
    if of_loss:
        number("huber_delta", given["huber_delta"], above=0)
        checked["huber_delta"] = float(given["huber_delta"])
    return checked


MODEL = FileKind(
    "model file", "fastfc", "1", 2**18, _check_description, lambda given: parameter_shapes(given["layers"])
)
