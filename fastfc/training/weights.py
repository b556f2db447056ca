"""What each sample counts for: weights of samples, and of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.validation import as_array, check_finite, number

ClassWeight = str | Mapping[int, float]


def sample_weights(y: Any, sample_weight: Any, class_weight: ClassWeight | None) -> np.ndarray | None:
    """(n,) float64, the product of the weight of each sample and that of its class; None where neither is given.

    class_weight is {class: weight}, 1 for those left out, or "balanced", n / (classes * samples of the class), as
    scikit-learn has it. Labels y are integers (n,). Raises InvalidArgument or InvalidType for weights that are not finite, negative,
    all 0, or not as many as samples.
    """
    if sample_weight is None and class_weight is None:
        return None
    y = np.asarray(y)
    weights = np.ones(len(y)) if sample_weight is None else _checked(sample_weight, len(y))
    if class_weight is not None:
        weights = weights * _of_classes(y, class_weight)
    if not weights.any():
        raise invalid("sample_weight", "weights that are all 0", "some that are not")
    return weights


def _checked(given: Any, n: int) -> np.ndarray:
    weights = as_array(given, "sample_weight")
    if weights.shape != (n,):
        raise invalid("sample_weight", f"shape {weights.shape}", f"({n},), one for each sample")
    check_finite(weights, "sample_weight")
    if weights.min() < 0:
        raise invalid("sample_weight", f"{weights.min()}", "numbers >= 0")
    return weights.astype(np.float64)


def _of_classes(y: np.ndarray, given: ClassWeight) -> np.ndarray:
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise invalid("class_weight", f"targets of {y.dtype} and shape {y.shape}", "None without integer labels (n,)")
    labels, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    if isinstance(given, str) and given == "balanced":
        return (len(y) / (len(labels) * counts))[inverse]
    if not isinstance(given, Mapping):
        raise InvalidType(f"class_weight: given {given!r}, expected 'balanced' or a dict of weights by class")
    for label, weight in given.items():
        if label not in labels:
            raise invalid("class_weight", f"class {label!r}", f"classes of the data: {labels[:10].tolist()}")
        number("class_weight", weight, at_least=0)
    return np.array([float(given.get(label, 1.0)) for label in labels.tolist()])[inverse]
