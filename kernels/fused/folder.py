"""The folder of compiled kernels: private to the user and to this very source, and removed when it is long out of use.

A file in it is a checksum of its content and of its own name and folder, and then the content.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path

import llvmlite
import platformdirs

from fastfc.kernels.fused.shipped import digest_of_sources

DAY = 86400
CHECKSUM = hashlib.sha256().digest_size
KEPT = 30 * DAY  # after its last use
NAME = re.compile(r"kernels-[0-9a-f]{16}")


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, private to the user and to this very source and LLVM; None where that cannot be."""
    digest = hashlib.sha256(f"{digest_of_sources()} {llvmlite.__version__}".encode())
    try:
        chosen = os.environ.get("FASTFC_CACHE_DIR")
        root = Path(chosen or platformdirs.user_cache_dir("fastfc", appauthor=False)).expanduser().absolute()
        folder = root / f"kernels-{digest.hexdigest()[:16]}"
        for path in (root, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _claim(folder)
        tempfile.TemporaryFile(dir=folder).close()
        if time.time() - folder.lstat().st_mtime > DAY:
            os.utime(folder)
        _remove_unused(root)
    except (OSError, RuntimeError):
        return None
    return folder


def why_not_kept() -> str:
    """Why compiled kernels are not kept in `cache_folder`, or "" where they are."""
    return "" if cache_folder() else "no folder can be written, so that each process compiles anew"


def read(folder: Path, name: str) -> bytes | None:
    """The content of a file; None where there is none, or one that was cut short, altered or is from elsewhere: it is replaced."""
    path = folder / name
    try:
        kept = path.read_bytes()
    except OSError:
        return None
    content = kept[CHECKSUM:]
    return content if kept[:CHECKSUM] == _checksum(path, content) else None


def write(folder: Path, name: str, content: bytes) -> None:
    """A file, whole or not at all."""
    path = folder / name
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{os.getpid()}-", suffix=".tmp", delete=False) as file:
        try:
            file.write(_checksum(path, content) + content)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            file.close()
            Path(file.name).unlink(missing_ok=True)
            raise


def _checksum(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(f"{path.parent.name}/{path.name}\0".encode() + content).digest()


def _claim(folder: Path) -> None:
    """Let nobody else look into the folder; PermissionError if others could have put files there, which would be run."""
    if not _is_private(folder):
        raise PermissionError(f"{folder} is not private")
    if hasattr(os, "getuid") and folder.lstat().st_mode & 0o077:
        folder.chmod(0o700)


def _is_private(folder: Path) -> bool:
    """A folder, not a link to one, of the user's, where nobody else can write."""
    status = folder.lstat()
    own = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)
    return stat.S_ISDIR(status.st_mode) and own


def _remove_unused(root: Path) -> None:
    """Remove kernels of other versions: the time of a folder is that of its last use, give or take a day."""
    for path in root.iterdir():
        with contextlib.suppress(OSError):
            if NAME.fullmatch(path.name) and time.time() - path.lstat().st_mtime > KEPT and _is_private(path):
                shutil.rmtree(path, ignore_errors=True)
