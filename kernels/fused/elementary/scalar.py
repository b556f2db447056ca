"""The decorator of everything in this folder."""

from __future__ import annotations

import numba

from fastfc.kernels.fused.compiler.jit import inline


def scalar(function):
    """`inline`, whatever the size of the function: one call left inside a loop, and the loop is not vectorised."""
    dispatcher = inline(function)
    if not numba.config.DISABLE_JIT:
        dispatcher.targetoptions["forceinline"] = True
    return dispatcher
