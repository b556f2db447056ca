"""Generated digits: images of the shape of MNIST, drawn by a simulated pen, for a machine that has no MNIST.

Each digit has several writing styles, given by the points its pen passes. An image is one style, its points moved at
random, joined by Catmull-Rom splines, bent by a smooth field, put through a random affine map, and inked.
"""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt

from fastfc.data import cache
from fastfc.data.idx import Bytes, encode, read_idx
from fastfc.errors import DataError

Float = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Point = tuple[float, float]
Stroke = list[Point]

SIDE = 28
POINTS = 96  # pen positions an image, over all of its strokes
_VERSION = 1  # names the cache: other digits need another number

# digit: styles; style: strokes; stroke: points (x to the right, y down) in the unit square.
# A point that ends one stroke and begins another is one point, moved once: the pen turns there.
STYLES: dict[int, list[list[Stroke]]] = {
    0: [
        [[(0.6, 0.02), (0.25, 0.14), (0.08, 0.55), (0.3, 0.95), (0.68, 0.93), (0.92, 0.5), (0.8, 0.12), (0.5, 0.04)]],
        [[(0.65, 0.06), (0.38, 0.1), (0.24, 0.5), (0.36, 0.94), (0.62, 0.92), (0.76, 0.5), (0.68, 0.1), (0.45, 0.03)]],
        [[(0.35, 0.1), (0.1, 0.4), (0.15, 0.85), (0.5, 1.0), (0.9, 0.75), (0.9, 0.3), (0.6, 0.05), (0.3, 0.12)]],
    ],
    1: [
        [[(0.5, 0.0), (0.5, 0.35), (0.5, 0.7), (0.5, 1.0)]],
        [[(0.33, 0.22), (0.52, 0.0)], [(0.52, 0.0), (0.51, 0.5), (0.5, 1.0)]],
        [[(0.34, 0.2), (0.52, 0.0)], [(0.52, 0.0), (0.5, 0.5), (0.5, 0.98)], [(0.28, 1.0), (0.5, 0.98), (0.75, 0.98)]],
    ],
    2: [
        [
            [(0.12, 0.24), (0.35, 0.03), (0.72, 0.06), (0.82, 0.33), (0.55, 0.68), (0.1, 0.98)],
            [(0.1, 0.98), (0.5, 0.95), (0.95, 0.94)],
        ],
        [
            [
                (0.15, 0.15),
                (0.45, 0.0),
                (0.8, 0.15),
                (0.72, 0.45),
                (0.4, 0.85),
                (0.14, 0.95),
                (0.1, 0.8),
                (0.3, 0.76),
                (0.6, 0.93),
                (0.95, 0.9),
            ]
        ],
        [
            [(0.2, 0.1), (0.55, 0.02), (0.75, 0.2), (0.68, 0.5), (0.45, 0.78), (0.2, 1.0)],
            [(0.2, 1.0), (0.5, 0.99), (0.85, 1.0)],
        ],
    ],
    3: [
        [
            [(0.15, 0.14), (0.45, 0.0), (0.8, 0.12), (0.72, 0.38), (0.4, 0.48)],
            [(0.4, 0.48), (0.78, 0.55), (0.88, 0.8), (0.55, 1.0), (0.1, 0.88)],
        ],
        [
            [(0.15, 0.04), (0.5, 0.03), (0.84, 0.03)],
            [(0.84, 0.03), (0.6, 0.22), (0.42, 0.42)],
            [(0.42, 0.42), (0.78, 0.48), (0.86, 0.78), (0.5, 1.0), (0.12, 0.9)],
        ],
        [[(0.2, 0.08), (0.6, 0.0), (0.78, 0.22), (0.5, 0.46), (0.75, 0.6), (0.78, 0.88), (0.4, 1.0), (0.15, 0.85)]],
    ],
    4: [
        [
            [(0.18, 0.02), (0.12, 0.3), (0.14, 0.56)],
            [(0.14, 0.56), (0.5, 0.55), (0.92, 0.5)],
            [(0.78, 0.04), (0.72, 0.5), (0.66, 1.0)],
        ],
        [
            [(0.7, 0.0), (0.4, 0.34), (0.08, 0.66)],
            [(0.08, 0.66), (0.5, 0.65), (0.95, 0.64)],
            [(0.7, 0.0), (0.68, 0.5), (0.66, 1.0)],
        ],
        [[(0.15, 0.0), (0.1, 0.35), (0.35, 0.52), (0.78, 0.4)], [(0.85, 0.0), (0.78, 0.4), (0.7, 1.0)]],
    ],
    5: [
        [
            [(0.88, 0.04), (0.55, 0.03), (0.28, 0.04)],
            [(0.28, 0.04), (0.24, 0.22), (0.2, 0.42)],
            [(0.2, 0.42), (0.5, 0.36), (0.84, 0.55), (0.78, 0.88), (0.45, 1.0), (0.1, 0.9)],
        ],
        [[(0.9, 0.0), (0.5, 0.04), (0.27, 0.22), (0.4, 0.42), (0.74, 0.6), (0.72, 0.9), (0.4, 1.0), (0.1, 0.88)]],
        [
            [(0.3, 0.08), (0.26, 0.25), (0.24, 0.4)],
            [(0.24, 0.4), (0.55, 0.38), (0.8, 0.62), (0.66, 0.92), (0.2, 0.98)],
            [(0.3, 0.08), (0.6, 0.07), (0.9, 0.02)],
        ],
    ],
    6: [
        [
            [
                (0.72, 0.0),
                (0.35, 0.25),
                (0.13, 0.62),
                (0.25, 0.94),
                (0.6, 0.99),
                (0.82, 0.78),
                (0.62, 0.58),
                (0.32, 0.62),
                (0.17, 0.78),
            ]
        ],
        [[(0.46, 0.0), (0.24, 0.35), (0.16, 0.75), (0.4, 1.0), (0.76, 0.92), (0.8, 0.68), (0.52, 0.58), (0.2, 0.76)]],
        [[(0.8, 0.06), (0.4, 0.12), (0.14, 0.5), (0.2, 0.9), (0.58, 0.98), (0.74, 0.74), (0.5, 0.56), (0.18, 0.68)]],
    ],
    7: [
        [[(0.08, 0.06), (0.5, 0.06), (0.9, 0.04)], [(0.9, 0.04), (0.62, 0.45), (0.42, 1.0)]],
        [
            [(0.1, 0.05), (0.5, 0.05), (0.88, 0.05)],
            [(0.88, 0.05), (0.66, 0.5), (0.45, 1.0)],
            [(0.35, 0.52), (0.66, 0.5), (0.9, 0.47)],
        ],
        [
            [(0.1, 0.24), (0.14, 0.05)],
            [(0.14, 0.05), (0.5, 0.1), (0.86, 0.03)],
            [(0.86, 0.03), (0.7, 0.35), (0.62, 1.0)],
        ],
    ],
    8: [
        [
            [
                (0.8, 0.14),
                (0.5, 0.0),
                (0.22, 0.18),
                (0.4, 0.42),
                (0.72, 0.62),
                (0.76, 0.9),
                (0.45, 1.0),
                (0.2, 0.84),
                (0.36, 0.58),
                (0.66, 0.4),
                (0.8, 0.14),
            ]
        ],
        [
            [(0.5, 0.46), (0.24, 0.24), (0.5, 0.0), (0.76, 0.22), (0.5, 0.46)],
            [(0.5, 0.46), (0.16, 0.74), (0.5, 1.0), (0.84, 0.74), (0.5, 0.46)],
        ],
        [
            [
                (0.6, 0.5),
                (0.3, 0.3),
                (0.42, 0.02),
                (0.74, 0.08),
                (0.7, 0.32),
                (0.4, 0.55),
                (0.2, 0.85),
                (0.48, 1.0),
                (0.72, 0.8),
                (0.6, 0.5),
            ]
        ],
    ],
    9: [
        [
            [(0.84, 0.18), (0.5, 0.02), (0.17, 0.2), (0.3, 0.46), (0.62, 0.44), (0.84, 0.18)],
            [(0.84, 0.18), (0.8, 0.55), (0.7, 1.0)],
        ],
        [
            [
                (0.8, 0.16),
                (0.5, 0.0),
                (0.18, 0.22),
                (0.34, 0.48),
                (0.7, 0.38),
                (0.82, 0.2),
                (0.82, 0.65),
                (0.6, 0.96),
                (0.2, 0.95),
            ]
        ],
        [
            [(0.74, 0.12), (0.4, 0.04), (0.2, 0.3), (0.42, 0.5), (0.74, 0.3)],
            [(0.78, 0.04), (0.74, 0.3), (0.62, 0.7), (0.48, 1.0)],
        ],
    ],
}


def load(seed: int = 0, n_train: int = 60_000, n_test: int = 10_000) -> list[Bytes]:
    """Training images (n_train, 28, 28) and labels (n_train,), then those of the test set; all uint8.

    They are read from the cache, or else generated, and kept in the cache where it can be written. The training set and
    the test set come from two streams of `seed`. One machine draws the same digits every time; another processor or
    NumPy may round a pixel differently.
    """
    name = f"digits-{_VERSION}-{seed}"
    shapes: dict[str, tuple[int, ...]] = {
        "train-images-idx3-ubyte.gz": (n_train, SIDE, SIDE),
        "train-labels-idx1-ubyte.gz": (n_train,),
        "t10k-images-idx3-ubyte.gz": (n_test, SIDE, SIDE),
        "t10k-labels-idx1-ubyte.gz": (n_test,),
    }
    folder = cache.folder(name)
    if folder is not None:
        with contextlib.suppress(DataError):
            return [read_idx(folder / file, shape=shape) for file, shape in shapes.items()]
    streams = np.random.SeedSequence(seed).spawn(2)
    arrays = [
        *generate(n_train, np.random.default_rng(streams[0])),
        *generate(n_test, np.random.default_rng(streams[1])),
    ]
    for file, array in zip(shapes, arrays, strict=True):
        if cache.store(name, file, encode(array, compress=True)):
            break
    return arrays


def generate(n: int, rng: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Draw `n` digits: images (n, 28, 28), black (0) where there is no ink, and labels (n,), both uint8."""
    y = rng.integers(0, 10, n, np.uint8)
    style = rng.random(n)
    X = np.empty((n, SIDE, SIDE), np.uint8)
    for digit, styles in STYLES.items():
        for k, strokes in enumerate(styles):
            of_style = np.flatnonzero((y == digit) & (np.floor(style * len(styles)) == k))
            X[of_style] = _ink(*_pen(len(of_style), strokes, rng), rng)
    return X, y


def _pen(n: int, strokes: list[Stroke], rng: np.random.Generator) -> tuple[Float, Float]:
    """Pen positions (n, POINTS, 2) in pixels and the ink (n, POINTS) left at each.

    The amounts of change, here and below, are such that a linear classifier gets about 90 % of the digits right and a
    784-200-50-10 network about 99 %, with the ink of MNIST (19.1 % of the pixels).
    """
    neighbours, weights, control, length = _spline(strokes)
    points = control + _normal(rng, (n, *control.shape), 0.045)
    path = sum(points[:, j] * w[:, None] for j, w in zip(neighbours.T, weights.T, strict=True)) - np.float32(0.5)
    # Bend: each axis is displaced by a sine of the other, at most one period a digit.
    frequency, phase = (rng.uniform(low, high, (n, 1, 2)).astype(np.float32) for low, high in ((2, 6), (0, 6.2832)))
    path += _normal(rng, (n, 1, 2), 0.06) * np.sin(frequency * path[:, :, ::-1] + phase)
    affine = _affine(n, rng)
    path = path[:, :, :1] * affine[:, None, 0] + path[:, :, 1:] * affine[:, None, 1]
    path -= path.mean(axis=1, keepdims=True)
    path += np.float32(SIDE / 2 - 0.5) + _normal(rng, (n, 1, 2), 0.8)
    np.clip(path, 2, SIDE - 3.001, out=path)  # ink spreads over two more pixels
    pressure = 1 + np.float32(0.25) * np.sin(np.linspace(0, 5, POINTS, dtype=np.float32) + phase[:, :, 0])
    return path, pressure * np.float32(18 * length / POINTS)


def _affine(n: int, rng: np.random.Generator) -> Float:
    """Maps (n, 2, 2) from the unit square to pixels: rotation, slant and size."""
    angle, slant = _normal(rng, (n,), 0.15), _normal(rng, (n,), 0.25)
    height, width = 17.5 * np.exp(_normal(rng, (n,), 0.08)), 15.5 * np.exp(_normal(rng, (n,), 0.13))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]]).transpose(2, 0, 1)
    zero = np.zeros(n, np.float32)
    shape = np.array([[width, zero], [-slant * height, height]]).transpose(2, 0, 1)
    return (shape @ rotation).astype(np.float32)


def _ink(path: Float, ink: Float, rng: np.random.Generator) -> Bytes:
    """Images (n, 28, 28) of pen positions (n, POINTS, 2): each leaves its ink on four pixels, which then spreads."""
    n = len(path)
    corner = path.astype(np.int32)
    x, y = corner[:, :, 0], corner[:, :, 1]
    fx, fy = path[:, :, 0] - x, path[:, :, 1] - y
    pixel = y * SIDE + x + np.arange(0, n * SIDE * SIDE, SIDE * SIDE)[:, None]
    page = np.zeros(n * SIDE * SIDE)
    for offset, share in (0, (1 - fx) * (1 - fy)), (1, fx * (1 - fy)), (SIDE, (1 - fx) * fy), (SIDE + 1, fx * fy):
        page += np.bincount((pixel + offset).ravel(), (share * ink).ravel(), page.size)
    image = page.reshape(n, SIDE * SIDE).astype(np.float32)
    width = rng.uniform(0.1, 0.33, (n, 1)).astype(np.float32)
    for step in (1, SIDE, 1, SIDE):
        spread = image * (1 - 2 * width)
        spread[:, step:] += width * image[:, :-step]
        spread[:, :-step] += width * image[:, step:]
        image = spread
    # A straight stroke now peaks at (1 - 2w)² + 2w²: relative to that, faint ink is cut off and strong ink saturates.
    image *= rng.uniform(1.5, 2.8, (n, 1)).astype(np.float32) / ((1 - 2 * width) ** 2 + 2 * width**2)
    np.clip(image - np.float32(0.38), 0, 1, out=image)
    return (image * 255).astype(np.uint8).reshape(n, SIDE, SIDE)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Float:
    return rng.standard_normal(shape, np.float32) * np.float32(sigma)


def _spline(strokes: list[Stroke]) -> tuple[Indices, Float, Float, float]:
    """POINTS positions evenly spaced along the strokes, as sums over the control points around each, and the length.

    Returns neighbours (POINTS, 4), their weights (POINTS, 4), control points (c, 2): position k is
    weights[k] @ control[neighbours[k]].
    """
    control, numbers = np.unique([point for stroke in strokes for point in stroke], axis=0, return_inverse=True)
    orders = np.split(numbers.ravel(), np.cumsum([len(stroke) for stroke in strokes])[:-1])
    curves = [_catmull_rom(order) for order in orders]
    lengths = []
    for neighbours, weights in curves:
        places = np.einsum("kj,kjd->kd", weights, control[neighbours])
        lengths.append(np.linalg.norm(np.diff(places, axis=0, prepend=places[:1]), axis=1))
    along = np.cumsum(np.concatenate(lengths))
    even = np.searchsorted(along, (np.arange(POINTS) + 0.5) / POINTS * along[-1])
    neighbours, weights = (np.concatenate(part)[even] for part in zip(*curves, strict=True))
    return neighbours, weights.astype(np.float32), control.astype(np.float32), float(along[-1])


def _catmull_rom(order: Indices, steps: int = 60) -> tuple[Indices, npt.NDArray[np.float64]]:
    """Neighbours (m, 4) and weights (m, 4), m = steps * (len(order) - 1), of the uniform Catmull-Rom spline (1974)."""
    ends = np.concatenate([order[:1], order, order[-1:]])
    neighbours = np.lib.stride_tricks.sliding_window_view(ends, 4)
    t = np.linspace(0, 1, steps)
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1
    )
    return np.repeat(neighbours, steps, axis=0), np.tile(weights, (len(neighbours), 1))
