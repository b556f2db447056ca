"""The IDX reader against bytes written by hand, an independent parser, and thousands of broken files."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastfc.data.idx import content_sha256, encode, read_idx
from fastfc.errors import DataError
from tests.promises import Cases

pytestmark = pytest.mark.promise(1)
of_gzip = pytest.mark.promise(2)
HAND = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])  # the array [[1, 2, 3], [4, 5, 255]]
SLACK = 400_000  # bytes for the reader's fixed buffers
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def images(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def header(*dims: int, code: int = 8, ndim: int | None = None) -> bytes:
    return struct.pack(f">HBB{len(dims)}I", 0, code, len(dims) if ndim is None else ndim, *dims)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


def refusal(tmp_path: Path, content: bytes, **expected: object) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(written(tmp_path, content), **expected)
    message = str(caught.value)
    assert "\n" not in message and "given" in message and "expected" in message and str(tmp_path) in message
    return message


def refuse(path: Path) -> None:
    with pytest.raises(DataError):
        read_idx(path)


def peak_of(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def parse(content: bytes) -> np.ndarray | None:
    """The array of a well-formed uncompressed file of unsigned bytes, by other means; None for any other file."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or content[3] not in (1, 2, 3):
        return None
    dims = [int.from_bytes(content[4 + 4 * k : 8 + 4 * k], "big") for k in range(content[3])]
    elements = content[4 + 4 * content[3] :]
    if len(content) < 4 + 4 * content[3] or 0 in dims or math.prod(dims) != len(elements):
        return None
    return np.array(list(elements), np.uint8).reshape(dims)


@pytest.mark.parametrize("compress", [False, True])
def test_bytes_written_by_hand(tmp_path: Path, compress: bool) -> None:
    array = read_idx(written(tmp_path, gzip.compress(HAND) if compress else HAND))
    assert array.tolist() == [[1, 2, 3], [4, 5, 255]]
    assert array.dtype == np.uint8 and array.flags.c_contiguous and array.flags.writeable


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(1,), (10_007,), (3, 5), (1, 1, 1), (7, 28, 28), (2000, 28, 28)])
def test_what_is_encoded_is_read_back(tmp_path: Path, shape: tuple[int, ...], compress: bool) -> None:
    array = images(1, *shape)
    content = encode(array, compress=compress)
    assert (gzip.decompress(content) if compress else content) == header(*shape) + array.tobytes()
    np.testing.assert_array_equal(read_idx(written(tmp_path, content), ndim=len(shape), shape=shape), array)


@pytest.mark.mnist
@pytest.mark.parametrize("file", MNIST_SHA256)
def test_true_mnist(mnist_dir: Path, file: str) -> None:
    path = next(mnist_dir / name for name in (file, f"{file}.gz") if (mnist_dir / name).is_file())
    array = read_idx(path)
    raw = path.read_bytes()
    content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    assert content_sha256(array) == hashlib.sha256(content).hexdigest() == MNIST_SHA256[file]
    assert array.tobytes() == content[4 + 4 * array.ndim :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"\0\0\x08", "truncated"),
        (HAND[:7], "truncated"),
        (b"\x01" + HAND[1:], "first bytes 01 00 08 02"),
        (b"PK\x03\x04 a zip file", "first bytes 50 4b"),
        (header(2, 3, code=0x0D) + bytes(24), "type 0x0d"),
        (header(ndim=0), "0 dimensions"),
        (header(1, 1, 1, 1) + b"\0", "4 dimensions"),
        (header(2, 3, ndim=255), "255 dimensions"),
        (header(0, 28, 28), "at least one element"),
        (HAND[:-1], "given 17 bytes of content, expected 18"),
        (HAND + b"\0", "given 19 bytes of content, expected 18"),
        (header(2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(50), "bytes of content"),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_malformed_files_are_refused(tmp_path: Path, content: bytes, words: str, compress: bool) -> None:
    assert words in refusal(tmp_path, gzip.compress(content) if compress else content)


def test_expected_shape_and_dimensions(tmp_path: Path) -> None:
    assert "shape (2, 3), expected (3, 2)" in refusal(tmp_path, HAND, shape=(3, 2))
    assert "2 dimensions (2, 3), expected 1" in refusal(tmp_path, HAND, ndim=1)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in tmp_path, tmp_path / "pipe", tmp_path / "missing", tmp_path / "a\0b":
        with pytest.raises(DataError, match=r"given .*, expected an IDX file"):
            read_idx(path)


@pytest.mark.parametrize("compress", [False, pytest.param(True, marks=of_gzip)])
def test_truncated_at_every_percent(tmp_path: Path, compress: bool, cases: Cases) -> None:
    content = encode(images(2, 60, 28, 28), compress=compress)
    for percent in range(cases(100)):
        refusal(tmp_path, content[: len(content) * percent // 100])
    refusal(tmp_path, content[:-1])


@of_gzip
@pytest.mark.parametrize("size", [10, 1 << 16, 300_000])
def test_gzip_whose_end_states_the_right_length_but_is_not_whole(tmp_path: Path, size: int) -> None:
    content = encode(images(3, size), compress=True)
    for cut in 9, len(content) // 2, 12:
        refusal(tmp_path, content[: len(content) - cut] + content[-4:])


@of_gzip
def test_gzip_with_more_than_one_content(tmp_path: Path) -> None:
    length = struct.pack("<I", len(HAND))
    assert "after the end of the gzip content" in refusal(tmp_path, gzip.compress(HAND) + gzip.compress(b"") + length)
    assert "after the end of the gzip content" in refusal(tmp_path, gzip.compress(HAND) + bytes(100_000) + length)
    assert "content" in refusal(tmp_path, gzip.compress(HAND) + b"\0")


@of_gzip
def test_gzip_checksum(tmp_path: Path) -> None:
    content = bytearray(encode(images(4, 50_000), compress=True))
    content[-8] ^= 1
    assert "incorrect data check" in refusal(tmp_path, bytes(content))


@of_gzip
def test_gzip_bombs_stay_small(tmp_path: Path) -> None:
    zeros = bytes(50_000_000)
    honest_length = written(tmp_path, gzip.compress(HAND + zeros))
    assert peak_of(lambda: refuse(honest_length)) < SLACK
    lying_length = gzip.compress(HAND + zeros)[:-4] + struct.pack("<I", len(HAND))
    path = written(tmp_path, lying_length)
    assert peak_of(lambda: refuse(path)) < SLACK
    assert "more content than the header says" in refusal(tmp_path, lying_length)


@of_gzip
def test_dimensions_beyond_what_gzip_can_hold_are_refused_before_allocation(tmp_path: Path) -> None:
    dims = (50_000, 1000)
    content = gzip.compress(header(*dims) + bytes(1000))[:-4] + struct.pack("<I", 12 + math.prod(dims))
    path = written(tmp_path, content)
    assert "of gzip" in refusal(tmp_path, content)
    assert peak_of(lambda: refuse(path)) < SLACK


@pytest.mark.parametrize("compress", [False, True])
def test_peak_memory_is_at_most_twice_the_content(tmp_path: Path, compress: bool) -> None:
    content = encode(images(5, 8000, 28, 28), compress=compress)
    path = written(tmp_path, content)
    size = 8000 * 784
    assert size <= peak_of(lambda: read_idx(path)) < size + SLACK < 2 * size


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with one to four changes: of a bit, a byte, a header field, or the length."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, min(len(data), 16) if rng.random() < 0.6 else len(data))) if data else 0
        match rng.integers(0, 6):
            case 0 if data:
                data[place] ^= 1 << int(rng.integers(0, 8))
            case 1 if data:
                data[place] = int(rng.integers(0, 256))
            case 2:
                data[4:8] = struct.pack(">I", int(rng.choice([0, 1, 2, 784, 2**31, 2**32 - 1])))
            case 3:
                del data[place:]
            case 4:
                data += rng.bytes(int(rng.integers(1, 50)))
            case _:
                data[place:place] = rng.bytes(int(rng.integers(1, 5)))
    return bytes(data)


def fuzz(tmp_path: Path, tries: int) -> tuple[int, int]:
    """Counts of files that were read right and of those that were refused."""
    plain = encode(images(6, 11, 4, 5))
    rng = np.random.default_rng(7)
    read = refused = 0
    for k in range(tries):
        inner = mutated(plain, rng) if rng.random() < 0.7 else plain
        compress = k % 2 == 1
        content = gzip.compress(inner, mtime=0) if compress else inner
        if compress and (inner == plain or rng.random() < 0.3):
            content = mutated(content, rng)
        path = written(tmp_path, content)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        try:
            array = read_idx(path)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
            if not compress:
                assert parse(content) is None
        else:
            read += 1
            np.testing.assert_array_equal(array, parse(gzip.decompress(content) if content[:1] == b"\x1f" else content))
        assert tracemalloc.get_traced_memory()[1] - before < 2 * len(content) + SLACK
    return read, refused


def test_mutations_are_read_right_or_refused(tmp_path: Path, cases: Cases) -> None:
    tries = cases(500, 10_000)
    tracemalloc.start()
    try:
        read, refused = fuzz(tmp_path, tries)
    finally:
        tracemalloc.stop()
    assert read + refused == tries and read > tries // 20 and refused > tries // 2


def test_the_independent_parser_tells_right_from_wrong() -> None:
    assert parse(HAND) is not None and parse(HAND[:-1]) is None and parse(HAND + b"\0") is None
    assert zlib.crc32(HAND) == int.from_bytes(gzip.compress(HAND)[-8:-4], "little")
