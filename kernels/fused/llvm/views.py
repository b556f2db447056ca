"""What threads need inside compiled code: views of one shared block of memory, a division of work, and a barrier.

An epoch runs in as many Python threads as are wanted, each inside one compiled call that holds no GIL. They meet twice a
step at a barrier of their own. That takes no threading layer of Numba, so nothing of theirs (fork, nested use, lost
exceptions) can go wrong.
"""

from __future__ import annotations

import sys

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels.fused.compiler.jit import inline

SPINS = 20_000  # about 0.2 ms of waiting before the core is offered to others: more than a step's imbalance
YIELD = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())
CACHE_LINE = 64


def _unowned(context, builder, array_type, data, shape):
    """A C-contiguous array at `data` without an owner."""
    size = ir.IntType(64)(context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    strides = [size]
    for extent in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    result = context.make_array(array_type)(context, builder)
    context.populate_array(
        result,
        data=data,
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=size,
        meminfo=None,
    )
    return result._getvalue()


@intrinsic
def view(typingctx, memory, offset, rows, columns):
    """memory[offset : offset + rows * columns] as a (rows, columns) array without a reference count.

    Threads that slice one array fight over its count. The caller keeps `memory` alive.
    """
    array_type = types.Array(memory.dtype, 2, "C")

    def codegen(context, builder, signature, args):
        memory, offset, rows, columns = args
        data = builder.gep(context.make_array(signature.args[0])(context, builder, memory).data, [offset])
        return _unowned(context, builder, array_type, data, [rows, columns])

    return array_type(memory, types.intp, types.intp, types.intp), codegen


@intrinsic
def flat(typingctx, matrix):
    """All elements of a C-contiguous matrix in one row, for loops that need no end of a row."""
    array_type = types.Array(matrix.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        rows, columns = cgutils.unpack_tuple(builder, array.shape)
        return _unowned(context, builder, array_type, array.data, [builder.mul(rows, columns)])

    return array_type(matrix), codegen


@intrinsic
def view_rows(typingctx, matrix, start, stop):
    """matrix[start:stop] of a C-contiguous matrix, without a reference count."""
    array_type = types.Array(matrix.dtype, 2, "C")

    def codegen(context, builder, signature, args):
        matrix, start, stop = args
        array = context.make_array(signature.args[0])(context, builder, matrix)
        _, columns = cgutils.unpack_tuple(builder, array.shape)
        data = builder.gep(array.data, [builder.mul(start, columns)])
        return _unowned(context, builder, array_type, data, [builder.sub(stop, start), columns])

    return array_type(matrix, types.intp, types.intp), codegen


@inline
def fill(matrix, value):
    """Every element of a C-contiguous matrix becomes `value`."""
    elements = flat(matrix)
    for i in range(elements.size):
        elements[i] = value


@intrinsic
def _arrive(typingctx, counter):
    """Add one to counter[0] and return what it was; all that was written before can be seen by who reads the sum."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counter), codegen


@intrinsic
def _arrived(typingctx, counter):
    """counter[0], read anew each time."""

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.load_atomic(array.data, "acquire", 8)

    return types.int64(counter), codegen


@inline
def barrier(counter, threads, passed):
    """Wait until all `threads` have come here `passed` + 1 times; returns passed + 1. counter: int64, zero at the start."""
    if threads > 1:
        _arrive(counter)
        spins = 0
        while _arrived(counter) < threads * (passed + 1):
            spins += 1
            if spins > SPINS:
                YIELD()
    return passed + 1


@inline
def share(n, unit, thread, threads):
    """(start, stop) of a thread's share of n items, cut at multiples of `unit`."""
    units = (n + unit - 1) // unit
    return min(n, units * thread // threads * unit), min(n, units * (thread + 1) // threads * unit)


def aligned(count: int, dtype: np.dtype) -> np.ndarray:
    """(count,) zeros that begin on a cache line, or on a 2 MiB page where they fill one, so that the OS may use such pages."""
    itemsize = np.dtype(dtype).itemsize
    align = 1 << 21 if count * itemsize >= 1 << 21 else CACHE_LINE
    raw = np.zeros(count + align // itemsize, dtype)
    start = -raw.ctypes.data % align // itemsize
    return raw[start : start + count]
