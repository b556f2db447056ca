"""What the vector instructions and views of the fused kernels do, in NumPy: as their oracle, and to run without a compiler.

Only a compiler can make them. Where Numba does not compile, these stand in, and all other lines of the kernels run as
Python: NUMBA_DISABLE_JIT=1 python -m pytest -p tests.uncompiled tests/test_kernels.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba.extending
import numpy as np

from fastfc.kernels.optimizers import STATES, Rule
from fastfc.kernels.plan import GROUP
from fastfc.kernels.reference.optimizers import step


def lanes(dtype: Any) -> int:
    from fastfc.kernels.fused.llvm import vectors

    return vectors.lanes(dtype)


def view(memory: np.ndarray, offset: int, rows: int, columns: int) -> np.ndarray:
    """One that reaches beyond the memory, and is not to be used, has no rows."""
    if offset + rows * columns > memory.size:
        rows = 0
    return memory[offset : offset + rows * columns].reshape(rows, columns)


def flat(matrix: np.ndarray) -> np.ndarray:
    return matrix.reshape(-1)


def view_rows(matrix: np.ndarray, start: int, stop: int) -> np.ndarray:
    return matrix[start:stop]


def view_states(matrix: np.ndarray, distance: int, states: int) -> np.ndarray:
    strides = (distance * matrix.itemsize, *matrix.strides)
    first = np.lib.stride_tricks.as_strided(matrix, (states + 1, *matrix.shape), strides)
    return first[1:]


def rule_of(schedule, step, layer, which):  # type: ignore[no-untyped-def]
    return schedule.rules[step] * schedule.factors[layer, which]


def load_state(state, i, rule):  # type: ignore[no-untyped-def]
    return tuple(array.flat[i] for array in state)


def store_state(state, i, new, rule):  # type: ignore[no-untyped-def]
    for array, number in zip(state, new, strict=True):
        array.flat[i] = number


def dense_tile(A, i, transposed, start, stop, B, origin, bias, out, column, rows, vectors):  # type: ignore[no-untyped-def]
    columns = slice(column, column + vectors * lanes(out.dtype))
    A, target = A.T if transposed else A, out[i : i + rows, columns]
    target[:] = (0, bias[:1, columns], target)[origin] + A[i : i + rows, start:stop] @ B[start:stop, columns]


def dense_update_tile(A, i, B, init, init_step, weights, state, rule, column, rows, vectors):  # type: ignore[no-untyped-def]
    columns = slice(column, column + vectors * lanes(B.dtype))
    gradient = A[:, i : i + rows].T @ B[:, columns]
    _move(gradient, i, init, init_step, weights, state, rule, columns, rows)


def gather_tile(A, index, count, B, init, out, column, vectors):  # type: ignore[no-untyped-def]
    columns = slice(column, column + vectors * lanes(out.dtype))
    out[:, columns] = init[:1, columns] + A[: len(out), index[:count]] @ B[index[:count], columns]


def gather_update_tile(  # type: ignore[no-untyped-def]
    A, index, start, stop, i, B, init, init_step, weights, state, rule, column, rows, vectors
):
    columns = slice(column, column + vectors * lanes(B.dtype))
    gradient = A[start:stop, :rows].T @ B[index[start:stop], columns]
    _move(gradient, i, init, init_step, weights, state, rule, columns, rows)


def _move(gradient, i, init, init_step, weights, state, rule, columns, rows):  # type: ignore[no-untyped-def]
    kept = state[: len(STATES[type(rule)]), i : i + rows, columns]
    g = init[i * init_step : i * init_step + (rows if init_step else 1), columns] + gradient
    step(weights[i : i + rows, columns], kept, g, Rule(rule, type(rule)))


def list_columns(x: np.ndarray, columns: int, index: np.ndarray) -> int:
    kept = np.flatnonzero((x[:, :columns] != 0).any(axis=0))
    index[: len(kept)] = kept
    return len(kept)


def transpose_block(x: np.ndarray, i: int, j: int, out: np.ndarray) -> None:
    """Of what is inside the matrices; what the instructions move beyond their ends is never read."""
    n = lanes(x.dtype)
    target = out[j : j + n, i : i + n]
    block = x[i : i + n, j : j + n].T[: len(target)]
    target[:, : block.shape[1]] = block


def transpose_words(codes: np.ndarray, i: int, j: int, out: np.ndarray) -> None:
    n = lanes(np.uint32)
    out[:n, i : i + n] = codes[i : i + n, j : j + 4 * n].copy().view(np.uint32).T


def pack_words(words: np.ndarray, g: int, i: int, index: np.ndarray, packed: np.ndarray, count: int) -> int:
    kept = i + np.flatnonzero(words[g, i : i + lanes(np.uint32)])
    index[count : count + len(kept)] = kept
    packed[count : count + len(kept)] = words[g, kept]
    return count + len(kept)


def pack_four(codes, i, j, scale, index, packed, count):  # type: ignore[no-untyped-def]
    four = codes[i, j : j + GROUP]
    if not four.any():
        return count
    index[count], packed[count] = i, scale[0] * four
    return count + 1


def step_listed(weights, index, count, x, delta, length):  # type: ignore[no-untyped-def]
    weights[index[:count]] -= length[0] * x[:1, index[:count]].T * delta[0]


def step_and_below(weights, count, x, delta, length, out):  # type: ignore[no-untyped-def]
    out[0, :count] = weights[:count] @ delta[0]
    weights[:count] -= length[0] * x[:1, :count].T * delta[0]


def _arrive(counter: np.ndarray) -> None:
    counter[0] += 1


def _arrived(counter: np.ndarray) -> int:
    return counter[0]


def pytest_configure() -> None:
    """Import the fused kernels with the functions above in the place of what the compiler makes."""

    def stand_in(function: Callable[..., Any]) -> Callable[..., Any]:
        return globals().get(function.__name__, function)

    numba.extending.intrinsic = stand_in
    from fastfc.kernels.fused import team

    team.share.py_func = team.share
