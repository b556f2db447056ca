"""Object code that came with the package: in `kernels/objects`, a folder for each level of CPUs, named after it and the sources.

A wheel brings it along. Where there is none for these very sources and this CPU, kernels are compiled for this CPU alone.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[1]

# LLVM's name of a level, the best first, and the features that a CPU of it has beside those of the levels after it.
# Sources: x86-64 psABI, table 3.1.
X86: dict[str, tuple[str, ...]] = {
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "x86-64-v3": ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"),
    "x86-64-v2": ("cx16", "sahf", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"),
}
ARM: dict[str, tuple[str, ...]] = {"apple-m1" if sys.platform == "darwin" else "generic": ()}
LEVELS = {"x86_64": X86, "amd64": X86, "arm64": ARM, "aarch64": ARM}.get(platform.machine().lower(), {})


@functools.cache
def digest_of_sources() -> str:
    """Of all that kernels are made from, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def folder_of(level: str) -> Path:
    """Where object code for a level is, if it was made from these sources."""
    return SOURCES / "objects" / f"{level}-{digest_of_sources()[:16]}"


def best_level(features: dict[str, bool]) -> str:
    """The best level that there is object code for and that a CPU with these features is of, or ""."""
    if not (SOURCES / "objects").is_dir():
        return ""
    names = list(LEVELS)
    for i, name in enumerate(names):
        needed = [feature for below in names[i:] for feature in LEVELS[below]]
        if folder_of(name).is_dir() and all(features.get(feature) for feature in needed):
            return name
    return ""
