"""How many threads an estimator computes with: one where others of its kind compute beside it, unless it is told."""

from __future__ import annotations

import sys
from collections.abc import Callable

from joblib.parallel import get_active_backend

from fastfc.machine.threads import available_threads, check_threads


def threads_for(given: int | None, backend: str, worth: Callable[[int], int]) -> int:
    """`given`, or what is `worth` having of as many as the machine allows.

    The numpy backend has BLAS look to that itself.
    """
    if given is not None:
        return check_threads(given)
    if in_worker():
        return 1
    most = available_threads()
    return most if backend == "numpy" else worth(most)


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
