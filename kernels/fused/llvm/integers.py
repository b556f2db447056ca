"""The smaller and the larger of two integers: for Python's words Numba would compile functions of its own, wrapped and optimised."""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic


def _chosen(comparison):
    def codegen(context, builder, signature, args):
        return builder.select(builder.icmp_signed(comparison, *args), *args)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def smaller(typingctx, a, b):
    return _chosen("<")


@intrinsic
def larger(typingctx, a, b):
    return _chosen(">")
