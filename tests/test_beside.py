"""Several processes that compile: they share, nothing is compiled twice or left out, and none depends on another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from fastfc import ahead
from fastfc.kernels.fused.compiler import beside, making
from fastfc.kernels.fused.compiler.making import divided
from tests.small import python

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")

# Makes four kernels that compile in a moment, and says which of them this process has compiled, and what else is there.
MAKES = """
import os, sys, threading
import numpy as np
from fastfc.kernels.fused.compiler import beside, entry, making
{}
kernels = [("activations.multiply", "(f4:2C,f4:2C)"), ("activations.multiply", "(f8:2C,f8:2C)"),
           ("batch.multiply_by", "(u1:2C,f4:1C,f4:2C)"), ("batch.multiply_by", "(u1:2C,f8:1C,f8:2C)")]
missing, made = making.missing_of(kernels), []
making.make(missing, report=made.append)
assert sorted(made) == missing and not making.missing_of(kernels)
delta = np.array([[3.0, 5.0]])
entry.Entry("activations.multiply")(np.array([[7.0, 2.0]]), delta)
assert delta.tolist() == [[21, 10]]
beside.end()
print(len(missing), len(entry._compiled), threading.active_count())
"""
TWO_CORES = "beside.os.sched_getaffinity = lambda pid: {0, 1}"
# We begin when the second process has compiled something.
WAITS = """
import time
from fastfc.kernels.fused.folder import cache_folder
begin = beside.begin
def begin_and_wait(kernels):
    begin(kernels)
    while not list(cache_folder().glob("*.o")):
        time.sleep(0.01)
beside.begin = begin_and_wait
"""


def made(preparation: str, folder: Path) -> str:
    return python(MAKES.format(preparation), FASTFC_CACHE_DIR=str(folder)).strip()


def files(folder: Path) -> list[str]:
    """Of kernels, and what should not be left there."""
    return sorted(path.suffix for path in folder.rglob("*") if path.is_file() and not path.name.startswith("cpu-"))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="pretends to have two cores")
def test_two_processes_share_what_is_missing(tmp_path: Path) -> None:
    assert made(f"{TWO_CORES}\n{WAITS}", tmp_path) in ("4 1 1", "4 2 1", "4 3 1")
    assert files(tmp_path) == [".o"] * 4
    assert made(TWO_CORES, tmp_path) == "0 0 1"


@pytest.mark.slow
def test_many_processes_compile_a_kernel_once(tmp_path: Path) -> None:
    code = "from fastfc.kernels.fused.compiler import entry; entry.Entry('activations.multiply').address_of('(f4:2C,f4:2C)')"
    command = [sys.executable, "-c", f"{code}; print(len(entry._compiled))"]
    environment = {**os.environ, "FASTFC_CACHE_DIR": str(tmp_path)}
    begun = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    assert sorted(process.communicate()[0].strip() for process in begun) == ["0", "0", "1"]


def test_the_turn_of_a_process_that_is_killed_is_over(tmp_path: Path) -> None:
    code = """
import os, sys
from fastfc.kernels.fused.compiler.turns import turn
with turn("some.kernel-0123456789abcdef"):
    if sys.argv[1:]:
        os.abort()
"""
    environment = {**os.environ, "FASTFC_CACHE_DIR": str(tmp_path)}
    ends = [subprocess.run([sys.executable, "-c", code, *more], env=environment, check=False) for more in (["x"], [])]
    assert ends[0].returncode != 0 and ends[1].returncode == 0


@pytest.mark.parametrize(
    "preparation",
    [
        pytest.param("beside.os.sched_getaffinity = lambda pid: {0}", marks=pytest.mark.slow),
        pytest.param(f"{TWO_CORES}; sys.executable = ''", marks=pytest.mark.slow),
        f"{TWO_CORES}; sys.executable = '/nowhere/python'",
        f"{TWO_CORES}; beside.CHILD = 'raise SystemExit(1)'",
        pytest.param(
            f"{TWO_CORES}; beside.CHILD = 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'", marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="pretends to have two cores")
def test_without_a_second_process_that_works_one_compiles_all(preparation: str, tmp_path: Path) -> None:
    assert made(preparation, tmp_path) == "4 4 1" and files(tmp_path) == [".o"] * 4


def test_the_longest_is_ours_and_the_rest_is_met_from_behind() -> None:
    """What is needed later comes last for the second process, and first for this one once the longest is there."""
    kernels, later = [kernel for kernel in ahead.usual() if not kernel[0].startswith("predict")], [("predict.run", "()")]
    ours, others = divided(kernels, later)
    assert ours[0][0] == "epoch.run" and ours[1:] == others[::-1] and others[-1:] == later
    assert sorted(ours) == sorted([*kernels, *later]) and divided(later, []) == (later, [])


def test_workers_of_a_pool_begin_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    before = beside.can_begin()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    assert before and not beside.can_begin()


def test_names_of_kernels_with_a_time_exist() -> None:
    named = {name for name, _ in ahead.everything()}
    assert set(making.SECONDS) - {"epoch.apply"} <= named


@pytest.mark.skipif(sys.platform == "win32", reason="looks for the process by its number")
def test_it_ends_with_the_process_that_began_it(tmp_path: Path) -> None:
    code = """
from fastfc.kernels.fused.compiler import beside
beside.CHILD = "import time; time.sleep(60)"
beside.begin([])
print(beside._process.pid)
"""
    number = int(python(code, FASTFC_CACHE_DIR=str(tmp_path)))
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_leaves_it_to_its_parent(tmp_path: Path) -> None:
    code = """
import gc, os
from fastfc.kernels.fused.compiler import beside
beside.CHILD = "import time; time.sleep(60)"
beside.begin([])
child = os.fork()
if not child:
    beside.end()
    gc.collect()
    os._exit(beside._is_there())
assert os.waitpid(child, 0)[1] == 0
print(beside._is_there())
"""
    assert python(code, FASTFC_CACHE_DIR=str(tmp_path)).strip() == "True"


def test_locks_of_others_outlast_one_that_has_ended(tmp_path: Path) -> None:
    code = """
from fastfc.kernels.fused.compiler import beside
from fastfc.kernels.fused.folder import cache_folder
other = cache_folder() / "some.kernel-0123456789abcdef.lock"
other.touch()
beside.begin([])
beside._process.wait()
beside.end()
print(other.exists())
"""
    assert python(code, FASTFC_CACHE_DIR=str(tmp_path)).strip() == "True"
