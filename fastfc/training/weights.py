"""What each sample counts for: weights of samples, and of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfc.errors import InvalidType, invalid
from fastfc.validation import number

ClassWeight = str | Mapping[int, float]


def class_factors(y: Any, given: ClassWeight) -> np.ndarray:
    """(n,) float64, the weight of each sample's class; labels y are integers (n,).

    given is {class: weight}, 1 for those left out, or "balanced", n / (classes * samples of the class), as scikit-learn has
    it. Raises InvalidArgument or InvalidType for other targets, classes and weights.
    """
    y = np.asarray(y)
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
    factors = np.array([float(given.get(label, 1.0)) for label in labels.tolist()])
    if not factors.any():
        raise invalid("class_weight", "weights that are all 0", "some that are not")
    return factors[inverse]
