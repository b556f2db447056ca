"""Data sets: what `data=` of `fastfc.train` accepts, brought into one form."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastfc.data import cache, digits, mnist
from fastfc.errors import DataError, DownloadError, InvalidType, invalid
from fastfc.validation import as_array

__all__ = ["Dataset", "load_data"]

ImageShape = tuple[int, int] | None
EXPECTED = (
    '"mnist", "fashion-mnist", "digits", a folder with the four IDX files of MNIST, an .npz file, arrays (X, y), '
    "or a Dataset"
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training set and, unless they are None, a test set.

    X, X_test    (n, features), uint8 or float; a scipy CSR matrix stays one
    y, y_test    (n,) int64 labels, or (n,) or (n, outputs) targets
    name         "mnist", "fashion-mnist", "generated digits", "arrays", or a path
    image_shape  (height, width), height * width = features, where the samples are images
    notice       a line to show to the user, or ""
    sample_weight (n,) what each training sample counts for, or None
    class_factor  (n,) a factor of that in training alone, by the sample's class, or None
    """

    X: Any
    y: npt.NDArray[Any]
    X_test: Any = None
    y_test: npt.NDArray[Any] | None = None
    name: str = "arrays"
    image_shape: ImageShape = None
    notice: str = ""
    sample_weight: npt.NDArray[np.float64] | None = None
    class_factor: npt.NDArray[np.float64] | None = None

    def held_out(self) -> tuple[Any, Any, str]:
        """Test samples, their targets, and "test"; those of training, and "training", where there are no others."""
        if self.X_test is None:
            return self.X, self.y, "training"
        return self.X_test, self.y_test, "test"


def load_data(data: Any = None, test_data: Any = None) -> Dataset:
    """The Dataset that `data` names or holds.

    data       None: MNIST from FASTFC_DATA_DIR, the cache or the internet, or else generated digits, with a notice.
               "mnist", "fashion-mnist", or "digits" (the generated ones).
               A folder with the four IDX files of MNIST, or an .npz file with x_train, y_train and, as it may be,
               x_test, y_test (or X, y and X_test, y_test).
               (X, y): arrays, lists or data frames, or a scipy CSR matrix as X; images (n, height, width) are
               flattened.
               A Dataset, which is returned as it is.
    test_data  (X, y) to test on, instead of what `data` has for that.

    Integer labels become int64; all else keeps its dtype, and uint8 images in C order are not copied.

    Raises DataError for files that are missing or malformed, DownloadError when a data set asked for by name cannot be
    downloaded, InvalidArgument or InvalidType for `data` of another kind, or arrays of other shapes or types.
    """
    dataset = _load(data)
    if test_data is None:
        return dataset
    X, y = load_pair(test_data, "test_data")
    return replace(dataset, X_test=X, y_test=y)


def loading(data: Any, test_data: Any = None) -> Callable[[], Dataset]:
    """What gives `load_data` of the same; files that are on this machine are read from now on, beside what else the caller does."""
    named = "mnist" if data is None else data
    is_file = isinstance(named, (str, os.PathLike)) and os.fspath(named) != "digits"
    if not is_file or (os.fspath(named) in mnist.SOURCES and not mnist.is_here(os.fspath(named))):
        return partial(load_data, data, test_data)
    pool = ThreadPoolExecutor(1, "fastfc-data")
    future = pool.submit(load_data, data, test_data)
    pool.shutdown(wait=False)
    return future.result


def load_pair(pair: Any, what: str) -> tuple[Any, npt.NDArray[Any]]:
    """(X, y) to measure on, in the form of a Dataset's; `what` names it in errors, which are those of `load_data`."""
    X, y = _pair(pair, what, "arrays (X, y)")
    return _inputs(X, f"X of {what}")[0], _targets(y, f"y of {what}")


def _load(data: Any) -> Dataset:
    if data is None:
        return _mnist_or_digits()
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (str, os.PathLike)):
        return _named(os.fspath(data))
    X, y = _pair(data, "data", EXPECTED)
    return _dataset([X, y], "arrays")


def _mnist_or_digits() -> Dataset:
    try:
        arrays, notice = mnist.load("mnist", quick=True)
    except DownloadError as error:
        return _dataset(digits.load(), "generated digits", f"Using generated digits: {error}")
    return _dataset(arrays, "mnist", notice)


def _named(name: str) -> Dataset:
    if name in mnist.SOURCES:
        arrays, notice = mnist.load(name)
        return _dataset(arrays, name, notice)
    if name == "digits":
        return _dataset(digits.load(), "generated digits")
    path = Path(name)
    if name and path.is_dir():
        return _dataset(mnist.read_folder(path), name)
    if path.suffix == ".npz" and path.is_file():
        return _dataset(_read_npz(path), name)
    raise DataError(f"data: given {name!r}, which does not exist or is of another kind, expected {EXPECTED}")


def _dataset(arrays: list[Any], name: str, notice: str = "") -> Dataset:
    """A Dataset of [X, y] or [X, y, X_test, y_test]."""
    X, image_shape = _inputs(arrays[0], "X")
    y = _targets(arrays[1], "y")
    if len(arrays) == 2:
        return Dataset(X, y, name=name, image_shape=image_shape, notice=notice)
    X_test, y_test = _inputs(arrays[2], "X_test")[0], _targets(arrays[3], "y_test")
    return Dataset(X, y, X_test, y_test, name, image_shape, notice)


def _read_npz(path: Path) -> list[Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            held = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for names in ("x_train", "y_train", "x_test", "y_test"), ("X", "y", "X_test", "y_test"):
                if names[0] in held and names[1] in held:
                    count = 2 if names[2] not in held and names[3] not in held else 4
                    return [_read_array(archive, held.get(name, name)) for name in names[:count]]
            found = ", ".join(held) or "nothing"
    except Exception as error:  # the readers of zip, deflate and arrays have no error in common
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: given a file that cannot be read ({reason}), expected an .npz of numbers") from error
    raise DataError(f"{path}: given an .npz file with {found}, expected x_train and y_train, or X and y")


def _read_array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """An array that is all there is under its name: the checksum is only compared where the reader comes to the end."""
    with archive.open(name) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"{name} is longer than its array")
    return array


def _pair(data: Any, what: str, expected: str) -> tuple[Any, Any]:
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return data[0], data[1]
    given = f"{type(data).__name__} of length {len(data)}" if isinstance(data, (tuple, list)) else type(data).__name__
    raise InvalidType(f"{what}: given {given}, expected {expected}")


def _inputs(X: Any, what: str) -> tuple[Any, ImageShape]:
    """(n, features) and the shape of the images, if they are images."""
    if hasattr(X, "tocsr"):
        return X, None
    array = as_array(X, what)
    if array.ndim == 3:
        n, height, width = array.shape
        return array.reshape(n, height * width), (height, width)
    if array.ndim != 2:
        raise invalid(what, f"shape {array.shape}", "(n, features) or (n, height, width)")
    return array, None


def _targets(y: Any, what: str) -> npt.NDArray[Any]:
    """Integer labels (n,) as int64; anything else as it is."""
    array = as_array(y, what)
    return array.astype(np.int64, copy=False) if array.ndim == 1 and array.dtype.kind in "iu" else array


def default_data() -> str:
    """What a training that names no data would use."""
    chosen = os.environ.get("FASTFC_DATA_DIR")
    folder = Path(chosen) if chosen else cache.folder("mnist")
    whole = folder is not None and all(mnist.find(folder, file) for file in mnist.SHAPES)
    if chosen:
        return f"{'MNIST' if whole else 'none: no MNIST'} in {chosen} (FASTFC_DATA_DIR)"
    if whole:
        return f"MNIST in {folder}"
    return "MNIST if it can be downloaded, else generated digits (FASTFC_DATA_DIR is not set)"
