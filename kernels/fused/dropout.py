"""Dropout: units that are left out, drawn by a generator that counts instead of going on from number to number.

Which they are depends on the key of the epoch, the sample, the layer and the unit alone: not on threads, nor on the order of
the samples. The generator is described in `kernels.reference.dropout`.
"""

from __future__ import annotations

import numpy as np

from fastfc.kernels.fused.compiler.jit import inline, kernel
from fastfc.kernels.fused.llvm.drops import drop_vectors
from fastfc.kernels.fused.llvm.views import flat, view_rows

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
STEP = np.uint32(0x9E3779B1)
LEVELS = 65536


@inline
def mix(x):
    """SplitMix64's finalizer (Steele et al. 2014)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@inline
def draw(unit, low, high):
    """16 bits for a unit (uint32): half of a word that is hashed from the unit's pair and a key of 64 bits.

    Numba makes 64 bits of what it multiplies, adds or shifts: every step is cut to 32.
    """
    h = np.uint32(np.uint32(unit >> np.uint32(1)) * STEP + low)
    h ^= np.uint32(h >> np.uint32(16))
    h = np.uint32(h * np.uint32(0x21F0AAAD))
    h ^= np.uint32(h >> np.uint32(15))
    h ^= high
    h = np.uint32(h * np.uint32(0x735A2D97))
    h ^= np.uint32(h >> np.uint32(15))
    return np.uint32(h >> np.uint32((unit & np.uint32(1)) << np.uint32(4))) & np.uint32(0xFFFF)


@inline
def threshold_of(rate):
    """Of 65,536 draws, those that are dropped."""
    return np.uint32(round(rate * LEVELS))


@inline
def key_of(key, layer, sample):
    """Two halves of a key of 64 bits."""
    k = mix(mix(np.uint64(key) + np.uint64(layer) * GOLDEN) + np.uint64(sample) * GOLDEN)
    return np.uint32(k), np.uint32(k >> np.uint64(32))


@inline
def drop_row(row, low, high, threshold, kept):
    """The units of a sample (units,) become 0, or `kept` times as large."""
    zero = row.dtype.type(0)
    for u in range(drop_vectors(row, low, high, threshold, kept), row.size):
        row[u] *= zero if draw(np.uint32(u), low, high) < threshold else kept


@kernel
def drop(a, slopes, samples, key, layer, rate):
    """Units of a (batch, units) become 0, or larger by what is lost, in place; samples (batch,) their numbers in the data set.

    slopes (batch, units) the same, unless it has no rows. layer 0 is the input.
    """
    threshold = threshold_of(rate)
    kept = a.dtype.type(LEVELS / (LEVELS - threshold))
    for i in range(a.shape[0]):
        low, high = key_of(key, layer, samples[i])
        drop_row(flat(view_rows(a, i, i + 1)), low, high, threshold, kept)
        if slopes.shape[0] > 0:
            drop_row(flat(view_rows(slopes, i, i + 1)), low, high, threshold, kept)
