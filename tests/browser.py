"""A real Chromium without a window, for the tests of exported pages.

It is told what to do by its own DevTools protocol over a WebSocket, where events of a pointer can be sent one behind the
other, as a hand makes them; Selenium and Playwright wait for a frame after each.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27}
SECONDS = 60  # after which something hangs


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A Chromium that keeps everything in the folder `profile`; skips where there is none."""
    websocket = pytest.importorskip("websocket")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if not program:
        pytest.skip("needs Chromium (of Debian: apt-get install chromium)")
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port = _port(profile / "DevToolsActivePort")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=SECONDS) as answer:
                (address,) = (p["webSocketDebuggerUrl"] for p in json.load(answer) if p["type"] == "page")
            socket = websocket.create_connection(address, timeout=SECONDS, suppress_origin=True)
            try:
                yield Browser(socket)
            finally:
                socket.close()
        finally:
            process.terminate()


def _port(file: Path) -> int:
    end = time.monotonic() + SECONDS
    while not file.exists() or len(lines := file.read_text().split("\n")) < 2:
        assert time.monotonic() < end, "Chromium does not start"
        time.sleep(0.02)
    return int(lines[0])


class Browser:
    """One page. What it asks for and what it says are kept in `requests` and `messages` since the last `open`."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0
        self.requests: list[str] = []
        self.messages: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        return self.calls([(method, parameters)])[0]

    def calls(self, commands: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        """What each of the commands gives; they are all sent before the first answer is waited for."""
        first = self._number
        for method, parameters in commands:
            self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
            self._number += 1
        found: dict[int, Any] = {}
        while len(found) < len(commands):
            message = json.loads(self._socket.recv())
            assert "error" not in message, message
            if "id" in message:
                found[message["id"]] = message["result"]
            elif message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.messages.append(json.dumps(message["params"]))
        return [found[first + k] for k in range(len(commands))]

    def open(self, path: Path) -> None:
        self.requests.clear()
        self.messages.clear()
        self.call("Page.navigate", url=path.as_uri())
        while self.run("document.readyState") != "complete":
            time.sleep(0.01)
        self.settle()

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        done = self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def settle(self) -> None:
        """Until the next frame is drawn, with what events have asked for."""
        self.run("new Promise(done => requestAnimationFrame(() => done(1)))")

    def look(self, width: int, theme: str) -> None:
        """A window of so many pixels across; theme: light or dark."""
        phone = width < 500
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.settle()

    def screenshot(self) -> np.ndarray:
        """(height, width, 3) uint8: the whole page."""
        from PIL import Image

        self.settle()
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB"))

    def press(self, key: str) -> None:
        given: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        text = {"Enter": "\r"}.get(key, "" if key in KEYS else key)
        down = ("Input.dispatchKeyEvent", {"type": "keyDown", "text": text, **given})
        self.calls([down, ("Input.dispatchKeyEvent", {"type": "keyUp", **given})])
        self.settle()

    def draw(self, curves: Sequence[np.ndarray], kind: str) -> None:
        """Each curve (points, 2), in the pad as the unit square, by a mouse, pen or touch: down, along it, and up."""
        left, top, side = self.run("(b => [b.x, b.y, b.width])(pad.getBoundingClientRect())")
        for curve in curves:
            places = [{"x": left + x * side, "y": top + y * side} for x, y in curve.tolist()]
            self.calls(list(_touched(places) if kind == "touch" else _pointed(places, kind)))
        self.settle()


def _pointed(places: Sequence[dict[str, float]], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    held = {"button": "left", "buttons": 1, "clickCount": 1, "pointerType": kind}
    for k, place in enumerate(places):
        yield "Input.dispatchMouseEvent", {"type": "mouseMoved" if k else "mousePressed", **place, **held}
    yield "Input.dispatchMouseEvent", {"type": "mouseReleased", **places[-1], **held}


def _touched(places: Sequence[dict[str, float]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for k, place in enumerate(places):
        yield "Input.dispatchTouchEvent", {"type": "touchMove" if k else "touchStart", "touchPoints": [place]}
    yield "Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []}
