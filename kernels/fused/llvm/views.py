"""Views of one block of memory inside compiled code, without the reference counts that threads would fight over."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels.fused.compiler.jit import inline
from fastfc.kernels.fused.compiler.slots import array_of


def _unowned(context, builder, array_type, data, shape, strides=None):
    """An array at `data` without an owner, C-contiguous where no strides are given."""
    size = ir.IntType(64)(array_type.dtype.bitwidth // 8)
    if strides is None:
        strides = [size]
        for extent in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], extent))
    return array_of(context, builder, array_type, data, shape, strides)


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
def view_states(typingctx, matrix, distance, states):
    """(states, rows, columns): what lies `distance`, twice `distance` ... elements behind a C-contiguous matrix, in its form."""
    array_type = types.Array(matrix.dtype, 3, "A")

    def codegen(context, builder, signature, args):
        matrix, distance, states = args
        array = context.make_array(signature.args[0])(context, builder, matrix)
        rows, columns = cgutils.unpack_tuple(builder, array.shape)
        row, element = cgutils.unpack_tuple(builder, array.strides)
        strides = [builder.mul(distance, element), row, element]
        data = builder.gep(array.data, [distance])
        return _unowned(context, builder, array_type, data, [states, rows, columns], strides)

    return array_type(matrix, types.intp, types.intp), codegen


@intrinsic
def bytes_of(typingctx, numbers):
    """The bytes of a C-contiguous array of numbers in a row, one after the other."""
    array_type = types.Array(types.uint8, 1, "C")

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        (count,) = cgutils.unpack_tuple(builder, array.shape)
        data = builder.bitcast(array.data, ir.IntType(8).as_pointer())
        return _unowned(context, builder, array_type, data, [builder.mul(count, array.itemsize)])

    return array_type(numbers), codegen


@intrinsic
def as_dtype(typingctx, stored, dtype):
    """Bytes as numbers of the named dtype: stored (..., bytes), whose rows are contiguous, as (..., numbers)."""
    numbers = from_dtype(np.dtype(dtype.instance_class.__name__))
    array_type = types.Array(numbers, stored.ndim, stored.layout)

    def codegen(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        element = context.get_data_type(numbers)
        size = ir.IntType(64)(numbers.bitwidth // 8)
        *shape, columns = cgutils.unpack_tuple(builder, array.shape)
        *strides, _ = cgutils.unpack_tuple(builder, array.strides)
        data = builder.bitcast(array.data, element.as_pointer())
        extents = [*shape, builder.udiv(columns, size)]
        return _unowned(context, builder, array_type, data, extents, [*strides, size])

    return array_type(stored, dtype), codegen
