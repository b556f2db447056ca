"""The two backends mirror each other, and dependencies point one way."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel_cases import BACKENDS, backend_module, parameters

DRIVERS = {"epoch": "trainer", "predict": "predictor"}  # of fused kernels, in modules that need no compiler
KERNELS = Path(__file__).parents[1] / "kernels"
SOURCES = sorted(KERNELS.rglob("*.py"))
REFERENCE = sorted(path.stem for path in (KERNELS / "reference").glob("*.py") if path.stem != "__init__")


def public(module: Any) -> dict[str, Any]:
    """Functions and classes that a module defines for others, compiled ones included."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == module.__name__
    }


def methods(cls: type) -> dict[str, Callable[..., Any]]:
    return {
        name: f for name, f in vars(cls).items() if inspect.isfunction(f) and (name[0] != "_" or name == "__init__")
    }


@pytest.mark.parametrize("module", REFERENCE)
def test_each_function_of_the_reference_has_a_twin_of_the_same_parameters(module: str) -> None:
    reference, fused = (public(backend_module(backend, module)) for backend in BACKENDS)
    if module in DRIVERS:
        fused |= public(backend_module("fused", DRIVERS[module]))
    assert reference, "the reference's module defines nothing"
    for name, value in reference.items():
        assert name in fused, f"{module}.{name} has no fused twin"
        if inspect.isclass(value):
            theirs, ours = methods(value), methods(fused[name])
            assert theirs.keys() <= ours.keys()
            for method, function in theirs.items():
                assert parameters(function) == parameters(ours[method]), f"{module}.{name}.{method}"
        else:
            assert parameters(value) == parameters(fused[name]), f"{module}.{name}"


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in the file; a relative import is not resolved."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# How kernels are compiled, and how long their threads spin, has to do with the process; what they compute has not.
ALLOWED = {
    "compiler": {"fastfc.errors", *(f"fastfc.machine.{name}" for name in ("forks", "interrupts", "terminal"))},
    "fused": {"fastfc.machine.cores"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(KERNELS).as_posix())
def test_kernels_import_nothing_of_fastfc_but_kernels(path: Path) -> None:
    own = [name for name in imports(path) if name.split(".")[0] == "fastfc"]
    outside = {name.rpartition(".")[0] for name in own if not name.startswith("fastfc.kernels.")}
    assert outside <= ALLOWED.get(path.parent.name, set())
    other = {"reference": "fused", "fused": "reference"}.get(path.parent.name)
    assert [name for name in own if name.startswith(f"fastfc.kernels.{other}")] == []


@pytest.mark.parametrize("name", ["plan", *(f"reference/{module}" for module in REFERENCE)])
def test_the_reference_is_numpy_alone(name: str) -> None:
    outside = {module.split(".")[0] for module in imports(KERNELS / f"{name}.py")} - {"fastfc"}
    assert outside <= {"numpy", "__future__", "typing", "dataclasses", "collections", "functools", "math"}


def test_numba_compiles_through_one_module() -> None:
    """njit, jit and their kin are named in fused/compiler/jit.py only."""
    compilers = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc", "jitclass", "prange", "set_num_threads"}
    naming = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {module.rpartition(".")[2] for module in imports(path)}
        if names & compilers:
            naming.add(path.relative_to(KERNELS).as_posix())
    assert naming == {"fused/compiler/jit.py"}


def test_the_numpy_backend_never_imports_numba() -> None:
    code = """
import sys
import numpy as np
import fastfc
X, y = np.random.default_rng(0).random((20, 16)), np.arange(20) % 3
r = fastfc.train((X, y), (X, y), epochs=1, hidden=(4,), backend="numpy")
assert r.model.predict(X).shape == (20,) and r.model.predict(X[:1]).shape == (1,)
print(sorted({"numba", "llvmlite"} & {name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
