"""Claims against measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench import yardsticks
from bench.workers import Measured
from bench.workloads import REFERENCE_FLOOR, Claim, Workload

SAME_LOSS = 0.05  # relative


@dataclass(frozen=True)
class Verdict:
    """What was claimed, in words; what was measured (None: not measured, `note` says why); whether it holds."""

    claim: str
    measured: float | None
    unit: str = "x"
    passed: bool | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def word(self) -> str:
        return {True: "reached", False: "MISSED", None: "not measured"}[self.passed]


def judge(claim: Claim, results: Mapping[str, Measured], peaks: Mapping[str, Any]) -> Verdict:
    """Judge a claim on `results`, by entry name: medians against yardsticks, ratios within the rounds against others."""
    mine = results.get(claim.entry)
    text = wording(claim)
    if mine is None or not mine.seconds:
        return Verdict(text, None, note=f"{claim.entry}: {mine.error if mine else 'not run'}")
    mine_floor = yardsticks.floor(mine.workload, dict(peaks), mine.entry.dtype, mine.entry.threads)
    if claim.measure == "floor":
        value = mine.median / mine_floor
        return Verdict(text, value, passed=value <= claim.limit)
    if claim.measure == "peak":
        value = mine_floor / mine.median
        return Verdict(text, 100 * value, "%", passed=value >= claim.limit)
    if claim.measure == "seconds":
        return Verdict(text, mine.median, "s", passed=mine.median <= claim.limit)
    assert claim.measure in ("faster", "within"), claim.measure
    others = [results[name] for name in claim.against if name in results and results[name].seconds]
    if not others:
        return Verdict(text, None, note="; ".join(f"{n}: {results[n].error}" for n in claim.against if n in results))
    best = min(others, key=lambda other: other.median)
    note = f"best: {best.entry.name}" if len(claim.against) > 1 else ""
    if claim.measure == "faster":
        value = ratio(best, mine)
        return Verdict(text, value, passed=value >= claim.limit, note=note)
    value = ratio(mine, best)
    return Verdict(text, value, passed=value <= claim.limit, note=note)


def ratio(one: Measured, other: Measured) -> float:
    """The median of the ratios within each round: a machine that changes its speed from round to round does not matter."""
    return median(ratios(one, other))


def ratios(one: Measured, other: Measured) -> list[float]:
    return [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]


def least_disturbed(*measured: Measured) -> list[int]:
    """The quarter of the rounds, three at least, in which all were fastest: those whose slowest, compared with its own
    best, is slowed least. No side is favoured: what counts is how much each was slowed, not how fast it is."""
    best = [min(one.seconds) for one in measured]
    rounds = zip(*(one.seconds for one in measured), strict=True)
    slowed = [max(t / b for t, b in zip(times, best, strict=True)) for times in rounds]
    return sorted(range(len(slowed)), key=slowed.__getitem__)[: max(3, len(slowed) // 4)]


def same_result(results: Mapping[str, Measured]) -> Verdict:
    """How far the losses of the entries that train the same workload lie apart: they differ in the order of the samples
    at most."""
    text = f"all end at the same loss, within {100 * SAME_LOSS:g} %"
    by_workload: dict[Workload, list[tuple[float, str]]] = {}
    for name, result in results.items():
        if result.seconds and "loss" in result.about:
            by_workload.setdefault(result.workload, []).append((result.about["loss"], name))
    spans = [(max(found)[0] / min(found)[0] - 1, f"{min(found)[1]}, {max(found)[1]}") for found in by_workload.values()]
    if not spans:
        return Verdict(text, None, note="nothing measured")
    widest, who = max(spans)
    return Verdict(text, 100 * widest, "%", widest <= SAME_LOSS, f"furthest apart: {who}")


def wording(claim: Claim) -> str:
    who = "" if claim.entry == "fastfc" else f"{claim.entry}: "
    libraries = {name.removesuffix(", 1 thread") for name in claim.against}
    against = "the best peer" if len(libraries) > 1 else "".join(claim.against[:1])
    words = {
        "floor": f"<= {claim.limit:g} x the dense floor",
        "peak": f">= {100 * claim.limit:g} % of the GEMM peak",
        "faster": f">= {claim.limit:g} x as fast as {against}",
        "within": f"<= {claim.limit:g} x {against}",
        "seconds": f"<= {_time(claim.limit)}",
        "scaled": f"<= {claim.limit:g} s where the floor is {REFERENCE_FLOOR:.2f} s",
        "megabytes": f"<= {claim.limit:g} MB",
    }
    return who + words[claim.measure]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:g} µs" if seconds < 1e-3 else f"{seconds:g} s"
