"""MNIST and Fashion-MNIST: from a folder of the user, from the cache, or from the internet."""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastfc.data import cache
from fastfc.data.download import fetch
from fastfc.data.idx import Bytes, content_sha256, decode, encode, read_idx
from fastfc.errors import DataError, DownloadError

if TYPE_CHECKING:
    from tqdm import tqdm

SHAPES: dict[str, tuple[int, ...]] = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
PATIENCE = 10.0  # seconds that a mirror may send nothing
QUICK_PATIENCE = 5.0
_FAILED = "download-failed"  # a file in the cache; its age is that of the last download that failed
_RETRY_SECONDS = 3600.0
_MARGIN = 1 << 16  # bytes by which a .gz may be longer than its content


@dataclass(frozen=True)
class Source:
    """Where a data set is published.

    mirrors  folders on the web that hold the four files as .gz
    sha256   of each uncompressed file
    size     of the four .gz files, in bytes, for the progress bar
    """

    title: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    size: int


SOURCES = {
    "mnist": Source(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        11_594_722,
    ),
    "fashion-mnist": Source(
        "Fashion-MNIST",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        30_878_645,
    ),
}


def load(name: str, *, quick: bool = False) -> tuple[list[Bytes], str]:
    """The four arrays of `name` ("mnist" or "fashion-mnist") in the order of SHAPES, and a line for the user or "".

    FASTFC_DATA_DIR is looked at first (for Fashion-MNIST its subfolder fashion-mnist, where there is one), then the
    cache, then the mirrors in turn; one that sends nothing for PATIENCE seconds is left for the next. `quick` is for a
    caller that can do without: QUICK_PATIENCE, and no attempt within an hour of one that failed.

    Raises DataError when FASTFC_DATA_DIR does not hold the files, DownloadError when no mirror gives them.
    """
    chosen = _chosen(name)
    if chosen:
        return read_folder(chosen, "FASTFC_DATA_DIR"), ""
    arrays = {file: _cached(name, file) for file in SHAPES}
    missing = [file for file, array in arrays.items() if array is None]
    notice = ""
    if missing:
        if quick and _failed_lately(name):
            raise _cannot_have(name, "a download failed less than an hour ago")
        try:
            loaded, notice = _download(name, missing, QUICK_PATIENCE if quick else PATIENCE)
        except DownloadError:
            cache.store(name, _FAILED, b"")
            raise
        arrays.update(loaded)
    return [array for array in arrays.values() if array is not None], notice


def is_here(name: str) -> bool:
    """Whether `load` finds what it needs on this machine, or a folder that it complains of, and downloads nothing."""
    folder = cache.folder(name)
    return _chosen(name) is not None or (folder is not None and all(find(folder, file) for file in SHAPES))


def _chosen(name: str) -> Path | None:
    """The folder of FASTFC_DATA_DIR that `load` looks at."""
    chosen = os.environ.get("FASTFC_DATA_DIR")
    if chosen and name == "mnist":
        return Path(chosen)
    return Path(chosen) / name if chosen and (Path(chosen) / name).is_dir() else None


def read_folder(folder: Path, what: str = "data") -> list[Bytes]:
    """The four arrays, in the order of SHAPES, of a folder that holds the files, each plain or as .gz.

    Images have three dimensions and labels one, of any size. Raises DataError when a file is missing or malformed.
    """
    paths = {file: find(folder, file) for file in SHAPES}
    missing = [file for file, path in paths.items() if path is None]
    if missing:
        raise DataError(
            f"{what}: given {str(folder)!r} without {', '.join(missing)}, expected a folder with the four IDX files of "
            "MNIST, each plain or as .gz"
        )
    return [read_idx(path, ndim=len(SHAPES[file])) for file, path in paths.items() if path is not None]


def find(folder: Path, file: str) -> Path | None:
    """One of the four files, plain or as .gz."""
    names = (name + end for name in (file, file.replace("-idx", ".idx")) for end in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _cached(name: str, file: str) -> Bytes | None:
    """The file in the cache; None where it is missing or is not what was published."""
    folder = cache.folder(name)
    path = folder and find(folder, file)
    if path is None:
        return None
    try:
        array = read_idx(path, shape=SHAPES[file])
    except DataError:
        return None
    return array if content_sha256(array) == SOURCES[name].sha256[file] else None


def _failed_lately(name: str) -> bool:
    folder = cache.folder(name)
    with contextlib.suppress(OSError):
        return folder is not None and 0 <= time.time() - (folder / _FAILED).stat().st_mtime < _RETRY_SECONDS
    return False


def _download(name: str, files: list[str], patience: float) -> tuple[dict[str, Bytes], str]:
    """The arrays of `files`, put into the cache too, and a line for the user where the cache cannot be written."""
    from tqdm import tqdm

    source = SOURCES[name]
    mirrors, reasons = list(source.mirrors), list[str]()
    arrays: dict[str, Bytes] = {}
    notice = ""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    with tqdm(total=source.size, desc=source.title, unit="B", unit_scale=True, disable=not terminal) as bar:
        for file in files:
            arrays[file] = _from_mirrors(name, file, mirrors, reasons, patience, bar)
            problem = cache.store(name, file, encode(arrays[file]))  # plain: to inflate it takes longer than an epoch
            if problem:
                notice = f"{source.title} is not kept in the cache ({problem}) and will be downloaded again next time"
    return arrays, notice


def _from_mirrors(
    name: str, file: str, mirrors: list[str], reasons: list[str], patience: float, bar: tqdm[None]
) -> Bytes:
    """The array of one file. A mirror that fails leaves `mirrors`, and its reason joins `reasons`."""
    start = bar.n
    while mirrors:
        try:
            data = fetch(
                f"{mirrors[0]}{file}.gz",
                math.prod(SHAPES[file]) + _MARGIN,
                patience,
                lambda received: bar.update(start + received - bar.n),
            )
            array = decode(io.BytesIO(data), len(data), file, shape=SHAPES[file])
            if content_sha256(array) != SOURCES[name].sha256[file]:
                raise DataError(f"{file}: given content with another SHA-256, expected the published one")
            return array
        except DataError as error:
            reasons.append(f"{urlsplit(mirrors.pop(0)).netloc}: {error}")
    raise _cannot_have(name, "; ".join(reasons))


def _cannot_have(name: str, reason: str) -> DownloadError:
    folder = "FOLDER" if name == "mnist" else f"FOLDER/{name}"
    return DownloadError(
        f"{SOURCES[name].title} cannot be downloaded ({reason}). To use it, put "
        f"{', '.join(f'{file}.gz' for file in SHAPES)} from {SOURCES[name].mirrors[0]} into {folder} and set "
        "FASTFC_DATA_DIR=FOLDER"
    )
