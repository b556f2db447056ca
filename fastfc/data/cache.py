"""The user's cache folder: FASTFC_CACHE_DIR, else the platform's place for caches."""

from __future__ import annotations

import os
from pathlib import Path

from fastfc.storage.files import atomic_write


def folder(name: str) -> Path | None:
    """The cache's subfolder `name`, which need not exist; None where the user has no home folder."""
    root = _root()
    return None if root is None else root / name


def store(name: str, file: str, data: bytes) -> str:
    """Put `data` into the cache as `name`/`file`, all or nothing, in folders that only the user can enter.

    Returns "", or in a few words why that was not possible.
    """
    root = _root()
    if root is None:
        return "there is no home folder"
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for path in (root, root / name):
            path.mkdir(mode=0o700, exist_ok=True)
        atomic_write(root / name / file, data)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _root() -> Path | None:
    chosen = os.environ.get("FASTFC_CACHE_DIR")
    if chosen:
        return Path(chosen).absolute()
    from platformdirs import user_cache_dir

    try:
        return Path(user_cache_dir("fastfc", appauthor=False)).expanduser()
    except RuntimeError:
        return None
