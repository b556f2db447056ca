"""The cache of compiled kernels: whatever is wrong with it, kernels run, and at worst they are compiled again."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
import pytest

import fastfc
from fastfc.errors import CompilationWarning
from fastfc.kernels.fused import shipped
from fastfc.kernels.fused.compiler import entry, guard, objects
from fastfc.kernels.fused.folder import CHECKSUM, DAY, _checksum, cache_folder
from fastfc.kernels.fused.shipped import digest_of_sources
from tests.promises import Cases
from tests.small import ROOT as SOURCE
from tests.small import SMALL, blobs, digest, python, without_privileges

pytestmark = [
    pytest.mark.promise(11),
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled"),
]
posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
ROOT = getattr(os, "getuid", lambda: 1)() == 0

KERNELS = Path(entry.__file__).parents[2]
NAME = "activations.multiply"  # a kernel that compiles in a moment
ENGINES: list[Any] = []  # of kernels that other tests still use

# Prints whether the kernel was in the cache, and where that is.
TINY = f"""
import numpy as np
from fastfc.kernels.fused import folder
from fastfc.kernels.fused.compiler import entry
delta = np.array([[3.0, 5.0]])
entry.Entry("{NAME}")(np.array([[7.0, 2.0]]), delta)
assert delta.tolist() == [[21, 10]]
print(1 - len(entry._compiled), folder.cache_folder())
"""

# The place alone.
WHERE = "from fastfc.kernels.fused import folder; print(folder.cache_folder())"


def hits(dtype: str = "float64") -> int:
    """1 if the kernel is in the cache, as a new process finds it, 0 if it is compiled; what it computes is right."""
    entry._addresses.clear()
    ENGINES.append(objects._engine())
    objects._engine.cache_clear()
    before, delta = len(entry._compiled), np.array([[3, 5]], dtype)
    entry.Entry(NAME)(np.array([[7, 2]], dtype), delta)
    assert delta.tolist() == [[21, 10]]
    return 1 - (len(entry._compiled) - before)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """FASTFC_CACHE_DIR, which does not exist yet."""
    monkeypatch.setenv("FASTFC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(guard, "_told", set())
    cache_folder.cache_clear()
    yield tmp_path / "cache"
    monkeypatch.undo()
    cache_folder.cache_clear()
    digest_of_sources.cache_clear()


def folder() -> Path:
    """That of this very source."""
    cache_folder.cache_clear()
    digest_of_sources.cache_clear()
    found = cache_folder()
    assert found is not None
    return found


def test_a_kernel_is_compiled_once_for_each_type(root: Path) -> None:
    assert [hits(name) for name in ("float64", "float64", "float32", "float32")] == [0, 1, 0, 1]
    files = [file for file in root.rglob("*") if file.is_file()]
    assert len(files) == 2 and all(file.name.startswith(NAME) and file.suffix == ".o" for file in files)


@posix
def test_folders_are_the_users_alone(root: Path) -> None:
    previous = os.umask(0)
    try:
        hits()
    finally:
        os.umask(previous)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (root, folder())}
    files = {stat.S_IMODE(path.stat().st_mode) for path in folder().iterdir()}
    assert modes == {0o700} and files == {0o600}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut in the checksum": lambda content: content[:20],
    "only the checksum": lambda content: content[:32],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "a byte too many": lambda content: content + b"\0",
    "one bit": lambda content: content[:1000] + bytes([content[1000] ^ 4]) + content[1001:],
    "zeros": lambda content: bytes(len(content)),
    "of another folder": lambda content: hashlib.sha256(content[32:]).digest() + content[32:],
    "no object code": lambda content: hashlib.sha256(b"no object code").digest() + b"no object code",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again_and_replaced(root: Path, damage: str) -> None:
    hits()
    (file,) = folder().iterdir()
    good = file.read_bytes()
    file.write_bytes(DAMAGES[damage](good))
    assert hits() == 0 and hits() == 1 and list(folder().iterdir()) == [file]


def test_a_file_of_another_kernel_counts_as_absent(root: Path) -> None:
    hits("float32")
    (other,) = folder().iterdir()
    hits()
    (file,) = set(folder().iterdir()) - {other}
    shutil.copy(other, file)
    assert hits() == 0 and hits() == 1


@pytest.mark.parametrize("where", ["file", "folder"])
def test_a_cache_that_goes_away_is_no_matter(root: Path, where: str) -> None:
    hits()
    for path in list(folder().iterdir()) if where == "file" else [root]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert hits() == 0


@pytest.mark.parametrize("place", ["{}/file", "{}/file/below", "/dev/null/x"])
def test_a_place_that_is_no_folder(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(os.environ, "get", lambda name: place.format(tmp_path))
    cache_folder.cache_clear()
    try:
        assert cache_folder() is None and hits() == 0 and hits() == 0
    finally:
        monkeypatch.undo()
        cache_folder.cache_clear()
    assert (tmp_path / "file").read_text() == "mine"


@posix
def test_a_folder_that_others_could_write_is_not_trusted(root: Path) -> None:
    hits()
    mine = folder()
    mine.chmod(0o777)
    cache_folder.cache_clear()
    assert cache_folder() is None and hits() == 0
    mine.chmod(0o755)
    assert folder() == mine and stat.S_IMODE(mine.stat().st_mode) == 0o700 and hits() == 1
    elsewhere = root / "elsewhere"
    mine.rename(elsewhere)
    mine.symlink_to(elsewhere)
    cache_folder.cache_clear()
    assert cache_folder() is None


@posix
@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_a_folder_of_someone_else_is_not_trusted(root: Path) -> None:
    os.chown(folder(), 12345, -1)
    cache_folder.cache_clear()
    assert cache_folder() is None and hits() == 0


def test_a_full_disk_leaves_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.warns(CompilationWarning, match="cannot be kept.*No space left") as told,
    ):
        patch.setattr(os, "replace", full)
        assert hits() == 0 and hits() == 0
    assert len(told) == 1
    assert list(folder().iterdir()) == [] and [hits(), hits()] == [0, 1]


# What is in a file that is ours and whole, and yet cannot be loaded; made of what can.
UNLOADABLE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda content: b"", "is not object code"),
    "no object code": (lambda content: b"\nno object code", "is not object code"),
    "zeros": (lambda content: b"\n" + bytes(5000), "is not object code"),
    "object code cut short": (lambda content: content[: len(content) // 2], "is not object code"),
    "another entry": (lambda content: content.replace(NAME.encode(), NAME.upper().encode()), "is not in its object code"),
    "a call of what is nowhere": (lambda content: b"nowhere sqrt" + content, "calls nowhere, which is not in this process"),
    "no text": (lambda content: b"\xff\xfe" + content, "which is not in this process"),
}


@pytest.mark.parametrize("what", UNLOADABLE)
def test_what_fails_in_every_process_is_told_once(root: Path, what: str) -> None:
    change, reason = UNLOADABLE[what]
    hits()
    (file,) = folder().iterdir()
    content = change(file.read_bytes()[CHECKSUM:])
    with pytest.warns(
        CompilationWarning, match=rf"^compiled kernels cannot be loaded from .* compiles anew: {NAME}.* {reason}"
    ) as told:
        for _ in range(2):
            file.write_bytes(_checksum(file, content) + content)
            assert hits() == 0
    assert len(told) == 1 and hits() == 1


def test_a_terminal_is_told_why_nothing_else_happens(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once a process, and nobody else: a log is of those who read it later."""
    entry.say_once.cache_clear()
    hits()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    entry.say_once.cache_clear()
    hits()
    assert capsys.readouterr() == ("", "")
    (file,) = folder().iterdir()
    file.unlink()
    hits(), hits("float32")
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("fastfc: kernels are compiled for this machine")
    assert said.err.count("fastfc:") == 1 and max(map(len, said.err.splitlines())) < 80


def aged(path: Path, days: float) -> Path:
    """The same folder, last used so many days ago."""
    path.mkdir(mode=0o700, exist_ok=True)
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


@posix
def test_folders_out_of_use_are_removed(root: Path, tmp_path: Path) -> None:
    mine, elsewhere = folder(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine")
    old, young = (root / f"kernels-{digit * 16}" for digit in "0a")
    for path in (old, young):
        path.mkdir(mode=0o700)
        (path / "kernel.o").write_bytes(b"code")
        (path / "link").symlink_to(elsewhere)
    others = [root / "kernels-mine", root / f"kernels-{'g' * 16}", root / f"datasets-{'0' * 16}"]
    writable, link = root / f"kernels-{'1' * 16}", root / f"kernels-{'2' * 16}"
    for path in (*others, writable):
        aged(path, 99)
    writable.chmod(0o770)
    link.symlink_to(elsewhere)
    then = time.time() - 99 * DAY
    os.utime(link, (then, then), follow_symlinks=False)
    file = root / f"kernels-{'3' * 16}"
    file.write_text("mine")
    os.utime(file, (then, then))
    aged(old, 31)
    aged(young, 29)

    aged(mine, 40)
    assert folder() == mine and time.time() - mine.stat().st_mtime < DAY
    assert set(root.iterdir()) == {mine, young, *others, writable, link, file}
    assert [path.name for path in elsewhere.iterdir()] == ["file"]


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_old_folders_of_someone_else_stay(root: Path) -> None:
    mine, other = folder(), aged(root / f"kernels-{'0' * 16}", 99)
    os.chown(other, 12345, -1)
    assert folder() == mine and other.is_dir()


def test_another_source_or_llvm_has_another_folder(root: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """A caller that was compiled with a callee inside must not outlive a change of it, in whichever file that is."""
    tree = tmp_path / "kernels"
    shutil.copytree(KERNELS, tree)
    monkeypatch.setattr(shipped, "SOURCES", tree)
    found = [folder()]
    for change in ("plan.py", "fused/dense.py", "reference/optimizers.py"):
        with (tree / change).open("a") as file:
            file.write("\n")
        found.append(folder())
    monkeypatch.setattr(llvmlite, "__version__", "99.0")
    found.append(folder())
    assert len(set(found)) == 5 and {path.parent for path in found} == {root}
    monkeypatch.setattr(sys, "version", "4.0")  # object code is of no Python
    monkeypatch.setattr(np, "__version__", "4.0")
    assert folder() == found[-1]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names CPUs of x86")
def test_another_cpu_compiles_for_itself(root: Path) -> None:
    found = [python(TINY, NUMBA_CPU_NAME=name).split()[0] for name in ("nehalem", "x86-64", "nehalem")]
    assert found == ["0", "0", "1"]


def restricted(code: str, folder: Path, **environment: str | None) -> str:
    """The last word that `code` prints, run in `folder` by a user for whom read-only is read-only."""
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    env |= {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, timeout=600, preexec_fn=without_privileges
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


NO_HOME = """
import pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


@pytest.mark.skipif(sys.platform != "linux", reason="drops capabilities of Linux")
def test_without_a_home_or_in_folders_that_are_read_only(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    assert restricted(WHERE, tmp_path, HOME="/dev/null/x") == "None"
    assert restricted(TINY, tmp_path, HOME=str(closed)) == "None"
    assert restricted(NO_HOME + WHERE, tmp_path, HOME=None) == "None"
    assert list(tmp_path.iterdir()) == [closed] and list(closed.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="drops capabilities of Linux")
def test_a_folder_that_became_read_only(tmp_path: Path) -> None:
    filled = Path(restricted(TINY, tmp_path, FASTFC_CACHE_DIR=str(tmp_path / "cache")))
    filled.chmod(0o500)
    assert restricted(TINY, tmp_path, FASTFC_CACHE_DIR=str(tmp_path / "cache")) == "None"
    assert sorted(file.name[:4] for file in filled.iterdir()) == [NAME[:4], "cpu-"]


@pytest.mark.skipif(sys.platform != "linux", reason="drops capabilities of Linux")
def test_installed_where_nothing_can_be_written(tmp_path: Path) -> None:
    site, home = tmp_path / "site-packages", tmp_path / "home"
    home.mkdir()
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(fastfc.__file__).parent, site / "fastfc", ignore=without)
    shutil.copytree(KERNELS, site / "fastfc" / "kernels", ignore=without)
    for folder in (site, *(path for path in site.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    code = f"import fastfc\nassert fastfc.__file__.startswith({str(site)!r})\n{TINY}"
    paths = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    cached = Path(restricted(code, tmp_path, PYTHONPATH=paths, HOME=str(home)))
    assert home in cached.parents and stat.S_IMODE(cached.stat().st_mode) == 0o700
    assert restricted(WHERE, tmp_path, PYTHONPATH=paths, HOME=None, FASTFC_CACHE_DIR="/dev/null/x") == "None"
    assert not [*site.rglob("*.nb*"), *site.rglob("*.o")]


PREDICTS = """
import numpy as np, fastfc
network = fastfc.Network([20, 8, 3], dtype="float64", seed=2)
X = np.random.default_rng(0).random((1, 20))
assert network.predict(X)[0] == int(np.maximum(X @ network.weights[0], 0).dot(network.weights[1]).argmax())
from fastfc.kernels.fused.folder import cache_folder
print(cache_folder())
"""


@pytest.mark.slow
def test_predictions_without_any_cache() -> None:
    assert python(PREDICTS, FASTFC_CACHE_DIR="/dev/null/x") == "None\n"


def at_once(count: int, code: str, root: Path) -> list[str]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: python(code, FASTFC_CACHE_DIR=str(root), timeout=600), range(count)))


def test_four_processes_that_compile_at_once(tmp_path: Path) -> None:
    at_once(4, TINY, tmp_path / "cache")
    assert at_once(1, TINY, tmp_path / "cache")[0].startswith("1 ")
    assert sorted(file.name[:4] for file in tmp_path.rglob("*") if file.is_file()) == [NAME[:4], "cpu-"]


@pytest.mark.slow
def test_eight_processes_that_compile_everything_at_once(tmp_path: Path, cases: Cases) -> None:
    cases(8)
    code = """
import fastfc
from tests.small import SMALL, blobs, digest
r = fastfc.train(blobs(), blobs(), **SMALL)
print(digest(r.model), r.train_seconds < r.compile_seconds / 2)
"""
    cold = at_once(8, code, tmp_path / "cache")
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    warm = at_once(1, code, tmp_path / "cache")[0].split()
    assert {line.split()[0] for line in cold} == {warm[0]}
    assert {line.split()[1] for line in cold} == {"True"}  # compiling is not counted as training
    assert {file.suffix for file in written} == {".o", ""}
    assert written == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}


def test_files_damaged_by_chance(root: Path, cases: Cases) -> None:
    """Cut at a random place or with a random byte changed: never a wrong answer, and never a crash."""
    random = np.random.default_rng(0)
    hits()
    (file,) = folder().iterdir()
    good = file.read_bytes()
    for k in range(cases(20, 1000)):
        place = int(random.integers(len(good)))
        changed = bytes([good[place] ^ int(random.integers(1, 256))])
        file.write_bytes(good[:place] if k % 2 else good[:place] + changed + good[place + 1 :])
        assert hits() == 0
        assert hits() == 1


def test_kernels_that_are_kept_need_no_numba() -> None:
    """Of a training, of predictions large and small: as where Numba is not installed."""
    data = blobs()
    r = fastfc.train(data, data, **SMALL)
    r.model.predict(data[0]), r.model.predict(data[0][:1])
    code = """
import sys
sys.modules["numba"] = None
import fastfc
from tests.small import SMALL, blobs, digest
X, y = blobs()
r = fastfc.train((X, y), (X, y), **SMALL)
print(digest(r.model), r.model.predict(X).tolist(), r.model.predict(X[:1]))
"""
    assert python(code) == f"{digest(r.model)} {r.model.predict(data[0]).tolist()} {r.model.predict(data[0][:1])}\n"


def test_no_pickle_is_read_anywhere() -> None:
    for path in (*(SOURCE / "fastfc").rglob("*.py"), *(SOURCE / "kernels").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & {name.split(".")[0] for name in named}
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path
