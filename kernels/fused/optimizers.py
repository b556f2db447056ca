"""The step of an optimiser outside of the tiles, and the numbers of a step: compiled for the kind in hand alone."""

from __future__ import annotations

from collections import namedtuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fastfc.kernels.fused.compiler.jit import OPTIONS, kernel
from fastfc.kernels.fused.llvm.vectors import Arguments
from fastfc.kernels.fused.llvm.views import flat
from fastfc.kernels.optimizers import FORMULAS, STATES, STAYS

# kind: a rule whose type alone counts; rules (steps, numbers) and factors (layers, 2, numbers), as `Optimizer` gives them
Schedule = namedtuple("Schedule", "kind rules factors")


def stays(rule):
    """Whether a parameter without gradient stays where it is."""
    return STAYS[type(rule)](rule)


def formula(w, state, gradient, rule):
    """(w, state) after a step, of single numbers."""
    return FORMULAS[type(rule)](w, state, gradient, rule)


overload(stays, jit_options=OPTIONS)(lambda rule: STAYS[rule.instance_class])
overload(formula, jit_options=OPTIONS)(lambda w, state, gradient, rule: FORMULAS[rule.instance_class])


@intrinsic
def rule_of(typingctx, schedule, step, layer, which):
    """The rule of a step for the weights (which = WEIGHTS) or the biases (BIASES) of a layer."""
    rule_type = schedule.types[0]

    def codegen(context, builder, signature, args):
        rules_type, factors_type = signature.args[0].types[1:]
        _, *arrays = cgutils.unpack_tuple(builder, args[0], 3)
        signature = types.void(rules_type, factors_type)
        x = Arguments(context, builder, signature, arrays, ("rules", "factors"))
        kind = x.element("rules").as_pointer()
        rules = builder.bitcast(x.address("rules", args[1]), kind)
        factors = builder.bitcast(x.address("factors", args[2], args[3]), kind)

        def product(i):
            at = [ir.IntType(64)(i)]
            return builder.fmul(builder.load(builder.gep(rules, at)), builder.load(builder.gep(factors, at)))

        return context.make_tuple(builder, rule_type, [product(i) for i in range(len(rule_type))])

    return rule_type(schedule, types.intp, types.intp, types.intp), codegen


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
def step(parameters, state, gradient, rule):
    """Move parameters and their state along the gradient, in place, by the formula of the kind that `rule` is of.

    parameters, gradient (rows, columns), C-contiguous; state (states, rows, columns).
    """
    w, gradients = flat(parameters), flat(gradient)
    for i in range(w.size):
        w[i], new = formula(w[i], load_state(state, i, rule), gradients[i], rule)
        store_state(state, i, new, rule)
