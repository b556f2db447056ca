"""The rule that chooses between the sparse and the dense first layer, at its boundary, and what the sparse one is given."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastfc
from fastfc.kernels.fused.encode import encode
from fastfc.training.input_kernel import GROUP, LEAST_FEATURES, MOST, background_of, choose_input_kernel, computed_share

BLOCKS = 10


def blocks(count: int, kind: str = "uint8") -> np.ndarray:
    """BLOCKS² square blocks of GROUP samples and GROUP features, `count` of them not 0 in one corner."""
    X = np.zeros((BLOCKS * GROUP, BLOCKS * GROUP), kind)
    for block in np.random.default_rng(0).permutation(BLOCKS**2)[:count]:
        X[block // BLOCKS * GROUP, block % BLOCKS * GROUP + GROUP - 1] = 3
    return X


def test_one_number_in_a_block_makes_the_block_computed() -> None:
    """Forward a block's column in GROUP samples, in the gradient its row in GROUP features: 1 / GROUP of it each."""
    for count in (0, 1, 37, BLOCKS**2):
        assert computed_share(blocks(count)) == pytest.approx(count / BLOCKS**2 / GROUP)


@pytest.mark.parametrize("kind", ["uint8", "float32", "csr", "standardised"])
def test_sparse_is_chosen_up_to_the_boundary_and_dense_beyond(kind: str) -> None:
    last = int(np.floor(MOST * BLOCKS**2 + 1e-9))
    for count, expected in ((0, "sparse"), (last, "sparse"), (last + 1, "dense"), (BLOCKS**2, "dense")):
        X = np.kron(blocks(count)[::GROUP, GROUP - 1 :: GROUP] > 0, np.ones((GROUP, GROUP))).astype("float32")
        X = {"csr": csr_array, "standardised": lambda x: (x - 0.13) / 0.31}.get(kind, lambda x: x.astype(kind))(X)
        background = np.float32(-0.13) / np.float32(0.31) if kind == "standardised" else 0.0
        chosen, why = choose_input_kernel(X, "auto", background)
        assert chosen == expected, count
        assert f"{count} % of the terms" in why and f"{100 * MOST:.0f} %" in why


def test_the_rule_can_be_overridden_but_for_few_features() -> None:
    X, y = blocks(BLOCKS**2 // 2, "float32"), np.arange(BLOCKS * GROUP) % 3
    few = X[:, : LEAST_FEATURES - 1]
    for wanted in ("sparse", "dense"):
        result = fastfc.train((X, y), epochs=1, hidden=(4,), input_kernel=wanted, threads=1)
        assert (result.input_kernel, result.input_kernel_reason) == (wanted, "as asked for")
        assert choose_input_kernel(few, wanted)[0] == "dense"
    assert choose_input_kernel(X[:, :LEAST_FEATURES], "sparse")[0] == "sparse"


def test_the_background_is_the_most_common_value_of_floats() -> None:
    X = np.full((9, 20), -0.4, np.float32)
    X[:, :9] = np.arange(9)
    assert background_of(X) == np.float32(-0.4)
    assert background_of(X.astype(np.uint8)) == background_of(csr_array(X)) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("background", "step"), [(0.0, 1 / 255), (-0.4242, 1 / 255 / 0.3081), (-7.5, 0.125), (3.0, 41.0)]
)
def test_scaled_and_shifted_bytes_become_bytes_again(background: float, step: float, dtype: str) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (700, 30)).astype(np.uint8)
    codes[:, ::3] = 0
    X = (background + step * codes).astype(dtype)
    found, scale = encode(X, float(X[0, 0]))
    np.testing.assert_array_equal(found, codes, strict=True)
    np.testing.assert_allclose(background + scale * found, X, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(X).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("other", [0.1, -1 / 255, 256 / 255, 100.5 / 255, 1 / 255 + 1e-5])
def test_floats_that_are_no_bytes_stay_as_they_are(other: float, dtype: str) -> None:
    """Even if a single one of them is not, in a row that is not among those looked at first."""
    X = (np.random.default_rng(0).integers(0, 256, (700, 30)) / 255).astype(dtype)
    X[:, ::3] = 0
    assert encode(X, 0.0)[0].dtype == np.uint8
    X[3, 4] = other
    codes, scale = encode(X, 0.0)
    assert (codes.dtype, scale) == (X.dtype, 1.0)
    np.testing.assert_array_equal(codes, X)
