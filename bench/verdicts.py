"""Claims against measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from bench import yardsticks
from bench.workers import Measured
from bench.workloads import REFERENCE_FLOOR, Claim, Workload

SAME_LOSS, SAME_CURVE = 0.05, 1e-3  # relative
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Verdict:
    """What was claimed, in words; what was measured (None: not measured, `note` says why); whether it holds (None: not
    measured, or too near the limit to say)."""

    claim: str
    measured: float | None
    unit: str = "x"
    passed: bool | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def word(self) -> str:
        unknown = "not measured" if self.measured is None else "within the noise"
        return {True: "reached", False: "MISSED", None: unknown}[self.passed]


def settle(
    text: str, values: Sequence[float], limit: float, unit: str = "x", *, least: bool, note: str = ""
) -> Verdict:
    """The median of `values` against a limit that it must reach from below (least) or keep below.

    No verdict where the limit is nearer than the spread of the values, the median of their distances from their median:
    another run could say the opposite.
    """
    value = median(values)
    spread = median(abs(v - value) for v in values)
    if abs(value - limit) < spread:
        return Verdict(text, value, unit, None, "; ".join(filter(None, (note, f"spread {spread:.2g}"))))
    return Verdict(text, value, unit, value >= limit if least else value <= limit, note)


def judge(claim: Claim, results: Mapping[str, Measured], peaks: Mapping[str, Any], disturbed: bool = False) -> Verdict:
    """Judge a claim on `results`, by entry name: medians against yardsticks, ratios within the rounds against others;
    on a disturbed machine those of the least disturbed rounds."""
    mine = results.get(claim.entry)
    text = wording(claim)
    if mine is None or mine.error or not mine.seconds:
        return Verdict(text, None, note=f"{claim.entry}: {mine.error if mine else 'not run'}")
    if claim.measure in ("floor", "peak", "seconds"):
        times = [mine.seconds[i] for i in rounds(disturbed, mine.seconds)]
        floor = yardsticks.floor(mine.workload, dict(peaks), mine.entry.dtype, mine.entry.threads)
        if claim.measure == "floor":
            return settle(text, [t / floor for t in times], claim.limit, least=False)
        if claim.measure == "peak":
            return settle(text, [100 * floor / t for t in times], 100 * claim.limit, "%", least=True)
        return settle(text, times, claim.limit, "s", least=False)
    assert claim.measure in ("faster", "within"), claim.measure
    others = [results[n] for n in claim.against if n in results and results[n].seconds and not results[n].error]
    if not others:
        return Verdict(text, None, note="; ".join(f"{n}: {results[n].error}" for n in claim.against if n in results))
    best = min(others, key=lambda other: other.median)
    note = f"best: {best.entry.name}" if len(claim.against) > 1 else ""
    if claim.measure == "faster":
        return settle(text, ratios(best.seconds, mine.seconds, disturbed), claim.limit, least=True, note=note)
    return settle(text, ratios(mine.seconds, best.seconds, disturbed), claim.limit, least=False, note=note)


def ratios(one: Sequence[float], other: Sequence[float], disturbed: bool = False) -> list[float]:
    """one / other within each round: a machine that changes its speed from round to round does not matter."""
    return [one[i] / other[i] for i in rounds(disturbed, one, other)]


def lead(row: Mapping[str, Any], name: str) -> float:
    """How many times as fast as `name` fastfc was in a row of the report."""
    return median(ratios(*(row["entries"][who]["seconds"] for who in (name, "fastfc")), row["disturbed"]))


def rounds(disturbed: bool, *times: Sequence[float]) -> Sequence[int]:
    """The rounds that count: all, or on a disturbed machine the quarter, at least LEAST_ROUNDS, in which all of `times`
    were fastest: whose slowest, compared with its own best, was slowed least. That favours none: it matters how much
    each was slowed, not how fast it is."""
    slowed = [max(t / min(own) for t, own in zip(one, times, strict=True)) for one in zip(*times, strict=True)]
    if not disturbed:
        return range(len(slowed))
    return sorted(range(len(slowed)), key=slowed.__getitem__)[: max(LEAST_ROUNDS, len(slowed) // 4)]


def same_result(results: Mapping[str, Measured]) -> list[Verdict]:
    """How far the losses of the entries that train the same workload lie apart: they differ in the order of the samples
    at most. Without two such entries no verdict."""
    text = f"all end at the same loss, within {100 * SAME_LOSS:g} %"
    workloads = [result.workload for result in results.values()]
    if len(set(workloads)) == len(workloads):
        return []
    by_workload: dict[Workload, list[tuple[float, str]]] = {}
    for name, result in results.items():
        if result.seconds and "loss" in result.about:
            by_workload.setdefault(result.workload, []).append((result.about["loss"], name))
    spans = [
        (max(found)[0] / min(found)[0] - 1, f"{min(found)[1]}, {max(found)[1]}")
        for found in by_workload.values()
        if len(found) > 1
    ]
    if not spans:
        return [Verdict(text, None, note="fewer than two measured")]
    widest, who = max(spans)
    return [Verdict(text, 100 * widest, "%", widest <= SAME_LOSS, f"furthest apart: {who}")]


def same_curve(results: Mapping[str, Measured]) -> Verdict:
    """How far the numbers that the entries give lie apart, such as the losses of all epochs: they are to be the same."""
    text = f"all give the same numbers, within {100 * SAME_CURVE:g} %"
    curves = [result.about["curve"] for result in results.values() if "curve" in result.about]
    if len(curves) < 2:
        return Verdict(text, None, note="fewer than two measured")
    apart = max(abs(a - b) / max(abs(a), abs(b), 1e-300) for one, two in pairwise(curves) for a, b in zip(one, two))  # noqa: B905
    lengths = sorted({len(curve) for curve in curves})
    note = f"{' and '.join(map(str, lengths))} numbers" if len(lengths) > 1 else ""
    return Verdict(text, 100 * apart, "%", apart <= SAME_CURVE and len(lengths) == 1, note)


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
        "memory": f"<= {claim.limit:g} x the memory of {against}",
        "longer": f"<= {_time(claim.limit)} longer than {against}",
    }
    return who + words[claim.measure]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:g} µs" if seconds < 1e-3 else f"{seconds:g} s"
