"""Downloads that end: in bounded time, with a bounded number of bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fastfc.errors import DownloadError

_MIN_BYTES = 10_000  # that must arrive within every `patience` seconds, unless the file ends
_CHUNK = 1 << 13


def fetch(url: str, limit: int, patience: float, report: Callable[[int], object]) -> bytes:
    """The bytes at `url`, at most `limit` of them; `report` is called with the number that has arrived.

    Name look-up, connection and transfer run in a thread of their own, as no time-out of a socket covers all three or
    a server that sends a byte now and then.

    Raises DownloadError, its message a few words, when the server cannot be reached, refuses, cuts the connection,
    sends more than `limit` bytes, or sends next to nothing for `patience` seconds.
    """
    import pooch  # type: ignore[import-untyped]
    import requests

    sink = _Sink(limit)
    errors: list[Exception] = []
    responses: list[requests.Response] = []
    downloader = pooch.HTTPDownloader(
        chunk_size=_CHUNK,
        timeout=patience + 1,  # of the socket: ends the thread of a download that was given up
        headers={"Accept-Encoding": "identity"},
        hooks={"response": lambda response, **options: responses.append(response)},
    )

    def run() -> None:
        try:
            downloader(url, sink, None)
        except Exception as error:
            errors.append(error)
        finally:
            for response in responses:  # the downloader leaves them open after an error
                response.close()

    thread = threading.Thread(target=run, name="fastfc-download", daemon=True)
    thread.start()
    seen, since = 0, time.monotonic()
    try:
        while thread.is_alive():
            thread.join(0.05)
            report(len(sink.data))
            if len(sink.data) - seen >= _MIN_BYTES:
                seen, since = len(sink.data), time.monotonic()
            elif time.monotonic() - since > patience:
                raise DownloadError(f"{'stalled' if sink.data else 'no answer'} for {patience:g} s")
    finally:
        sink.closed = True
    if not errors:
        return bytes(sink.data)
    if isinstance(errors[0], requests.HTTPError) and errors[0].response is not None:
        raise DownloadError(f"HTTP status {errors[0].response.status_code}") from errors[0]
    if isinstance(errors[0], requests.ConnectionError) and not sink.data:
        raise DownloadError("cannot be reached") from errors[0]
    if isinstance(errors[0], requests.RequestException):
        raise DownloadError("the connection broke") from errors[0]
    raise DownloadError(" ".join(str(errors[0]).split())) from errors[0]


class _Sink:
    """The file that a download writes to, in memory."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.closed = False
        self._limit = limit

    def write(self, chunk: bytes) -> None:
        if self.closed:
            raise DownloadError("given up")
        if len(self.data) + len(chunk) > self._limit:
            raise DownloadError(f"more than the {self._limit:,} bytes that the file can have")
        self.data += chunk

    def flush(self) -> None:
        """Nothing to do, in memory."""
