"""The IDX format of MNIST, read strictly.

A file is two zero bytes, a type, the number of dimensions, each dimension as a big-endian uint32, then the elements in
C order; it may be gzip-compressed. Only unsigned bytes (type 0x08), which MNIST and its kin use, are read.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import stat
import struct
import zlib

import numpy as np
import numpy.typing as npt

from fastfc.errors import DataError

Bytes = npt.NDArray[np.uint8]

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 3
_GZIP = b"\x1f\x8b"
_GZIP_FRAME = 18  # bytes of a gzip header and trailer at least
_DEFLATE_RATIO = 1032  # deflate cannot compress better (zlib's technical notes)
_CHUNK = 1 << 16


def read_idx(path: str | os.PathLike[str], *, ndim: int | None = None, shape: tuple[int, ...] | None = None) -> Bytes:
    """Read an IDX file, plain or gzip (told by its first bytes), of unsigned bytes with 1 to 3 dimensions.

    Returns an uint8 array in C order. `ndim` and `shape`, where given, must be those of the file. Memory is taken once
    the header fits the length of the file (for gzip: the length that its end states, within what gzip can compress).

    Raises DataError when the file is missing, is not such a file, or is truncated, over-long or corrupt.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _bad(path, "something that is no ordinary file", "an IDX file")
        with open(path, "rb") as stream:
            return decode(stream, os.fstat(stream.fileno()).st_size, os.fspath(path), ndim=ndim, shape=shape)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise _bad(path, f"a file that cannot be read ({error})", "an IDX file") from error


def decode(
    stream: io.BufferedIOBase, size: int, what: str, *, ndim: int | None = None, shape: tuple[int, ...] | None = None
) -> Bytes:
    """`read_idx` of an open file of `size` bytes at its start; `what` names it in errors."""
    compressed = stream.read(2) == _GZIP
    stated = _stated_length(stream, size, what) if compressed else size
    stream.seek(0)
    source: io.BufferedIOBase | _Gunzip = _Gunzip(stream, what) if compressed else stream
    dims = _read_header(source, what)
    if ndim is not None and len(dims) != ndim:
        raise _bad(what, f"{len(dims)} dimensions {dims}", f"{ndim}")
    if shape is not None and dims != shape:
        raise _bad(what, f"shape {dims}", f"{shape}")
    length = len(_header(dims)) + math.prod(dims)
    if stated != (length % 2**32 if compressed else length):
        raise _bad(what, f"{stated:,} bytes of content", f"{length:,} for shape {dims}")
    if compressed and length > _DEFLATE_RATIO * size:
        raise _bad(
            what, f"shape {dims} in {size:,} bytes of gzip", f"a file of {length // _DEFLATE_RATIO:,} bytes or more"
        )
    try:
        array = np.empty(dims, np.uint8)
    except (MemoryError, ValueError):
        raise _bad(what, f"shape {dims}", "an array that fits in memory") from None
    rest = array.reshape(-1).data
    while rest:
        read = source.readinto(rest)
        if not read:
            raise _truncated(what)
        rest = rest[read:]
    if isinstance(source, _Gunzip):
        source.finish()
    return array


def encode(array: Bytes, *, compress: bool = False) -> bytes:
    """The IDX file, plain or gzip, of an uint8 array with 1 to 3 dimensions."""
    content = _header(array.shape) + array.tobytes()
    return gzip.compress(content, 1, mtime=0) if compress else content


def content_sha256(array: Bytes) -> str:
    """SHA-256, in hexadecimal, of the uncompressed IDX file of `array`."""
    digest = hashlib.sha256(_header(array.shape))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class _Gunzip:
    """One gzip member, decompressed piece by piece: no call returns, or holds, more than it was asked for."""

    def __init__(self, stream: io.BufferedIOBase, what: str) -> None:
        self._stream, self._what = stream, what
        self._inflate = zlib.decompressobj(wbits=31)

    def read(self, n: int) -> bytes:
        """Up to n >= 1 bytes; none only at the end of the member."""
        while True:
            data = self._inflate.unconsumed_tail
            if not data:
                data = self._stream.read(_CHUNK)
            try:
                content = self._inflate.decompress(data, n)
            except zlib.error as error:
                raise _bad(self._what, f"corrupt gzip ({error})", "an intact file") from None
            if content or self._inflate.eof:
                return content
            if not data:
                raise _bad(self._what, "a truncated gzip file", "a whole one")

    def readinto(self, memory: memoryview) -> int:
        """Put there what one call gives; 0 only at the end of the member."""
        content = self.read(min(len(memory), _CHUNK))
        memory[: len(content)] = content
        return len(content)

    def finish(self) -> None:
        """Raise unless the content, then the file, ends here; zlib has checked the CRC when it reaches the end."""
        if self.read(1):
            raise _bad(self._what, "more content than the header says", "as much")
        if self._inflate.unused_data or self._stream.read(1):
            raise _bad(self._what, "bytes after the end of the gzip content", "none")


def _read(source: io.BufferedIOBase | _Gunzip, n: int, what: str) -> bytes:
    """1 to n bytes, of which there must be some."""
    chunk = source.read(n)
    if not chunk:
        raise _truncated(what)
    return chunk


def _read_header(source: io.BufferedIOBase | _Gunzip, what: str) -> tuple[int, ...]:
    """The dimensions, after the checks of all that precedes them."""
    magic = _read_exactly(source, 4, what)
    if magic[:2] != b"\0\0":
        raise _bad(what, f"first bytes {magic.hex(' ')}", "00 00 of IDX, or 1f 8b of gzip")
    if magic[2] != _UNSIGNED_BYTE:
        raise _bad(what, f"IDX type 0x{magic[2]:02x}", "0x08 (unsigned byte)")
    if not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise _bad(what, f"{magic[3]} dimensions", f"1 to {_MAX_DIMENSIONS}")
    dims = struct.unpack(f">{magic[3]}I", _read_exactly(source, 4 * magic[3], what))
    if 0 in dims:
        raise _bad(what, f"shape {dims}", "at least one element")
    return dims


def _read_exactly(source: io.BufferedIOBase | _Gunzip, n: int, what: str) -> bytes:
    data = b""
    while len(data) < n:
        data += _read(source, n - len(data), what)
    return data


def _stated_length(stream: io.BufferedIOBase, size: int, what: str) -> int:
    """The length of the content modulo 2**32, which the last four bytes of a gzip file state (RFC 1952)."""
    if size < _GZIP_FRAME:
        raise _bad(what, "a truncated gzip file", "a whole one")
    stream.seek(size - 4)
    return int.from_bytes(stream.read(4), "little")


def _header(dims: tuple[int, ...]) -> bytes:
    return struct.pack(f">HBB{len(dims)}I", 0, _UNSIGNED_BYTE, len(dims), *dims)


def _truncated(what: object) -> DataError:
    return _bad(what, "a truncated file", "a whole IDX file")


def _bad(what: object, given: str, expected: str) -> DataError:
    return DataError(f"{what}: given {given}, expected {expected}")
