"""The step of an optimiser outside of the tiles, and the numbers of a step: compiled for the kind in hand alone."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fastfc.kernels.fused.compiler.jit import OPTIONS, inline, kernel
from fastfc.kernels.fused.llvm.views import flat
from fastfc.kernels.optimizers import FORMULAS, KINDS, STATES, STAYS


def stays(rule):
    """Whether a parameter without gradient stays where it is."""
    return STAYS[type(rule)](rule)


def formula(w, state, gradient, rule):
    """(w, state) after a step, of single numbers."""
    return FORMULAS[type(rule)](w, state, gradient, rule)


overload(stays, jit_options=OPTIONS)(lambda rule: STAYS[rule.instance_class])
overload(formula, jit_options=OPTIONS)(lambda w, state, gradient, rule: FORMULAS[rule.instance_class])


@intrinsic
def as_rule(typingctx, numbers, kind):
    """The first of `numbers` (n,) as a rule of the named kind."""
    rule_class = KINDS[kind.instance_class.__name__]
    rule_type = types.NamedTuple([numbers.dtype] * len(rule_class._fields), rule_class)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        values = [builder.load(builder.gep(data, [ir.IntType(64)(i)])) for i in range(len(rule_type))]
        return context.make_tuple(builder, rule_type, values)

    return rule_type(numbers, kind), codegen


@inline
def rule_of(schedule, step, layer, which, out):
    """The rule of a step for the weights (which = WEIGHTS) or the biases (BIASES) of a layer, into out (numbers,)."""
    for i in range(out.size):
        out[i] = schedule.rules[step, i] * schedule.factors[layer, which, i]
    return out


def _state_addresses(context, builder, signature, args):
    """Of element i of each state array."""
    state_type, rule_type = signature.args[0], signature.args[-1]
    array = context.make_array(state_type)(context, builder, args[0])
    between = cgutils.unpack_tuple(builder, array.strides)[0]
    kind = context.get_data_type(state_type.dtype).as_pointer()
    first = builder.bitcast(builder.gep(builder.bitcast(array.data, kind), [args[1]]), ir.IntType(8).as_pointer())
    steps = [builder.mul(between, ir.IntType(64)(s)) for s in range(len(STATES[rule_type.instance_class]))]
    return [builder.bitcast(builder.gep(first, [step]), kind) for step in steps]


@intrinsic
def load_state(typingctx, state, i, rule):
    """The numbers that go with parameter i: state (states, rows, columns), whose planes are C-contiguous."""
    numbers = types.UniTuple(state.dtype, len(STATES[rule.instance_class]))

    def codegen(context, builder, signature, args):
        values = [builder.load(address) for address in _state_addresses(context, builder, signature, args)]
        return context.make_tuple(builder, signature.return_type, values)

    return numbers(state, types.intp, rule), codegen


@intrinsic
def store_state(typingctx, state, i, new, rule):
    """What load_state would then give: new, a tuple of as many numbers as there are states."""
    def codegen(context, builder, signature, args):
        for k, address in enumerate(_state_addresses(context, builder, signature, args)):
            builder.store(builder.extract_value(args[2], k), address)
        return context.get_dummy_value()

    return types.void(state, types.intp, new, rule), codegen


@kernel
def step(parameters, state, gradient, rule, kind):
    """Move parameters and their state along the gradient, in place, by the formula of a kind.

    parameters, gradient (rows, columns), C-contiguous; state (states, rows, columns); rule (numbers,) of that kind.
    """
    w, gradients, numbers = flat(parameters), flat(gradient), as_rule(rule, kind)
    for i in range(w.size):
        w[i], new = formula(w[i], load_state(state, i, numbers), gradients[i], numbers)
        store_state(state, i, new, numbers)
