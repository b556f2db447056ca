"""Every kernel of the table that the tests use, by backend and size, on one thread and in float32."""

from __future__ import annotations

from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from tests.kernel_cases import BACKENDS, BENCH_SIZES, CASES, Case, kernel, laid_out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", BENCH_SIZES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel(benchmark: Any, case: Case, size: str, backend: str) -> None:
    """Each call gets fresh copies: what a kernel writes in place would overflow or vanish if it went in again."""
    arguments = case.arguments(BENCH_SIZES[size], "float32")
    benchmark.group = f"{case}, {size}"

    def fresh() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(laid_out(case, backend, arguments).values()), {}

    with threadpool_limits(1):
        benchmark.pedantic(kernel(case, backend), setup=fresh, rounds=30, warmup_rounds=1)
