"""The vector code itself: exact sums, its instructions against NumPy, other CPUs, and the kernels uncompiled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from fastfc.kernels.fused import cpu, dense, team
from fastfc.kernels.fused.arena import aligned
from fastfc.kernels.fused.compiler.jit import OPTIONS
from fastfc.kernels.fused.cpu import lanes
from fastfc.kernels.fused.llvm import packing, rows
from tests import uncompiled

ROOT = Path(__file__).parents[1]
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
compiled = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")


def whole_numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """So small that sums of products are exact in float32, in any order."""
    return rng.integers(-20, 21, shape)


compile_alone = numba.njit(**OPTIONS)


# What kernels are made of, each compiled into a function that Python can call.
@compile_alone
def transpose_words(codes, i, j, out):  # type: ignore[no-untyped-def]
    packing.transpose_words(codes, i, j, out)


@compile_alone
def pack_words(words, g, i, index, packed, count):  # type: ignore[no-untyped-def]
    return packing.pack_words(words, g, i, index, packed, count)


@compile_alone
def pack_four(codes, i, j, scale, index, packed, count):  # type: ignore[no-untyped-def]
    return packing.pack_four(codes, i, j, scale, index, packed, count)


@compile_alone
def list_columns(x, columns, index):  # type: ignore[no-untyped-def]
    return packing.list_columns(x, columns, index)


@compile_alone
def sum_of_squares(row):  # type: ignore[no-untyped-def]
    return rows.sum_of_squares(row)


@compile_alone
def multiply(A, transposed, B, origin, bias, out):  # type: ignore[no-untyped-def]
    dense.multiply(A, transposed, B, origin, bias, out)


@compile_alone
def transpose(weights, start, stop, out):  # type: ignore[no-untyped-def]
    dense.transpose(weights, start, stop, out)


@dtypes
@pytest.mark.parametrize("transposed", [0, 1])
def test_products_of_whole_numbers_are_exact_for_every_shape_of_tile(dtype: str, transposed: int) -> None:
    rng, wide = np.random.default_rng(0), lanes(dtype)
    depths = (1, dense.DEPTH - 1, dense.DEPTH, dense.DEPTH + 1, 2 * dense.DEPTH + 7)
    shapes = [
        (m, v, depths[(m + v) % 5]) for m in range(1, 2 * dense.HEIGHT + 3) for v in range(1, 2 * dense.WIDTH + 2)
    ]
    for m, width, k in [*shapes, (3, 2, 0)]:
        A, B, out = (whole_numbers(rng, *shape) for shape in ((m, k), (k, width * wide), (m, width * wide)))
        given = np.ascontiguousarray(A.T if transposed else A, dtype)
        bias = whole_numbers(rng, 1, width * wide)
        for origin, first in ((dense.ZEROS, 0), (dense.BIAS, bias), (dense.OUT, out)):
            ours = out.astype(dtype)
            multiply(given, np.int64(transposed), B.astype(dtype), origin, bias.astype(dtype), ours)
            np.testing.assert_array_equal(ours, first + A @ B, err_msg=f"{m} rows, {width} vectors, {k} terms")


@dtypes
def test_a_matrix_is_transposed_in_blocks(dtype: str) -> None:
    rng, wide = np.random.default_rng(0), lanes(dtype)
    for height, columns in ((1, 1), (wide, wide), (wide + 1, 3 * wide - 1), (37, 50)):
        room = [-(-n // wide) * wide for n in (height, columns)]
        x, out = np.zeros(room, dtype), np.full(room[::-1], np.nan, dtype)
        x[:height, :columns] = rng.standard_normal((height, columns))
        transpose(x, 0, height, out)
        np.testing.assert_array_equal(out, x.T)


def same(function: Callable[..., Any], twin: Callable[..., Any], *arguments: Any) -> None:
    """Both give and write the same. Where a count is given, what is written behind it does not matter."""
    ours, theirs = ([np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments] for _ in range(2))
    count = function(*ours)
    assert count == twin(*theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, np.ndarray) and (count is None or a.ndim == 1):
            np.testing.assert_array_equal(a[:count], b[:count])
        elif isinstance(a, np.ndarray):
            columns = count if len(a) == uncompiled.GROUP else None
            np.testing.assert_array_equal(a[:count, :columns], b[:count, :columns])


@compiled
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@dtypes
def test_instructions_that_pack_do_what_their_twins_do(share: float, dtype: str) -> None:
    rng, room, n = np.random.default_rng(0), 200, 4
    scale = np.array([0.25], dtype)
    index, packed = np.zeros(room, np.int32), np.zeros((n, room), dtype)
    for columns in (lanes(dtype), lanes(dtype) + 1, 61, 100):
        x = np.zeros((n, columns + lanes(dtype)), dtype)
        x[:, :columns] = rng.standard_normal((n, columns)) * (rng.random((n, columns)) < share)
        same(list_columns, uncompiled.list_columns, x, columns, index)
    words = (rng.integers(1, 1 << 32, (5, 2 * packing.WORDS)) * (rng.random((5, 2 * packing.WORDS)) < share)).astype(
        "u4"
    )
    same(pack_words, uncompiled.pack_words, words, 3, packing.WORDS, index, np.zeros(room, np.uint32), 7)
    for kind in ("uint8", dtype):
        codes = (rng.integers(1, 256, (9, 4)) * (rng.random((9, 4)) < share)).astype(kind)
        for i in range(9):
            same(pack_four, uncompiled.pack_four, codes, i, 0, scale, index, packed.T.copy(), 5)


@compiled
def test_words_are_transposed_as_numpy_transposes_them() -> None:
    n = packing.WORDS
    codes = np.random.default_rng(0).integers(0, 256, (2 * n, 4 * n + 8), np.uint8)
    same(transpose_words, uncompiled.transpose_words, codes, n, 3, np.zeros((n, 3 * n), np.uint32))


@compiled
@dtypes
def test_squares_of_whole_numbers_add_up_exactly(dtype: str) -> None:
    for n in (lanes(dtype), 2 * lanes(dtype), 30 * lanes(dtype)):
        row = whole_numbers(np.random.default_rng(n), 1, n)
        assert sum_of_squares(row.astype(dtype)) == (row**2).sum()


# Division of work
@pytest.mark.parametrize("unit", [1, 8, 64])
def test_shares_cover_all_items_once_and_are_cut_at_multiples(unit: int) -> None:
    share = getattr(team.share, "py_func", team.share)
    for n in (0, 1, 7, 8, 63, 64, 65, 784):
        for threads in (1, 2, 3, 4, 7, 100):
            cuts = [share(n, unit, thread, threads) for thread in range(threads)]
            assert [cuts[0][0], cuts[-1][1]] == [0, n]
            assert all(before[1] == after[0] for before, after in pairwise(cuts))
            assert all(start % unit == 0 or start == n for start, _ in cuts)


@pytest.mark.parametrize("count", [1, 1000, (1 << 21) // 8])
def test_memory_begins_on_a_cache_line_or_on_a_large_page(count: int) -> None:
    for dtype in ("uint8", "float32", "float64"):
        memory = aligned(count, dtype)
        assert (memory.shape, memory.dtype, memory.flags.c_contiguous) == ((count,), dtype, True)
        assert memory.ctypes.data % (1 << 21 if memory.nbytes >= 1 << 21 else 64) == 0
        assert not memory.any()


# Other CPUs, in processes of their own. Without features of its own, a name of a CPU would keep those of this one.
OTHER = {
    "haswell": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "x86-64": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""},
    "uncompiled": {"NUMBA_DISABLE_JIT": "1", "PYTEST_PLUGINS": "tests.uncompiled"},
}
X86 = cpu.TRIPLE.startswith(("x86_64", "amd64"))
BUILDS = [
    pytest.param(name, marks=pytest.mark.skipif(name != "uncompiled" and not X86, reason="a CPU of another family"))
    for name in OTHER
]
LADDER = [
    "test_kernels.py",
    "test_gradients.py",
    "test_training_equivalence.py",
    "test_prediction_equivalence.py",
    "test_elementary.py",
]
# Which of these tests run with every run of the suite
KERNELS = "gives_what and float32 and beside and (dense or (sparse and uint8)) and (ward or nesterov) and not averaged"
LINES = (
    "gives_what and float32 and (prime or beside) or by_hand or central and relu or outputs_are_those and 2-layers "
    "or step_by_step and (defaults or sample) and (uint8 or floats)"
)
LIKE_THIS = "haswell" if cpu.VECTOR_BYTES == 32 else ""  # whose vectors all other tests have here
SHORT = {"haswell": KERNELS, "x86-64": KERNELS, "uncompiled": LINES}


def ladder(build: str, expression: str) -> subprocess.Popen[str]:
    """A run of the chosen tests of LADDER."""
    names = [str(ROOT / "tests" / name) for name in (LADDER[:1] if expression is KERNELS else LADDER)]
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning", "-k", expression]
    command = [sys.executable, "-m", "pytest", *options, *names]
    environment = {**os.environ, **OTHER[build]}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def assert_passes(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert " passed" in output


@pytest.fixture(scope="module")
def short_runs() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All at once, to use all cores."""
    runs = {build: ladder(build, SHORT[build]) for build in OTHER if build == "uncompiled" or (X86 and build != LIKE_THIS)}
    yield runs
    for process in runs.values():
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@compiled
@pytest.mark.parametrize("build", BUILDS)
def test_kernels_pass_on_small_sizes_as_built_for(build: str, short_runs: dict[str, subprocess.Popen[str]]) -> None:
    if build == LIKE_THIS:
        pytest.skip("all other tests have these vectors here")
    assert_passes(short_runs[build])


@pytest.mark.slow
@compiled
@pytest.mark.parametrize("build", BUILDS[:2])
def test_the_whole_ladder_passes_as_built_for(build: str) -> None:
    assert_passes(ladder(build, "not mnist"))


@compiled
def test_no_address_is_made_of_an_integer() -> None:
    """LLVM may lose what a pointer points into on the way through an integer."""
    from fastfc.kernels.fused.compiler.types_of import types_of

    arguments = types_of("(f4:2A,f4:2C,f4:2C,f4:2C,f4:3A,Rule(f4:1C,=Momentum))")
    dense.update.helper.compile(arguments)
    code = dense.update.helper.overloads[arguments].library.get_llvm_str()
    (tile,) = re.findall(r"^define [^\n]*@fastfc_tile_float_Momentum.*?^}", code, re.MULTILINE | re.DOTALL)
    assert "getelementptr" in tile and "inttoptr" not in tile and "ptrtoint" not in tile


@compiled
@pytest.mark.skipif(not X86, reason="x86")
@pytest.mark.parametrize(
    ("cpu", "width", "present", "absent"),
    [
        ("skylake-avx512", 64, "zmm", "fmaf"),
        pytest.param("haswell", 32, "vfmadd", "zmm", marks=pytest.mark.slow),
        ("x86-64", 16, "mulps", "fma"),  # neither the instruction nor a call to the library's fmaf
    ],
)
def test_vectors_are_those_of_the_cpu_that_is_built_for(cpu: str, width: int, present: str, absent: str) -> None:
    code = """
import numba
import numpy as np
from fastfc.kernels.fused import dense
from fastfc.kernels.fused.compiler.jit import OPTIONS
from fastfc.kernels.fused.cpu import VECTOR_BYTES, lanes
a = np.ones((lanes("float32"),) * 2, "float32")
forward = numba.njit(**OPTIONS)(dense.forward.py_func)
types = [numba.typeof(x) for x in (a, a, a[:1], a)]
forward.compile(tuple(types))  # not run: this CPU may have no such instructions
print(VECTOR_BYTES, *forward.inspect_asm().values())
"""
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, _, assembly = done.stdout.partition(" ")
    assert int(found) == width
    assert present in assembly and absent not in assembly
