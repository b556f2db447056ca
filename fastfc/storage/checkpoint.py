"""Checkpoints: all that training needs to go on as if it had never stopped, in one file written atomically."""

from __future__ import annotations

import math
import os
import re
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
KEYS = ("state", "losses", "epoch", "history", "generator", "settings")
PARAMETERS = ("weights", "biases")
PLAIN = ("epoch", "history", "generator", "settings")

_ENTRIES = 8  # of an optimiser: none that is known has more than three, to which come the parameters of the best epoch
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_GENERATORS = ("PCG64", "PCG64DXSM")  # numpy.random.default_rng makes the first


def write_checkpoint(folder: str | os.PathLike[str], checkpoint: Mapping[str, Any]) -> None:
    """Write `checkpoint` to `folder`, which is made where it is missing, in place of the one that is there.

    state      of a Trainer: lists of arrays by name, all float32 or all float64, finite. "weights", (fan_in, fan_out)
               each; "biases", (fan_out,) each; and under other short names what an optimiser keeps: one array for
               each of the weights, then one for each of the biases, of their shapes
    losses     [array (samples,)] of that dtype, the last loss of each sample; or []
    epoch      how many epochs are done, >= 0
    history    list of dicts of JSON values
    generator  state of a PCG64 bit generator, as numpy gives it: `rng.bit_generator.state`
    settings   dict of JSON values

    JSON values are None, bool, str, whole numbers, finite floats, and lists and dicts (with str keys) of them; NumPy
    scalars are taken as Python's, and tuples come back as lists. All else comes back bit for bit.

    Raises InvalidArgument or InvalidType before anything is written, and files.WriteError.
    """
    same_keys("checkpoint", checkpoint, KEYS)
    state = checkpoint["state"]
    if not isinstance(state, dict):
        raise InvalidType(f"state: given {reprlib.repr(state)}, expected a dict of lists of arrays")
    missing = [name for name in PARAMETERS if name not in state]
    if missing:
        raise invalid("state", f"no {missing[0]}", "weights and biases")
    arrays = {name: _arrays(name, given) for name, given in {**state, "losses": checkpoint["losses"]}.items()}
    weights = arrays["weights"]
    for k, array in enumerate(weights):
        if array.ndim != 2:
            raise invalid(f"weights[{k}]", f"an array of shape {array.shape}", "(fan_in, fan_out)")
    description = {
        "layers": [array.shape[0] for array in weights[:1]] + [array.shape[1] for array in weights],
        "dtype": weights[0].dtype.newbyteorder("=").name if weights else "float32",
        "optimizer_state": [name for name in state if name not in PARAMETERS],
        "losses": [array.size for array in arrays["losses"]],
        **{key: checkpoint[key] for key in PLAIN},
    }
    data = encode(CHECKPOINT, description, arrays)
    _make_folder(folder)
    atomic_write(os.path.join(folder, FILE_NAME), data)


def read_checkpoint(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the checkpoint in `folder`: what was given to `write_checkpoint`, with its keys.

    Raises ModelFileError where there is none, it is damaged, or an older version wrote it; nothing in it is believed
    without a check.
    """
    description, tensors = read_tensors(os.path.join(checked_name(folder), FILE_NAME), CHECKPOINT)
    losses = tensors.pop("losses")
    return {"state": tensors, "losses": losses, **{key: description[key] for key in PLAIN}}


def _make_folder(folder: str | os.PathLike[str]) -> None:
    name = checked_name(folder)
    if os.path.exists(name) and not os.path.isdir(name):
        raise invalid("checkpoint", f"{name!r}, which is a file", "a folder")
    try:
        os.makedirs(name, exist_ok=True)
    except OSError as error:
        text = f"cannot make the folder {name!r}: given {error.strerror}, expected a place where it can be made"
        raise WriteError(text) from error


def _arrays(name: str, arrays: Any) -> list[np.ndarray]:
    if not isinstance(arrays, (list, tuple)) or not all(isinstance(array, np.ndarray) for array in arrays):
        raise InvalidType(f"{name}: given {reprlib.repr(arrays)}, expected a list of numpy arrays")
    return list(arrays)


def _check_description(given: Mapping[str, Any]) -> dict[str, Any]:
    same_keys("description", given, ("layers", "dtype", "optimizer_state", "losses", *PLAIN))
    layers = check_layers(given["layers"])
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
        "optimizer_state": _check_names(given["optimizer_state"]),
        "losses": [int(count) for count in losses],
        "epoch": int(given["epoch"]),
        "history": _plain("history", history, JSON_DEPTH - 1),
        "generator": _check_generator(given["generator"]),
        "settings": _plain("settings", settings, JSON_DEPTH - 1),
    }


def _check_names(given: Any) -> list[str]:
    """The names of what an optimiser keeps: short, each once, and none of the names that are taken."""
    if not isinstance(given, (list, tuple)) or len(given) > _ENTRIES:
        raise invalid("optimizer_state", reprlib.repr(given), f"a list of at most {_ENTRIES} names")
    for k, name in enumerate(given):
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (*PARAMETERS, "losses", *given[:k]):
            raise invalid("optimizer_state", reprlib.repr(name), "another short name, such as 'velocity', each once")
    return list(given)


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
    parameters = parameter_shapes(description["layers"])
    kept = parameters["weights"] + parameters["biases"]
    losses: list[tuple[int, ...]] = [(count,) for count in description["losses"]]
    return {**parameters, **dict.fromkeys(description["optimizer_state"], kept), "losses": losses}


CHECKPOINT = FileKind("checkpoint", "fastfc-checkpoint", "2", 2**25, _check_description, _shapes)
