"""How many threads an estimator computes with: one where others of its kind compute beside it, unless it is told."""

from __future__ import annotations

import os
import sys

from joblib.parallel import get_active_backend

from fastfc.machine.threads import available_threads, check_threads

WORTHWHILE = 500_000  # multiplications in a step from which a second thread pays for its waiting


def threads_for(given: int | None, work: int, backend: str) -> int:
    """`given`, or as many as the machine and OMP_NUM_THREADS allow where the `work` of a step, in multiplications, is worth it.

    The numpy backend has BLAS look to that itself.
    """
    if given is not None:
        return check_threads(given)
    if (work < WORTHWHILE and backend != "numpy") or in_worker():
        return 1
    return min(available_threads(), _openmp_limit())


def in_worker() -> bool:
    """Whether this is a task that joblib (loky, threading, multiprocessing) or Dask runs beside others."""
    if getattr(get_active_backend()[0], "nesting_level", 0):
        return True
    get_worker = getattr(sys.modules.get("distributed"), "get_worker", None)
    if get_worker is None:
        return False
    try:
        get_worker()
    except ValueError:  # not in a task of Dask's
        return False
    return True


def _openmp_limit() -> int:
    """OMP_NUM_THREADS, of whose list the first number counts; 0, other text or none: no limit."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else sys.maxsize
