"""The multiplication of dropout on vectors: one hash of 32 bits for two units, whose halves are compared where they lie."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels.fused.cpu import WORDS
from fastfc.kernels.fused.llvm.vectors import I32, I64

HASHED = ir.VectorType(I32, WORDS)
GOLDEN = 0x9E3779B1


def _filled(builder, value, kind):
    """A vector filled with one number."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count))


def _hashes(builder, first, low, high):
    """The words number first, first + 1, ... of a key (low, high), as vectors."""

    def constant(value):
        return ir.Constant(HASHED, [value] * WORDS)

    def shifted(h, bits):
        return builder.xor(h, builder.lshr(h, constant(bits)))

    j = builder.add(_filled(builder, first, HASHED), ir.Constant(HASHED, list(range(WORDS))))
    h = builder.add(builder.mul(j, constant(GOLDEN)), low)
    h = builder.mul(shifted(h, 16), constant(0x21F0AAAD))
    h = builder.mul(builder.xor(shifted(h, 15), high), constant(0x735A2D97))
    return shifted(h, 15)


@intrinsic
def drop_vectors(typingctx, row, low, high, threshold, kept):
    """row (units,) *= 0 where the unit draws less than `threshold`, else kept, which is 1 for bytes; returns how many units.

    Those at the end that fill no vector of words are left. low, high: the key; kept has the dtype of the row.
    """

    def codegen(context, builder, signature, args):
        row_type = signature.args[0]
        array = context.make_array(row_type)(context, builder, args[0])
        (units,) = cgutils.unpack_tuple(builder, array.shape)
        element = context.get_data_type(row_type.dtype)
        low, high = (_filled(builder, value, HASHED) for value in args[1:3])
        threshold = builder.trunc(args[3], ir.IntType(16))

        def block(start, count):
            """`count` units from `start` on: all that a vector of words draws, or the first half."""
            kind, draws = ir.VectorType(element, count), ir.VectorType(ir.IntType(16), count)
            words = _hashes(builder, builder.trunc(builder.lshr(start, I64(1)), I32), low, high)
            drawn = builder.bitcast(words, ir.VectorType(ir.IntType(16), 2 * WORDS))
            if count < 2 * WORDS:
                drawn = builder.shuffle_vector(drawn, drawn, ir.Constant(ir.VectorType(I32, count), list(range(count))))
            dropped = builder.icmp_unsigned("<", drawn, _filled(builder, threshold, draws))
            zeros = ir.Constant(kind, None)
            place = builder.bitcast(builder.gep(array.data, [start]), kind.as_pointer())
            numbers = builder.load(place)
            numbers.align = 1
            if isinstance(element, ir.IntType):  # bytes, whose factor is in their scale
                result = builder.select(dropped, zeros, numbers)
            else:
                result = builder.fmul(numbers, builder.select(dropped, zeros, _filled(builder, args[4], kind)))
            builder.store(result, place).align = 1

        whole = builder.and_(units, I64(-2 * WORDS))
        with cgutils.for_range_slice(builder, I64(0), whole, I64(2 * WORDS)) as (start, _):
            block(start, 2 * WORDS)
        has_half = builder.icmp_signed(">=", builder.sub(units, whole), I64(WORDS))
        with builder.if_then(has_half):
            block(whole, WORDS)
        return builder.add(whole, builder.select(has_half, I64(WORDS), I64(0)))

    return types.int64(row, types.uint32, types.uint32, types.uint32, row.dtype), codegen
