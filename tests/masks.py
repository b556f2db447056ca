"""Dropout's masks with Python's whole numbers, as `kernels/reference/dropout.py` describes them: an oracle for both backends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

C, D = 0x9E3779B97F4A7C15, 0x9E3779B1


def mix(x: int) -> int:
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 % 2**64
    x ^= x >> 27
    x = x * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def draw(key: int, layer: int, sample: int, unit: int) -> int:
    """From 0 to 65535."""
    k = mix((mix((key + layer * C) % 2**64) + sample * C) % 2**64)
    h = (unit // 2 * D + k) % 2**32
    h ^= h >> 16
    h = h * 0x21F0AAAD % 2**32
    h ^= h >> 15
    h ^= k >> 32
    h = h * 0x735A2D97 % 2**32
    h ^= h >> 15
    return h >> 16 * (unit % 2) & 0xFFFF


def mask(key: int, layer: int, samples: Iterable[int], units: int, rate: float) -> np.ndarray:
    """(samples, units) 0 where a unit is dropped, else what it is multiplied by."""
    threshold = round(65536 * rate)
    kept = 65536 / (65536 - threshold)
    return np.array([[kept * (draw(key, layer, int(s), u) >= threshold) for u in range(units)] for s in samples])
