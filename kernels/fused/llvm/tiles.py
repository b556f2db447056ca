"""Explicit SIMD for the kernels, written once: a vector, an FMA, and the multiply loop that all of them are built on.

Numba vectorises plain loops, but it will not keep a block of sums in registers across a loop. The one loop that the
arithmetic of a network comes down to is therefore emitted as LLVM IR, with vectors as wide as the CPU's registers:

    out[i, j] = init[i, j] + sum over k of A[i, k] B[k, j]            a block of rows x vectors of `out` in registers

in two forms: `dense_tile` runs over all k, `gather_tile` over those in a list, where A is not zero. The sum runs in
ascending order with one FMA a term, so that a result does not depend on how the work is divided.
"""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from fastfc.kernels.plan import GROUP

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _probe() -> tuple[int, bool]:
    """Bytes in a vector register, and whether there is a fused multiply-add: asked of the code generator itself.

    What it emits for a <16 x float> FMA tells both, for the CPU that Numba compiles for and for every CPU to come.
    """
    vector = ir.VectorType(ir.FloatType(), 16)
    module = ir.Module(name="probe")
    function = ir.Function(module, ir.FunctionType(vector, [vector] * 3), "probe")
    fma = ir.Function(module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.call(fma, function.args))
    assembly = cpu_target.target_context.codegen()._tm.emit_assembly(llvm.parse_assembly(str(module)))
    width = 64 if "zmm" in assembly else 32 if "ymm" in assembly else 16
    return width, any(name in assembly for name in ("vfmadd", "fmla", "xvmadd", "vfmacc"))


VECTOR_BYTES, HAS_FMA = _probe()
REGISTERS = (
    32 if VECTOR_BYTES == 64 or "aarch64" in llvm.get_default_triple() or "arm64" in llvm.get_default_triple() else 16
)
# Shapes of blocks, as (rows, most vectors): as many sums as possible, with one row of B and one value of A beside them.
DENSE_TILES = ((8, 3), (2, 3), (1, 8)) if REGISTERS == 32 else ((4, 3), (2, 3), (1, 8))
GATHER_TILES = ((GROUP, 6), (1, 14)) if REGISTERS == 32 else ((GROUP, 3), (1, 12))


AHEAD = 8  # rows of B that are fetched before they are needed


def lanes(dtype) -> int:
    """Elements of `dtype` in one vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


class Vectors:
    """Emits vector instructions for one element type at the builder's position. Addresses are 64-bit integers."""

    def __init__(self, builder, element):
        self.builder, self.element = builder, element
        self.size = 8 if isinstance(element, ir.DoubleType) else 4
        self.lanes = VECTOR_BYTES // self.size
        self.type = ir.VectorType(element, self.lanes)

    def _pointer(self, address, offset, kind):
        return self.builder.inttoptr(self.builder.add(address, ir.Constant(I64, offset)), kind.as_pointer())

    def load(self, address, vector=0):
        instruction = self.builder.load(self._pointer(address, vector * VECTOR_BYTES, self.type))
        instruction.align = self.size
        return instruction

    def store(self, value, address, vector=0):
        self.builder.store(value, self._pointer(address, vector * VECTOR_BYTES, self.type)).align = self.size

    def integer(self, address, i):
        """The i-th int32 at `address`, as a 64-bit integer."""
        at = self.builder.add(address, self.builder.mul(i, I64(4)))
        return self.builder.sext(self.builder.load(self._pointer(at, 0, I32)), I64)

    def load_one(self, address, i):
        """The i-th number at `address`."""
        at = self.builder.add(address, self.builder.mul(i, I64(self.size)))
        return self.builder.load(self._pointer(at, 0, self.element))

    def store_one(self, value, address, i):
        """The i-th number at `address` becomes `value`."""
        at = self.builder.add(address, self.builder.mul(i, I64(self.size)))
        self.builder.store(value, self._pointer(at, 0, self.element))

    def sum(self, value):
        """The sum of all lanes, by halves."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{8 * self.size}"
        kind = ir.FunctionType(self.element, [self.element, self.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [self.element(-0.0), value], fastmath=("reassoc",))

    def fill(self, value):
        """A vector filled with one number."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, value, I32(0))
        return self.shuffle(first, undefined, [0] * self.lanes)

    def broadcast(self, address):
        """A vector filled with the one number at `address`."""
        return self.fill(self.load_one(address, I64(0)))

    def shuffle(self, a, b, lanes):
        """The lanes of a, then those of b, that `lanes` numbers."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, self.lanes), lanes))

    def prefetch(self, address, vector=0, write=True):
        """Begin to fetch a vector's cache line, to be written or read soon."""
        pointer = self._pointer(address, vector * VECTOR_BYTES, I8)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0i8")
        self.builder.call(function, [pointer, I32(int(write)), I32(3), I32(1)])

    def fma(self, a, b, c):
        """a * b + c, in one rounding where the CPU can, otherwise in two: a library call would be 50 times slower."""
        if not HAS_FMA:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        name = f"llvm.fma.v{self.lanes}f{8 * self.size}"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(self.type, [self.type] * 3), name)
        return self.builder.call(function, [a, b, c])


def compress(builder, value, chosen):
    """The chosen lanes of `value` moved to the front, in their order; what follows them is undefined."""
    kind = value.type
    suffix = {I32: "i32", ir.FloatType(): "f32", ir.DoubleType(): "f64"}[kind.element]
    name = f"llvm.experimental.vector.compress.v{kind.count}{suffix}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, chosen.type, kind]), name)
    return builder.call(function, [value, chosen, ir.Constant(kind, ir.Undefined)])


def loop(builder, count, sums, body):
    """Emit `for k in range(count): sums = body(k, sums)` with the sums in registers; returns the final sums."""
    entry, again, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", count, I64(0)), again, done)
    builder.position_at_end(again)
    k = builder.phi(I64)
    carried = [builder.phi(s.type) for s in sums]
    following, new = builder.add(k, I64(1)), body(k, carried)
    for phi, first, after in zip([k, *carried], [I64(0), *sums], [following, *new], strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(after, again)
    builder.cbranch(builder.icmp_signed("<", following, count), again, done)
    builder.position_at_end(done)
    results = [builder.phi(s.type) for s in sums]
    for phi, first, after in zip(results, sums, new, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(after, again)
    return results


def switch_on(builder, value, cases, emit):
    """Emit a block for each of the numbers `cases`, by emit(case), and go on behind the one that `value` names."""
    done = builder.append_basic_block("switched")
    switch = builder.switch(value, done)
    for case in cases:
        block = builder.append_basic_block(f"case{case}")
        switch.add_case(I64(case), block)
        builder.position_at_end(block)
        emit(case)
        builder.branch(done)
    builder.position_at_end(done)


def _tile_function(module, element, gather, update):
    """The LLVM function behind all tiles, whose arguments are addresses, distances in bytes and counts, all int64:

    tile(a, over_i, over_k, index, count, b, b_step, init, init_step, out, out_step, case, velocity, rule, moving)

    A(i, k) is at a + i over_i + k over_k, and `case` = 64 rows + vectors picks the block's shape. With `gather`, term k
    is the one of number index[k]: that row of B and, unless there is an update, that column of A. With `update` the sums
    are a gradient, and step (see `momentum`) is done on the spot: `out` are the weights, `rule` is followed in memory by
    the learning rate, and without momentum (`moving` = 0) the velocity
    is not touched. It is one function for all callers, never inlined, so that it is compiled once.
    """
    name = f"fastfc_tile_{element}{'_gather' * gather}{'_update' * update}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 15), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, element)
    a, over_i, over_k, index, count, b, b_step, init, init_step, out, out_step, case, velocity, rule, moving = (
        function.args
    )

    def tile(shape):
        height, vectors = divmod(shape, 64)
        a_rows = [builder.add(a, builder.mul(over_i, I64(r))) for r in range(height)]

        def body(k, sums):
            term = v.integer(index, k) if gather else k
            source = builder.add(b, builder.mul(term, b_step))
            along = builder.mul(k if update else term, over_k)
            ahead = builder.add(k, I64(AHEAD))
            coming = builder.add(b, builder.mul(v.integer(index, ahead) if gather else ahead, b_step))
            for q in range(vectors):
                v.prefetch(coming, q, write=False)
            b_row = [v.load(source, q) for q in range(vectors)]
            new = []
            for r in range(height):
                x = v.broadcast(builder.add(a_rows[r], along))
                new += [v.fma(x, b_row[q], sums[r * vectors + q]) for q in range(vectors)]
            return new

        def each(first, step):
            return [(builder.add(first, builder.mul(step, I64(r))), q) for r in range(height) for q in range(vectors)]

        if update:
            for address, q in each(out, out_step) + each(velocity, out_step):
                v.prefetch(address, q)
        sums = loop(builder, count, [v.load(address, q) for address, q in each(init, init_step)], body)
        targets = each(out, out_step)
        if not update:
            for total, (address, q) in zip(sums, targets, strict=True):
                v.store(total, address, q)
            return
        keep, c, d, e, decay, lr = (v.broadcast(builder.add(rule, I64(i * v.size))) for i in range(6))
        with builder.if_else(builder.icmp_signed("!=", moving, I64(0))) as (with_momentum, without):
            with with_momentum:
                for total, (w_at, q), (v_at, _) in zip(sums, targets, each(velocity, out_step), strict=True):
                    w = v.load(w_at, q)
                    g = v.fma(decay, w, total)
                    moved = v.fma(c, g, builder.fmul(keep, v.load(v_at, q)))
                    v.store(moved, v_at, q)
                    v.store(builder.fsub(w, builder.fmul(lr, v.fma(e, moved, builder.fmul(d, g)))), w_at, q)
            with without:
                for total, (w_at, q) in zip(sums, targets, strict=True):
                    w = v.load(w_at, q)
                    v.store(builder.fsub(w, builder.fmul(builder.fmul(lr, d), v.fma(decay, w, total))), w_at, q)

    shapes = [64 * height + n for height, most in (GATHER_TILES if gather else DENSE_TILES) for n in range(1, most + 1)]
    switch_on(builder, case, shapes, tile)
    builder.ret_void()
    return function


class _Arguments:
    """The arguments of an intrinsic by name: numbers as they are, arrays as an address and strides."""

    def __init__(self, context, builder, signature, args, names):
        self.context, self.builder = context, builder
        self.types, self.values = dict(zip(names, signature.args, strict=True)), dict(zip(names, args, strict=True))

    def __getitem__(self, name):
        return self.values[name]

    def element(self, name):
        return self.context.get_data_type(self.types[name].dtype)

    def address(self, name, row=None, column=None):
        array = self.context.make_array(self.types[name])(self.context, self.builder, self.values[name])
        strides = cgutils.unpack_tuple(self.builder, array.strides)
        address = self.builder.ptrtoint(array.data, I64)
        for index, stride in zip((row, column), strides, strict=False):
            if index is not None:
                address = self.builder.add(address, self.builder.mul(index, stride))
        return address

    def strides(self, name):
        array = self.context.make_array(self.types[name])(self.context, self.builder, self.values[name])
        return cgutils.unpack_tuple(self.builder, array.strides)

    def rows(self, name):
        array = self.context.make_array(self.types[name])(self.context, self.builder, self.values[name])
        return cgutils.unpack_tuple(self.builder, array.shape)[0]

    def columns(self, name):
        array = self.context.make_array(self.types[name])(self.context, self.builder, self.values[name])
        return cgutils.unpack_tuple(self.builder, array.shape)[1]

    def along(self, name, transposed):
        """Distances between A(i, k) and its neighbours, where A(i, k) is A[i, k] or, transposed, A[k, i]."""
        row, column = self.strides(name)
        flip = self.builder.icmp_signed("!=", self.values[transposed], I64(0))
        return self.builder.select(flip, column, row), self.builder.select(flip, row, column)


def intrinsic_of(names, given, emit, returns=types.void):
    """Signature and code generator of an intrinsic: arrays as they are, every number an int64."""

    def codegen(context, builder, signature, args):
        result = emit(builder, _Arguments(context, builder, signature, args, names))
        return context.get_dummy_value() if result is None else result

    return returns(*[t if isinstance(t, types.Array) else types.int64 for t in given]), codegen


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
        a = builder.add(x.address("A"), builder.add(builder.mul(x["i"], over_i), builder.mul(x["start"], over_k)))
        b, c = x.address("B", x["start"], x["column"]), x.address("out", x["i"], x["column"])
        b_step, c_step = x.strides("B")[0], x.strides("out")[0]
        case = builder.add(builder.mul(x["rows"], I64(64)), x["vectors"])
        count = builder.sub(x["stop"], x["start"])
        function = _tile_function(builder.module, x.element("B"), gather=False, update=False)
        zeros = ir.Constant(ir.ArrayType(I8, VECTOR_BYTES * DENSE_TILES[2][1]), None)
        zeros = builder.ptrtoint(cgutils.global_constant(builder, "zeros", zeros), I64)
        is_bias, is_out = (builder.icmp_signed("==", x["origin"], I64(n)) for n in (1, 2))
        first = builder.select(is_out, c, builder.select(is_bias, x.address("bias", None, x["column"]), zeros))
        first_step = builder.select(is_out, c_step, I64(0))
        multiplication = [a, over_i, over_k, I64(0), count, b, b_step]
        builder.call(function, [*multiplication, first, first_step, c, c_step, case, *[I64(0)] * 3])

    return intrinsic_of(names, (A, i, transposed, start, stop, B, origin, bias, out, column, rows, vectors), emit)


@intrinsic
def dense_update_tile(typingctx, A, i, B, init, every, weights, velocity, rule, column, rows, vectors):
    """One step of weights[i + r, column:] along init[(i + r) * every, column:] + sum over k of A[k, i + r] B[k, column:].

    rule = (b, c, d, e, decay, lr). r < `rows` and `vectors` vectors of columns: one of the shapes in DENSE_TILES.
    """
    names = ("A", "i", "B", "init", "every", "weights", "velocity", "rule", "column", "rows", "vectors")

    def emit(builder, x):
        over_k, over_i = x.strides("A")
        a = builder.add(x.address("A"), builder.mul(x["i"], over_i))
        b, b_step = x.address("B", None, x["column"]), x.strides("B")[0]
        _update(builder, x, False, [a, over_i, over_k, I64(0), x.rows("B"), b, b_step])

    return intrinsic_of(names, (A, i, B, init, every, weights, velocity, rule, column, rows, vectors), emit)


def _update(builder, x, gather, multiplication):
    """Call the tile function that ends with a step of weights[i:], velocity[i:]."""
    init, weights = (
        x.address(n, r, x["column"]) for n, r in (("init", builder.mul(x["i"], x["every"])), ("weights", x["i"]))
    )
    velocity = x.address("velocity", x["i"], x["column"])
    w_step, init_step = x.strides("weights")[0], builder.mul(x["every"], x.strides("init")[0])
    case = builder.add(builder.mul(x["rows"], I64(64)), x["vectors"])
    rule, element = x.address("rule"), x.element("rule")
    size = 8 if isinstance(element, ir.DoubleType) else 4
    first_two = [
        builder.load(builder.inttoptr(builder.add(rule, I64(i * size)), element.as_pointer())) for i in range(2)
    ]
    still = [builder.fcmp_ordered("==", value, ir.Constant(element, 0.0)) for value in first_two]
    moving = builder.zext(builder.not_(builder.and_(*still)), I64)
    function = _tile_function(builder.module, element, gather, update=True)
    builder.call(function, [*multiplication, init, init_step, weights, w_step, case, velocity, rule, moving])


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
        case = builder.add(builder.mul(x.rows("out"), I64(64)), x["vectors"])
        function = _tile_function(builder.module, x.element("B"), gather=True, update=False)
        listed = [x.address("A"), over_i, over_k, x.address("index"), x["count"], b, b_step]
        builder.call(function, [*listed, init, I64(0), out, out_step, case, *[I64(0)] * 3])

    return intrinsic_of(names, (A, index, count, B, init, out, column, vectors), emit)


@intrinsic
def gather_update_tile(
    typingctx, A, index, start, stop, i, B, init, every, weights, velocity, rule, column, rows, vectors
):
    """One step of weights[i + r, column:] along the gradient, over the samples that index[start:stop] lists:

        init[(i + r) * every, column:] + sum over p in [start, stop) of A[p, r] B[index[p], column:]

    rule = (b, c, d, e, decay, lr). r < `rows` and `vectors` vectors of columns: one of the shapes in GATHER_TILES.
    """
    names = (
        "A",
        "index",
        "start",
        "stop",
        "i",
        "B",
        "init",
        "every",
        "weights",
        "velocity",
        "rule",
        "column",
        "rows",
        "vectors",
    )

    def emit(builder, x):
        over_k, over_i = x.strides("A")
        b, b_step = x.address("B", None, x["column"]), x.strides("B")[0]
        count = builder.sub(x["stop"], x["start"])
        _update(
            builder,
            x,
            True,
            [x.address("A", x["start"]), over_i, over_k, x.address("index", x["start"]), count, b, b_step],
        )

    return intrinsic_of(
        names, (A, index, start, stop, i, B, init, every, weights, velocity, rule, column, rows, vectors), emit
    )
