"""Checks of what the user hands in, before anything is computed, and the same for both backends."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.kernels.plan import REGRESSIONS

MOST_SHIFT = np.iinfo(np.int8).max
ROWS = 4096  # checked for NaN at a time, to take little memory
INPUT_KINDS = ("uint8", "integer", "float")


def is_csr(X: Any) -> bool:
    """Whether X is a scipy sparse matrix or array in CSR form; scipy need not be installed."""
    return type(X).__module__.startswith("scipy.sparse") and getattr(X, "format", "") == "csr"


def parts_of(X: Any) -> tuple[np.ndarray, ...]:
    """The arrays of X, dense or CSR."""
    return (X,) if isinstance(X, np.ndarray) else (X.data, X.indices, X.indptr)


def as_array(values: Any, what: str) -> np.ndarray:
    """`values` as an array of numbers. Raises InvalidType, or InvalidArgument for rows of unequal length."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise invalid(what, f"{type(values).__name__} that is no array ({error})", "rows of equal length") from None
    _check_kind(array.dtype, what)
    return array


def _check_kind(dtype: np.dtype, what: str) -> None:
    if dtype.kind not in "biuf":
        raise InvalidType(f"{what}: given an array of {dtype}, expected numbers")


def input_kind(X: Any) -> str:
    """One of INPUT_KINDS: uint8, which is scaled; "integer", any other integers and booleans; or "float"."""
    dtype = X.dtype if is_csr(X) else np.asarray(X).dtype
    return "uint8" if dtype == np.uint8 else "integer" if dtype.kind in "biu" else "float"


def check_inputs(
    X: Any, dtype: np.dtype, what: str = "X", features: int | None = None, trained_on: str | None = None
) -> Any:
    """X as the kernels take it: (n, features), uint8 or `dtype`, C-contiguous and aligned, or CSR of one of these. Never modified.

    Images (n, height, width) are flattened. `trained_on` is the `input_kind` that uint8 and other integers must agree
    with: only the first is scaled.

    Raises InvalidType for what is not an array of numbers or of integers of the other kind, and InvalidArgument for other
    shapes, no rows, no features, NaN or infinities.
    """
    if is_csr(X):
        _check_kind(X.dtype, what)
        _check_trained_on(X, what, trained_on)
        _check_shape(X.shape, what, features)
        _check_csr(X, what)
        values = X.data if X.dtype == np.uint8 else _converted(X.data, dtype, what)
        return X if values is X.data else type(X)((values, X.indices, X.indptr), shape=X.shape)
    array = as_array(X, what)
    _check_trained_on(array, what, trained_on)
    if array.ndim == 3 and array.size:
        array = array.reshape(len(array), -1)
    _check_shape(array.shape, what, features)
    return np.require(array, None, ["C", "E"]) if array.dtype == np.uint8 else _converted(array, dtype, what)


def _check_trained_on(X: Any, what: str, trained_on: str | None) -> None:
    kinds = trained_on, input_kind(X)
    if kinds == ("uint8", "integer"):
        raise InvalidType(
            f"{what}: given an array of {X.dtype}, expected uint8, as trained on, or floats that are scaled alike"
        )
    if kinds == ("integer", "uint8"):
        raise InvalidType(
            f"{what}: given an array of uint8, which is scaled, expected integers of another dtype, as trained on, or floats"
        )


def _converted(array: np.ndarray, dtype: np.dtype, what: str) -> np.ndarray:
    """`array`, C-contiguous and of `dtype`, in which it must be finite."""
    check_finite(array, what)
    with np.errstate(all="ignore"):
        converted = np.require(array, dtype, ["C", "A", "E"])  # contiguous, aligned, and no subclass
    if array.dtype.kind == "f" and dtype.itemsize < array.dtype.itemsize:
        check_finite(converted, f"{what} as {dtype.name}")
    return converted


def _check_shape(shape: tuple[int, ...], what: str, features: int | None) -> None:
    if len(shape) != 2:
        raise invalid(what, f"shape {shape}", "(samples, features)")
    if shape[0] == 0 or shape[1] == 0:
        raise invalid(what, f"shape {shape}", "at least one sample and one feature")
    if features is not None and shape[1] != features:
        raise invalid(what, f"{shape[1]} features", f"{features}")


def check_finite(array: np.ndarray, what: str) -> None:
    """Raise InvalidArgument that names the first NaN or infinity of `array`, of any shape but ()."""
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), ROWS):
        finite = np.isfinite(array[start : start + ROWS])
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            where = (where[0] + start, *where[1:])
            raise invalid(what, f"{array[where]} at {where}", "finite numbers")


def _check_csr(X: Any, what: str) -> None:
    """Indices that point outside would make a compiled kernel write outside."""
    indices, indptr = X.indices, X.indptr
    ordered = (
        len(X.data) == len(indices)
        and len(indptr) == X.shape[0] + 1
        and indptr[0] == 0
        and indptr[-1] <= len(indices)
        and (np.diff(indptr) >= 0).all()
    )
    if not ordered or (len(indices) and (indices.min() < 0 or indices.max() >= X.shape[1])):
        raise invalid(what, "a CSR matrix whose indices point outside of it", "a valid one")


def check_targets(
    y: Any, n: int, outputs: int | None, loss: str, dtype: np.dtype, what: str = "y", regression: bool = False
) -> tuple[np.ndarray, int]:
    """The targets as the kernels take them, and the number of outputs.

    Integer labels (n,) stay labels, int64, and each output is a class; with sigmoid_bce, labels 0 and 1 are one output's
    targets. With mse, mae and huber integers are numbers like others, but for labels (n,) with more than one in `outputs`,
    unless it is a `regression`; with poisson they are numbers. Floats (n,) or (n, outputs) are targets, with the two
    cross-entropies in [0, 1] (and adding up to 1 for the softmax), with poisson not negative.

    Raises InvalidArgument or InvalidType.
    """
    array = as_array(y, what)
    if array.ndim not in (1, 2) or array.size == 0:
        raise invalid(what, f"shape {array.shape}", "(samples,) or (samples, outputs)")
    if len(array) != n:
        raise invalid(what, f"{len(array)} targets", f"{n}, as many as samples")
    numbers = loss == "poisson" or (loss in REGRESSIONS and (regression or outputs in (None, 1)))
    if array.ndim == 1 and array.dtype.kind in "biu" and not numbers:
        return _labels(array, outputs, loss, dtype, what)
    if array.ndim == 1 and loss == "softmax_ce":
        raise invalid(what, f"an array of {array.dtype}", "integer labels, or targets (samples, outputs)")
    targets = _converted(array.reshape(n, -1), dtype, what)
    if outputs is not None and targets.shape[1] != outputs:
        raise invalid(what, f"{targets.shape[1]} targets a sample", f"{outputs}, as many as outputs")
    if loss == "poisson" and targets.min() < 0:
        raise invalid(what, f"targets from {targets.min()} on", "numbers >= 0 with loss 'poisson'")
    if loss not in REGRESSIONS and (targets.min() < 0 or targets.max() > 1):
        raise invalid(what, f"targets from {targets.min()} to {targets.max()}", f"0 to 1 with loss {loss!r}")
    if loss == "softmax_ce" and not np.allclose(targets.sum(axis=1), 1, atol=1e-4):
        raise invalid(what, "targets of a sample that do not add up to 1", "shares that do, with loss 'softmax_ce'")
    return targets, targets.shape[1]


def _labels(array: np.ndarray, outputs: int | None, loss: str, dtype: np.dtype, what: str) -> tuple[np.ndarray, int]:
    low, high = int(array.min()), int(array.max())
    if low < 0:
        raise invalid(what, f"label {low}", "labels from 0 on")
    if loss == "sigmoid_bce" and high <= 1 and outputs in (None, 1):
        return array.astype(dtype)[:, None], 1
    if loss == "sigmoid_bce" and outputs == 1:
        raise invalid(what, f"label {high}", "labels 0 and 1, with one output")
    if outputs is None:
        outputs = max(high + 1, 2)
        if high >= len(array):
            expected = "no more classes than samples, or `outputs` to say how many; numbers take a loss such as 'mse'"
            raise invalid(what, f"label {high} in {len(array)} samples", expected)
    if high >= outputs:
        raise invalid(what, f"label {high}", f"labels from 0 to {outputs - 1}, with {outputs} outputs")
    return np.require(array, np.int64, ["C", "A", "E"]), outputs


def check_parameter(given: Any, shape: tuple[int, ...], dtype: np.dtype, what: str) -> np.ndarray:
    """A read-only copy of one layer's weights or bias, in C order. Raises InvalidArgument or InvalidType."""
    array = as_array(given, what)
    if array.shape != shape:
        raise invalid(what, f"shape {array.shape}", f"{shape}")
    copy = np.array(_converted(array, dtype, what))
    copy.flags.writeable = False
    return copy


def check_parameters(given: Any, shapes: Sequence[tuple[int, ...]], dtype: np.dtype, what: str) -> list[np.ndarray]:
    """A `check_parameter` of each of a list of arrays."""
    if not isinstance(given, list | tuple):
        raise InvalidType(f"{what}: given {type(given).__name__}, expected a list of arrays")
    if len(given) != len(shapes):
        raise invalid(what, f"{len(given)} arrays", f"{len(shapes)}")
    return [
        check_parameter(array, shape, dtype, f"{what}[{k}]")
        for k, (array, shape) in enumerate(zip(given, shapes, strict=True))
    ]


def check_state(
    given: Any, shapes: Mapping[str, Sequence[tuple[int, ...]]], dtype: np.dtype
) -> tuple[dict[str, list[np.ndarray]], int]:
    """The arrays that an optimiser goes on with, by name, and how many steps it has done.

    Raises InvalidType or InvalidArgument unless `given` has the names of `shapes` and "steps", and for each name finite arrays of
    its shapes and of `dtype`.
    """
    if not isinstance(given, dict):
        raise InvalidType(f"state: given {type(given).__name__}, expected TrainResult.state")
    expected = [*shapes, "steps"]
    if set(given) != set(expected):
        has = ", ".join(map(str, given)) or "nothing"
        raise invalid("state", has, f"{', '.join(expected)}, as this optimizer keeps them")
    whole("state['steps']", given["steps"], 0)
    arrays = {}
    for name in shapes:
        what = f"state[{name!r}]"
        arrays[name] = check_parameters(given[name], shapes[name], dtype, what)
        for k, array in enumerate(given[name]):
            if as_array(array, what).dtype != dtype:
                raise invalid(f"{what}[{k}]", f"an array of {as_array(array, what).dtype}", f"{dtype}")
    return arrays, int(given["steps"])


def check_weights(given: Any, n: int, what: str = "sample_weight") -> np.ndarray:
    """(n,) float64 of the weights of n samples: finite, not negative, not all 0. Raises InvalidArgument or InvalidType."""
    weights = as_array(given, what)
    if weights.shape != (n,):
        raise invalid(what, f"shape {weights.shape}", f"({n},), one for each sample")
    check_finite(weights, what)
    if weights.min() < 0:
        raise invalid(what, f"{weights.min()}", "numbers >= 0")
    if not weights.any():
        raise invalid(what, "weights that are all 0", "some that are not")
    return weights.astype(np.float64)


def check_init(init: Any) -> tuple[str, float]:
    """(name, size) of a valid `init`, with a size of 0 where it has none."""
    if isinstance(init, str):
        one_of("init", init, ("he", "glorot"))
        return init, 0.0
    if not isinstance(init, tuple | list) or len(init) != 2:
        raise InvalidType(f"init: given {init!r}, expected 'he', 'glorot', ('normal', sigma) or ('uniform', a)")
    kind, size = init
    if kind not in ("normal", "uniform"):
        raise invalid("init", repr(init), "'he', 'glorot', ('normal', sigma) or ('uniform', a)")
    number(f"init {kind}", size, at_least=0)
    return kind, float(size)


def check_image_shape(given: Any, features: int) -> tuple[int, int] | None:
    """(height, width) of images of so many pixels, or None. Raises InvalidArgument or InvalidType."""
    if given is None:
        return None
    shape = sizes("image_shape", given)
    if len(shape) != 2 or math.prod(shape) != features:
        raise invalid("image_shape", shape, f"height and width of {features} pixels")
    return shape[0], shape[1]


def check_input_kind(given: Any) -> str | None:
    """One of INPUT_KINDS, or None."""
    if given is not None:
        one_of("input_kind", given, INPUT_KINDS)
    return given


def check_regression(given: Any, loss: str) -> bool:
    """Whether outputs are numbers, not classes; None: as is usual for the loss. Raises InvalidArgument or InvalidType."""
    if given is not None and not isinstance(given, bool):
        raise InvalidType(f"regression: given {given!r}, expected True, False or None")
    if given and loss not in REGRESSIONS:
        raise invalid("regression", given, f"False with loss {loss!r}, whose outputs tell classes")
    if given is False and loss == "poisson":
        raise invalid("regression", given, f"True with loss {loss!r}, whose outputs are numbers")
    return loss in REGRESSIONS if given is None else given


def check_shifts(augment: int | None, image_shape: tuple[int, int] | None, X: Any) -> None:
    """Raise InvalidArgument unless samples X of that shape can be shifted by `augment` pixels."""
    if not augment:
        return
    if image_shape is None or is_csr(X):
        raise invalid("augment", augment, "None for data that are not images: arrays of shape (n, height, width) are")
    if augment >= min(image_shape):
        raise invalid("augment", augment, f"shifts smaller than the image, {image_shape[0]}x{image_shape[1]}")
    if augment > MOST_SHIFT:
        raise invalid("augment", augment, f"at most {MOST_SHIFT}")


def one_of(what: str, given: object, choices: Sequence[str]) -> None:
    """Raise unless `given` is one of `choices`."""
    if not isinstance(given, str) or given not in choices:
        raise invalid(what, repr(given), "one of " + ", ".join(choices))


def number(
    what: str, given: Any, *, above: float = -math.inf, at_least: float = -math.inf, below: float = math.inf
) -> None:
    """Raise unless `given` is a finite real number in the range."""
    if isinstance(given, bool) or not isinstance(given, (int, float, np.integer, np.floating)):
        raise InvalidType(f"{what}: given {given!r}, expected a number")
    given = given.item() if isinstance(given, np.floating) else given  # a float32 cannot be compared with what follows
    largest: Any = sys.float_info.max  # compared, because a huge int cannot be made a float
    if not (-largest <= given <= largest and given > above and given >= at_least and given < below):
        bounds = (
            [f"> {above}"] * (above > -math.inf)
            + [f">= {at_least}"] * (at_least > -math.inf)
            + [f"< {below}"] * (below < math.inf)
        )
        raise invalid(what, given, " ".join(["a finite number", " and ".join(bounds)]).strip())


def whole(what: str, given: Any, at_least: int) -> None:
    """Raise unless `given` is a whole number of at least `at_least`."""
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)):
        raise InvalidType(f"{what}: given {given!r}, expected a whole number >= {at_least}")
    if given < at_least:
        raise invalid(what, given, f"a whole number >= {at_least}")


def sizes(what: str, given: Any) -> tuple[int, ...]:
    """`given` as a tuple of whole numbers of at least 1. Raises InvalidType or InvalidArgument."""
    try:
        items = tuple(given)
    except TypeError:
        raise InvalidType(f"{what}: given {given!r}, expected sizes, such as (200, 50)") from None
    for item in items:
        whole(what, item, 1)
    return tuple(int(item) for item in items)
