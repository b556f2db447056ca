"""scikit-learn's MLPClassifier and MLPRegressor on the kernels of fastfc: the same parameters, attributes and numbers.

`from fastfc.estimators import MLPClassifier` takes the place of the import from sklearn.neural_network. docs/sklearn.md sets the two
side by side.
"""

from __future__ import annotations

try:
    from sklearn.utils.validation import validate_data as _validate_data  # noqa: F401  which scikit-learn 1.6 brought
except ImportError as error:
    raise ImportError("fastfc.estimators needs scikit-learn 1.6 or newer: pip install 'fastfc[sklearn]'") from error

from fastfc.estimators.classifier import MLPClassifier
from fastfc.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
