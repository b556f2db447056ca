"""A network of two layers, forward and back, with the shape of every array."""

from __future__ import annotations

from pathlib import Path

from _svg import Drawing

d = Drawing(760, 250, "A step: forward to the loss, back to the first layer, and the gradients of weights and biases")
y, width, height = 88, 96, 44
boxes = [
    (20, "x", "(batch, inputs)", "box"),
    (170, "a¹ = f(z¹)", "z¹ = x W¹ + b¹", "b"),
    (342, "z²", "z² = a¹ W² + b²", "b"),
    (514, "p = softmax z²", "(batch, outputs)", "b"),
    (664, "L", "loss", "box"),
]
sizes = [width, 118, 118, 112, 70]
for (x, name, below, kind), size in zip(boxes, sizes, strict=True):
    d.box(x, y, size, height, kind)
    d.text(x + size / 2, y + 27, name)
    d.text(x + size / 2, y - 8, below, "small")
for (left, *_), size, (right, *_) in zip(boxes, sizes, boxes[1:], strict=False):
    d.line((left + size + 2, y + 22), (right - 3, y + 22), arrow=True)
d.text(20, 34, "forward", "head", "start")
d.text(20, 178, "back", "head", "start")
back = y + height + 40
for x, size, formula in ((170, 118, "δ¹ = δ² W²ᵀ · f'(z¹)"), (342, 118, "δ² = (p - t) / batch")):
    d.box(x - 12, back, size + 24, height, "a")
    d.text(x + size / 2, back + 27, formula)
d.line((664 + 35, y + height + 2), (664 + 35, back + 22), (342 + 118 + 15, back + 22), arrow=True)
d.line((342 - 14, back + 22), (170 + 118 + 15, back + 22), arrow=True)
for x, size, formula in ((170, 118, "∂W¹ = xᵀ δ¹,  ∂b¹ = Σ δ¹"), (342, 118, "∂W² = a¹ᵀ δ²,  ∂b² = Σ δ²")):
    d.text(x + size / 2, back + height + 20, formula, "small")
d.save(Path(__file__).with_suffix(".svg"))
