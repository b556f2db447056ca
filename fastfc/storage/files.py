"""Writing files so that a crash, a kill or a full disk leaves the old file or the new one, never a piece of one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time

from fastfc.errors import FastFCError, InvalidType, invalid

_TEMPORARY = re.compile(r"\.fastfc-[0-9a-f]{16}\.tmp")
_STALE_SECONDS = 3600.0  # a running write touches its temporary file far more often than this


class WriteError(FastFCError, OSError):
    """A file could not be written. `errno` is that of the system's error, where there was one."""


def atomic_write(path: str | os.PathLike[str], data: bytes, *, durable: bool = True) -> None:
    """Replace the file `path` by `data`, all of it or nothing, and return when both are on the disk.

    Without `durable` it does not wait for the disk: who reads the file sees it whole all the same, but it may be lost, or
    empty, where the machine fails soon after.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and take the name `path` in one step.
    On an error the temporary file is removed and an old file at `path` is unchanged. A process killed while it writes
    leaves its temporary file (.fastfc-*.tmp) behind; a later write to the same folder removes those of over an hour.
    A symbolic link is followed, and an old file's permissions are kept.

    Raises InvalidType or InvalidArgument for a `path` that cannot be a file name, and WriteError when the folder is
    missing or cannot be written, something other than a file has the name, or the disk is full.
    """
    name = checked_name(path)
    what = f"cannot write {name!r}"
    try:
        target = os.path.realpath(name)
        folder = os.path.dirname(target)
        mode = _replaceable(what, target, folder)
        _remove_stale(folder)
        temporary = os.path.join(folder, f".fastfc-{secrets.token_hex(8)}.tmp")
        try:
            _write(temporary, data, mode, durable)
            os.replace(temporary, target)
        except BaseException:
            _remove(temporary)
            raise
    except WriteError:
        raise
    except OSError as error:
        raise _write_error(what, *_reason(error, len(data)), error.errno) from error
    if durable:
        _flush_folder(what, folder)


def checked_name(path: str | os.PathLike[str]) -> str:
    """`path` as str; InvalidType or InvalidArgument where it cannot be the name of a file."""
    try:
        name = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise InvalidType(f"path: given {path!r}, expected a file name as str or pathlib.Path")
    try:
        encoded = os.fsencode(name)
    except UnicodeError:
        encoded = b""
    if not encoded or b"\0" in encoded:
        raise invalid("path", repr(name), "a file name")
    return name


def _replaceable(what: str, target: str, folder: str) -> int | None:
    """The permissions of the old file, or None where there is none; WriteError where `target` cannot be a file."""
    if not os.path.isdir(folder):
        raise _write_error(what, f"the folder {folder!r}, which does not exist", "an existing folder", errno.ENOENT)
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise _write_error(what, "a folder", "the name of a file", errno.EISDIR)
    if not stat.S_ISREG(old.st_mode):
        raise _write_error(what, "a device, pipe or socket", "the name of an ordinary file", errno.EINVAL)
    return stat.S_IMODE(old.st_mode)


def _write(temporary: str, data: bytes, mode: int | None, durable: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666 if mode is None else mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if mode is not None and stat.S_IMODE(os.stat(temporary).st_mode) != mode:
        os.chmod(temporary, mode)


def _flush_folder(what: str, folder: str) -> None:
    """Make the new name itself last. Only POSIX systems can, and some of their file systems refuse it with EINVAL."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            given = f"a folder that cannot be flushed to the disk ({error.strerror}); the new file is complete"
            raise _write_error(what, given, "a working disk", error.errno) from error


def _remove(temporary: str) -> None:
    """Remove a temporary file where that is possible: the error that led here says more than a second one would."""
    with contextlib.suppress(OSError):
        os.unlink(temporary)


def _remove_stale(folder: str) -> None:
    """Remove the temporary files that killed processes left in `folder`. What cannot be removed does no harm."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _STALE_SECONDS:
                _remove(entry.path)


def _reason(error: OSError, size: int) -> tuple[str, str]:
    """What was given and what is expected, for an error of the system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"a full disk or a limit on file size ({error.strerror})", f"room for {size:,} bytes"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"a folder or file without permission to write ({error.strerror})", "one that can be written"
    return f"a system error ({error.strerror or error})", "a file that can be written"


def _write_error(what: str, given: str, expected: str, number: int | None) -> WriteError:
    error = WriteError(f"{what}: given {given}, expected {expected}")
    error.errno = number
    return error
