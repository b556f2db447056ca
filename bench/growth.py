"""Row 12: how the time grows with rows, width, batch and density, and where the numpy backend would be faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from bench.datasets import Store
from bench.rows.kernels import GROWTH_BATCH, GROWTH_DENSITY, GROWTH_HIDDEN, GROWTH_ROWS, MNIST, NORMAL
from bench.verdicts import Verdict, ratios, settle
from bench.workers import Log, Measured, measure
from bench.workloads import Entry, Workload

FLAT = 0.10
WORK, MOST = 30e9, 30_000  # dense FLOPs and rows a repeat, where the number of rows is free


def sweeps(quick: bool) -> Iterator[tuple[str, float, Workload]]:
    """(sweep, value of the option, workload)."""
    for rows in GROWTH_ROWS[:1] if quick else GROWTH_ROWS:
        # Several epochs of few rows: what a training costs once is not a time that grows.
        yield "rows", rows, replace(MNIST, rows=rows, epochs=max(1, 60_000 // rows))
    for hidden in (50, 1024) if quick else GROWTH_HIDDEN:
        layers = (784, hidden, hidden, 10)
        for name, base in ("hidden, dense input", NORMAL), ("hidden, MNIST", MNIST):
            yield name, hidden, sized(replace(base, layers=layers, lr=0.01), quick)
    for batch in (1, 2048) if quick else GROWTH_BATCH:
        # One rate for all: small enough for single samples.
        yield "batch", batch, sized(replace(MNIST, batch=batch, lr=0.001), quick, at_least=2 * batch)


def sized(workload: Workload, quick: bool, at_least: int = 0) -> Workload:
    """As many whole batches as make WORK, at most MOST rows; fewer where small batches make the steps dear."""
    assert workload.batch is not None
    a_row = workload.flops / workload.rows
    rows = min(MOST, max(at_least, int(WORK / a_row * min(1, workload.batch / 32))))
    return replace(workload, rows=min(rows, 4096) if quick else rows // workload.batch * workload.batch)


def run(entries: Sequence[Entry], repeats: int, quick: bool, store: Store, log: Log) -> list[dict[str, Any]]:
    """Measure everything: one point for each value of each option."""
    points = []
    for sweep, value, workload in sweeps(quick):
        log(f"{sweep} {value:g}")
        results = measure([(entry, workload) for entry in entries], store, repeats, 1.0, lambda _: None)
        points.append(point(sweep, value, results))
    for share in (0.2, 1.0) if quick else GROWTH_DENSITY:
        log(f"density {share:g}")
        workload = replace(MNIST, data=f"density {share:g}", rows=2048 if quick else 60_000)
        kernels = [Entry(name, variant=name) for name in ("sparse", "dense", "auto")]
        results = measure([(kernel, workload) for kernel in kernels], store, repeats, 1.0, lambda _: None)
        points.append(point("density", share, results))
    return points


def judge(points: list[dict[str, Any]], disturbed: bool = False) -> list[Verdict]:
    return [flat(points), never_slower(points, disturbed), crossover(points)]


def point(sweep: str, value: float, results: list[Measured]) -> dict[str, Any]:
    workload = results[0].workload
    return {
        "sweep": sweep, "value": value, "rows": workload.rows, "layers": workload.layers, "batch": workload.batch,
        "flops": workload.flops, "entries": {result.entry.name: result.to_dict() for result in results},
    }  # fmt: skip


def seconds(points: list[dict[str, Any]], sweep: str | None, name: str) -> list[tuple[dict[str, Any], float]]:
    """The points of a sweep (None: of all) at which `name` was measured, with its median."""
    chosen = [p for p in points if sweep is None or p["sweep"] == sweep]
    return [(p, p["entries"][name]["median"]) for p in chosen if "median" in p["entries"].get(name, {})]


def missing(points: list[dict[str, Any]]) -> str:
    """Why not everything was measured."""
    errors = [entry["error"] for point in points for entry in point["entries"].values() if "error" in entry]
    return errors[0] if errors else "not all sizes were measured"


def flat(points: list[dict[str, Any]]) -> Verdict:
    """The largest departure of the time a sample from that of 60,000 rows."""
    text = f"time a sample +-{100 * FLAT:g} %, {GROWTH_ROWS[0]:,} to {GROWTH_ROWS[-1]:,} rows"
    times = {p["rows"]: t / p["rows"] for p, t in seconds(points, "rows", "fastfc")}
    if set(times) != set(GROWTH_ROWS):
        return Verdict(text, None, note=missing(points))
    worst = max(times, key=lambda n: abs(times[n] / times[60_000] - 1))
    taken = next(p["entries"]["fastfc"]["seconds"] for p, _ in seconds(points, "rows", "fastfc") if p["rows"] == worst)
    departures = [100 * (t / worst / times[60_000] - 1) for t in taken]
    verdict = settle(text, [abs(d) for d in departures], 100 * FLAT, "%", least=False)
    return replace(verdict, measured=median(departures))


def never_slower(points: list[dict[str, Any]], disturbed: bool = False) -> Verdict:
    """The smallest lead over the numpy backend in the same dtype; names every size at which there is none."""
    text = "no size where the numpy backend is faster"
    leads = []
    for p, _ in seconds(points, None, "fastfc"):
        if "median" in p["entries"].get("numpy float32", {}):
            times = (p["entries"][name]["seconds"] for name in ("numpy float32", "fastfc"))
            leads.append(settle(f"{p['sweep']} {p['value']:g}", ratios(*times, disturbed), 1, least=True))
    if not leads:
        return Verdict(text, None, note=missing(points))
    least = min(leads, key=lambda lead: (lead.passed is not False, lead.measured))  # one that is certain, if any is
    if least.passed is False:
        slower = [f"{lead.claim} ({lead.measured:.2f} x)" for lead in leads if (lead.measured or 0) < 1]
        return replace(least, claim=text, note=f"numpy is faster at {', '.join(slower)}")
    if len(leads) < sum(p["sweep"] != "density" for p in points):
        return Verdict(text, None, note=missing(points))
    note = "; ".join(filter(None, (f"smallest of {len(leads)} leads at {least.claim}", least.note)))
    return replace(least, claim=text, note=note)


def crossover(points: list[dict[str, Any]]) -> Verdict:
    """How much slower than the better of the two kernels the automatic choice is, at its worst."""
    text = "automatic input kernel: <= 1.1 x the better one"
    names = ("auto", "sparse", "dense")
    rounds = {
        p["value"]: zip(*(p["entries"][name]["seconds"] for name in names), strict=True)
        for p in points
        if p["sweep"] == "density" and all("median" in p["entries"].get(name, {}) for name in names)
    }
    losses = {share: [a / min(s, d) for a, s, d in times] for share, times in rounds.items()}
    if not losses:
        return Verdict(text, None, note=missing(points))
    share = max(losses, key=lambda share: median(losses[share]))
    return settle(text, losses[share], 1.1, least=False, note=f"worst at density {share:g}")
