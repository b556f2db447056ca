"""Epochs of one sample a step: no batch to share work in, so what counts is to touch each weight once, or not at all.

Without momentum and L2, a weight of the first layer moves only where its feature is not zero. In the other layers a row of
W is needed twice, for the delta below it (with the weights before the step) and for the step: both are done while it is in
registers, so that there is nothing to transpose. One thread does it all.
"""

from __future__ import annotations

from llvmlite import ir
from numba.extending import intrinsic

from fastfc.kernels.fused import sparse, step
from fastfc.kernels.fused.activations import activate, chain
from fastfc.kernels.fused.arena import (
    ACTIVATION,
    FAN_IN,
    FAN_OUT,
    PADDED,
    A,
    B,
    D,
    W,
    forward_hidden,
    matrix,
    sparse_work,
)
from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline, kernel
from fastfc.kernels.fused.llvm.packing import list_columns
from fastfc.kernels.fused.llvm.tiles import I64, VECTOR_BYTES, Vectors, intrinsic_of, loop, switch_on
from fastfc.kernels.fused.llvm.views import flat, view, view_rows

WIDEST = 8  # vectors of delta that stay in registers


def fits(plan, lanes, is_sparse, background):
    """Whether a training can take this way."""
    b, c, _, _, decay = plan.rule
    still = b == c == decay == 0 and plan.batch_size == 1
    return still and is_sparse and background == 0 and max(plan.layers[1:]) <= WIDEST * lanes


def _rows_function(module, element, gather, below):
    """The LLVM function rows(w, w_step, index, count, x, delta, length, out, vectors), addresses and counts int64:

    for each k < count, or with `gather` for each k in index[:count], with the row w = W[k]:
        out[k] = w . delta   (with `below`)    and then   w -= length x[k] delta
    """
    name = f"fastfc_rows_{element}{'_gather' * gather}{'_below' * below}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 6 + [element, I64, I64]), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, element)
    w, w_step, index, count, x, delta, length, out, vectors = function.args

    def emit(n):
        d = [v.load(delta, q) for q in range(n)]

        def body(k, _):
            k = v.integer(index, k) if gather else k
            row = builder.add(w, builder.mul(k, w_step))
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
        function = _rows_function(builder.module, a.element("weights"), gather, below)
        nowhere = I64(0)
        builder.call(
            function,
            [
                a.address("weights"),
                a.strides("weights")[0],
                a.address("index") if gather else nowhere,
                a["count"],
                a.address("x"),
                a.address("delta"),
                builder.load(builder.inttoptr(a.address("length"), a.element("weights").as_pointer())),
                a.address("out") if below else nowhere,
                builder.udiv(
                    builder.mul(a.columns("delta"), I64(Vectors(builder, a.element("delta")).size)), I64(VECTOR_BYTES)
                ),
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


@inline
def forward_one(arena, layout, codes, scale, work):
    """A single sample through all layers; returns how many of its features are not zero: work.index lists them, of work.x."""
    features = codes.shape[1]
    sparse.load_rows(codes, ZERO, ONE, ZERO, features, scale, work.x)
    count = list_columns(work.x, features, work.index)
    out = matrix(arena, layout, 0, A, ONE)
    weights, bias = matrix(arena, layout, 0, W, layout[0, FAN_IN]), matrix(arena, layout, 0, B, ONE)
    sparse.multiply_listed(work.x, work.index, count, weights, bias, out)
    activate(out, layout[0, ACTIVATION])
    forward_hidden(arena, layout, ZERO, ONE)
    return count


@inline
def step_one(arena, layout, count, length, work):
    """Back through all layers, each of which makes its step on the way."""
    for l in range(layout.shape[0] - 1, -1, -1):
        delta = matrix(arena, layout, l, D, ONE)
        bias, gradient = flat(matrix(arena, layout, l, B, ONE)), flat(delta)
        for j in range(bias.size):
            bias[j] -= length[0] * gradient[j]
        weights = matrix(arena, layout, l, W, layout[l, FAN_IN])
        if l == 0:
            step_listed(weights, work.index, count, work.x, delta, length)
        else:
            a, below = matrix(arena, layout, l - 1, A, ONE), matrix(arena, layout, l - 1, D, ONE)
            step_and_below(weights, layout[l, FAN_IN], a, delta, length, below)
            for j in range(layout[l, FAN_IN], layout[l - 1, PADDED]):
                below[0, j] = 0
            chain(a, below, layout[l - 1, ACTIVATION])


@kernel
def run(
    _thread,
    _threads,
    _counter,
    arena,
    layout,
    places,
    sizes,
    constants,
    _split,
    _halves,
    data,
    memory,
    order,
    shifts,
    rates,
    sample_losses,
    start,
    stop,
):
    """Steps `start` to `stop` of an epoch; the parameters are those of epoch.run."""
    codes, target = view_rows(memory.codes, 0, 1), view(arena, places[step.TARGET], ONE, layout[-1, FAN_OUT])
    work = sparse_work(arena, places[step.WORK], layout[0, FAN_IN], ZERO, memory.work)
    length, scale = memory.rules[0, 0, 5:], constants[:1]
    for s in range(start, stop):
        step.load_samples(data, order[s : s + 1], shifts[s : s + 1], sizes, constants, codes)
        step.load_targets(data, order[s : s + 1], constants, target)
        count = forward_one(arena, layout, codes, scale, work)
        step.loss_and_delta(arena, layout, sizes.loss, target, arena.dtype.type(1), ZERO, ONE, sample_losses[s : s + 1])
        length[0] = memory.rules[0, 0, 2] * rates[s]
        step_one(arena, layout, count, length, work)
