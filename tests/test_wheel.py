"""Kernels that come with the package: which are taken, what else they need, and the wheel that brings them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding as llvm
import numba
import pytest

import fastfc
from fastfc.kernels.fused import shipped
from fastfc.kernels.fused.shipped import X86, best_level, digest_of_sources, folder_of
from tests.small import ROOT

compiled = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Those that object code is made from, in a folder where there may be some."""
    tmp_path.joinpath("source.py").write_text("x = 1\n")
    monkeypatch.setattr(shipped, "SOURCES", tmp_path)
    monkeypatch.setattr(shipped, "LEVELS", X86)
    digest_of_sources.cache_clear()
    yield tmp_path
    digest_of_sources.cache_clear()


FEATURES = {level: {feature: True for below in list(X86)[i:] for feature in X86[below]} for i, level in enumerate(X86)}


def test_the_best_level_that_the_cpu_is_of_is_taken(sources: Path) -> None:
    v4, v3, v2 = X86
    assert best_level(FEATURES[v4]) == ""
    for level in (v2, v4):
        folder_of(level).mkdir(parents=True)
    assert [best_level(FEATURES[level]) for level in (v4, v3, v2)] == [v4, v2, v2]
    folder_of(v3).mkdir()
    assert [best_level(FEATURES[level]) for level in (v4, v3, v2)] == [v4, v3, v2]


def test_a_feature_that_is_missing_or_switched_off_lowers_the_level(sources: Path) -> None:
    v4, v3, v2 = X86
    for level in X86:
        folder_of(level).mkdir(parents=True)
    assert best_level({**FEATURES[v4], "avx512dq": False}) == v3
    assert best_level({**FEATURES[v4], "fma": False}) == v2  # and v4 has FMA too
    assert best_level({name: True for name in FEATURES[v4] if name != "popcnt"}) == ""
    assert best_level({}) == ""


def test_object_code_of_other_sources_is_not_taken(sources: Path) -> None:
    v4, *_ = X86
    folder_of(v4).mkdir(parents=True)
    assert best_level(FEATURES[v4]) == v4
    sources.joinpath("source.py").write_text("x = 2\n")
    digest_of_sources.cache_clear()
    assert best_level(FEATURES[v4]) == ""


def host_level() -> str:
    """The best level that this CPU is of."""
    features = llvm.get_host_cpu_features()
    levels = list(shipped.LEVELS)
    of = [l for i, l in enumerate(levels) if all(features.get(f) for below in levels[i:] for f in shipped.LEVELS[below])]
    return of[0] if of else ""


def run(code: str, python: str, folder: Path, **environment: str) -> str:
    """What `code` prints, run in a folder where no fastfc is, so that the one of the environment is found."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")}
    command = [python, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=env | environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


SHIPS = """
from fastfc import ahead
ahead.ship([("activations.multiply", "(f8:2C,f8:2C)")])
"""
USES = """
import sys
if {blocked}:
    sys.modules["numba"] = None
import numpy as np
from fastfc.kernels.fused import cpu
from fastfc.kernels.fused.compiler import entry
for dtype in {dtypes}:
    delta = np.array([[3, 5]], dtype)
    entry.Entry("activations.multiply")(np.array([[7, 2]], dtype), delta)
    assert delta.tolist() == [[21, 10]]
print(cpu.NAME, cpu.VECTOR_BYTES, len(entry._compiled))
"""


@compiled
@pytest.mark.skipif(not host_level(), reason="a CPU of no level")
def test_what_came_with_the_package_needs_no_compiler_and_the_rest_is_compiled_for_the_same_level(tmp_path: Path) -> None:
    site, without = tmp_path / "site", shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastfc.__file__).parent, site / "fastfc", ignore=without)
    shutil.copytree(shipped.SOURCES, site / "fastfc" / "kernels", ignore=without)
    level = host_level()
    inside = {"PYTHONPATH": str(site), "FASTFC_CACHE_DIR": str(tmp_path / "cache")}

    def use(*dtypes: str, blocked: bool = False) -> list[str]:
        return run(USES.format(blocked=blocked, dtypes=dtypes), sys.executable, tmp_path, **inside).split()

    run(SHIPS, sys.executable, tmp_path, **inside, NUMBA_CPU_NAME=level, NUMBA_CPU_FEATURES="")
    (file,) = (site / "fastfc" / "kernels" / "objects").glob(f"{level}-*/activations.multiply-*.o")
    name, width, made = use("float64", blocked=True)
    assert (name, made) == (level, "0")
    assert use("float32", "float64") == [level, width, "1"]
    file.write_bytes(file.read_bytes()[:-1])
    assert use("float64") == [level, width, "1"]
    assert use("float32", "float64", blocked=True) == [level, width, "0"]
    with (site / "fastfc" / "kernels" / "plan.py").open("a") as source:
        source.write("\n")
    assert use("float64")[0] == llvm.get_host_cpu_name()


@pytest.mark.slow
@compiled
@pytest.mark.skipif(not host_level(), reason="a CPU of no level")
def test_the_wheel_trains_in_a_bare_environment(tmp_path: Path) -> None:
    """Without Numba, without a folder to keep anything in, and to the bits of what is compiled for that level here."""
    built = Path(os.environ.get("FASTFC_WHEELS") or tmp_path)
    if built == tmp_path:
        build = [sys.executable, "-m", "tools.wheel", "--out", str(tmp_path), "--levels", host_level()]
        subprocess.run(build, cwd=ROOT, check=True, timeout=3000)
    (wheel,) = built.glob("*.whl")
    assert "py3-none-any" not in wheel.name
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "bare")], check=True)
    bare = str(tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python")
    needed = [str(wheel.resolve()), "numpy", "llvmlite", "threadpoolctl", "safetensors", "platformdirs", "scipy"]
    install = subprocess.run([bare, "-m", "pip", "install", "--quiet", "--no-deps", *needed], capture_output=True, text=True)
    if install.returncode:
        pytest.skip(f"the package index cannot be reached: {install.stderr.splitlines()[-1]}")
    code = (ROOT / "tools" / "trial.py").read_text(encoding="utf-8")
    found = run(code, bare, tmp_path, FASTFC_CACHE_DIR="/dev/null/x")
    assert found == run(code, sys.executable, ROOT, NUMBA_CPU_NAME=host_level(), NUMBA_CPU_FEATURES="")
