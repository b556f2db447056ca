"""Views of the arena, the one block of memory with all numbers of a network, and the forward pass through it.

The parameters of all layers lie side by side. Behind them follow, in the same order and `distance` numbers apart, the
arrays of the optimiser's state, and where it is kept the gradient: whatever stands at a weight's offset in one of these
belongs to that weight. `arena.Arena` lays it out.
"""

from __future__ import annotations

from fastfc.kernels.fused.compiler.jit import ONE, ZERO, inline
from fastfc.kernels.fused.compiler.slots import call
from fastfc.kernels.fused.cpu import VECTOR_BYTES
from fastfc.kernels.fused.dense import BIAS, STRAIGHT
from fastfc.kernels.fused.llvm.views import view, view_states
from fastfc.kernels.fused.records import (
    ACTIVATE,
    BIASES,
    DELTAS,
    FAN_IN,
    FAN_OUT,
    OUTPUTS,
    PADDED,
    PRODUCT,
    SAVED,
    SLOPES,
    TRANSPOSED,
    WEIGHTS,
    Work,
)
from fastfc.kernels.plan import GROUP


@inline
def weights_of(model, layer, lo, hi):
    """Rows lo to hi of the weights of a layer: (hi - lo, padded)."""
    padded = model.layout[layer, PADDED]
    return view(model.arena, model.layout[layer, WEIGHTS] + lo * padded, hi - lo, padded)


@inline
def all_weights(model, layer):
    """(fan_in, padded)"""
    return weights_of(model, layer, ZERO, model.layout[layer, FAN_IN])


@inline
def bias_of(model, layer):
    """(1, padded)"""
    return view(model.arena, model.layout[layer, BIASES], ONE, model.layout[layer, PADDED])


@inline
def state_of(model, parameters):
    """(states, rows, padded): what the optimiser keeps for parameters that are a view of the arena."""
    return view_states(parameters, model.distance, model.states)


@inline
def gradient_of(model, layer, lo, hi):
    """Rows lo to hi of the gradient of a layer's weights, where it is kept."""
    padded = model.layout[layer, PADDED]
    return view(model.arena, model.gradient + model.layout[layer, WEIGHTS] + lo * padded, hi - lo, padded)


@inline
def bias_gradient_of(model, layer):
    """(1, padded)"""
    return view(model.arena, model.gradient + model.layout[layer, BIASES], ONE, model.layout[layer, PADDED])


@inline
def _samples(model, layer, column, lo, hi):
    padded = model.layout[layer, PADDED]
    return view(model.arena, model.layout[layer, column] + lo * padded, hi - lo, padded)


@inline
def outputs_of(model, layer, lo, hi):
    """What a layer gives for rows lo to hi: (hi - lo, padded)."""
    return _samples(model, layer, OUTPUTS, lo, hi)


@inline
def slopes_of(model, layer, lo, hi):
    """f'(z) of rows lo to hi of a layer, which has no rows where it is not kept."""
    return _samples(model, layer, SLOPES, lo, hi if model.layout[layer, SLOPES] > 0 else lo)


@inline
def saved_of(model, layer, lo, hi):
    """What the chain rule through the activation of a layer needs of rows lo to hi."""
    return _samples(model, layer, SAVED, lo, hi)


@inline
def deltas_of(model, layer, lo, hi):
    """The gradient with respect to z of a layer, for rows lo to hi: (hi - lo, padded)."""
    return _samples(model, layer, DELTAS, lo, hi)


@inline
def transposed_weights(model, layer):
    """(fan_out, padded fan_in), of a layer but the first."""
    layout = model.layout
    return view(model.arena, layout[layer, TRANSPOSED], layout[layer, FAN_OUT], layout[layer - 1, PADDED])


@inline
def sparse_work(arena, offset, features, thread, memory):
    """The scratch memory of one thread in the sparse first layer; that of floats is in the arena, from `offset` on."""
    wide = features + VECTOR_BYTES
    return Work(
        memory.index[thread],
        view(arena, offset, GROUP, wide),
        view(arena, offset + GROUP * wide, memory.packed_words.shape[1], GROUP),
        memory.packed_words[thread],
        memory.words[thread],
        memory.starts[thread],
    )


@inline
def activate(model, layer, lo, hi):
    """Rows lo to hi of the z of a layer become f(z)."""
    kernel = model.layout[layer, ACTIVATE]
    if kernel != 0:
        call(kernel, (outputs_of(model, layer, lo, hi), slopes_of(model, layer, lo, hi)))


@inline
def forward_layer(model, layer, lo, hi):
    """Rows lo to hi of the batch through a layer but the first."""
    before, out, weights = outputs_of(model, layer - 1, lo, hi), outputs_of(model, layer, lo, hi), all_weights(model, layer)
    product = model.layout[layer, PRODUCT]
    call(product, (before, STRAIGHT, ZERO, weights.shape[0], weights, BIAS, bias_of(model, layer), out))
    activate(model, layer, lo, hi)


@inline
def forward_hidden(model, lo, hi):
    """Rows lo to hi of the batch through all layers but the first."""
    for l in range(1, model.layout.shape[0]):
        forward_layer(model, l, lo, hi)
