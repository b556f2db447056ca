"""Of several processes that lack a kernel one compiles it, and the others wait for what it keeps."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import IO

from fastfc.kernels.fused.compiler.guard import check_interrupts
from fastfc.kernels.fused.folder import cache_folder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PAUSE = 0.02  # seconds between two looks whether the other process has ended


@contextlib.contextmanager
def turn(symbol: str) -> Iterator[None]:
    """No other process compiles this kernel meanwhile, if it asks for its turn.

    The system unlocks the file when a process ends, however it does. Where files cannot be locked, nobody waits.
    """
    folder = cache_folder()
    path = folder / f"{symbol}.lock" if folder else None
    try:
        file = path.open("ab") if path else None
    except OSError:
        file = None
    if path is None or file is None:
        yield
        return
    with file:
        while not _is_locked(file):
            check_interrupts()
            time.sleep(PAUSE)
        try:
            yield
        finally:  # who waits has the file open, and finds the kernel
            with contextlib.suppress(OSError):
                path.unlink()


def _is_locked(file: IO[bytes]) -> bool:
    """Whether this process has the lock now; or there are no locks here."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
