"""All that is measured."""

from __future__ import annotations

from string import ascii_lowercase

from bench.rows import estimators, kernels, scale, training
from bench.workloads import Row

ROWS = kernels.ROWS + training.ROWS + estimators.ROWS + scale.ROWS


def select(numbers: str | None) -> tuple[Row, ...]:
    """The rows named in a list such as "1,3,8" ("8" takes 8a and 8b); all of them without a list."""
    if not numbers:
        return ROWS
    wanted = [number.strip() for number in numbers.split(",")]
    names = [{row.number, row.number.rstrip(ascii_lowercase)} for row in ROWS]
    rows = tuple(row for row, own in zip(ROWS, names, strict=True) if own & set(wanted))
    known = set().union(*names)
    unknown = [number for number in wanted if number not in known]
    if unknown:
        raise ValueError(f"rows: given {', '.join(unknown)}, expected some of {', '.join(row.number for row in ROWS)}")
    return rows
