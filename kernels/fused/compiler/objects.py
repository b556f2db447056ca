"""Compiled kernels as files of object code, loaded by LLVM alone: a checksum, then what goes into memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import llvmlite.binding as llvm

from fastfc.kernels.fused import cpu
from fastfc.kernels.fused.compiler.folder import cache_folder
from fastfc.kernels.fused.compiler.guard import warn_once

CHECKSUM = hashlib.sha256().digest_size
SUFFIX = ".o"

_engines: list[llvm.ExecutionEngine] = []  # the memory of what is loaded is theirs


def symbol_of(name: str, key: str) -> str:
    """What the entry of a kernel is called in its object code: of these arguments, on this CPU."""
    digest = hashlib.sha256(f"{name}{key} {cpu.NAME} {cpu.FEATURES}".encode()).hexdigest()
    return f"{name}-{digest[:16]}"


def load(symbol: str) -> int | None:
    """The address of a kernel that is kept; None where it is not.

    A file cut short, altered or from elsewhere does not match its checksum, and counts as absent.
    """
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / f"{symbol}{SUFFIX}"
    try:
        content = path.read_bytes()
    except OSError:  # a file that is there is replaced
        return None
    checksum, code = content[:CHECKSUM], content[CHECKSUM:]
    return link(symbol, code) if checksum == _checksum(path, code) else None


def save(symbol: str, code: bytes) -> None:
    """Keep object code for the next process; where that cannot be, it is told, once."""
    folder = cache_folder()
    if folder is None:
        return
    path = folder / f"{symbol}{SUFFIX}"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            try:
                file.write(_checksum(path, code) + code)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                file.close()
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        what = f"compiled kernels cannot be kept in {folder}, so every process compiles anew"
        warn_once("cache", f"{what}: {type(error).__name__}: {error}")


def link(symbol: str, code: bytes) -> int:
    """Put object code into memory; the address of its entry. What it calls of the C library is found in this process."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), cpu.target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address(symbol)


def _checksum(path: Path, code: bytes) -> bytes:
    """Of the code in this file of this folder."""
    return hashlib.sha256(f"{path.parent.name}/{path.name}\0".encode() + code).digest()
