"""What `make soak` counts: cases of tests that passed, of every promise, or it fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promises import HANGS, PROMISES, Cases, Tally, about, lines, markdown
from tests.small import ROOT

FEW_AND_MANY = """
import pytest

@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.promise(n)) for n in {numbers}])
def test_all(number, cases):
    for k in range(cases(2, 30)):
        cases.within("took", 0.1 * k, 5)
"""
OTHERS = """
@pytest.mark.promise(2)
def test_one():
    pass

@pytest.mark.promise(2)
def test_skipped(cases):
    cases(100)
    pytest.skip("no reason")

@pytest.mark.promise(2)
def test_broken(cases):
    cases(5)
    assert False

@pytest.fixture
def broken_at_the_end():
    yield
    assert False

@pytest.mark.promise(3)
def test_broken_at_the_end(broken_at_the_end):
    pass

def test_of_no_promise(cases):
    cases(7)
"""


def soak(folder: Path, code: str, *options: str) -> tuple[int, str]:
    """Exit status and output of a session of its own on one file."""
    (folder / "test_it.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
    ]
    done = subprocess.run([*command, *options, str(folder)], capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout


def counts(output: str) -> dict[int, tuple[int, int]]:
    found = re.findall(r"^ ?(\d+)  .*?([\d,]+) tried +([\d,]+) survived", output, re.MULTILINE)
    return {int(number): (int(tried), int(survived)) for number, tried, survived in found}


def test_all_promises_kept(tmp_path: Path) -> None:
    status, output = soak(tmp_path, FEW_AND_MANY.format(numbers=list(PROMISES)), "--soak")
    assert status == 0 and counts(output) == {number: (30, 30) for number in PROMISES}
    assert "13  took (s, promised 5): 2.9" in output and "BROKEN" not in output


def test_a_promise_that_was_not_tried_fails(tmp_path: Path) -> None:
    status, output = soak(tmp_path, FEW_AND_MANY.format(numbers=list(PROMISES)[1:]), "--soak")
    assert status == 1 and counts(output)[1] == (0, 0) and "0 survived  NOT TRIED" in output


def test_only_what_passed_has_survived_and_what_is_skipped_was_not_tried(tmp_path: Path) -> None:
    status, output = soak(tmp_path, FEW_AND_MANY.format(numbers=list(PROMISES)) + OTHERS, "--soak")
    assert status == 1 and output.count("BROKEN") == 2
    assert {k: v for k, v in counts(output).items() if v != (30, 30)} == {2: (36, 31), 3: (31, 30)}


def test_short_runs_are_short_and_count_nothing(tmp_path: Path) -> None:
    code = "import pytest\n\ndef test(cases):\n    assert cases(2, 30) == 2 and cases(4) == 4\n    cases.within('', 40, 5)\n"
    status, output = soak(tmp_path, code)
    assert status == 0 and "survived" not in output


def test_a_time_over_what_is_promised_is_named() -> None:
    for limit, soak in ((5, True), (HANGS, False)):
        cases = Cases(soak)
        cases.within("back", limit - 0.1, 5)
        with pytest.raises(AssertionError, match=rf"^back: given {limit:g}.100 s, expected < {limit:g} s"):
            cases.within("back", limit + 0.1, 5)


def test_the_table() -> None:
    tallies = {number: Tally(number * 1000, number * 1000) for number in PROMISES}
    tallies[2].figures = {"seconds": 0.12345}
    tallies[3].survived = 0
    assert [line.endswith("survived") for line in lines(tallies)] == [number != 3 for number in PROMISES]
    rows = markdown(tallies, "about").splitlines()
    assert rows[:2] == ["about", ""] and len(rows) == len(PROMISES) + 4
    assert rows[5] == "| 2 | gzip, downloads, full disk | 2,000 | 2,000 | seconds: 0.123 |"


def test_the_table_says_where_it_was_made() -> None:
    assert re.match(r"`make soak`, 13 minutes on .+, \d+ cores, \d{4}-\d\d-\d\d\.$", about(12.7))
