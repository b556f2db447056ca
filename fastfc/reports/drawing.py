"""Charts as SVG that stretches with its page, the text beside it in HTML, which does not; and pixels as PNG."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np

MARKED = 40  # points of a curve up to which each has a dot
LARGE_RATIO = 10.0  # of the largest to the smallest loss, from which on the axis is logarithmic
PADDING = 0.04  # of an axis, beyond its values

Values = Sequence[float | None]
Scale = Callable[[float], float]


def curves(title: str, series: Mapping[str, Values], logarithmic: bool = False, unit: str = "") -> str:
    """A figure of values by epoch, from 1, by name: "training", "validation", "test" or "rate", None where not measured.

    logarithmic: where all are positive, and the largest is many times the smallest.
    """
    known = [value for values in series.values() for value in values if value is not None]
    epochs = max(map(len, series.values()))
    is_log = logarithmic and 0 < LARGE_RATIO * min(known) < max(known)
    up, down = _axis(min(known), max(known), is_log)
    along = _scale(1, epochs) if epochs > 1 else lambda _: 0.5
    paths = []
    for name, values in series.items():
        points = [(100 * along(k), 100 - 100 * up(v)) for k, v in enumerate(values, 1) if v is not None]
        paths.append(f'<path class="{name}" d="M{"L".join(f"{x:.2f} {y:.2f}" for x, y in points)}"/>')
        if len(points) <= MARKED:
            paths.append(f'<path class="{name} dots" d="{_dots(points)}"/>')
    keys = "".join(
        f'<span class="key {name}">{name} {next(v for v in reversed(values) if v is not None):.4g}{unit}</span> '
        for name, values in series.items()
    )
    y = [(100 - 100 * up(value), f"{value:.6g}") for value in down]
    x = [(100 * along(epoch), str(epoch)) for epoch in _whole_ticks(epochs)]
    caption = f"<b>{escape(title)}{', logarithmic' if is_log else ''}</b>{keys}"
    return _figure("chart", caption, title, paths, x, y, "epoch")


def scatter(title: str, targets: np.ndarray, predicted: np.ndarray) -> str:
    """A figure of predictions against targets, (n,) each, and the line on which they are equal."""
    low = float(min(targets.min(), predicted.min()))
    high = float(max(targets.max(), predicted.max()))
    at, ticks = _axis(low, high, False)
    points = [(100 * at(t), 100 - 100 * at(p)) for t, p in zip(targets.tolist(), predicted.tolist(), strict=True)]
    paths = ['<path class="equal" d="M0 100L100 0"/>', f'<path class="points" d="{_dots(points)}"/>']
    x = [(100 * at(value), f"{value:.6g}") for value in ticks]
    return _figure("chart scatter", f"<b>{escape(title)}</b>", title, paths, x, [(100 - p, t) for p, t in x], "target")


def _figure(
    kind: str,
    caption: str,
    name: str,
    paths: list[str],
    x: list[tuple[float, str]],
    y: list[tuple[float, str]],
    of: str,
) -> str:
    """x, y: places from the left and from the top in percent, and what stands there; of: what is along x."""
    grid = "".join(f"M0 {place:.2f}H100" for place, _ in y)
    texts = [f'<span class="y" style="top:{place:.2f}%">{text}</span>' for place, text in y]
    texts += [f'<span class="x" style="left:{place:.2f}%">{text}</span>' for place, text in x]
    svg = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{escape(name, quote=True)}">'
    return "\n".join(
        [
            f'<figure class="{kind}"><figcaption>{caption}</figcaption>\n<div class="plot">{svg}',
            f'<path class="grid" d="{grid}"/>',
            *paths,
            "</svg>",
            *texts,
            f'<span class="of">{of}</span></div></figure>',
        ]
    )


def _dots(points: Sequence[tuple[float, float]]) -> str:
    """Lines without length: their round ends are dots, whatever the picture is stretched to."""
    return "".join(f"M{x:.2f} {y:.2f}h0" for x, y in points)


def _axis(low: float, high: float, is_log: bool) -> tuple[Scale, list[float]]:
    """Where values stand, 0 at the lower and 1 at the upper end, and the round ones among them."""
    if is_log:
        a, b = math.log10(low), math.log10(high)
        room = PADDING * (b - a)
        at = _scale(a - room, b + room)
        marks = [mark * 10.0**k for k in range(math.floor(a), math.ceil(b) + 1) for mark in (1, 2, 5)]
        inside = [mark for mark in marks if low <= mark <= high]
        return lambda value: at(math.log10(value)), inside if len(inside) <= 8 else [m for m in inside if _is_power(m)]
    room = PADDING * (high - low) or abs(low) / 10 or 1.0
    low, high = low - room, high + room
    step = _step((high - low) / 5)
    first, last = math.ceil(low / step), math.floor(high / step)
    return _scale(low, high), [float(f"{k * step:.10g}") for k in range(first, last + 1)]


def _is_power(value: float) -> bool:
    return math.isclose(math.log10(value), round(math.log10(value)), abs_tol=1e-9)


def _scale(low: float, high: float) -> Scale:
    return lambda value: (value - low) / (high - low)


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten, the first from `least` on."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(mark * power for mark in (1, 2, 5, 10) if mark * power >= least * (1 - 1e-9))


def _whole_ticks(n: int) -> list[int]:
    """Some epochs, with the first and the last."""
    step = max(1, round(_step(max(n, 1) / 6)))
    return [1, *(k for k in range(step, n, step) if 1 < k <= n - step / 2), *([n] if n > 1 else [])]


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels (height, width) grey or (height, width, 4) red, green, blue and opacity, of uint8."""
    height, width = pixels.shape[:2]
    lines = pixels.reshape(height, -1)
    filtered = np.hstack([np.zeros((height, 1), np.uint8), lines])  # each line begins with its filter, none
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
