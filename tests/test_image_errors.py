"""Pictures that cannot be read, and what is said of them: one line, of a type of its own."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastfc.errors import DataError, FastFCError, InvalidArgument, InvalidType
from fastfc.images import prepare
from fastfc.images.picture import MAX_PIXELS
from tests.pictures import pen, sheet, uneven_light, with_noise


def truncated(kind: str, share: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        file = io.BytesIO()
        Image.fromarray(with_noise(sheet(pen()), 5)).save(file, kind)
        path.write_bytes(file.getvalue()[: int(share * len(file.getvalue()))])

    return write


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it is of 60,000 x 60,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def large(path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(path)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.png": (lambda path: None, "No such file"),
    "folder.png": (Path.mkdir, "directory"),
    "empty.png": (Path.touch, "not an image"),
    "text.png": (lambda path: path.write_text("no image at all"), "not an image"),
    "start.png": (truncated("PNG", 0.0005), "not an image"),
    "truncated.png": (truncated("PNG", 0.5), "damaged or truncated"),
    "truncated.jpg": (truncated("JPEG", 0.5), "damaged or truncated"),
    "bomb.png": (bomb, "pixels, expected at most|more pixels than Pillow opens"),
    "large.png": (large, f"given 10000x10000 pixels, expected at most {MAX_PIXELS}"),
    "small.png": (lambda path: Image.new("L", (5, 3)).save(path), "given 5x3 pixels, expected at least 8"),
    "strip.png": (lambda path: Image.new("L", (500, 10)).save(path), "given 500x10 pixels"),
    "blank.png": (lambda path: Image.new("L", (99, 99), 200).save(path), "no digit found, the picture looks blank"),
    "nothing.png": (lambda path: Image.new("RGBA", (99, 99)).save(path), "the picture looks blank"),
    "blank.jpg": (
        lambda path: Image.fromarray(with_noise(np.full((200, 200), 220), 9)).save(path, quality=40),
        "the picture looks blank",
    ),
    "empty-light.png": (
        lambda path: Image.fromarray(uneven_light(np.full((200, 200), 220, np.uint8)).astype(np.uint8)).save(path),
        "the picture looks blank",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_read_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    write, expected = BAD_FILES[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=expected) as caught:
        prepare(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_raise_nothing_else(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    image = Image.fromarray(sheet(pen()))
    image.convert("RGB").save(file, ("PNG", "JPEG", "GIF", "BMP")[seed % 4], comment=b"x" * 20)
    content = bytearray(file.getvalue())
    for place in rng.integers(0, min(len(content), 400), 4):
        content[place] = rng.integers(256)
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        assert prepare(path).shape == (784,)
    except DataError as error:
        assert str(error).startswith(str(path))


@pytest.mark.parametrize(
    ("image", "options", "kind", "expected"),
    [
        (None, {}, InvalidType, "image: given NoneType, expected a path"),
        (7, {}, InvalidType, "image: given int"),
        ([], {}, InvalidArgument, "image: given an empty list"),
        (np.zeros(784, np.uint8), {}, InvalidArgument, r"given an array of shape \(784,\), expected \(height, width\)"),
        (np.zeros((28, 28, 2), np.uint8), {}, InvalidArgument, "given an array of shape"),
        (np.zeros((0, 28)), {}, DataError, "image: given 28x0 pixels"),
        (np.full((28, 28), "a"), {}, InvalidType, "given an array of <U1, expected numbers"),
        (np.full((28, 28), -1), {}, InvalidArgument, "given int64 from -1 to -1, expected 0 to 255"),
        (np.full((28, 28), 2.0), {}, InvalidArgument, "given float64 from 2.0 to 2.0, expected 0 to 1"),
        (np.full((28, 28), np.nan), {}, InvalidArgument, "from nan to nan"),
        (sheet(pen()), {"ink": "grey"}, InvalidArgument, "ink: given 'grey', expected one of auto, dark, light"),
        (sheet(pen()), {"size": 4}, InvalidArgument, "size: given 4, expected a whole number >= 8"),
    ],
)
def test_other_bad_arguments(image: Any, options: dict[str, Any], kind: type[Exception], expected: str) -> None:
    with pytest.raises(kind, match=expected) as caught:
        prepare(image, **options)
    assert "\n" not in str(caught.value)


def test_without_pillow_a_file_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(FastFCError, match=r"^image files need Pillow: pip install fastfc\[images\]$"):
        prepare(tmp_path / "digit.png")


def test_pillow_is_imported_only_for_files() -> None:
    code = (
        "import sys, numpy, fastfc.images as images\n"
        "picture = numpy.full((60, 60), 230, numpy.uint8); picture[10:50, 25:32] = 20\n"
        "images.prepare(picture); sys.exit('PIL' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
