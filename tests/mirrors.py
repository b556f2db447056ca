"""A local server of four small files, which stalls, cuts, lies or sends wrong bytes as its address says."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from fastfc.data.idx import encode

RNG = np.random.default_rng(0)
ARRAYS = {
    "train-images-idx3-ubyte": RNG.integers(0, 256, (60, 28, 28), np.uint8),
    "train-labels-idx1-ubyte": RNG.integers(0, 10, 60, np.uint8),
    "t10k-images-idx3-ubyte": RNG.integers(0, 256, (10, 28, 28), np.uint8),
    "t10k-labels-idx1-ubyte": RNG.integers(0, 10, 10, np.uint8),
}
CONTENT = {f"{name}.gz": encode(array, compress=True) for name, array in ARRAYS.items()}
KEPT = {name: encode(array) for name, array in ARRAYS.items()}  # what the cache has of it
WRONG = {f"{name}.gz": encode(array ^ 1, compress=True) for name, array in ARRAYS.items()}


class Handler(BaseHTTPRequestHandler):
    """GET /<behaviour>/<file>: no call lasts more than 5 s, nor sends more than 5 MB."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        _, behaviour, file = self.path.split("/")
        self.server.requests.append((behaviour, file))
        try:
            getattr(self, behaviour.replace("-", "_"))(file)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, data: bytes, length: int | None = None, status: int = 200) -> None:
        self.send_response(status)
        if length != -1:
            self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def wait(self, seconds: float = 300) -> None:
        self.server.stopping.wait(seconds)

    def good(self, file: str) -> None:
        self.send(CONTENT[file])

    def missing(self, file: str) -> None:
        self.send(b"", status=404)

    def broken(self, file: str) -> None:
        self.send(b"", status=500)

    def silent(self, file: str) -> None:
        self.wait()

    def stalls(self, file: str) -> None:
        half = CONTENT[file][: len(CONTENT[file]) // 2]
        self.send(half * (70_000 // len(half) + 1), 10**6)
        self.wait()

    def drips(self, file: str) -> None:
        self.send(CONTENT[file][:1] * 70_000, 10**6)
        for _ in range(10_000):
            self.wfile.write(b"x")
            self.wfile.flush()
            self.wait(0.05)

    def cuts(self, file: str) -> None:
        self.send(CONTENT[file][:-20], len(CONTENT[file]))

    def says_more(self, file: str) -> None:
        self.send(CONTENT[file], len(CONTENT[file]) + 1000)

    def says_less(self, file: str) -> None:
        self.send(CONTENT[file], len(CONTENT[file]) - 10)

    def wrong(self, file: str) -> None:
        self.send(WRONG[file])

    def page(self, file: str) -> None:
        self.send(b"<html>Log in to this network</html>")

    def too_long(self, file: str) -> None:
        self.send(CONTENT[file] + b"more")

    def endless(self, file: str) -> None:
        self.send(b"", -1)
        for _ in range(100):
            self.wfile.write(bytes(50_000))

    def bomb(self, file: str) -> None:
        self.send(gzip.compress(encode(ARRAYS[file[:-3]]) + bytes(20_000_000)))

    def plain_lie(self, file: str) -> None:
        self.send(encode(np.zeros((3, 4), np.uint8)))

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str]] = []
        self.stopping = threading.Event()

    def mirror(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{behaviour}/"
