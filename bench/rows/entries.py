"""Who runs the workloads."""

from __future__ import annotations

from dataclasses import replace

from bench.workloads import ESTIMATOR, JAX, MPI, NUMPY, SKLEARN, SKLEARN_ESTIMATOR, TORCH, Entry, Workload

fastfc = Entry("fastfc")
jax = Entry("JAX", JAX)
torch = Entry("PyTorch", TORCH)
compiled = Entry("PyTorch compiled", TORCH, variant="compile")
sklearn = Entry("scikit-learn", SKLEARN)
sklearn_csr = Entry("scikit-learn CSR", SKLEARN, variant="csr")
numpy32 = Entry("numpy float32", variant="numpy")
numpy64 = Entry("numpy float64", variant="numpy", dtype="float64")
numpy_wide = Entry("numpy float32, AVX-512 BLAS", variant="numpy", env=(("OPENBLAS_CORETYPE", "SkylakeX"),))
fastfc_avx2 = Entry("fastfc built for AVX2", env=(("NUMBA_CPU_NAME", "haswell"), ("NUMBA_CPU_FEATURES", "")))
by_hand = Entry("NumPy by hand", NUMPY)
two_ranks = Entry("fastfc, 2 ranks", MPI)  # of one thread each
ours = Entry("fastfc", ESTIMATOR, dtype="float64")
theirs = Entry("scikit-learn", SKLEARN_ESTIMATOR, dtype="float64")


def one_thread(entry: Entry) -> Entry:
    return replace(entry, name=f"{entry.name}, 1 thread", threads=1)


def other(what: str, workload: Workload) -> Entry:
    """fastfc on a workload other than the row's."""
    return Entry(f"fastfc, {what}", workload=workload)


def in_float32(*entries: Entry) -> tuple[Entry, ...]:
    return tuple(replace(entry, dtype="float32") for entry in entries)
