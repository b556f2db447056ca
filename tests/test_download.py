"""Downloads from a local server that stalls, cuts, lies or sends wrong bytes: right data or one line, a clean cache."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastfc.data import load_data, mnist
from fastfc.data.download import fetch
from fastfc.data.idx import content_sha256
from fastfc.errors import DataError, DownloadError
from fastfc.storage import files
from tests.mirrors import ARRAYS, CONTENT, KEPT, Handler, Server
from tests.promises import HANGS, Cases

pytestmark = pytest.mark.promise(2)
PATIENCE = {"silent": 0.4, "stalls": 2.0, "drips": 2.0, "mirror.invalid": 0.4, "no-answer": 0.4}  # s; others: HANGS
OFFLINE = "http://127.0.0.1:9/"  # the discard port, where nothing listens

# what a bad mirror does: words that the error must have
FAULTS = {
    "missing": "HTTP status 404",
    "broken": "HTTP status 500",
    "silent": "no answer",
    "stalls": "stalled",
    "drips": "stalled",
    "cuts": "connection broke",
    "says-more": "connection broke",
    "says-less": "truncated|bytes of content",
    "wrong": "another SHA-256",
    "page": "first bytes",
    "too-long": "after the end|bytes of content",
    "endless": "more than",
    "bomb": "bytes of content",
    "plain-lie": "shape",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    thread.join(HANGS)
    server.server_close()


@pytest.fixture
def server(running: Server) -> Server:
    running.requests.clear()
    return running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, not made yet, with mirrors of small files, and little patience for those that do not answer."""
    monkeypatch.setenv("FASTFC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTFC_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def fetch_with(url: str, limit: int, patience: float, report: Callable[[int], object]) -> bytes:
        patience = next((seconds for word, seconds in PATIENCE.items() if word in url), HANGS)
        return fetch(url, limit, patience, report)

    monkeypatch.setattr(mnist, "fetch", fetch_with)
    monkeypatch.setattr(mnist, "SHAPES", {name: array.shape for name, array in ARRAYS.items()})
    monkeypatch.setattr(mnist, "_MARGIN", 100_000)
    return tmp_path / "cache"


def use(monkeypatch: pytest.MonkeyPatch, *mirrors: str, name: str = "mnist") -> None:
    digests = {file: content_sha256(array) for file, array in ARRAYS.items()}
    source = mnist.Source(mnist.SOURCES[name].title, mirrors, digests, sum(map(len, CONTENT.values())))
    monkeypatch.setitem(mnist.SOURCES, name, source)


def held(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def assert_right(dataset) -> None:
    X, y, X_test, y_test = ARRAYS.values()
    np.testing.assert_array_equal(dataset.X, X.reshape(60, 784))
    np.testing.assert_array_equal(dataset.X_test, X_test.reshape(10, 784))
    np.testing.assert_array_equal(dataset.y, y)
    np.testing.assert_array_equal(dataset.y_test, y_test)


def process(expression: str, *mirrors: str) -> str:
    """A program that prints `expression`, with the small files of `use`."""
    shapes = {name: array.shape for name, array in ARRAYS.items()}
    digests = {name: content_sha256(array) for name, array in ARRAYS.items()}
    return textwrap.dedent(f"""
        import sys
        from fastfc.data import load_data, mnist
        mnist.SHAPES = {shapes!r}
        mnist.SOURCES["mnist"] = mnist.Source("MNIST", {mirrors!r}, {digests!r}, 1000)
        print({expression})
    """)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_download_then_cache(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    use(monkeypatch, server.mirror("good"), OFFLINE, name=name)
    dataset = load_data(name)
    assert_right(dataset)
    assert dataset.name == name and dataset.notice == "" and dataset.image_shape == (28, 28)
    assert held(cache / name) == KEPT
    assert [stat.S_IMODE(path.stat().st_mode) for path in (cache, cache / name)] == [0o700, 0o700]
    assert len(server.requests) == 4
    for file, content in CONTENT.items():  # as it was kept once
        (cache / name / file.removesuffix(".gz")).unlink()
        (cache / name / file).write_bytes(content)
    assert_right(load_data(name))
    assert len(server.requests) == 4


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_mirror_is_left_for_the_next(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    use(monkeypatch, server.mirror(fault), server.mirror("good"))
    assert_right(load_data("mnist"))
    assert [behaviour for behaviour, _ in server.requests] == [fault] + 4 * ["good"]
    assert held(cache) == KEPT


@pytest.mark.parametrize(("fault", "words"), FAULTS.items())
def test_without_a_good_mirror_there_is_one_line_and_an_empty_cache(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    use(monkeypatch, server.mirror(fault), OFFLINE)
    with pytest.raises(DownloadError, match=words) as caught:
        load_data("mnist")
    message = str(caught.value)
    assert "\n" not in message and "cannot be reached" in message
    assert "FASTFC_DATA_DIR" in message and all(f"{file}.gz" in message for file in ARRAYS)
    assert list(held(cache)) == ["download-failed"]


def test_a_file_cut_anywhere_is_not_kept(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, cases: Cases
) -> None:
    """The server says that this is all: only the content tells. At full length: at every 1 %."""
    parts = cases(10, 100)

    def cut(self: Handler, file: str) -> None:
        part = sum(behaviour == "cut" for behaviour, _ in self.server.requests) - 1
        self.send(CONTENT[file][: len(CONTENT[file]) * part // parts])

    monkeypatch.setattr(Handler, "cut", cut, raising=False)
    use(monkeypatch, server.mirror("cut"), server.mirror("good"))
    for _ in range(parts):
        assert_right(load_data("mnist"))
        assert held(cache) == KEPT
        shutil.rmtree(cache)
    assert [behaviour for behaviour, _ in server.requests] == (["cut"] + 4 * ["good"]) * parts


def test_a_mirror_that_fails_halfway(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_on_test_images(self: Handler, file: str) -> None:
        self.cuts(file) if file.startswith("t10k-images") else self.good(file)

    monkeypatch.setattr(Handler, "halfway", fails_on_test_images, raising=False)
    use(monkeypatch, server.mirror("halfway"), OFFLINE)
    with pytest.raises(DownloadError):
        load_data("mnist")
    whole = dict(list(KEPT.items())[:2])
    assert held(cache) == whole | {"download-failed": b""}
    use(monkeypatch, server.mirror("good"))
    server.requests.clear()
    assert_right(load_data("mnist"))
    assert [file for _, file in server.requests] == list(CONTENT)[2:]


@pytest.mark.parametrize("spoil", [lambda data: data[:-50], lambda data: b"", lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_spoiled_cache_file_is_downloaded_again(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, spoil
) -> None:
    use(monkeypatch, server.mirror("good"))
    load_data("mnist")
    path = cache / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    assert_right(load_data("mnist"))
    assert held(cache) == KEPT and len(server.requests) == 5


def test_a_slow_name_server_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def slow(*args: object, **options: object) -> list[object]:
        released.wait(HANGS)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    use(monkeypatch, "http://mirror.invalid/one/", "http://mirror.invalid/two/")
    with pytest.raises(DownloadError, match="no answer"):
        load_data("mnist")
    released.set()


def test_a_server_that_never_accepts_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use(monkeypatch, f"http://127.0.0.1:{listener.getsockname()[1]}/no-answer/")
        with pytest.raises(DownloadError, match="no answer"):
            load_data("mnist")


def test_patience_is_within_what_is_promised() -> None:
    assert mnist.PATIENCE <= 10
    assert mnist.QUICK_PATIENCE * len(mnist.SOURCES["mnist"].mirrors) <= 10
    for source in mnist.SOURCES.values():
        assert len(source.mirrors) == 2 and set(source.sha256) == set(mnist.SHAPES)


def test_default_data_does_not_try_again_within_the_hour(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastfc.data.digits.load", lambda: list(ARRAYS.values()))
    use(monkeypatch, server.mirror("missing"))
    for _ in range(2):
        dataset = load_data()
        assert dataset.name == "generated digits" and "\n" not in dataset.notice
        assert "generated digits" in dataset.notice and "FASTFC_DATA_DIR" in dataset.notice
    assert len(server.requests) == 1
    with pytest.raises(DownloadError):
        load_data("mnist")
    assert len(server.requests) == 2
    hour_ago = time.time() - 3700
    os.utime(cache / "mnist" / "download-failed", (hour_ago, hour_ago))
    use(monkeypatch, server.mirror("good"))
    assert load_data().name == "mnist"


@pytest.mark.parametrize("problem", ["full disk", "no folder"])
def test_without_a_cache_the_download_is_used_all_the_same(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if problem == "full disk":
        monkeypatch.setattr(files.os, "fsync", full)
    else:
        cache.write_bytes(b"a file where the folder should be")
    use(monkeypatch, server.mirror("good"))
    dataset = load_data("mnist")
    assert_right(dataset)
    assert "not kept in the cache" in dataset.notice and "\n" not in dataset.notice
    monkeypatch.undo()
    assert [name for name in held(cache) if name != "cache"] == []


def test_a_killed_download_leaves_only_whole_files(server: Server, cache: Path) -> None:
    def slowly(self: Handler, file: str) -> None:
        self.good(file) if file.startswith("train") else self.stalls(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "slowly", slowly, raising=False)
        program = process("load_data('mnist')", server.mirror("slowly"))
        child = subprocess.Popen([sys.executable, "-c", program])
        deadline = time.monotonic() + HANGS
        while len(server.requests) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert held(cache) == dict(list(KEPT.items())[:2])


def test_downloads_killed_at_any_moment(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, cases: Cases
) -> None:
    """What they leave is whole or temporary, and the next one goes on from there."""
    moment = random.Random(0)

    def slowly(self: Handler, file: str) -> None:
        half = len(CONTENT[file]) // 2
        self.send(CONTENT[file][:half], len(CONTENT[file]))
        self.wait(0.03)
        self.wfile.write(CONTENT[file][half:])

    monkeypatch.setattr(Handler, "slowly", slowly, raising=False)
    use(monkeypatch, server.mirror("good"))
    for _ in range(cases(2, 30)):
        server.requests.clear()
        with subprocess.Popen([sys.executable, "-c", process("load_data('mnist')", server.mirror("slowly"))]) as child:
            deadline = time.monotonic() + HANGS
            while not server.requests and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(moment.uniform(0, 0.2))
            child.kill()
        left = {name: content for name, content in held(cache).items() if not name.startswith(".fastfc-")}
        assert left.items() <= KEPT.items()
        assert_right(load_data("mnist"))
        shutil.rmtree(cache)


def test_cached_data_needs_no_downloader(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, server.mirror("good"))
    load_data("mnist")
    program = process('load_data().name, {"pooch", "requests", "tqdm", "numba"} & set(sys.modules)')
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    assert (result.stdout, result.stderr) == ("mnist set()\n", "")


def test_progress_is_shown_on_a_terminal_only(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, server.mirror("good"))
    load_data("mnist")
    assert capsys.readouterr() == ("", "")
    (cache / "mnist" / "train-images-idx3-ubyte").unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    load_data("mnist")
    out, err = capsys.readouterr()
    assert out == "" and "MNIST" in err and "B/s" in err


def test_what_would_be_downloaded_is_not_here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training reads what is here in a thread of its own, before it has looked at all of its arguments."""
    assert not mnist.is_here("mnist")
    monkeypatch.setenv("FASTFC_DATA_DIR", "")
    assert not mnist.is_here("mnist")
    monkeypatch.setenv("FASTFC_DATA_DIR", str(cache))
    assert mnist.is_here("mnist") and not mnist.is_here("fashion-mnist")


def test_errors_can_be_caught_as_data_errors() -> None:
    assert issubclass(DownloadError, DataError) and issubclass(DataError, ValueError)
