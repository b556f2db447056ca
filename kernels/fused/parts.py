"""The kernels that one training is made of, by address: compiled or loaded where they are needed, and only those."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastfc.kernels.fused.arena import keeps_slopes
from fastfc.kernels.fused.compiler.entry import Entry
from fastfc.kernels.fused.cpu import lanes
from fastfc.kernels.fused.records import ACTIVATE, CHAIN, PRODUCT, Parts
from fastfc.kernels.optimizers import Accumulate, Sgd
from fastfc.kernels.plan import Plan

LEVELS = 65536  # of a draw of dropout
WIDEST = 8  # vectors of delta that stay in registers in a step of one sample
CSR, ENDS = "Csr(u1:1C,i4:1C,i8:1C)", "Stored(u1:2C,=int64)"
HEADS = {
    "softmax_ce": "losses.softmax_cross_entropy",
    "sigmoid_bce": "losses.sigmoid_cross_entropy",
    "mse": "losses.mean_squared_error",
    "mae": "losses.mean_absolute_error",
    "huber": "losses.huber",
    "poisson": "losses.poisson",
}
FINISH = {"softmax_ce": "activations.softmax", "sigmoid_bce": "activations.sigmoid", "poisson": "activations.exponential"}

NONE = Parts(0, 0, 0, np.zeros(0), 0, 0, 0, 0, 0, 0, 0, 0, 0)  # before any are asked for


def of_plan(plan: Plan, X: Any, is_sparse: bool, has_rows: bool, gradient: bool, layout: np.ndarray) -> Parts:
    """The kernels of a training on X, of which those of the layers go into `layout`. Keys are those of `compiler.signature`.

    has_rows  whether X is CSR whose rows are multiplied as they are
    """
    t = f"f{plan.dtype.itemsize}"
    vector, matrix, columns, dtype = f"{t}:1C", f"{t}:2C", f"{t}:2A", f"={X.dtype.name}"
    work = _work(matrix)
    moved = f"{matrix},{matrix},{t}:3A"  # gradient, weights, state
    rule, add = (f"Rule({vector},={kind.__name__})" for kind in (plan.optimizer.kind, Accumulate))
    codes, rows = f"Stored(u1:2C,{dtype})", f"Rows({CSR},{ENDS},i,i,{dtype})"

    def update(rule: str) -> int:
        return _address("dense.update", f"({columns},{matrix},{moved},{rule})")

    def multiply() -> int:
        if not has_rows:
            return multiply_codes(plan.dtype, X.dtype)
        return _address("csr.multiply", f"({rows},{vector},{matrix},{matrix},{matrix},{work})")

    def load() -> int:
        return _load("csr.load", t, ENDS) if has_rows else _load("codes.load_csr", t, codes)

    def update_first(rule: str) -> int:
        if not is_sparse:
            return update(rule)
        if has_rows:
            return _address("csr.update", f"({rows},{vector},{matrix},{moved},{rule},{work})")
        return _address("codes.update", f"(Stored(u1:2A,{dtype}),{vector},{matrix},{moved},{rule},{work})")

    for l, row in enumerate(layout):
        row[[ACTIVATE, CHAIN, PRODUCT]] = *_of_layer(plan, l, matrix), product(plan.dtype)
    is_csr, rates = not isinstance(X, np.ndarray), np.array(plan.dropout or [0.0] * (len(plan.layers) - 1))
    moves = not is_online(plan, is_sparse, plan.background)
    return Parts(
        load=load() if is_csr and moves else 0,
        drop_codes=_address("codes.drop", f"({codes},i8:1C,i,f8,f8)") if rates[0] else 0,
        drop=_address("dropout.drop", f"({matrix},{matrix},i8:1C,i,i,f8)") if rates[1:].any() else 0,
        rates=rates,
        multiply=multiply() if is_sparse and moves else 0,
        update_first=update_first(rule) if moves else 0,
        add_first=update_first(add) if gradient else 0,
        update=update(rule) if moves else 0,
        add=update(add) if gradient else 0,
        step=_address("optimizers.step", f"({matrix},{t}:3A,{matrix},{rule})") if moves else 0,
        head=_address(HEADS[plan.loss], f"({matrix},{matrix},{vector},{matrix},{vector},{t})"),
        square=0,
        clip=0,
    )


def product(dtype: np.dtype) -> int:
    """The kernel that multiplies matrices without looking for zeros."""
    matrix = f"f{dtype.itemsize}:2C"
    return _address("dense.multiply_range", f"({matrix},i,i,i,{matrix},i,{matrix},{matrix})")


def multiply_codes(dtype: np.dtype, codes: np.dtype) -> int:
    """The kernel that multiplies what is mostly zero, stored as `codes`, by matrices of `dtype`."""
    t = f"f{dtype.itemsize}"
    matrix = f"{t}:2C"
    sums = f"{t}:1C,{matrix},{matrix},{matrix},{_work(matrix)}"
    return _address("codes.multiply", f"(Stored(u1:2C,={codes.name}),i,i,{sums})")


def square(records: str) -> int:
    """The kernel that sums squares; `records` are the keys of a Team, a Model and a Problem."""
    return _address("clipping.square", f"({records},i,f8:1C)")


def clip(records: str, dtype: np.dtype) -> int:
    """The kernel of the step along a gradient that is shortened."""
    t = f"f{dtype.itemsize}"
    return _address("clipping.clip", f"({records},Schedule({t}:2C,{t}:3C),i)")


def _work(matrix: str) -> str:
    return f"Work(i4:1C,{matrix},{matrix},u4:1C,u4:2C,i8:1C)"


def _of_layer(plan: Plan, layer: int, matrix: str) -> tuple[int, int]:
    """The kernels (ACTIVATE, CHAIN) of a layer, 0 for the identity."""
    name, slopes = plan.activations[layer], keeps_slopes(plan, layer)
    if name == "identity" and not slopes:
        return 0, 0
    chain = ("activations.multiply", "") if slopes else ("activations.chain", f",={name}")
    return activate(name, matrix), _address(chain[0], f"({matrix},{matrix}{chain[1]})")


def activate(name: str, matrix: str) -> int:
    """The kernel of an activation, for matrices of that key; 0 for the identity."""
    return _address("activations.activate", f"({matrix},{matrix},={name})")


def finish(loss: str, matrix: str) -> int:
    """The kernel of what a loss makes of the last layer's outputs, for matrices of that key; 0 where that is nothing."""
    return _address(FINISH[loss], f"({matrix})") if loss in FINISH else 0


def load_shifted(dtype: np.dtype, codes: str) -> int:
    """The kernel that shifts images."""
    return _load("codes.load_shifted", f"f{dtype.itemsize}", f"Stored(u1:2C,={codes})")


def _load(name: str, t: str, stored: str) -> int:
    return _address(name, f"(Data(u1:2C,{CSR},i8:1C,{t}:2C),i8:1C,i8:2C,i,i,{t},{stored})")


def _address(name: str, key: str) -> int:
    return Entry(name).address_of(key)


def is_online(plan: Plan, is_sparse: bool, background: float) -> bool:
    """Whether a training can take the way of one sample a step."""
    optimizer = plan.optimizer
    is_plain = optimizer.kind is Sgd and dict(optimizer.numbers)["decay"] == 0 and plan.batch_size == 1
    is_plain = is_plain and not optimizer.rate_factors and optimizer.bias_factor == 1
    is_plain = is_plain and not any(plan.dropout) and plan.clip_norm is None
    narrow = max(plan.layers[1:]) <= WIDEST * lanes(plan.dtype)
    return is_plain and narrow and is_sparse and background == 0 and not plan.keeps_gradient


def kept_factor(rate: float) -> float:
    """By how much dropout makes larger what it keeps."""
    return LEVELS / (LEVELS - round(rate * LEVELS))
