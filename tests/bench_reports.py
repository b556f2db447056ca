"""A made-up report, and what it is made of: for the tests of the benchmarks."""

from __future__ import annotations

from typing import Any

from bench import report
from bench.rows import ROWS
from bench.rows.kernels import MNIST
from bench.workers import Measured
from bench.workloads import Entry, Workload

PEAKS: dict[str, Any] = {
    f"{dtype}, {threads}": {"gflops": gflops, "by": "NumPy"}
    for dtype, threads, gflops in (
        ("float32", "1 thread", 100.0), ("float32", "2 threads", 200.0),
        ("float64", "1 thread", 50.0), ("float64", "2 threads", 100.0),
    )
}  # fmt: skip


def measured(name: str, *seconds: float, workload: Workload = MNIST, **about: Any) -> Measured:
    return Measured(Entry(name), workload, list(seconds), about)


def point(sweep: str, value: float, rows: int = 60_000, **seconds: float) -> dict[str, Any]:
    entries = {name.replace("_", " "): {"median": time, "seconds": [time] * 3} for name, time in seconds.items()}
    return {"sweep": sweep, "value": value, "rows": rows, "flops": 690_200.0 * rows, "entries": entries}


def made_up() -> dict[str, Any]:
    """A report with a figure reached, one missed, one not measured, and the growth points of the plots."""
    named = {row.number: row for row in ROWS}
    row = named["1"]
    results = {e.name: measured(e.name, 0.1 * (i + 1), loss=0.3) for i, e in enumerate(row.entries)}
    results["JAX"] = Measured(Entry("JAX"), MNIST, error="not installed (make peers)")
    points = [point(s, v, fastfc=0.1, numpy_float32=0.4) for s in ("rows", "hidden, MNIST", "batch") for v in (8, 64)]
    points += [point("density", v, sparse=v, dense=0.4, auto=0.3) for v in (0.2, 1.0)]
    peak = {"megabytes": [300.0], "median": 300.0}
    rows = [
        report.judge_row(row, {"results": results}, PEAKS),
        report.judge_row(named["12"], {"points": points}, PEAKS),
        report.judge_row(named["11"], {"error": "out of memory"}, PEAKS),
        report.judge_row(named["11"], {"entries": {c.entry: dict(peak) for c in named["11"].claims}}, PEAKS),
    ]
    return {
        "date": "2026-01-02", "quick": False, "repeats": 5, "machine": {"cpu": "A CPU", "cores": 2}, "data": "mnist",
        "versions": {"numpy": "2"}, "peaks": PEAKS, "rows": [row | {"date": "2026-01-02"} for row in rows],
    }  # fmt: skip
