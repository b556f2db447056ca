"""The one loop that the arithmetic of a network comes down to, with a block of its sums in registers:

    out[i, j] = init[i, j] + sum over k of A[i, k] B[k, j]            a block of rows x vectors of `out`

in two forms: `dense_tile` runs over all k, `gather_tile` over those in a list, where A is not zero. The sum runs in
ascending order with one FMA a term, so that a result does not depend on how the work is divided. Where the sums are a
gradient, the formula of the optimiser is applied to them on the spot.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels import optimizers
from fastfc.kernels.fused.cpu import REGISTERS, VECTOR_BYTES
from fastfc.kernels.fused.llvm.vectors import (
    ADDRESS,
    I8,
    I64,
    NOWHERE,
    Number,
    Vectors,
    intrinsic_of,
    loop,
    switch_on,
)
from fastfc.kernels.plan import GROUP

# Shapes of blocks, as (rows, most vectors): as many sums as possible, with one row of B and one value of A beside them. At least 8:
# fewer wait for each other, as an FMA takes 4 clocks, of which 2 begin in each.
DENSE_TILES = ((8, 3), (2, 3), (1, 8)) if REGISTERS == 32 else ((4, 3), (2, 3), (1, 8), (8, 1))
GATHER_TILES = ((GROUP, 6), (1, 14)) if REGISTERS == 32 else ((GROUP, 3), (1, 12))

CACHE_LINE = 64
AHEAD = 8  # rows of B that are fetched before they are needed, a line at a time


def _tile_function(module, element, gather, kind=None):
    """The LLVM function behind all tiles, whose arguments are addresses, and distances in bytes and counts as int64:

    tile(a, over_i, over_k, index, count, b, b_step, init, init_step, out, out_step, shape, state, state_step, rule ...)

    A(i, k) is at a + i over_i + k over_k, and `shape` = 64 rows + vectors is the block's. With `gather`, term k is the one
    of number index[k]: that row of B and, unless there is an update, that column of A, whose rows are then contiguous.
    With a `kind` of optimiser the sums are a gradient, `out` are the weights, and the kind's formula moves them and their
    state arrays, state_step bytes apart, as the numbers `rule` say. It is one function for all callers, never inlined, so
    that it is compiled once.
    """
    name = f"fastfc_tile_{element}{'_gather' * gather}{'_' + kind.__name__ if kind else ''}"
    if name in module.globals:
        return module.globals[name]
    numbers = [element] * len(kind._fields) if kind else []
    arguments = [ADDRESS, I64, I64, ADDRESS, I64, ADDRESS, I64, ADDRESS, I64, ADDRESS, I64, I64, ADDRESS, I64, *numbers]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, element)
    a, over_i, over_k, index, count, b, b_step, init, init_step, out, out_step, shape, state, state_step, *rule = (
        function.args
    )

    def emit(shape):
        height, vectors = divmod(shape, 64)
        a_rows = [builder.gep(a, [builder.mul(over_i, I64(r))]) for r in range(height)]

        def body(k, sums):
            term = v.integer(index, k) if gather else k
            source = builder.gep(b, [builder.mul(term, b_step)])
            along = builder.mul(k, over_k) if kind or not gather else builder.mul(term, I64(v.size))
            ahead = builder.add(k, I64(AHEAD))
            coming = builder.gep(b, [builder.mul(v.integer(index, ahead) if gather else ahead, b_step)])
            for q in range(0, vectors, max(1, CACHE_LINE // VECTOR_BYTES)):
                v.prefetch(coming, q, write=False)
            b_row = [v.load(source, q) for q in range(vectors)]
            new = []
            for r in range(height):
                x = v.broadcast(builder.gep(a_rows[r], [along]))
                new += [v.fma(x, b_row[q], sums[r * vectors + q]) for q in range(vectors)]
            return new

        def each(first, step):
            return [(builder.gep(first, [builder.mul(step, I64(r))]), q) for r in range(height) for q in range(vectors)]

        targets = each(out, out_step)
        states = [
            each(builder.gep(state, [builder.mul(state_step, I64(s))]), out_step)
            for s in range(len(optimizers.STATES[kind]) if kind else 0)
        ]
        if kind:
            for address, q in [*targets, *(place for array in states for place in array)]:
                v.prefetch(address, q)
        sums = loop(builder, count, [v.load(address, q) for address, q in each(init, init_step)], body)
        if not kind:
            for total, (address, q) in zip(sums, targets, strict=True):
                v.store(total, address, q)
            return
        of_step = kind(*(Number(v, v.fill(value)) for value in rule))
        for i, (address, q) in enumerate(targets):
            old = [Number(v, v.load(*array[i])) for array in states]
            weight, new = optimizers.FORMULAS[kind](Number(v, v.load(address, q)), old, Number(v, sums[i]), of_step)
            for number, array in zip(new, states, strict=True):
                v.store(number.value, *array[i])
            v.store(weight.value, address, q)

    shapes = [64 * height + n for height, most in (GATHER_TILES if gather else DENSE_TILES) for n in range(1, most + 1)]
    switch_on(builder, shape, shapes, emit)
    builder.ret_void()
    return function


def _shape(builder, rows, vectors):
    return builder.add(builder.mul(rows, I64(64)), vectors)


@intrinsic
def dense_tile(typingctx, A, i, transposed, start, stop, B, origin, bias, out, column, rows, vectors):
    """out[i + r, column:] = origin + sum over k in [start, stop) of A(i + r, k) B[k, column:].

    `origin` 0 stands for zeros, 1 for bias[0, column:], 2 for `out` itself. A(i, k) is A[i, k], or A[k, i] where
    `transposed` is 1. B and out have contiguous rows. r < `rows`, and `vectors`
    vectors of columns are computed: one of the shapes in DENSE_TILES. For each k that costs one load a vector, one
    broadcast a row and one FMA for each pair.
    """
    names = ("A", "i", "transposed", "start", "stop", "B", "origin", "bias", "out", "column", "rows", "vectors")

    def emit(builder, x):
        over_i, over_k = x.along("A", "transposed")
        a = builder.gep(x.address("A"), [builder.add(builder.mul(x["i"], over_i), builder.mul(x["start"], over_k))])
        b, c = x.address("B", x["start"], x["column"]), x.address("out", x["i"], x["column"])
        b_step, c_step = x.strides("B")[0], x.strides("out")[0]
        count = builder.sub(x["stop"], x["start"])
        function = _tile_function(builder.module, x.element("B"), gather=False)
        zeros = ir.Constant(ir.ArrayType(I8, VECTOR_BYTES * DENSE_TILES[2][1]), None)
        zeros = builder.bitcast(cgutils.global_constant(builder, "zeros", zeros), ADDRESS)
        is_bias, is_out = (builder.icmp_signed("==", x["origin"], I64(n)) for n in (1, 2))
        first = builder.select(is_out, c, builder.select(is_bias, x.address("bias", None, x["column"]), zeros))
        first_step = builder.select(is_out, c_step, I64(0))
        terms = [a, over_i, over_k, NOWHERE, count, b, b_step]
        shape = _shape(builder, x["rows"], x["vectors"])
        builder.call(function, [*terms, first, first_step, c, c_step, shape, NOWHERE, I64(0)])

    return intrinsic_of(names, (A, i, transposed, start, stop, B, origin, bias, out, column, rows, vectors), emit)


@intrinsic
def dense_update_tile(typingctx, A, i, B, init, init_step, weights, state, rule, column, rows, vectors):
    """One step of weights[i + r, column:] along init[(i + r) * init_step, column:] + sum over k of A[k, i + r] B[k, column:].

    state (states, fan_in, fan_out) goes with weights. `rule`, of a kind in `optimizers`, says what step. r < `rows` and
    `vectors` vectors of columns: one of the shapes in DENSE_TILES.
    """
    names = ("A", "i", "B", "init", "init_step", "weights", "state", "rule", "column", "rows", "vectors")

    def emit(builder, x):
        over_k, over_i = x.strides("A")
        a = builder.gep(x.address("A"), [builder.mul(x["i"], over_i)])
        b, b_step = x.address("B", None, x["column"]), x.strides("B")[0]
        _update(builder, x, False, [a, over_i, over_k, NOWHERE, x.rows("B"), b, b_step])

    return intrinsic_of(names, (A, i, B, init, init_step, weights, state, rule, column, rows, vectors), emit)


def _update(builder, x, gather, terms):
    """Call the tile function that ends with a step of weights[i:] and of their state."""
    init = x.address("init", builder.mul(x["i"], x["init_step"]), x["column"])
    weights, state = x.address("weights", x["i"], x["column"]), x.address("state", None, x["i"], x["column"])
    w_step, init_step = x.strides("weights")[0], builder.mul(x["init_step"], x.strides("init")[0])
    function = _tile_function(builder.module, x.element("weights"), gather, x.types["rule"].instance_class)
    shape = _shape(builder, x["rows"], x["vectors"])
    moved = [weights, w_step, shape, state, x.strides("state")[0]]
    builder.call(function, [*terms, init, init_step, *moved, *x.fields("rule")])


@intrinsic
def gather_tile(typingctx, A, index, count, B, init, out, column, vectors):
    """out[r, column:] = init[0, column:] + sum over the k in index[:count] of A[r, k] B[k, column:], for all rows of out.

    As dense_tile, but only the rows of B that `index` (int32) lists are read. One of the shapes in GATHER_TILES.
    """
    names = ("A", "index", "count", "B", "init", "out", "column", "vectors")

    def emit(builder, x):
        over_i, over_k = x.strides("A")
        b, init, out = (x.address(name, None, x["column"]) for name in ("B", "init", "out"))
        b_step, out_step = (x.strides(name)[0] for name in ("B", "out"))
        function = _tile_function(builder.module, x.element("B"), gather=True)
        listed = [x.address("A"), over_i, over_k, x.address("index"), x["count"], b, b_step]
        shape = _shape(builder, x.rows("out"), x["vectors"])
        builder.call(function, [*listed, init, I64(0), out, out_step, shape, NOWHERE, I64(0)])

    return intrinsic_of(names, (A, index, count, B, init, out, column, vectors), emit)


@intrinsic
def gather_update_tile(
    typingctx, A, index, start, stop, i, B, init, init_step, weights, state, rule, column, rows, vectors
):
    """One step of weights[i + r, column:] along the gradient, over the samples that index[start:stop] lists:

        init[(i + r) * init_step, column:] + sum over p in [start, stop) of A[p, r] B[index[p], column:]

    state and rule as in dense_update_tile. r < `rows` and `vectors` vectors of columns: one of the shapes in GATHER_TILES.
    """
    names = ("A", "index", "start", "stop", "i", "B", "init", "init_step", "weights", "state", "rule", "column")
    names += ("rows", "vectors")

    def emit(builder, x):
        over_k, over_i = x.strides("A")
        a, index, b = x.address("A", x["start"]), x.address("index", x["start"]), x.address("B", None, x["column"])
        count = builder.sub(x["stop"], x["start"])
        _update(builder, x, True, [a, over_i, over_k, index, count, b, x.strides("B")[0]])

    given = (A, index, start, stop, i, B, init, init_step, weights, state, rule, column, rows, vectors)
    return intrinsic_of(names, given, emit)
