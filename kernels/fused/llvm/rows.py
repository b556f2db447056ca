"""Rows of a weight matrix: their squares; and in a step of one sample, multiplied by delta for the layer below, and moved."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels.fused.llvm.vectors import ADDRESS, I64, NOWHERE, Vectors, intrinsic_of, loop, switch_on

WIDEST = 8  # vectors of delta that stay in registers


def _rows_function(module, element, gather, below):
    """The LLVM function rows(w, w_step, index, count, x, delta, length, out, vectors), whose w_step is in bytes:

    for each k < count, or with `gather` for each k in index[:count], with the row w = W[k]:
        out[k] = w . delta   (with `below`)    and then   w -= length x[k] delta
    """
    name = f"fastfc_rows_{element}{'_gather' * gather}{'_below' * below}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(
        module,
        ir.FunctionType(ir.VoidType(), [ADDRESS, I64, ADDRESS, I64, ADDRESS, ADDRESS, element, ADDRESS, I64]),
        name,
    )
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, element)
    w, w_step, index, count, x, delta, length, out, vectors = function.args

    def emit(n):
        d = [v.load(delta, q) for q in range(n)]

        def body(k, _):
            k = v.integer(index, k) if gather else k
            row = builder.gep(w, [builder.mul(k, w_step)])
            weights = [v.load(row, q) for q in range(n)]
            if below:
                total = v.type(None)
                for weight, gradient in zip(weights, d, strict=True):
                    total = v.fma(weight, gradient, total)
                v.store_one(v.sum(total), out, k)
            amount = v.fill(builder.fneg(builder.fmul(length, v.load_one(x, k))))
            for q, (weight, gradient) in enumerate(zip(weights, d, strict=True)):
                v.store(v.fma(amount, gradient, weight), row, q)
            return []

        loop(builder, count, [], body)

    switch_on(builder, vectors, range(1, WIDEST + 1), emit)
    builder.ret_void()
    return function


def _rows(names, given, gather, below):
    def emit(builder, a):
        v = Vectors(builder, a.element("weights"))
        function = _rows_function(builder.module, a.element("weights"), gather, below)
        builder.call(
            function,
            [
                a.address("weights"),
                a.strides("weights")[0],
                a.address("index") if gather else NOWHERE,
                a["count"],
                a.address("x"),
                a.address("delta"),
                v.load_one(a.address("length"), I64(0)),
                a.address("out") if below else NOWHERE,
                builder.udiv(a.columns("delta"), I64(v.lanes)),
            ],
        )

    return intrinsic_of(names, given, emit)


@intrinsic
def step_listed(typingctx, weights, index, count, x, delta, length):
    """weights[k] -= length x[0, k] delta, for the k in index[:count]; delta (1, fan_out), length (1,)."""
    return _rows(
        ("weights", "index", "count", "x", "delta", "length"), (weights, index, count, x, delta, length), True, False
    )


@intrinsic
def step_and_below(typingctx, weights, count, x, delta, length, out):
    """out[0, k] = weights[k] . delta[0], then weights[k] -= length x[0, k] delta[0], for k < count."""
    return _rows(
        ("weights", "count", "x", "delta", "length", "out"), (weights, count, x, delta, length, out), False, True
    )


@intrinsic
def sum_of_squares(typingctx, row):
    """The sum of the squares of row (1, whole vectors), as a float64: lane by lane, then of the lanes."""

    def emit(builder, a):
        v = Vectors(builder, a.element("row"))
        total = cgutils.alloca_once_value(builder, ir.Constant(v.type, None))
        with cgutils.for_range_slice(builder, I64(0), a.columns("row"), I64(v.lanes)) as (start, _):
            numbers = v.load(a.address("row", None, start))
            builder.store(v.fma(numbers, numbers, builder.load(total)), total)
        result = v.sum(builder.load(total))
        return result if v.size == 8 else builder.fpext(result, ir.DoubleType())

    return intrinsic_of(("row",), (row,), emit, types.float64)
