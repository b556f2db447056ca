"""What the documents show is so: their code runs as it stands, their commands are taken, their links lead somewhere.

The code of a page runs in order, in one namespace and one empty folder, on MNIST in small. What cannot run says why:
`<!-- not run: reason -->` before the block.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

import fastfc
from bench import report
from fastfc import cli
from fastfc.cli import parser
from fastfc.data import digits
from fastfc.data.idx import encode
from fastfc.data.mnist import SHAPES
from tests.pictures import pen, sheet
from tests.promises import HANGS
from tests.small import ROOT

PAGES = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
LINKED = [*PAGES, *(ROOT / name for name in ("SECURITY.md", "CHANGELOG.md", "bench/NOTES.md"))]
FENCE = re.compile(
    r"(?P<reason>^<!-- not run:.*?-->\n+)?^ *(?P<ticks>```+)(?P<language>\S*)[^\n]*\n(?P<code>.*?)^ *(?P=ticks)$", re.M | re.S
)
LANGUAGES = {"python", "sh", "c", "text"}  # and directives of Sphinx, {...}, which `make docs` checks
PEERS = {"torch", "ray"}  # in no extra of fastfc: blocks that import them are left out where they are not installed
DEAR = {"docs/features.md", "docs/searches.md", "docs/mpi.md"}  # for `make soak`: 10 s of commands, clusters, processes
LONG = {"bench", "reproduce"}  # commands that have tests of their own: their options are read


@dataclass(frozen=True)
class Block:
    line: int  # of its first line, counted from 0
    language: str
    code: str
    reason: str | None  # why it is not run


def blocks(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        reason = match["reason"] and match["reason"].strip().removeprefix("<!-- not run:").removesuffix("-->").strip()
        line = text.count("\n", 0, match.start("code"))
        found.append(Block(line, match["language"], textwrap.dedent(match["code"]), reason))
    return found


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def mnist_in_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four files, of 600 and 200 generated digits."""
    folder, rng = tmp_path_factory.mktemp("mnist"), np.random.default_rng(0)
    arrays = [array for n in (600, 200) for array in digits.generate(n, rng)]
    for name, array in zip(SHAPES, arrays, strict=True):
        (folder / name).write_bytes(encode(array))
    return folder


@pytest.fixture
def folder(mnist_in_small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the code of a page runs: a picture of a digit lies there."""
    monkeypatch.setenv("FASTFC_DATA_DIR", str(mnist_in_small))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(sheet(pen("5"))).save("digit.png")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_checked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    assert len(re.findall(r"^ *```", text, re.M)) == 2 * len(found), "a block that is not closed"
    for block in found:
        assert block.language in LANGUAGES or block.language.startswith("{"), f"line {block.line}: {block.language!r}"
        assert block.reason != "", f"line {block.line}: no reason why it is not run"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] * (name_of(page) in DEAR))
        for page in PAGES
        if {block.language for block in blocks(page.read_text(encoding="utf-8")) if block.reason is None} - {"text"}
    ],
)
@pytest.mark.filterwarnings("default")
def test_the_code_of_a_page_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("__main__")
    left_out: set[str] = set()
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.reason is not None:
            continue
        where = f"{name_of(page)}, line {block.line}"
        if block.language == "python":
            absent = not_installed(block.code)
            left_out |= absent
            if script := re.match(r"# (\w+\.py)\n", block.code):
                (folder / script[1]).write_text(block.code, encoding="utf-8")
            elif not absent:
                exec(compile("\n" * block.line + block.code, page, "exec"), module.__dict__)
        elif block.language == "sh":
            for words in commands(block.code):
                left_out |= run(words, where, monkeypatch)
        elif block.language == "c":
            left_out |= compiles(block.code)
    if left_out:
        pytest.skip(f"all but what needs {', '.join(sorted(left_out))} ran")


def not_installed(code: str) -> set[str]:
    """Those of PEERS that the code imports and that are not there."""
    nodes = list(ast.walk(ast.parse(code)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {top for top in {name.partition(".")[0] for name in names} & PEERS if importlib.util.find_spec(top) is None}


def commands(code: str) -> Iterator[list[str]]:
    """The words of each command, without comments."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def run(words: list[str], where: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run one command, or see that it would; what it needs and is not there."""
    with monkeypatch.context() as patch:
        while "=" in words[0]:
            name, _, value = words[0].partition("=")
            if name != "FASTFC_DATA_DIR":
                patch.setenv(name, value)
            words = words[1:]
        program, *arguments = words
        if program == "fastfc" and arguments[0] in LONG:
            parser._parser(arguments).parse_args(arguments)
        elif program == "fastfc":
            assert cli.main(arguments) == 0, where
        elif program == "make":
            if not shutil.which("make"):
                return {"make"}
            done = subprocess.run(["make", "-n", f"PYTHON={sys.executable}", *arguments], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, f"{where}: {done.stderr}"
        elif program == "pip":
            unknown = extras(arguments) - set(declared())
            assert arguments[0] == "install" and not unknown, f"{where}: extras {unknown}"
        elif program == "python" and arguments[:2] == ["-m", "bench.report"]:
            report.parser().parse_args(arguments[2:])
        elif program == "python" and arguments[0] == "-m" and re.match(r"(bench|tests|tools)\.", arguments[1]):  # of a clone
            assert importlib.util.find_spec(arguments[1]), where
        elif program == "python":
            call([sys.executable, *arguments], where)
        elif program == "mpiexec":
            return in_ranks(arguments, where)
        else:
            pytest.fail(f"{where}: {program}: run neither here nor, with `<!-- not run: reason -->`, left out")
    return set()


def call(words: list[str], where: str) -> None:
    beside = {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANGS, env={**os.environ, **beside})
    assert done.returncode == 0, f"{where}: {shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def in_ranks(arguments: list[str], where: str) -> set[str]:
    """Python in two of them, whatever number is named."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None or importlib.util.find_spec("mpi4py") is None:
        return {"mpi4py and mpiexec"}
    assert arguments[0] == "-n" and arguments[1].isdigit(), where
    if arguments[2] == "fastfc":  # tests/test_mpi.py runs it: its options are read
        parser._parser(arguments[3:]).parse_args(arguments[3:])
    else:
        assert arguments[2] == "python", where
        call([mpiexec, "-n", "2", sys.executable, *arguments[3:]], where)
    return set()


def extras(arguments: list[str]) -> set[str]:
    """The extras of fastfc that pip is asked for: fastfc[a,b], .[a,b] or a wheel's."""
    asked = [re.fullmatch(r"(?:fastfc|\.|.*fastfc.*\.whl)\[([\w,]+)\]", word) for word in arguments]
    return {extra for match in asked if match for extra in match[1].split(",")}


def declared() -> dict[str, list[str]]:
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def compiles(code: str) -> set[str]:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return {"a C compiler"}
    command = [compiler, "-std=c99", "-Wall", "-Werror", "-fsyntax-only", "-xc", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set()


def links(text: str) -> list[str]:
    """The targets of links and pictures outside of code."""
    for block in (match[0] for match in FENCE.finditer(text)):
        text = text.replace(block, "")
    text = re.sub(r"`[^`\n]+`", "", text)
    return re.findall(r"\]\(<?([^()\s>]+)>?(?: \"[^\"]*\")?\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in links(text):
        if "://" in target:
            parts = urlsplit(target)
            assert parts.scheme in ("http", "https") and "." in parts.netloc, target
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        if ROOT / "docs" / "gallery" in file.parents:  # made by `make docs`, of the scripts in docs/examples
            file = ROOT / "docs" / "examples" / f"{file.stem}.py" if file.stem != "index" else ROOT / "docs" / "examples"
        assert file.exists() and file.is_relative_to(ROOT), f"{target}: there is no {file}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{target}: no such heading"


def test_what_is_wrong_in_a_document_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# A `b`, c!\n\n<!-- not run: why -->\n```sh\na  # b\n```\n\n<!-- not run: -->\n\n```python\nx\n```\n[p](q.md#a-b) `[r](s)`"
    assert [(b.line, b.language, b.code, b.reason) for b in blocks(text)] == [(4, "sh", "a  # b\n", "why"), (10, "python", "x\n", "")]
    assert links(text) == ["q.md#a-b"] and anchors(text) == {"a-b-c"}
    assert list(commands("a b && c 'd e' # f\ng \\\n h")) == [["a", "b"], ["c", "d e"], ["g", "h"]]
    assert not_installed("import torch.nn, numpy\nfrom os import path") <= {"torch"}
    for command in (["fastfc", "train", "--epochs", "many"], ["make", "nothing"], ["pip", "install", "fastfc[none]"], ["rm", "-r", "x"]):
        with pytest.raises((AssertionError, SystemExit, pytest.fail.Exception)):
            run(command, "here", monkeypatch)
    if not compiles("int f(void);\n"):
        with pytest.raises(AssertionError):
            compiles("int f(void)\n")


def test_the_citation_is_of_this_version() -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (fastfc.__version__, "BSD-3-Clause")
