"""What the vector instructions and views of the fused kernels do, in NumPy: as their oracle, and to run without a compiler.

Only a compiler can make them. Where Numba does not compile, these stand in, and all other lines of the kernels run as
Python; an address of a kernel is the number of its function: NUMBA_DISABLE_JIT=1 python -m pytest -p tests.uncompiled tests/test_kernels.py
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numba.extending
import numpy as np

from fastfc.kernels.fused import records
from fastfc.kernels.fused.compiler import entry
from fastfc.kernels.fused.compiler.signature import key_of, split
from fastfc.kernels.fused.cpu import lanes
from fastfc.kernels.optimizers import KINDS, STATES, STAYS, Rule
from fastfc.kernels.plan import GROUP
from fastfc.kernels.reference.optimizers import step

# Kernels by address


class Call:
    """As `entry.Call`, of a function."""

    def __init__(self, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def __call__(self) -> None:
        self.function(*self.arguments)

    def place_of_code(self) -> tuple[int, int]:
        CALLS.append(self)
        return len(CALLS), 0

    def change_end(self, *numbers: int) -> None:
        self.arguments = ended(self.arguments, numbers)

    def change_last(self, value: Any) -> None:
        self.arguments = (*self.arguments[:-1], value)


def ended(value: Any, numbers: tuple[int, ...]) -> Any:
    """A tuple with other numbers in its end, or in that of the tuple that ends it."""
    *others, last = value
    items = (*others, ended(last, numbers)) if isinstance(last, tuple) else (*value[: -len(numbers)], *numbers)
    return items if type(value) is tuple else type(value)(*items)


ADDRESSES: list[tuple[Callable[..., None], str]] = []  # a function and the key of its arguments; numbered from 1


CALLS: list[Call] = []  # numbered from 1 too


def call_at(address: int, table: int) -> None:
    CALLS[address - 1]()


def function_of(name: str) -> Callable[..., None]:
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"{entry.PACKAGE}.{module}"), function)


def bind(kernel: entry.Entry, *arguments: Any) -> Call:
    return Call(function_of(kernel.name), arguments)


def address_of(kernel: entry.Entry, key: str) -> int:
    ADDRESSES.append((function_of(kernel.name), key))
    return len(ADDRESSES)


def call(address: int, arguments: tuple[Any, ...]) -> None:
    """With what the key says is compiled in. The arguments have to be of just the types that it says: nothing converts them."""
    function, key = ADDRESSES[address - 1]
    values = slots(arguments)
    function(*(built(part, values) for part in split(key)))
    assert next(values, None) is None, f"{key}: more arguments than that"


def slots(value: Any) -> Iterator[Any]:
    """What takes slots of a table, in its order."""
    if isinstance(value, tuple):
        for item in value:
            yield from slots(item)
    elif value is not None and not isinstance(value, (str, type)):
        yield value


def built(key: str, values: Iterator[Any]) -> Any:
    """The argument of that key, of the next of the values."""
    if key.endswith(")"):
        name, items = key[: key.index("(")], [built(part, values) for part in split(key)]
        return getattr(records, name)(*items) if name else tuple(items)
    if key.startswith("="):
        return KINDS.get(key[1:], key[1:])
    value = next(values)
    given = key_of(value)[1:-1]
    assert given in (key, key.replace("A", "C")), f"a kernel that takes {key} is called with {given}"
    return value


# Views


class _At:
    """What begins `offset` numbers behind the beginning of `memory`, which is kept alive."""

    def __init__(self, memory: np.ndarray, offset: int, shape: tuple[int, int]) -> None:
        interface = memory.__array_interface__
        address = interface["data"][0] + int(offset) * memory.itemsize
        self.memory = memory
        self.__array_interface__ = {
            "data": (address, False), "shape": tuple(map(int, shape)), "typestr": interface["typestr"], "version": 3
        }  # fmt: skip


def view(memory: np.ndarray, offset: int, rows: int, columns: int) -> np.ndarray:
    return np.asarray(_At(memory, offset, (rows, columns)))


def as_dtype(stored: np.ndarray, dtype: str) -> np.ndarray:
    return stored.view(dtype)


def flat(matrix: np.ndarray) -> np.ndarray:
    return matrix.reshape(-1)


def bytes_of(numbers: np.ndarray) -> np.ndarray:
    return numbers.view(np.uint8)


def view_rows(matrix: np.ndarray, start: int, stop: int) -> np.ndarray:
    return matrix[start:stop]


def view_states(matrix: np.ndarray, distance: int, states: int) -> np.ndarray:
    strides = (distance * matrix.itemsize, *matrix.strides)
    first = np.lib.stride_tricks.as_strided(matrix, (states + 1, *matrix.shape), strides)
    return first[1:]


def as_rule(rule: Rule) -> Any:
    return rule.kind(*rule.numbers[: len(rule.kind._fields)])


def stays(numbers: Any) -> bool:
    names = STAYS[type(numbers)]
    return names is not None and all(getattr(numbers, name) == 0 for name in names)


def move(parameters, state, gradient, numbers):  # type: ignore[no-untyped-def]
    step(parameters, state, gradient, Rule(numbers, type(numbers)))


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


def drop_vectors(row: np.ndarray, low: int, high: int, threshold: int, kept: float) -> int:
    """None in vectors: all are left to the loop behind it."""
    return 0


def smaller(a: int, b: int) -> int:
    return min(a, b)


def larger(a: int, b: int) -> int:
    return max(a, b)


def positive(x: np.floating) -> np.floating:
    return type(x)(0) if x < 0 else x


def sum_of_squares(row: np.ndarray) -> float:
    return float((row.astype(np.float64) ** 2).sum())


ADDING = threading.Lock()


def add_to(meeting: np.ndarray, place: int, value: int) -> int:
    with ADDING:
        meeting[place] += value
        return int(meeting[place]) - value


def read_from(meeting: np.ndarray, place: int) -> int:
    return int(meeting[place])


def pause() -> None:
    time.sleep(0)


def sleep(meeting: np.ndarray, seen: int) -> None:
    time.sleep(0)


def wake(meeting: np.ndarray) -> None:
    """Nobody sleeps for long."""


def pytest_configure() -> None:
    """Import the fused kernels with the functions above in the place of what the compiler makes."""

    def stand_in(function: Callable[..., Any]) -> Callable[..., Any]:
        return globals().get(function.__name__, function)

    numba.extending.intrinsic = stand_in
    entry.Entry.bind, entry.Entry.address_of = bind, address_of  # type: ignore[method-assign, assignment]
