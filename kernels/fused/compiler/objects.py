"""Compiled kernels as files of object code, loaded by LLVM alone.

What is kept of a kernel is a line with the names of what it calls of the C library, and object code.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from pathlib import Path

import llvmlite.binding as llvm

from fastfc.kernels.fused import cpu
from fastfc.kernels.fused.compiler.guard import warn_once
from fastfc.kernels.fused.folder import cache_folder, read, write
from fastfc.machine.forks import hold_while_forking

SUFFIX = ".o"

_loading = threading.RLock()

hold_while_forking(_loading)  # a child would find LLVM locked


def symbol_of(name: str, key: str) -> str:
    """What the entry of a kernel is called in its object code: of these arguments, on this CPU."""
    digest = hashlib.sha256(f"{name}{key} {cpu.TRIPLE} {cpu.NAME} {cpu.FEATURES}".encode()).hexdigest()
    return f"{name}-{digest[:16]}"


def load(symbol: str) -> int | None:
    """The address of a kernel that came with the package or is kept; None where there is none.

    A file that is whole and cannot be loaded would be compiled anew by every process, which is told, once.
    """
    return _load(cpu.SHIPPED, symbol) or _load(cache_folder(), symbol)


def _load(folder: Path | None, symbol: str) -> int | None:
    content = None if folder is None else read(folder, f"{symbol}{SUFFIX}")
    if content is None:
        return None
    try:
        return link(symbol, content)
    except RuntimeError as error:
        warn_once("load", f"compiled kernels cannot be loaded from {folder}, so every process compiles anew: {error}")
        return None


def save(symbol: str, content: bytes) -> None:
    """Keep object code for the next process; where that cannot be, it is told, once."""
    folder = cache_folder()
    if folder is not None and not folder.exists():  # since it was looked at
        cache_folder.cache_clear()
        folder = cache_folder()
    if folder is None:
        return
    try:
        write(folder, f"{symbol}{SUFFIX}", content)
    except OSError as error:
        what = f"compiled kernels cannot be kept in {folder}, so every process compiles anew"
        warn_once("save", f"{what}: {type(error).__name__}: {error}")


def content_of(calls: set[str], code: bytes) -> bytes:
    """What is kept: object code, and the names that it calls."""
    return " ".join(sorted(calls)).encode() + b"\n" + code


def link(symbol: str, content: bytes) -> int:
    """Put object code into memory; the address of its entry. RuntimeError where that cannot be."""
    calls, _, code = content.partition(b"\n")
    with _loading:
        engine = _engine()  # before there is one LLVM knows no names
        unknown = [name for name in calls.decode("ascii", "replace").split() if llvm.address_of_symbol(name) is None]
        if unknown:  # LLVM would end the process
            raise RuntimeError(f"{symbol} calls {', '.join(unknown)}, which is not in this process")
        file = llvm.ObjectFileRef.from_data(code)
        if not file._ptr or not any(section.is_text() for section in file.sections()):
            raise RuntimeError(f"{symbol} is not object code of {cpu.TRIPLE}")
        engine.add_object_file(file)
        engine.finalize_object()
        address = engine.get_function_address(symbol)
        if not address:
            raise RuntimeError(f"{symbol} is not in its object code")
        return address


@functools.cache
def _engine() -> llvm.ExecutionEngine:
    """To which the memory of all that is loaded belongs: one for each kernel would take five times as long."""
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), cpu.target_machine())
