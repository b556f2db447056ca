"""Rows 20 to 26: fastfc.estimators beside the classes of scikit-learn."""

from __future__ import annotations

from dataclasses import replace

from bench.rows.entries import in_float32, ours, theirs
from bench.rows.kernels import MNIST, PREDICT_ONE, PREDICT_TEST
from bench.workloads import Claim, Row, Workload

FIT_MNIST = replace(MNIST, task="fit", epochs=5)
FIT_BINARY = Workload((50, 100, 1), "binary", 20_000, task="fit", loss="sigmoid_bce", epochs=20)
FIT_CSR = Workload((50_000, 100, 1), "csr", 20_000, task="fit", loss="sigmoid_bce", epochs=2)
FIT_IRIS = Workload((4, 100, 3), "iris", 150, task="fit", epochs=200)
SEARCH = Workload((64, 100, 10), "digits", 1_797, task="search", epochs=50)
PROBABILITIES = replace(PREDICT_TEST, task="predict_proba")


def small_set(number: str, data: str, rows: int, layers: tuple[int, ...], loss: str = "softmax_ce") -> Row:
    """A row of an estimator with all defaults on a small set."""
    workload = Workload(layers, data, rows, task="fit", loss=loss, epochs=200)
    return Row(
        number, f"estimator: {data}, all defaults, 200 epochs, float64", workload,
        (ours, theirs, replace(ours, name="fixed cost of a fit", workload=replace(workload, task="fixed"))),
        (Claim("faster", 10, ("scikit-learn",)), Claim("seconds", 2e-3, entry="fixed cost of a fit")),
    )  # fmt: skip


ROWS = (
    Row(
        "20a", "estimator: MNIST, hidden (200, 50), Adam, 5 epochs, float32", FIT_MNIST,
        in_float32(ours, theirs),
        (Claim("faster", 6, ("scikit-learn",)),),
    ),
    Row(
        "20b", "the same in float64", FIT_MNIST,
        (ours, theirs),
        (Claim("faster", 5, ("scikit-learn",)),),
    ),
    small_set("21a", "iris", 150, (4, 100, 3)),
    small_set("21b", "wine", 178, (13, 100, 3)),
    small_set("21c", "breast cancer", 569, (30, 100, 1), "sigmoid_bce"),
    small_set("21d", "digits", 1_797, (64, 100, 10)),
    small_set("21e", "diabetes", 442, (10, 100, 1), "mse"),
    Row(
        "22", "estimator: 20,000 x 50 dense, hidden (100,), binary, 20 epochs", FIT_BINARY,
        (ours, theirs),
        (Claim("faster", 5, ("scikit-learn",)),),
    ),
    Row(
        "23a", "estimator: 20,000 x 50,000 CSR, 20 non-zeros a row, hidden (100,), 2 epochs", FIT_CSR,
        (ours, theirs),
        (Claim("faster", 5, ("scikit-learn",)),),
    ),
    Row(
        "23b", "peak memory of a process that does the same", FIT_CSR,
        (ours, theirs),
        (Claim("memory", 1.5, ("scikit-learn",)),),
        kind="fit memory",
    ),
    Row(
        "24a", "estimator: predict_proba of one sample, 784-200-50-10", replace(PREDICT_ONE, task="predict_proba", calls=1_000),
        in_float32(ours, theirs),
        (Claim("faster", 8, ("scikit-learn",)),),
    ),
    Row(
        "24b", "estimator: predict_proba of 10,000 test images", PROBABILITIES,
        in_float32(ours, theirs),
        (Claim("faster", 3, ("scikit-learn",)),),
    ),
    Row(
        "25", "GridSearchCV, 12 candidates x 5 folds on digits, 50 epochs, n_jobs=2", SEARCH,
        (ours, theirs),
        (Claim("faster", 8, ("scikit-learn",)),),
    ),
    Row(
        "26", "first fit on iris in a fresh process, import included, warm kernels", FIT_IRIS,
        (ours, theirs),
        (Claim("seconds", 1.2), Claim("longer", 0.3, ("scikit-learn",))),
        kind="first fit",
    ),
)  # fmt: skip
