"""Drawings of rectangles, lines and words, on a card of their own, light or dark as the reader has it."""

from __future__ import annotations

from html import escape
from pathlib import Path

STYLE = """
.card { fill: #fbfbfa; stroke: #d8d8d4 }
.box { fill: #fff; stroke: #8a8a86 }
.none { fill: #ececea; stroke: none }
.a { fill: #f6b26b; stroke: #b4691a }
.b { fill: #8fbfe8; stroke: #2f6ea8 }
.c { fill: #b7d7a0; stroke: #5b8a3c }
.line { stroke: #6a6a66; stroke-width: 1.2; fill: none }
.dotted { stroke: #6a6a66; stroke-dasharray: 4 3 }
text { font: 13px system-ui, sans-serif; fill: #222 }
.small { font-size: 11px; fill: #5a5a56 }
.code { font-family: ui-monospace, monospace }
.head { font-weight: 600 }
@media (prefers-color-scheme: dark) {
.card { fill: #1c1d20; stroke: #3a3c40 }
.box { fill: #26282c; stroke: #8a8d93 }
.none { fill: #2d2f34 }
.a { fill: #9c5a17; stroke: #f0a75c }
.b { fill: #245a8c; stroke: #86b9e6 }
.c { fill: #446a2c; stroke: #a9cf8c }
.line { stroke: #a5a8ae } .dotted { stroke: #a5a8ae }
text { fill: #ececec } .small { fill: #b4b7bd }
}
"""


class Drawing:
    """Of width x height units; x to the right, y down."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.size, self.title = (width, height), title
        self.parts = [f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>']

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box") -> None:
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> None:
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, *points: tuple[float, float], kind: str = "line", arrow: bool = False) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        end = ' marker-end="url(#arrow)"' if arrow else ""
        self.parts.append(f'<polyline class="line {kind}" points="{path}"{end}/>')

    def save(self, path: Path) -> None:
        width, height = self.size
        arrow = (
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path class="line" d="M1,1 L7,4 L1,7"/></marker></defs>'
        )
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        lines = [head, f"<title>{escape(self.title)}</title>", f"<style>{STYLE}</style>", arrow, *self.parts, "</svg>"]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
