"""Checks of what the user hands in, before anything is computed, and the same for both backends."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfc.errors import InvalidType, invalid

MOST_CLASSES = 1 << 20  # that labels alone can ask for: a number more is likely no label
MOST_SHIFT = np.iinfo(np.int8).max
ROWS = 4096  # checked for NaN at a time, to take little memory


def is_csr(X: Any) -> bool:
    """Whether X is a scipy sparse matrix or array in CSR form; scipy need not be installed."""
    return type(X).__module__.startswith("scipy.sparse") and getattr(X, "format", "") == "csr"


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


def check_inputs(X: Any, dtype: np.dtype, what: str = "X", features: int | None = None) -> Any:
    """X as the kernels take it: (n, features), uint8 or `dtype`, C-contiguous and aligned, or CSR of one of these. Never modified.

    Images (n, height, width) are flattened.

    Raises InvalidType for what is not an array of numbers, and InvalidArgument for other shapes, no rows, no features,
    NaN or infinities.
    """
    if is_csr(X):
        _check_kind(X.dtype, what)
        _check_shape(X.shape, what, features)
        _check_csr(X, what)
        values = X.data if X.dtype == np.uint8 else _converted(X.data, dtype, what)
        parts = [_unlocked(part) for part in (values, X.indices, X.indptr)]
        same = all(a is b for a, b in zip(parts, (X.data, X.indices, X.indptr), strict=True))
        return X if same else type(X)(tuple(parts), shape=X.shape)
    array = as_array(X, what)
    if array.ndim == 3 and array.size:
        array = array.reshape(len(array), -1)
    _check_shape(array.shape, what, features)
    return _unlocked(np.require(array, None, ["C", "E"]) if array.dtype == np.uint8 else _converted(array, dtype, what))


def _converted(array: np.ndarray, dtype: np.dtype, what: str) -> np.ndarray:
    """`array`, C-contiguous and of `dtype`, in which it must be finite."""
    _check_finite(array, what)
    with np.errstate(all="ignore"):
        converted = np.require(array, dtype, ["C", "A", "E"])  # contiguous, aligned, and no subclass
    if array.dtype.kind == "f" and dtype.itemsize < array.dtype.itemsize:
        _check_finite(converted, f"{what} as {dtype.name}")
    return converted


class _Unlocked:
    """Says of the memory of `array` that it can be written."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _unlocked(array: np.ndarray) -> np.ndarray:
    """`array` without its mark of being read-only, which would make compiled code compile anew. Nothing writes to it."""
    return array if array.flags.writeable else np.asarray(_Unlocked(array))


def _check_shape(shape: tuple[int, ...], what: str, features: int | None) -> None:
    if len(shape) != 2:
        raise invalid(what, f"shape {shape}", "(samples, features)")
    if shape[0] == 0 or shape[1] == 0:
        raise invalid(what, f"shape {shape}", "at least one sample and one feature")
    if features is not None and shape[1] != features:
        raise invalid(what, f"{shape[1]} features", f"{features}")


def _check_finite(array: np.ndarray, what: str) -> None:
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
    y: Any, n: int, outputs: int | None, loss: str, dtype: np.dtype, what: str = "y"
) -> tuple[np.ndarray, int]:
    """The targets as the kernels take them, and the number of outputs.

    Integer labels (n,) stay labels, int64, and each output is a class; with sigmoid_bce, labels 0 and 1 are one output's
    targets, and with mse and one output integers are numbers like others. Floats (n,) or (n, outputs) are targets, and
    with the two cross-entropies must lie in [0, 1] (and add up to 1 for the softmax).

    Raises InvalidArgument or InvalidType.
    """
    array = as_array(y, what)
    if array.ndim not in (1, 2) or array.size == 0:
        raise invalid(what, f"shape {array.shape}", "(samples,) or (samples, outputs)")
    if len(array) != n:
        raise invalid(what, f"{len(array)} targets", f"{n}, as many as samples")
    if array.ndim == 1 and array.dtype.kind in "biu" and not (loss == "mse" and outputs == 1):
        return _labels(array, outputs, loss, dtype, what)
    if array.ndim == 1 and loss == "softmax_ce":
        raise invalid(what, f"an array of {array.dtype}", "integer labels, or targets (samples, outputs)")
    targets = _converted(array.reshape(n, -1), dtype, what)
    if outputs is not None and targets.shape[1] != outputs:
        raise invalid(what, f"{targets.shape[1]} targets a sample", f"{outputs}, as many as outputs")
    if loss != "mse" and (targets.min() < 0 or targets.max() > 1):
        raise invalid(what, f"targets from {targets.min()} to {targets.max()}", f"0 to 1 with loss {loss!r}")
    if loss == "softmax_ce" and not np.allclose(targets.sum(axis=1), 1, atol=1e-4):
        raise invalid(what, "targets of a sample that do not add up to 1", "shares that do, with loss 'softmax_ce'")
    return _unlocked(targets), targets.shape[1]


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
        if outputs > MOST_CLASSES:
            raise invalid(what, f"label {high}", f"labels below {MOST_CLASSES}, or `outputs` to say how many classes")
    if high >= outputs:
        raise invalid(what, f"label {high}", f"labels from 0 to {outputs - 1}, with {outputs} outputs")
    return _unlocked(np.require(array, np.int64, ["C", "A", "E"])), outputs


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
    largest: Any = sys.float_info.max  # compared, because a huge int cannot be made a float
    if not (-largest <= given <= largest and given > above and given >= at_least and given < below):
        bounds = (
            [f"> {above}"] * (above > -math.inf)
            + [f">= {at_least}"] * (at_least > -math.inf)
            + [f"< {below}"] * (below < math.inf)
        )
        raise invalid(what, given, "a finite number " + " and ".join(bounds))


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
