"""The design is what docs/layout.md says: layers in one order, and no circle of imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
Imports = dict[str, set[str]]  # names within fastfc: "network", "kernels.plan"; "fastfc" is the package's own module


def modules() -> dict[str, Path]:
    """Every module of the package. kernels/ is fastfc.kernels."""
    found = {}
    for path in [*(ROOT / "fastfc").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join(parts[1:] if parts[0] == "fastfc" else parts) or "fastfc"] = path
    return found


def imports(source: str, known: Iterable[str]) -> set[str]:
    """The modules among `known` that the source imports: at the top, in functions, and for type checkers alike."""
    full = {"fastfc" if name == "fastfc" else f"fastfc.{name}": name for name in known}
    named = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            named |= submodules & set(full) or {node.module or ""}
    return {full[name] for name in named if name in full}


def layers() -> list[list[str]]:
    """The page's order, lowest first; names that stand at one height do not import each other."""
    page = (ROOT / "docs" / "layout.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith("errors < "))
    return [[name.strip() for name in layer.split(",")] for layer in line.replace("\\", "").split(" < ")]


def layer_of(module: str, order: list[list[str]]) -> str:
    """The longest name of the order that the module is, or lies in."""
    names = [name for layer in order for name in layer if module == name or module.startswith(f"{name}.")]
    assert names, f"{module}: in no layer of docs/layout.md"
    return max(names, key=len)


def upward(graph: Imports, order: list[list[str]]) -> list[str]:
    """The imports that do not go down."""
    height = {name: k for k, layer in enumerate(order) for name in layer}
    found = []
    for module, imported in graph.items():
        for other in imported:
            own, its = layer_of(module, order), layer_of(other, order)
            if own != its and height[its] >= height[own]:
                found.append(f"{module} imports {other}")
    return sorted(found)


@pytest.fixture(scope="module")
def graph() -> Imports:
    found = modules()
    return {name: imports(path.read_text(encoding="utf-8"), found) for name, path in found.items()}


def test_imports_go_down(graph: Imports) -> None:
    assert len(graph) > 40 and "kernels.plan" in graph["network"]
    assert upward(graph, layers()) == []


def test_no_circle_of_imports(graph: Imports) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_every_layer_exists(graph: Imports) -> None:
    order = layers()
    assert {name for layer in order for name in layer} == {layer_of(module, order) for module in graph}


def test_an_import_that_goes_up_is_found() -> None:
    known = ["errors", "kernels.plan", "kernels.reference.dense", "kernels.fused.dense", "network", "fastfc"]
    source = """
import fastfc.network
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from fastfc.kernels import plan
def late():
    from fastfc.errors import invalid
    from fastfc import __version__
"""
    assert imports(source, known) == {"network", "kernels.plan", "errors", "fastfc"}
    order = [["errors"], ["kernels"], ["kernels.reference", "kernels.fused"], ["network"]]
    given = {
        "errors": {"network"}, "kernels.plan": {"errors", "kernels.fused.dense"}, "network": {"kernels.plan"},
        "kernels.fused.dense": {"kernels.reference.dense", "kernels.fused.step"},
    }  # fmt: skip
    assert upward(given, order) == [
        "errors imports network", "kernels.fused.dense imports kernels.reference.dense",
        "kernels.plan imports kernels.fused.dense",
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="beyond: in no layer"):
        upward({"beyond": {"errors"}}, order)


# Whose arguments are keywords that a user chooses among.
PUBLIC = {
    "train.train", "network.Network.__init__", "reports.reproduce.reproduce",
    "estimators.classifier.MLPClassifier.__init__", "estimators.regressor.MLPRegressor.__init__",
}  # fmt: skip
MOST_ARGUMENTS = 8


def arguments_of(source: str) -> dict[str, int]:
    """How many arguments each function takes, but for self and for intrinsics, whose body is emitted."""
    counts = {}

    def visit(node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = f"{path}.{child.name}" if isinstance(child, (ast.FunctionDef, ast.ClassDef)) else path
            if isinstance(child, ast.FunctionDef) and not any("intrinsic" in ast.dump(d) for d in child.decorator_list):
                given = [a.arg for a in (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)]
                counts[name] = len([a for a in given if a not in ("self", "cls")])
            visit(child, name)

    visit(ast.parse(source), "")
    return counts


def test_no_function_takes_many_arguments() -> None:
    long = {
        module + name: count
        for module, path in modules().items()
        for name, count in arguments_of(path.read_text(encoding="utf-8")).items()
        if count > MOST_ARGUMENTS
    }
    assert set(long) == PUBLIC, long


def test_arguments_are_counted() -> None:
    source = "class A:\n  def f(self, a, /, b, *, c): pass\n@intrinsic\ndef g(a, b): pass\ndef h(a):\n  def i(): pass"
    assert arguments_of(source) == {".A.f": 3, ".h": 1, ".h.i": 0}
