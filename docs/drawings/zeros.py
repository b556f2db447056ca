"""Which terms the sparse first layer computes, in a few rows of generated digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _svg import Drawing

from fastfc.data import digits
from fastfc.kernels.plan import GROUP

SIZE, ROWS, COLUMNS = 11, 8, 28
X, labels = digits.generate(400, np.random.default_rng(2))
zeros = X[labels == 0][:ROWS].reshape(ROWS, 28, 28)[:, 12]  # a row of pixels through eight zeros: two strokes in each
some = zeros != 0
by_samples = some.reshape(-1, GROUP, COLUMNS).any(axis=1).repeat(GROUP, axis=0)
by_features = some.reshape(ROWS, -1, GROUP).any(axis=2).repeat(GROUP, axis=1)

d = Drawing(760, 212, "Eight samples and 28 pixels: what is not zero, and what is computed with it in groups of four")
for x, kept, group, title in (
    (40, by_samples, (COLUMNS, GROUP), f"forward: {GROUP} samples share a row of W"),
    (412, by_features, (GROUP, ROWS), f"gradient: {GROUP} features share a row of δ"),
):
    d.text(x, 34, title, "head", "start")
    for (i, j), inked in np.ndenumerate(some):
        d.box(x + j * SIZE, 52 + i * SIZE, SIZE - 1, SIZE - 1, "a" if inked else "c" if kept[i, j] else "none")
    for k in range(1, ROWS // group[1]):
        d.line((x - 4, 51.5 + k * group[1] * SIZE), (x + COLUMNS * SIZE + 3, 51.5 + k * group[1] * SIZE))
    for k in range(1, COLUMNS // group[0]):
        d.line((x + k * group[0] * SIZE - 0.5, 48), (x + k * group[0] * SIZE - 0.5, 55 + ROWS * SIZE))
    share = f"{100 * some.mean():.0f} % are not zero, {100 * kept.mean():.0f} % are computed"
    d.text(x, 52 + ROWS * SIZE + 24, share, "small", "start")
for x, kind, words in ((40, "a", "not zero"), (140, "c", "zero, computed with its group"), (370, "none", "left out")):
    d.box(x, 180, 13, 13, kind)
    d.text(x + 20, 191, words, "", "start")
d.save(Path(__file__).with_suffix(".svg"))
