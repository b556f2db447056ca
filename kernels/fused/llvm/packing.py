"""Data moved about in vectors: what is not zero listed or packed together, squares of a matrix transposed."""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels.fused.cpu import WORDS
from fastfc.kernels.fused.llvm.vectors import I32, I64, Vectors, compress, intrinsic_of
from fastfc.kernels.plan import GROUP


@intrinsic
def list_columns(typingctx, x, columns, index):
    """List those of the first `columns` columns of x that hold a number other than 0, ascending; returns how many.

    x (GROUP, columns rounded up to whole vectors), with zeros at the end; index (int32) with room for as many.
    """
    names = ("x", "columns", "index")

    def emit(builder, a):
        v = Vectors(builder, a.element("x"))
        bits, integers = ir.IntType(v.lanes), ir.VectorType(I32, v.lanes)
        ascending, zero = ir.Constant(integers, list(range(v.lanes))), ir.Constant(v.type, None)
        count = cgutils.alloca_once_value(builder, I64(0))
        with cgutils.for_range_slice(builder, I64(0), a["columns"], I64(v.lanes)) as (start, _):
            rows = [v.load(a.address("x", I64(r), start)) for r in range(GROUP)]
            found = functools.reduce(builder.or_, [builder.fcmp_unordered("!=", row, zero) for row in rows])
            so_far = builder.load(count)
            numbers = builder.insert_element(ir.Constant(integers, ir.Undefined), builder.trunc(start, I32), I32(0))
            numbers = builder.add(
                ascending, builder.shuffle_vector(numbers, numbers, ir.Constant(integers, [0] * v.lanes))
            )
            at = builder.bitcast(a.address("index", so_far), integers.as_pointer())
            builder.store(compress(builder, numbers, found), at).align = 4
            builder.store(builder.add(so_far, builder.zext(builder.ctpop(builder.bitcast(found, bits)), I64)), count)
        return builder.load(count)

    return intrinsic_of(names, (x, columns, index), emit, types.int64)


def _transposed(v, rows):
    """The rows of a square of vectors, as the columns: halves of blocks of 2, 4, 8 ... rows and columns change places."""
    rows, distance = list(rows), 1
    while distance < v.lanes:
        low = [lane - distance + v.lanes if lane & distance else lane for lane in range(v.lanes)]
        high = [lane + v.lanes if lane & distance else lane + distance for lane in range(v.lanes)]
        for r in range(v.lanes):
            if not r & distance:
                upper, lower = rows[r], rows[r + distance]
                rows[r], rows[r + distance] = v.shuffle(upper, lower, low), v.shuffle(upper, lower, high)
        distance *= 2
    return rows


@intrinsic
def transpose_block(typingctx, x, i, j, out):
    """out[j : j + lanes, i : i + lanes] = x[i : i + lanes, j : j + lanes]^T, in registers."""
    names = ("x", "i", "j", "out")

    def emit(builder, a):
        v = Vectors(builder, a.element("x"))
        rows = [v.load(a.address("x", builder.add(a["i"], I64(r)), a["j"])) for r in range(v.lanes)]
        for r, row in enumerate(_transposed(v, rows)):
            v.store(row, a.address("out", builder.add(a["j"], I64(r)), a["i"]))

    return intrinsic_of(names, (x, i, j, out), emit)


@intrinsic
def transpose_words(typingctx, codes, i, j, out):
    """out[g, i + r] = the four bytes codes[i + r, j + 4 g : j + 4 g + 4], for g and r below WORDS; out uint32."""
    names = ("codes", "i", "j", "out")

    def emit(builder, a):
        v = Vectors(builder, ir.FloatType())  # only moved about: what the bits mean does not matter
        rows = [v.load(a.address("codes", builder.add(a["i"], I64(r)), a["j"])) for r in range(v.lanes)]
        for g, row in enumerate(_transposed(v, rows)):
            v.store(row, a.address("out", I64(g), a["i"]))

    return intrinsic_of(names, (codes, i, j, out), emit)


@intrinsic
def pack_words(typingctx, words, g, i, index, packed, count):
    """List the columns of words[g, i : i + WORDS], within the row, that are not 0, and return the new count.

    Their numbers go to index, and they themselves to packed, from entry `count` on, where room for WORDS is needed.
    words, packed uint32; index int32.
    """
    names = ("words", "g", "i", "index", "packed", "count")

    def emit(builder, x):
        numbers, flags = ir.VectorType(I32, WORDS), ir.IntType(WORDS)

        def splat(value):
            one = builder.insert_element(ir.Constant(numbers, ir.Undefined), builder.trunc(value, I32), I32(0))
            return builder.shuffle_vector(one, one, ir.Constant(numbers, [0] * WORDS))

        lane = builder.add(splat(x["i"]), ir.Constant(numbers, list(range(WORDS))))
        loaded = builder.load(builder.bitcast(x.address("words", x["g"], x["i"]), numbers.as_pointer()))
        loaded.align = 4
        some = builder.icmp_unsigned("!=", loaded, ir.Constant(numbers, None))
        for name, value in (("index", lane), ("packed", loaded)):
            kept = compress(builder, value, some)
            builder.store(kept, builder.bitcast(x.address(name, x["count"]), numbers.as_pointer())).align = 4
        return builder.add(x["count"], builder.zext(builder.ctpop(builder.bitcast(some, flags)), I64))

    return intrinsic_of(names, (words, g, i, index, packed, count), emit, types.int64)


@intrinsic
def pack_four(typingctx, codes, i, j, scale, index, packed, count):
    """If one of codes[i, j : j + 4] is not 0: index[count] = i, packed[count, :4] = scale * codes[i, j : j + 4]; returns the new count.

    Written in any case, and counted only then: no branch to predict. scale (1,) and packed have one float type.
    """
    names = ("codes", "i", "j", "scale", "index", "packed", "count")

    def emit(builder, x):
        element, kind = x.element("packed"), x.element("codes")
        four, loaded_type = ir.VectorType(element, 4), ir.VectorType(kind, 4)
        whole = ir.IntType(4 * x.context.get_abi_sizeof(kind) * 8)
        at = x.address("codes", x["i"], x["j"])
        if isinstance(kind, ir.IntType):  # all four codes as one integer
            word = builder.load(builder.bitcast(at, whole.as_pointer()))
            word.align = 1
            some = builder.icmp_unsigned("!=", word, whole(0))
            values = builder.uitofp(builder.bitcast(word, loaded_type), four)
        else:
            values = builder.load(builder.bitcast(at, loaded_type.as_pointer()))
            values.align = 4
            different = builder.fcmp_unordered("!=", values, ir.Constant(loaded_type, None))
            some = builder.icmp_unsigned("!=", builder.bitcast(different, ir.IntType(4)), ir.IntType(4)(0))
        scale = builder.load(builder.bitcast(x.address("scale"), element.as_pointer()))
        scales = builder.insert_element(ir.Constant(four, ir.Undefined), scale, I32(0))
        scales = builder.shuffle_vector(scales, scales, ir.Constant(ir.VectorType(I32, 4), [0] * 4))
        target = builder.bitcast(x.address("packed", x["count"]), four.as_pointer())
        builder.store(builder.fmul(values, scales), target).align = 4
        builder.store(builder.trunc(x["i"], I32), builder.bitcast(x.address("index", x["count"]), I32.as_pointer()))
        return builder.add(x["count"], builder.zext(some, I64))

    return intrinsic_of(names, (codes, i, j, scale, index, packed, count), emit, types.int64)
