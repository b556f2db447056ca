"""The step of an optimiser outside of the tiles, and the numbers of a step: compiled for the kind in hand alone."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastfc.kernels.fused.compiler.jit import inline, kernel
from fastfc.kernels.fused.compiler.slots import unpack
from fastfc.kernels.fused.llvm.vectors import I64, Contracted, Vectors, intrinsic_of
from fastfc.kernels.optimizers import FORMULAS, KINDS, STATES, STAYS


@intrinsic
def as_rule(typingctx, rule):
    """The numbers of a Rule as its kind names them."""
    numbers, kind = rule.kinds
    rule_class = KINDS[kind.instance_class.__name__]
    rule_type = types.NamedTuple([numbers.dtype] * len(rule_class._fields), rule_class)

    def codegen(context, builder, signature, args):
        data = context.make_array(numbers)(context, builder, unpack(context, builder, numbers, args[0], 0)).data
        values = [builder.load(builder.gep(data, [ir.IntType(64)(i)])) for i in range(len(rule_type))]
        return context.make_tuple(builder, rule_type, values)

    return rule_type(rule), codegen


@inline
def rule_of(schedule, step, layer, which, out):
    """The rule of a step for the weights (which = WEIGHTS) or the biases (BIASES) of a layer, into out (numbers,)."""
    for i in range(out.size):
        out[i] = schedule.rules[step, i] * schedule.factors[layer, which, i]
    return out


@intrinsic
def stays(typingctx, numbers):
    """Whether a parameter without gradient stays where it is."""
    names = STAYS[numbers.instance_class]

    def codegen(context, builder, signature, args):
        result = ir.IntType(1)(names is not None)
        for name in names or ():
            number = builder.extract_value(args[0], numbers.fields.index(name))
            result = builder.and_(result, builder.fcmp_ordered("==", number, ir.Constant(number.type, 0)))
        return result

    return types.boolean(numbers), codegen


@intrinsic
def move(typingctx, parameters, state, gradient, numbers):
    """One step of parameters, gradient (rows, whole vectors), C-contiguous, and of state (states, rows, whole vectors)."""
    kind = numbers.instance_class

    def emit(builder, x):
        v = Vectors(builder, x.element("parameters"))
        rule = kind(*(Contracted(v, v.fill(value)) for value in x.fields("numbers")))
        count = builder.mul(x.rows("parameters"), x.columns("parameters"))
        with cgutils.for_range_slice(builder, I64(0), count, I64(v.lanes)) as (i, _):
            places = [x.address("state", I64(s), None, i) for s in range(len(STATES[kind]))]
            old = [Contracted(v, v.load(place)) for place in places]
            w, g = (x.address(name, None, i) for name in ("parameters", "gradient"))
            moved, new = FORMULAS[kind](Contracted(v, v.load(w)), old, Contracted(v, v.load(g)), rule)
            for number, place in zip(new, places, strict=True):
                v.store(number.value, place)
            v.store(moved.value, w)

    given = (parameters, state, gradient, numbers)
    return intrinsic_of(("parameters", "state", "gradient", "numbers"), given, emit)


@kernel
def step(parameters, state, gradient, rule):
    """Move parameters and their state along the gradient, in place, by the formula of the rule's kind.

    parameters, gradient (rows, columns), C-contiguous; state (states, rows, columns).
    """
    move(parameters, state, gradient, as_rule(rule))
