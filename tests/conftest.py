"""Fixtures that several test modules share, and what `make soak` adds to pytest: full length, and a count of cases."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from fastfc.cli import main
from tests import promises
from tests.command_line import SMALL
from tests.promises import PROMISES, Cases, Tally

TALLIES = pytest.StashKey[dict[int, Tally]]()
CASES = pytest.StashKey[Cases]()
OUTCOMES = pytest.StashKey[list[str]]()
BEGUN = pytest.StashKey[float]()
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="full length; count the cases of each promise of reliability")
    parser.addoption("--publish", action="store_true", help="with --soak: put the counts into docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLIES], config.stash[BEGUN] = {number: Tally() for number in PROMISES}, time.monotonic()
    everything = list(hypothesis.HealthCheck)
    options: dict[str, Any] = {"derandomize": True, "deadline": None, "suppress_health_check": everything}
    hypothesis.settings.register_profile("make test", max_examples=15, **options)
    hypothesis.settings.register_profile("make soak", max_examples=3000, **options)
    hypothesis.settings.load_profile("make soak" if config.getoption("--soak") else "make test")


def pytest_collection_finish() -> None:
    """The tests themselves live to the end: no search for garbage need look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _plenty_of_cpus() -> Iterator[None]:
    """As many threads as a test asks for, on any machine: they share its cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastfc.machine.threads.usable_cpus", lambda: 64)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_process_compiles() -> Iterator[None]:
    """A second one would begin by importing Numba and compiling helpers that are there; tests/test_beside.py is about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastfc.kernels.fused.compiler.making._shared", lambda missing, later: missing)
        yield


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Cases:
    """Counts the cases of a test that tries other than one; says how many it should try."""
    return request.node.stash.setdefault(CASES, Cases(request.config.getoption("--soak")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("promise")
    if marker is not None:
        outcomes = item.stash.setdefault(OUTCOMES, [])
        outcomes.append(report.outcome)
        if report.when == "teardown" and "skipped" not in outcomes:
            cases = item.stash.get(CASES, Cases(soak=False))
            item.config.stash[TALLIES][marker.args[0]].add(cases, set(outcomes) == {"passed"})
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A soak that left a promise untried has failed."""
    kept = all(tally.kept for tally in session.config.stash[TALLIES].values())
    if (
        session.config.getoption("--soak")
        and not session.config.option.collectonly
        and session.exitstatus == 0
        and not kept
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--soak") or config.option.collectonly:
        return
    tallies, minutes = config.stash[TALLIES], (time.monotonic() - config.stash[BEGUN]) / 60
    terminalreporter.section("promises of reliability")
    for line in [*promises.figures(tallies), "", *promises.lines(tallies)]:
        terminalreporter.write_line(line)
    if config.getoption("--publish") and all(tally.tried for tally in tallies.values()):
        from bench.publish import replace

        replace(PAGE, promises.markdown(tallies, promises.about(minutes)), "reliability")


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with the four true MNIST files."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("FASTFC_DATA_DIR") or beside)
    if not folder.is_dir():
        pytest.skip("needs MNIST: set FASTFC_DATA_DIR")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell starts what it runs in the background deaf to SIGINT; the tests of Ctrl-C, and their children, are not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An .npz file of 8x8 images in three classes, told apart by the third of the rows that is bright."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 60, (240, 8, 8), dtype=np.uint8)
    y = rng.integers(0, 3, 240)
    for i, label in enumerate(y):
        X[i, 3 * label : 3 * label + 2] += 150
    file = tmp_path / "small.npz"
    np.savez(file, x_train=X[:200], y_train=y[:200], x_test=X[200:], y_test=y[200:])
    return file


@pytest.fixture
def run_folder(data: Path, tmp_path: Path) -> Path:
    """What `fastfc train --out` has written."""
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL]) == 0
    return tmp_path / "run"
