"""docs/sklearn.md leaves nothing out."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import sklearn
import sklearn.neural_network as theirs

from fastfc import estimators as ours

PAGE = (Path(__file__).parents[1] / "docs" / "sklearn.md").read_text(encoding="utf-8")
NAMES = "MLPClassifier", "MLPRegressor"


def rows(section: str) -> dict[str, tuple[str, str]]:
    """The table of a section: what stands in the second and third column, by each name of the first."""
    text = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]
    return {name.strip("` "): (row[1], row[2]) for row in cells for name in row[0].split(", ")}


def defaults(estimator: type) -> dict[str, object]:
    parameters = inspect.signature(estimator).parameters
    return {name: parameter.default for name, parameter in parameters.items()}


def test_every_parameter_is_there_with_its_default() -> None:
    table, seen = rows("Parameters"), set()
    for name in NAMES:
        own, other = defaults(getattr(ours, name)), defaults(getattr(theirs, name))
        seen |= set(own)
        for parameter, default in own.items():
            if parameter in table and table[parameter][0] == "-":
                assert table[parameter][1].startswith(f"`{default!r}`"), parameter
            else:
                assert table[parameter][0] == f"`{default!r}`" and table[parameter][1].startswith("same"), parameter
        assert {parameter: own[parameter] for parameter in other} == other
        assert [parameter for parameter in own if parameter in other] == list(other)
        extra = inspect.signature(getattr(ours, name)).parameters
        assert all(extra[p].kind is inspect.Parameter.KEYWORD_ONLY for p in own if table[p][0] == "-")
    assert seen == set(table)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_attribute_and_method_is_there() -> None:
    attributes = PAGE.split("## Attributes\n")[1].split("\n## ")[0]
    methods = rows("Methods")
    for name in NAMES:
        own, other = getattr(ours, name)(backend="numpy", max_iter=1), getattr(theirs, name)(max_iter=1)
        for fit in (own.fit([[0.0], [1.0]], [0, 1]), other.fit([[0.0], [1.0]], [0, 1])):
            for attribute in dir(fit):
                if attribute.endswith("_") and not attribute.startswith("_"):
                    assert f"`{attribute}`" in attributes and hasattr(own, attribute), attribute
        for method, _ in inspect.getmembers(getattr(ours, name), callable):
            assert method.startswith("_") or method in methods, method
        missing = {m for m in dir(getattr(theirs, name)) if not m.startswith("_")} - set(dir(getattr(ours, name)))
        assert not missing


def test_signatures_are_scikit_learns_with_more_at_the_end() -> None:
    for name in NAMES:
        for method in ("fit", "partial_fit", "predict"):
            own, other = (list(inspect.signature(getattr(getattr(m, name), method)).parameters) for m in (ours, theirs))
            if sklearn.__version__ >= "1.7":
                assert own[: len(other)] == other
