"""Every choice about Numba, in one place: the decorators of all kernels and of their helpers.

`lowering` spares helpers most of their compilation and `cache` keeps kernels for the next process. Both lean on parts of
Numba that may change with any version: without them kernels compile as `numba.njit` does it, to the same results.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from fastfc.kernels.fused.compiler.folder import cache_folder
from fastfc.kernels.fused.compiler.guard import between_helpers, warn_once, while_compiling

TESTED = (0, 68)  # the Numba whose inside is known here
REQUIREMENT = "numba>=0.68.1,<0.69"

# No flag that lets the compiler assume away NaN, inf or signed zeros, or reorder a sum: only a*b + c may become one FMA.
OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}

# As arguments from kernel to kernel, for Numba compiles a version for each Python integer.
ZERO, ONE = np.arange(2)

HELPER: dict[str, Any] = {}
PLAIN = ""  # why kernels are compiled by numba.njit alone, where they are
try:
    if numba.version_info.short != TESTED:
        raise ImportError("its version")
    from fastfc.kernels.fused.compiler.cache import Cache
    from fastfc.kernels.fused.compiler.lowering import HelperCompiler

    HELPER = {"pipeline_class": HelperCompiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
except (ImportError, AttributeError) as error:
    PLAIN = (
        f"kernels are compiled by plain numba.njit, anew in each process, as Numba {numba.__version__} is not known to "
        f"fastfc ({error}): pip install '{REQUIREMENT}'"
    )
    warn_once("jit", PLAIN)


def inline(function):
    """A helper of kernels: compiled as part of whatever calls it, and a TypeError when called from Python."""
    dispatcher = numba.njit(**HELPER, **OPTIONS)(function)
    if not numba.config.DISABLE_JIT:
        dispatcher.compile = between_helpers(dispatcher.compile)
    return dispatcher


def kernel(function):
    """A kernel that Python calls: compiled on first use, without the GIL, and kept in the user's cache folder."""
    dispatcher, helper = numba.njit(**OPTIONS)(function), inline(function)
    if numba.config.DISABLE_JIT:
        return dispatcher
    # another kernel that calls this one has it compiled as its own part
    dispatcher.get_call_template, dispatcher.get_overload = helper.get_call_template, helper.get_overload
    dispatcher.compile = while_compiling(dispatcher.compile)
    if not PLAIN and cache_folder():
        dispatcher._cache = Cache(function)
    return dispatcher


def why_not_kept() -> str:
    """Why compiled kernels are not kept in `cache_folder`, or "" where they are."""
    return PLAIN or ("" if cache_folder() else "no folder can be written, so that each process compiles anew")
