"""Docstrings as this project writes them, for Sphinx: paragraphs, formulas that are indented, and lists of names.

A list of names has the names at the left and what they mean in a column of its own, to which all lines of an item are indented:

    rows     train on the first so many samples only;
             None takes all
    penalty  whether the loss includes it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import fastfc

NAMES_AND_GAP = re.compile(r"(\S+(?:, \S+)*)  +(?=\S)")
CODE = re.compile(r"(`[^`]+`)")
PUBLIC = re.compile(r"(?:fastfc\.)?(?:\w+\.)*(" + "|".join(fastfc.__all__) + r")(?:\.\w+)?")


def items(lines: list[str]) -> list[tuple[str, str]] | None:
    """The items (names, text) of a block of lines, if it is a list of names; the names of one whose text follows none are ''."""
    gaps = [match.end() for match in map(NAMES_AND_GAP.match, lines) if match]
    if not gaps:
        return None
    column = min(gaps)
    found: list[tuple[str, str]] = []
    for line in lines:
        long = NAMES_AND_GAP.match(line)
        if line[:column].isspace():
            if not found:
                return None
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        elif line[column - 1 : column] == " " and not (long and long.end() > column):
            found.append((line[:column].strip(), line[column:].strip()))
        elif long:
            found.append((long[1], line[long.end() :].strip()))
        else:
            return None
    return found


def text(line: str) -> str:
    """Plain text as reStructuredText, in which what stands between backticks is code, or the name of something public."""
    return "".join(_code(part[1:-1]) if CODE.fullmatch(part) else _escaped(part) for part in CODE.split(line))


def _code(name: str) -> str:
    public = PUBLIC.fullmatch(name)
    is_link = public and (name.startswith("fastfc.") or name[0].isupper())
    return f":py:obj:`{name} <fastfc.{public[1]}>`" if public and is_link else f"``{name}``"


def _escaped(part: str) -> str:
    return re.sub(r"([\\*|])|_(?=\W|$)", lambda match: "\\" + match[0], part)


def blocks(lines: list[str]) -> Iterator[list[str]]:
    block: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def formatted(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText."""
    out: list[str] = []
    for block in blocks(lines):
        listed = items(block)
        if listed:
            for names, meaning in listed:
                out += [", ".join(f"``{name}``" for name in names.split(", ")), "    " + text(meaning), ""]
        elif all(line.startswith("    ") for line in block):
            out += ["::", "", *block, ""]
        else:
            out += [text(line.strip()) for line in block] + [""]
    return out


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = formatted(lines)


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}
