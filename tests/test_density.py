"""The choice of the first layer's kernel: by the share of terms that zeros leave, on data whose share is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastfc
from fastfc.density import MOST, SAMPLED, choose_input_kernel, computed_share


def striped(n: int, features: int, lit: int) -> np.ndarray:
    """The first `lit` features of each sample are not zero: the same groups of four, of samples and of features."""
    X = np.zeros((n, features))
    X[:, :lit] = 1
    return X


@pytest.mark.parametrize("lit", [0, 8, 24, 32])
@pytest.mark.parametrize("form", [np.asarray, lambda X: X.astype(np.uint8), scipy.sparse.csr_array], ids=str)
def test_the_share_of_whole_groups_is_exact(form: Any, lit: int) -> None:
    assert computed_share(form(striped(64, 32, lit))) == lit / 32


def test_a_group_counts_if_any_of_it_does() -> None:
    """One non-zero in each group of four features, in one sample of four: 1/4 of the columns forward, 1/4 of the rows."""
    X = np.zeros((64, 32))
    X[::4, ::4] = 1
    assert computed_share(X) == 0.25


@pytest.mark.parametrize("n", [1, 2, 3, 5, SAMPLED, SAMPLED + 1, 3 * SAMPLED])
def test_any_number_of_rows_will_do(n: int) -> None:
    assert computed_share(striped(n, 32, 8)) == 0.25


@pytest.mark.parametrize("shift", [0.0, -1.5])
def test_a_background_other_than_zero_is_left_out_too(shift: float) -> None:
    X = striped(64, 32, 8) + shift
    assert computed_share(X, shift) == 0.25
    assert fastfc.train((X, np.arange(64) % 2), hidden=(), epochs=1, dtype="float64").input_kernel == "sparse"


@pytest.mark.parametrize(
    ("X", "wanted", "chosen", "why"),
    [
        (striped(64, 32, 8), "auto", "sparse", "25 % of the terms remain when zeros are left out, at most 60 %"),
        (striped(64, 32, 32), "auto", "dense", "100 % of the terms remain"),
        (striped(64, 32, 32), "sparse", "sparse", "as asked for"),
        (striped(64, 32, 8), "dense", "dense", "as asked for"),
        (striped(64, 15, 0), "sparse", "dense", "15 features, fewer than 16"),
    ],
)
def test_the_choice_and_its_reason(X: np.ndarray, wanted: str, chosen: str, why: str) -> None:
    kernel, reason = choose_input_kernel(X, wanted)
    assert kernel == chosen and reason.startswith(why)


def test_the_limit_lies_where_it_says() -> None:
    for lit, chosen in ((int(MOST * 40), "sparse"), (int(MOST * 40) + 4, "dense")):
        assert choose_input_kernel(striped(64, 40, lit), "auto")[0] == chosen


def test_a_result_says_what_was_chosen_and_why() -> None:
    X, y = striped(64, 32, 8), np.arange(64) % 2
    settings: dict[str, Any] = {"hidden": (), "epochs": 1, "dtype": "float64"}
    auto = fastfc.train((X, y), **settings)
    dense = fastfc.train((X, y), input_kernel="dense", **settings)
    reference = fastfc.train((X, y), backend="numpy", **settings)
    assert (auto.input_kernel, dense.input_kernel, reference.input_kernel) == ("sparse", "dense", "dense")
    assert auto.input_kernel_reason.startswith("25 %") and dense.input_kernel_reason == "as asked for"
    for other in (dense, reference):
        np.testing.assert_allclose(other.model.weights[0], auto.model.weights[0], rtol=1e-12, atol=1e-15)
