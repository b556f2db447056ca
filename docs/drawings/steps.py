"""The two phases of a step, in two threads."""

from __future__ import annotations

from pathlib import Path

from _svg import Drawing

d = Drawing(760, 340, "A step in two threads: one phase divides samples, the other features")


def halves(x: float, y: float, width: float, height: float, first: str = "a", second: str = "b") -> None:
    """A matrix whose rows two threads have divided."""
    d.box(x, y, width, height / 2, first)
    d.box(x, y + height / 2, width, height / 2, second)


d.text(28, 34, "by samples", "head", "start")
d.text(28, 52, "from the first layer's sums to the loss, and back", "small", "start")
for x, width, name in ((48, 50, "z¹, a¹"), (138, 26, "z², a²"), (204, 18, "p"), (262, 26, "δ²"), (328, 50, "δ¹")):
    halves(x, 92, width, 120)
    d.text(x + width / 2, 82, name, "small")
for left, right in ((98, 138), (164, 204), (222, 262), (288, 328)):
    d.line((left + 4, 122), (right - 4, 122), arrow=True)
    d.line((left + 4, 182), (right - 4, 182), arrow=True)
d.text(24, 156, "batch", "small")
d.text(28, 238, "every row is one sample's, from end to end;", "small", "start")
d.text(28, 254, "all weights are read, none is written", "small", "start")
d.box(28, 276, 14, 14, "a")
d.text(50, 288, "first thread", "", "start")
d.box(150, 276, 14, 14, "b")
d.text(172, 288, "second thread", "", "start")

for x in (400, 738):
    d.line((x, 60), (x, 300), kind="dotted")
    d.text(x, 318, "barrier", "small", "middle" if x < 700 else "end")

d.text(424, 34, "by features", "head", "start")
d.text(424, 52, "gradients and step; the next batch's first sums", "small", "start")
halves(446, 92, 70, 168)
halves(546, 92, 36, 60)
halves(604, 92, 18, 32)
for x, width, name in ((446, 70, "W¹"), (546, 36, "W²"), (604, 18, "W³")):
    d.text(x + width / 2, 82, name, "small")
d.text(436, 138, "xᵀδ¹", "small", "end")
d.line((518, 216), (642, 216), arrow=True)
d.box(648, 176, 32, 60, "a")
d.box(684, 176, 32, 60, "b")
d.text(682, 168, "x W¹, next batch", "small")
d.text(728, 254, "two halves, for any", "small", "end")
d.text(728, 270, "number of threads", "small", "end")
d.text(424, 288, "a row of weights belongs to one thread,", "small", "start")
d.text(424, 304, "which sums over all samples, in their order", "small", "start")
d.save(Path(__file__).with_suffix(".svg"))
