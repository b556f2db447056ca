"""Which way the fused backend multiplies the first layer: by the share of it that zeros let it leave out."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.fused.encode import is_mapped
from fastfc.kernels.plan import GROUP

SAMPLED = 1024  # rows that are looked at, and
EXPANDED = 1 << 22  # numbers of CSR rows, which are expanded for it
MOST = 0.6  # share of terms up to which it is the faster one
LEAST_FEATURES = 16


def background_of(X: Any) -> float:
    """The most common value of X (n, features), in a sample of its rows; 0 for integers, and for CSR, which stores no zeros.

    It is 0 for files that are mapped, too, for to take it off makes a copy.
    """
    if not isinstance(X, np.ndarray) or X.dtype.kind != "f" or is_mapped(X):
        return 0.0
    values, counts = np.unique(_sample(X), return_counts=True)
    return float(values[counts.argmax()])


def choose_input_kernel(X: Any, wanted: str, background: float = 0.0) -> tuple[str, str]:
    """("sparse" or "dense", why). X (n, features), dense or CSR; `wanted` is "sparse", "dense" or "auto".

    The sparse kernel leaves out what is zero, or the background, in GROUP samples at once going forward, and in GROUP
    neighbouring features at once in the gradient. With "auto" it is chosen if, over a sample of the rows, the mean share
    of terms that are left is at most MOST: its smaller tiles and its lists cost the rest.
    """
    features = X.shape[1]
    if features < LEAST_FEATURES:
        return "dense", f"{features} features, fewer than {LEAST_FEATURES}"
    if wanted != "auto":
        return wanted, "as asked for"
    share = computed_share(X, background)
    chosen = "sparse" if share <= MOST else "dense"
    return (
        chosen,
        f"{100 * share:.0f} % of the terms remain when zeros are left out, at most {100 * MOST:.0f} % for sparse",
    )


def computed_share(X: Any, background: float = 0.0) -> float:
    """Mean share of terms that the sparse kernel computes, forward and in the gradient, on up to SAMPLED rows."""
    some = _sample(X) != background
    by_samples, by_features = (_grouped(m) for m in (some, some.T))
    return (by_samples + by_features) / 2


def _grouped(some: np.ndarray) -> float:
    """Share of (group of GROUP rows, column) in which any is true."""
    whole = len(some) // GROUP * GROUP
    if whole == 0:
        return float(some.any(axis=0).mean())
    return float(some[:whole].reshape(-1, GROUP, some.shape[1]).any(axis=1).mean())


def _sample(X: Any) -> np.ndarray:
    most = SAMPLED if isinstance(X, np.ndarray) else min(SAMPLED, max(GROUP, EXPANDED // X.shape[1]))
    rows = np.linspace(0, X.shape[0] - 1, min(X.shape[0], most)).astype(np.int64)
    return X[rows] if isinstance(X, np.ndarray) else X[rows].toarray()
