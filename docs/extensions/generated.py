"""Directives whose content is made of the code at build: `settings`, `recipes` and `commands`."""

from __future__ import annotations

import argparse
import inspect
import os
from dataclasses import fields
from typing import Any

from docutils import nodes
from plain import blocks, items
from sphinx.util.docutils import SphinxDirective

from fastfc.cli import parser
from fastfc.cli.options import OPTIONS
from fastfc.recipes import RECIPES, Recipe
from fastfc.settings import OPTIMIZERS, Settings

FROM_OPTIMIZER = ("lr", "weight_decay")  # whose default depends on it


class Generated(SphinxDirective):
    def markdown(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(inspect.getfile(Settings))
        self.env.note_dependency(inspect.getfile(Recipe))
        return self.parse_text_to_nodes(self.markdown(), allow_section_headings=True)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


def _meanings() -> dict[str, str]:
    """What the docstring of Settings says of fields, of the first where an item has two."""
    listed = [items(block) for block in blocks((inspect.getdoc(Settings) or "").splitlines())]
    found = {names.split(", ")[0]: meaning for block in listed for names, meaning in block or ()}
    return {name: meaning.replace("in OPTIMIZERS", "see below") for name, meaning in found.items()}


class SettingsTable(Generated):
    """All settings with their defaults and what they mean, by the docstring, or where that leaves one to its name, by `--help`."""

    def markdown(self) -> str:
        meanings = _meanings()
        rows = [_row("setting", "default", "meaning"), "|---|---|---|"]
        for field in fields(Settings):
            default = "by the optimiser" if field.name in FROM_OPTIMIZER else f"`{field.default!r}`"
            rows.append(_row(f"`{field.name}`", default, meanings.get(field.name) or OPTIONS[field.name].help))
        rates = [_row("optimizer", "lr", "weight_decay"), "|---|---|---|"]
        rates += [_row(f"`{name}`", f"`{lr!r}`", f"`{decay!r}`") for name, (lr, decay) in OPTIMIZERS.items()]
        return "\n".join([*rows, "", "By the optimiser:", "", *rates])


class RecipeList(Generated):
    """Each recipe: what it is, in which settings it differs from the defaults, what was reported and assumed."""

    def markdown(self) -> str:
        return "\n\n".join(self._of(recipe) for recipe in RECIPES.values())

    def _of(self, recipe: Recipe) -> str:
        default = Settings()
        names = [field.name for field in fields(Settings)]
        differ = [n for n in names if getattr(recipe.settings, n) != getattr(default, n)]
        settings = ", ".join(f"`{n}={getattr(recipe.settings, n)!r}`" for n in differ) or "the defaults"
        lines = [f"## `{recipe.name}`", f"{recipe.title[0].upper()}{recipe.title[1:]}.", f"Settings: {settings}."]
        if recipe.source:
            lines.append(f"{recipe.source}.")
        if recipe.rows or recipe.digit is not None:
            rows = f"the first {recipe.rows:,} samples" if recipe.rows else "all samples"
            lines.append(f"Data: {rows}." if recipe.digit is None else f"Data: {rows}; is it a {recipe.digit}, or not?")
        if recipe.assumptions:
            lines.append("Assumed:\n\n" + "\n".join(f"- {_escaped(each)}" for each in recipe.assumptions))
        return "\n\n".join(lines)


def _escaped(line: str) -> str:
    return line.replace("*", "\\*").replace("[", "\\[")


class CommandHelp(Generated):
    """What `--help` prints, for `fastfc` and each of its commands."""

    def markdown(self) -> str:
        os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
        made = [("fastfc", parser._parser([]))]
        for name in parser.COMMANDS:
            action = next(a for a in parser._parser([name])._actions if isinstance(a, argparse._SubParsersAction))
            made.append((f"fastfc {name}", action.choices[name]))
        return "\n\n".join(f"## `{title}`\n\n```text\n{one.format_help()}```" for title, one in made)


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("settings", SettingsTable)
    app.add_directive("recipes", RecipeList)
    app.add_directive("commands", CommandHelp)
    return {"parallel_read_safe": True}
