"""The decorator of everything in this folder, and what Python has no words for."""

from __future__ import annotations

import numba
from llvmlite import ir
from numba.extending import intrinsic

from fastfc.kernels.fused.compiler.jit import inline


def scalar(function):
    """`inline`, whatever the size of the function: one call left inside a loop, and the loop is not vectorised."""
    dispatcher = inline(function)
    if not numba.config.DISABLE_JIT:
        dispatcher.targetoptions["forceinline"] = True
    return dispatcher


@intrinsic
def positive(typingctx, x):
    """max(x, 0), NaN for NaN, and -0.0 where x is -0.0 and the CPU gives it.

    Where x stays in its place, LLVM would store the zeros of a comparison alone, under a mask: ten times as long on some CPUs.
    """

    def emit(context, builder, signature, arguments):
        (value,) = arguments
        maximum = builder.module.declare_intrinsic("llvm.maximum", [value.type], ir.FunctionType(value.type, [value.type] * 2))
        return builder.call(maximum, [value, ir.Constant(value.type, 0)], fastmath=("nsz",))

    return x(x), emit
