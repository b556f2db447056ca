"""Dropout: a share of the units gives 0 for a sample, and the others what they have over the share that stays.

Whether a unit is dropped follows from a key, the sample's number in the data set, the layer and the unit alone: a generator
that counts (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), so that order and threads change nothing.

    mix(x)      x ^= x >> 30, x *= 0xBF58476D1CE4E5B9, x ^= x >> 27, x *= 0x94D049BB133111EB, x ^= x >> 31, modulo 2⁶⁴
                (SplitMix64, Steele et al. 2014)
    k           mix(mix(key + layer C) + sample C),  C = 0x9E3779B97F4A7C15
    word j      h = j 0x9E3779B1 + k's lower half, h ^= h >> 16, h *= 0x21F0AAAD, h ^= h >> 15, h ^= k's upper half,
                h *= 0x735A2D97, h ^= h >> 15, modulo 2³²  (after Wellons' lowbias32)
    unit u      draws 16 bits: the lower half of word u/2 where u is even, else the upper
"""

from __future__ import annotations

import numpy as np

GOLDEN, WORD_GOLDEN = 0x9E3779B97F4A7C15, 0x9E3779B1
DRAWS = 65536  # that 16 bits can give


def drop(a: np.ndarray, slopes: np.ndarray, samples: np.ndarray, key: int, layer: int, rate: float) -> None:
    """a (batch, units) *= mask / share that stays, in place; slopes the same, or has no rows.

    samples (batch,) int64 numbers of the samples in the data set; layer 0 is the input, 1 the first hidden layer. A unit
    is dropped where it draws less than 65536 rate, rounded.
    """
    threshold = round(DRAWS * rate)
    mask = np.where(_draws(a.shape[1], samples, key, layer) < threshold, 0, DRAWS / (DRAWS - threshold)).astype(a.dtype)
    a *= mask
    if len(slopes):
        slopes *= mask


def _draws(units: int, samples: np.ndarray, key: int, layer: int) -> np.ndarray:
    """(batch, units) whole numbers from 0 to 65535."""
    of_layer = _mix(np.array([(key + layer * GOLDEN) % 2**64], np.uint64))
    k = _mix(of_layer + samples.astype(np.uint64) * np.uint64(GOLDEN))[:, None]
    lower, upper = k.astype(np.uint32), (k >> np.uint64(32)).astype(np.uint32)
    h = np.arange((units + 1) // 2, dtype=np.uint32) * np.uint32(WORD_GOLDEN) + lower
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x21F0AAAD)
    h ^= h >> np.uint32(15)
    h ^= upper
    h *= np.uint32(0x735A2D97)
    h ^= h >> np.uint32(15)
    halves = np.stack([h & np.uint32(0xFFFF), h >> np.uint32(16)], axis=-1)
    return halves.reshape(len(samples), -1)[:, :units]


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
