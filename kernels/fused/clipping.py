"""Norms of the parameters and of their gradient, and a gradient that is shortened: where a training asks for it."""

from __future__ import annotations

import math

from fastfc.kernels.fused import phases
from fastfc.kernels.fused.compiler.jit import ONE, inline, kernel
from fastfc.kernels.fused.llvm.rows import sum_of_squares
from fastfc.kernels.fused.llvm.views import flat, view
from fastfc.kernels.fused.model import bias_gradient_of, bias_of, gradient_of, weights_of
from fastfc.kernels.fused.records import FAN_IN, PADDED


@kernel
def square(team, model, problem, offset, squares):
    """A thread's share of the sums of squares (rows of all layers + layers,) of what lies `offset` behind weights and biases."""
    first = 0
    for l in range(model.layout.shape[0]):
        rows, padded = phases.rows_of(team, model, problem, l), model.layout[l, PADDED]
        for i in range(rows.lo, rows.hi):
            squares[first + i] = sum_of_squares(view(weights_of(model, l, i, i + 1), offset, ONE, padded))
        first += model.layout[l, FAN_IN]
    for l in range(team.thread, model.layout.shape[0], team.threads):
        squares[first + l] = sum_of_squares(view(bias_of(model, l), offset, ONE, model.layout[l, PADDED]))


@inline
def sum_in_order(values, count):
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@inline
def shorten(matrix, factor):
    numbers = flat(matrix)
    for i in range(numbers.size):
        numbers[i] *= factor


@kernel
def clip(team, model, problem, schedule, s):
    """A thread's share of step number `s` along the gradient, shortened so that the norm of all of it is at most clip_norm (as PyTorch
    does it)."""
    squares = problem.memory.squares[1]
    norm = math.sqrt(sum_in_order(squares, squares.size))
    factor = model.arena.dtype.type(min(1.0, problem.numbers.clip_norm / (norm + 1e-6)))
    for l in range(model.layout.shape[0]):
        rows = phases.rows_of(team, model, problem, l)
        shorten(gradient_of(model, l, rows.lo, rows.hi), factor)
    for l in range(team.thread, model.layout.shape[0], team.threads):
        shorten(bias_gradient_of(model, l), factor)
    phases.apply_gradient(team, model, problem, schedule, s)
