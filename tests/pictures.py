"""Digits drawn with a pen, for the tests of `fastfc.images`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

PATH = {
    "2": [(0.30, 0.35), (0.40, 0.20), (0.60, 0.20), (0.70, 0.35), (0.30, 0.80), (0.72, 0.80)],
    "5": [(0.70, 0.20), (0.35, 0.20), (0.32, 0.48), (0.60, 0.45), (0.70, 0.62), (0.60, 0.80), (0.32, 0.80)],
    "7": [(0.28, 0.22), (0.70, 0.22), (0.45, 0.82)],
    "1": [(0.50, 0.20), (0.48, 0.80)],
}


def pen(digit: str = "5", side: int = 200, width: int = 14) -> NDArray[np.float64]:
    """The ink of a digit drawn with a round pen: (side, side), 0 to 1."""
    image = Image.new("L", (side, side), 0)
    points = [(x * side, y * side) for x, y in PATH[digit]]
    ImageDraw.Draw(image).line(points, fill=255, width=width, joint="curve")
    return np.asarray(image) / 255


def sheet(ink: NDArray[np.float64], paper: float = 235, colour: float = 25) -> NDArray[np.uint8]:
    return np.rint(paper + (colour - paper) * ink).astype(np.uint8)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def uneven_light(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    y, x = np.mgrid[0:200, 0:200] / 200
    return picture * (0.5 + 0.5 * x) * (0.8 + 0.2 * y)


def with_noise(picture: NDArray[Any], sigma: float) -> NDArray[np.uint8]:
    noisy = picture + np.random.default_rng(0).normal(0, sigma, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
