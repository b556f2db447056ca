"""The block of sums that stays in registers, as vectors of 16 registers hold it."""

from __future__ import annotations

from pathlib import Path

from _svg import Drawing

ROWS, VECTORS, LANES, SIZE = 4, 3, 8, 14
d = Drawing(760, 318, "A tile: 4 rows and 3 vectors of sums in registers, one row of B and one value of A beside them")
left, top = 250, 150

d.text(28, 34, "out[i, j] = init[i, j] + Σ A[i, k] B[k, j]", "code", "start")
for q in range(VECTORS):
    for lane in range(LANES):
        d.box(left + (q * (LANES + 1) + lane) * SIZE, 84, SIZE - 1, SIZE - 1, "b")
d.text(left, 74, "row k of B: 3 loads of a vector", "small", "start")
for r in range(ROWS):
    y = top + r * (SIZE + 8)
    d.box(116, y, SIZE - 1, SIZE - 1, "a")
    d.line((136, y + 7), (left - 10, y + 7), arrow=True)
    for q in range(VECTORS):
        for lane in range(LANES):
            d.box(left + (q * (LANES + 1) + lane) * SIZE, y, SIZE - 1, SIZE - 1, "c")
for q in range(VECTORS):
    middle = left + (q * (LANES + 1) + LANES / 2) * SIZE
    d.line((middle, 101), (middle, top - 6), arrow=True)
d.text(123, top - 12, "A[i, k]", "small")
d.text(192, top - 12, "broadcast", "small")
d.text(left, top + ROWS * (SIZE + 8) + 10, "12 vectors of sums, one fused multiply-add each", "small", "start")
d.text(28, 270, "16 registers (AVX2): 12 sums + 3 of B + 1 of A", "", "start")
d.text(28, 292, "32 registers (AVX-512): 8 rows x 3 vectors of 16: 24 sums + 3 + 1", "", "start")
d.save(Path(__file__).with_suffix(".svg"))
