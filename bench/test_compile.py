"""Compilation, as a case of its own: the first training of a process, with an empty and a full kernel cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import fresh

# Prints the seconds that the call says went into compilation.
COMPILE = """
import sys
import numpy as np
import fastfc
with np.load(sys.argv[1]) as file:
    X, y = file["X"], file["y"]
print(fastfc.train((X, y), epochs=1, threads=int(sys.argv[2])).compile_seconds)
"""


@pytest.mark.parametrize("cache", ["empty", "full"])
def test_compile(
    benchmark: Any,
    inputs: dict[str, tuple[np.ndarray, np.ndarray]],
    threads: int,
    tmp_path_factory: pytest.TempPathFactory,
    cache: str,
) -> None:
    """A process with 1,000 images, from its start to its end; the compilation alone is in extra_info."""
    folder = tmp_path_factory.mktemp("compile")
    X, y = inputs["images"]
    np.savez(folder / "data.npz", X=X[:1000], y=y[:1000])
    compiled = []

    def run(kernels: Path) -> None:
        said = fresh.script(COMPILE, str(folder / "data.npz"), str(threads), cache=kernels, threads=threads)
        compiled.append(float(said))

    def caches() -> tuple[tuple[Path], dict[str, Any]]:
        return (folder if cache == "full" else tmp_path_factory.mktemp("cache"),), {}

    if cache == "full":
        run(folder)
    benchmark.pedantic(run, setup=caches, rounds=3)
    benchmark.extra_info["compile_seconds"] = compiled[-1]
