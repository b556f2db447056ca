"""Curves as text: one line of blocks, or a small plot of dots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

from fastfc.machine.terminal import can_show, painted, wants_colour

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
BRAILLE = 0x2800  # of Unicode, where a character is any of 4 x 2 dots, by these bits
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
STYLES = {"training": ("cyan", "*"), "test": ("green", "o"), "validation": ("magenta", "+")}  # colour, and mark without
MARGIN = 9  # columns for the numbers of the vertical axis
LARGE_RATIO = 10.0  # of the largest to the smallest loss, from which on the axis is logarithmic

Values = Sequence[float | None]


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` blocks, as high as the values, or where there are more, as the means of as many in a row."""
    n = min(len(values), width)
    ends = [len(values) * k // n for k in range(n + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(ends)]
    blocks = BLOCKS if can_show(BLOCKS) else PLAIN_BLOCKS
    low, high = min(means), max(means)
    return "".join(blocks[int((len(blocks) - 1) * (mean - low) / (high - low or 1) + 0.5)] for mean in means)


def plot(what: str, series: Mapping[str, Values], width: int, height: int) -> list[str]:
    """The curves as height + 2 lines of `width` columns: a title, and below it the epochs, from 1.

    series: of "training", "test" and "validation", a value for each epoch, or None where it was not measured. A loss of which
    the largest is many times the smallest has a logarithmic axis. Dots of Braille are drawn where curves can be told apart: by
    colour, or as there is one alone; else each has its own mark.
    """
    known = [value for values in series.values() for value in values if value is not None]
    low, high = min(known), max(known)
    is_log = what.endswith("loss") and 0 < LARGE_RATIO * low < high
    fine = can_show(chr(BRAILLE)) and (len(series) == 1 or wants_colour())
    grid = _Grid(width - MARGIN, height, fine)
    bottom, top = (math.log(low), math.log(high)) if is_log else (low, high)
    for name, values in series.items():
        points = [(i, math.log(v) if is_log else v) for i, v in enumerate(values) if v is not None]
        span = max(len(values) - 1, 1)
        grid.draw(name, [(i / span, (top - v) / (top - bottom) if top > bottom else 0.5) for i, v in points])
    lines = [_title(f"{what} (log)" if is_log else what, series, width, fine)]
    numbers = {0: high, height - 1: low} if high > low else {(height - 1) // 2: high}
    texts = [_number(numbers[row]) if row in numbers else "" for row in range(height)]
    lines += [f"{text:>{MARGIN - 1}} {grid.line(row)}" for row, text in enumerate(texts)]
    last = f"epoch {max(map(len, series.values()))}"
    return [*lines, " " * MARGIN + f"1{last:>{width - MARGIN - 1}}"]


def _title(what: str, series: Mapping[str, Values], width: int, fine: bool) -> str:
    """With the last value of each series where there is room."""
    names = {name: name if fine else f"{STYLES[name][1]} {name}" for name in series}
    last = {name: next(v for v in reversed(values) if v is not None) for name, values in series.items()}
    full = {name: f"{text} {_number(last[name])}" for name, text in names.items()}
    parts = full if len("   ".join([what, *full.values()])) <= width else names
    return "   ".join([what, *(painted(text, STYLES[name][0]) for name, text in parts.items())])


def _number(value: float) -> str:
    """In eight characters."""
    text = f"{value:.4g}"
    return text if len(text) < MARGIN else f"{value:.1e}"


class _Grid:
    """width x height characters, each of 1 or of 4 x 2 dots, that curves are drawn on."""

    def __init__(self, width: int, height: int, fine: bool) -> None:
        self.fine = fine
        self.across, self.down = (2, 4) if fine else (1, 1)  # dots a character
        self.right, self.bottom = width * self.across - 1, height * self.down - 1
        self.bits = [[0] * width for _ in range(height)]
        self.owner = [[""] * width for _ in range(height)]

    def draw(self, name: str, points: Sequence[tuple[float, float]]) -> None:
        """Lines between points in the unit square, from its left and upper side."""
        dots = [(round(x * self.right), round(y * self.bottom)) for x, y in points]
        for (x, y), (to_x, to_y) in zip(dots, dots[1:] or dots, strict=False):
            steps = max(abs(to_x - x), abs(to_y - y), 1)
            for step in range(steps + 1):
                self._dot(name, round(x + (to_x - x) * step / steps), round(y + (to_y - y) * step / steps))

    def _dot(self, name: str, x: int, y: int) -> None:
        row, column = y // self.down, x // self.across
        self.bits[row][column] |= DOTS[y % self.down][x % self.across]
        self.owner[row][column] = name

    def line(self, row: int) -> str:
        parts = []
        for name, cells in groupby(zip(self.owner[row], self.bits[row], strict=True), key=lambda cell: cell[0]):
            text = "".join(self._character(name, bits) for _, bits in cells)
            parts.append(painted(text, STYLES[name][0]) if name else text)
        return "".join(parts).rstrip()

    def _character(self, name: str, bits: int) -> str:
        if not bits:
            return " "
        return chr(BRAILLE + bits) if self.fine else STYLES[name][1]
