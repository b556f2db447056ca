"""Checkpoints: all that training needs to go on as if it had never stopped, in one file written atomically."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.storage.files import WriteError, atomic_write, checked_name
from fastfc.storage.modelfile import (
    INT_BITS,
    JSON_DEPTH,
    FileKind,
    Shapes,
    check_dtype,
    check_layers,
    encode,
    parameter_shapes,
    read_tensors,
    same_keys,
)
from fastfc.validation import one_of, whole

FILE_NAME = "checkpoint.safetensors"
KEYS = ("weights", "biases", "velocities", "losses", "epoch", "history", "generator", "settings")
ARRAYS = KEYS[:4]

_GENERATORS = ("PCG64", "PCG64DXSM")  # numpy.random.default_rng makes the first


def write_checkpoint(folder: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write `state` to `folder`, which is made where it is missing, in place of the checkpoint that is there.

    weights     list of (fan_in, fan_out) arrays, and biases list of (fan_out,), all float32 or all float64, finite
    velocities  list of arrays of that dtype: one for each of the weights, then one for each of the biases; or []
    losses      [array (samples,)] of that dtype, the last loss of each sample; or []
    epoch       how many epochs are done, >= 0
    history     list of dicts of JSON values
    generator   state of a PCG64 bit generator, as numpy gives it: `rng.bit_generator.state`
    settings    dict of JSON values

    JSON values are None, bool, str, whole numbers, finite floats, and lists and dicts (with str keys) of them; NumPy
    scalars are taken as Python's, and tuples come back as lists. All else comes back bit for bit.

    Raises InvalidArgument or InvalidType before anything is written, and files.WriteError.
    """
    same_keys("checkpoint state", state, KEYS)
    arrays = {key: _arrays(state, key) for key in ARRAYS}
    weights = arrays["weights"]
    for k, array in enumerate(weights):
        if array.ndim != 2:
            raise invalid(f"weights[{k}]", f"an array of shape {array.shape}", "(fan_in, fan_out)")
    description = {
        "layers": [array.shape[0] for array in weights[:1]] + [array.shape[1] for array in weights],
        "dtype": weights[0].dtype.newbyteorder("=").name if weights else "float32",
        "velocities": bool(arrays["velocities"]),
        "losses": [array.size for array in arrays["losses"]],
        **{key: state[key] for key in KEYS[4:]},
    }
    data = encode(CHECKPOINT, description, arrays)
    _make_folder(folder)
    atomic_write(os.path.join(folder, FILE_NAME), data)


def read_checkpoint(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the checkpoint in `folder`: the state that was given to `write_checkpoint`, with its keys.

    Raises ModelFileError where there is none or it is damaged; nothing in it is believed without a check.
    """
    description, tensors = read_tensors(os.path.join(checked_name(folder), FILE_NAME), CHECKPOINT)
    return {**tensors, **{key: description[key] for key in KEYS[4:]}}


def _make_folder(folder: str | os.PathLike[str]) -> None:
    name = checked_name(folder)
    if os.path.exists(name) and not os.path.isdir(name):
        raise invalid("checkpoint", f"{name!r}, which is a file", "a folder")
    try:
        os.makedirs(name, exist_ok=True)
    except OSError as error:
        text = f"cannot make the folder {name!r}: given {error.strerror}, expected a place where it can be made"
        raise WriteError(text) from error


def _arrays(state: Mapping[str, Any], key: str) -> list[np.ndarray]:
    arrays = state[key]
    if not isinstance(arrays, (list, tuple)) or not all(isinstance(array, np.ndarray) for array in arrays):
        raise InvalidType(f"{key}: given {reprlib.repr(arrays)}, expected a list of numpy arrays")
    return list(arrays)


def _check_description(given: Mapping[str, Any]) -> dict[str, Any]:
    same_keys("description", given, ("layers", "dtype", *KEYS[2:]))
    layers = check_layers(given["layers"])
    if not isinstance(given["velocities"], bool):
        raise invalid("velocities", reprlib.repr(given["velocities"]), "whether there are any, true or false")
    losses = given["losses"]
    if not isinstance(losses, (list, tuple)) or len(losses) > 1:
        raise invalid("losses", reprlib.repr(losses), "[] or [the number of samples]")
    for count in losses:
        whole("losses", count, 1)
    whole("epoch", given["epoch"], 0)
    history, settings = given["history"], given["settings"]
    if not isinstance(history, (list, tuple)) or not all(isinstance(record, dict) for record in history):
        raise InvalidType(f"history: given {reprlib.repr(history)}, expected a list of dicts")
    if not isinstance(settings, dict):
        raise InvalidType(f"settings: given {reprlib.repr(settings)}, expected a dict")
    return {
        "layers": layers,
        "dtype": check_dtype(given["dtype"]),
        "velocities": given["velocities"],
        "losses": [int(count) for count in losses],
        "epoch": int(given["epoch"]),
        "history": _plain("history", history, JSON_DEPTH - 1),
        "generator": _check_generator(given["generator"]),
        "settings": _plain("settings", settings, JSON_DEPTH - 1),
    }


def _check_generator(given: Any) -> dict[str, Any]:
    """The state of a PCG64: two numbers of 128 bits, the second odd, and perhaps half of the last 64 bits drawn."""
    if not isinstance(given, dict):
        raise InvalidType(f"generator: given {reprlib.repr(given)}, expected rng.bit_generator.state")
    one_of("generator", given.get("bit_generator"), _GENERATORS)
    same_keys("generator", given, ("bit_generator", "state", "has_uint32", "uinteger"))
    if not isinstance(given["state"], dict):
        raise invalid("generator state", reprlib.repr(given["state"]), "a dict of state and inc")
    same_keys("generator state", given["state"], ("state", "inc"))
    limits = {"state": 2**128, "inc": 2**128, "has_uint32": 2, "uinteger": 2**32}
    numbers = {**given["state"], "has_uint32": given["has_uint32"], "uinteger": given["uinteger"]}
    for name, value in numbers.items():
        whole(f"generator {name}", value, 0)
        if value >= limits[name]:
            raise invalid(f"generator {name}", value, f"less than {limits[name]}")
    if numbers["inc"] % 2 == 0:
        raise invalid("generator inc", numbers["inc"], "an odd number")
    return _plain("generator", given, JSON_DEPTH - 1)


def _plain(what: str, value: Any, depth: int) -> Any:
    """A copy of `value` of JSON values alone, nested at most `depth` deep."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and value.bit_length() <= INT_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)) and depth:
        return [_plain(f"{what}[{k}]", item, depth - 1) for k, item in enumerate(value)]
    if isinstance(value, dict) and depth:
        for key in value:
            if not isinstance(key, str):
                raise InvalidType(f"{what}: given the key {key!r}, expected str")
        return {key: _plain(f"{what}[{key!r}]", item, depth - 1) for key, item in value.items()}
    expected = f"None, bool, str, a finite number, or lists and dicts of them, at most {JSON_DEPTH} deep"
    raise InvalidType(f"{what}: given {reprlib.repr(value)}, expected {expected}")


def _shapes(description: Mapping[str, Any]) -> Shapes:
    shapes = parameter_shapes(description["layers"])
    velocities = (shapes["weights"] + shapes["biases"]) if description["velocities"] else []
    return {**shapes, "velocities": velocities, "losses": [(count,) for count in description["losses"]]}


CHECKPOINT = FileKind("checkpoint", "fastfc-checkpoint", 2**25, _check_description, _shapes)
