"""Atomic writes: whatever goes wrong, the old file or the new one is there, whole, and nothing else is left."""

from __future__ import annotations

import errno
import os
import random
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastfc.errors import FastFCError, InvalidArgument, InvalidType
from fastfc.storage.files import WriteError, atomic_write
from tests.promises import Cases
from tests.small import without_privileges

pytestmark = pytest.mark.promise(4)
OLD, NEW = b"old contents", b"new contents, and longer"
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX file modes, limits and signals")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(OLD)
    return path


def only(path: Path, contents: bytes) -> None:
    """The folder holds this file with these contents, and no temporary file."""
    assert path.read_bytes() == contents
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
@pytest.mark.parametrize("as_type", [str, Path])
def test_a_file_is_written_and_replaced(tmp_path: Path, data: bytes, as_type: Callable[[Path], Any]) -> None:
    path = tmp_path / "a file ü.bin"
    atomic_write(as_type(path), data)
    only(path, data)
    atomic_write(as_type(path), NEW)
    only(path, NEW)


def test_without_the_wait_for_the_disk_a_file_is_replaced_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    atomic_write(path, NEW, durable=False)
    only(path, NEW)
    assert waits == []
    atomic_write(path, OLD)
    assert len(waits) >= 1


def test_a_bare_name_is_written_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    atomic_write("m.bin", NEW)
    only(tmp_path / "m.bin", NEW)


@posix
def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path: Path, path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "link"
    link.symlink_to(path)
    atomic_write(link, NEW)
    assert link.is_symlink() and path.read_bytes() == NEW and os.listdir(link.parent) == ["link"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_permissions_are_kept_and_new_files_follow_the_umask(tmp_path: Path, path: Path, mode: int) -> None:
    path.chmod(mode)
    before = os.umask(0o027)
    try:
        atomic_write(path, NEW)
        atomic_write(tmp_path / "fresh", NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


@posix
def test_what_is_private_is_private_while_it_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o600)
    real, modes = os.write, []

    def write(descriptor: int, data: memoryview) -> int:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    atomic_write(path, NEW)
    assert modes == [0o600]


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^path: given .*, expected a file name$"):
        atomic_write(name, NEW)


@pytest.mark.parametrize("name", [None, 3, b"model"])
def test_a_name_of_another_type_is_refused(name: Any) -> None:
    with pytest.raises(InvalidType, match=r"^path: given .*, expected a file name as str or pathlib.Path$"):
        atomic_write(name, NEW)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"given the folder '.*missing', which does not exist, expected an exist") as e:
        atomic_write(tmp_path / "missing" / "m.bin", NEW)
    assert e.value.errno == errno.ENOENT and isinstance(e.value, FastFCError) and not os.listdir(tmp_path)


def test_a_folder_in_place_of_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(WriteError, match="given a folder, expected the name of a file") as e:
        atomic_write(tmp_path / "m", NEW)
    assert e.value.errno == errno.EISDIR and (tmp_path / "m").is_dir() and os.listdir(tmp_path) == ["m"]


@posix
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WriteError, match="given a device, pipe or socket, expected the name of an ordinary file"):
        atomic_write(tmp_path / "pipe", NEW)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


FULL = "a full disk or a limit on file size .*, expected room for 24 bytes"
DENIED = "a folder or file without permission to write .*, expected one that can be written"


@pytest.mark.parametrize("old", [True, False], ids=["replace", "fresh"])
@pytest.mark.parametrize(
    ("call", "number", "message"),
    [
        ("write", errno.ENOSPC, FULL),
        ("write", errno.EDQUOT, FULL),
        ("fsync", errno.ENOSPC, FULL),
        ("fsync", errno.EIO, "a system error"),
        ("close", errno.ENOSPC, FULL),
        ("replace", errno.EACCES, DENIED),
        ("open", errno.EROFS, DENIED),
        ("open", errno.EACCES, DENIED),
    ],
)
def test_a_failing_system_call_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, message: str, old: bool
) -> None:
    if not old:
        path.unlink()
    real, calls = getattr(os, call), 0

    def fail(*args: Any, **kwargs: Any) -> int:
        nonlocal calls
        calls += 1
        if call == "write" and calls == 1:
            return real(args[0], args[1][:5])  # the disk takes a part and is full then
        if call == "close":
            real(*args)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(WriteError, match=rf"^cannot write '.*model.safetensors': given {message}") as e:
            atomic_write(path, NEW)
    assert calls and e.value.errno == number and "\n" not in str(e.value)
    if old:
        only(path, OLD)
    else:
        assert os.listdir(path.parent) == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_an_interrupt_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupt)
        with pytest.raises(KeyboardInterrupt):
            atomic_write(path, NEW)
    only(path, OLD)


def test_short_writes_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    atomic_write(path, NEW)
    only(path, NEW)


@posix
def test_the_file_is_flushed_before_it_takes_the_name_and_the_folder_after(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bytes]] = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        kind = "flush folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "flush file"
        fsync(descriptor)
        calls.append((kind, path.read_bytes()))

    def rename(source: str, target: str) -> None:
        assert Path(source).parent == path.parent
        replace(source, target)
        calls.append(("replace", path.read_bytes()))

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    atomic_write(path, NEW)
    assert calls == [("flush file", OLD), ("replace", NEW), ("flush folder", NEW)]


@posix
@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_flushed(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raises: bool
) -> None:
    real = os.fsync

    def flush(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", flush)
        if raises:
            with pytest.raises(WriteError, match=r"given a folder that cannot be flushed .* the new file is complete"):
                atomic_write(path, NEW)
        else:
            atomic_write(path, NEW)
    only(path, NEW)


@posix
def test_a_limit_on_file_size_leaves_the_old_file(path: Path) -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from fastfc.storage.files import WriteError, atomic_write\n"
        "try: atomic_write(sys.argv[1], bytes(100_000))\n"
        "except WriteError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "a full disk or a limit on file size (File too large), expected room for 100,000 bytes" in done.stdout
    only(path, OLD)


# Saves a small network, then others, and says of each whether that was possible; what is there can always be loaded.
SAVES = """
import os, sys, fastfc
path, sizes = sys.argv[1], sys.argv[2:]
if not os.path.exists(path):
    fastfc.Network([20, 8, 3], seed=8).save(path)
there = 8
for size in map(int, sizes):
    try:
        fastfc.Network([20, size, 3], seed=size).save(path)
        print("saved", end=" ")
        there = size
    except fastfc.FastFCError as error:
        assert "given" in str(error) and "expected" in str(error)
        print("refused", end=" ")
    weights = fastfc.Network([20, there, 3], seed=there).weights
    assert all((w == v).all() for w, v in zip(fastfc.load(path).weights, weights))
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
"""


def saves(path: Path, sizes: list[int], before: str = "", **options: Any) -> list[str]:
    command = f"{before} exec {shlex.join([sys.executable, '-c', SAVES, str(path), *map(str, sizes)])}"
    if before:
        command = f"exec unshare -m sh -c {shlex.quote(command)}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="drops capabilities of Linux")
def test_a_folder_that_is_read_only_keeps_the_old_model(path: Path) -> None:
    path.unlink()
    assert saves(path, [9]) == ["saved"]
    path.unlink()
    assert saves(path, []) == []
    path.parent.chmod(0o555)
    try:
        assert saves(path, [9, 700], preexec_fn=without_privileges) == ["refused"] * 2
    finally:
        path.parent.chmod(0o755)


@pytest.mark.skipif(not shutil.which("unshare"), reason="makes a file system of its own")
def test_a_disk_that_is_full_keeps_the_old_model(tmp_path: Path, cases: Cases) -> None:
    """A true one, of 200 kB, for models of up to 240 kB and whatever stands there already."""
    mount = f"mount -t tmpfs -o size=200k none {shlex.quote(str(tmp_path))}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("a file system of one's own is not allowed here")
    rng = random.Random(1)
    found = saves(tmp_path / "m", [rng.randrange(1, 2500) for _ in range(cases(10, 500))], f"{mount} &&")
    assert set(found) == {"saved", "refused"}


def test_temporary_files_of_killed_processes_are_removed_after_an_hour(path: Path) -> None:
    names = {".fastfc-0123456789abcdef.tmp": 4000, ".fastfc-fedcba9876543210.tmp": 3000, ".fastfc-notes.tmp": 4000}
    for name, age in names.items():
        (path.parent / name).write_bytes(b"")
        os.utime(path.parent / name, (time.time() - age, time.time() - age))
    atomic_write(path, NEW)
    assert set(os.listdir(path.parent)) == {path.name, ".fastfc-fedcba9876543210.tmp", ".fastfc-notes.tmp"}
