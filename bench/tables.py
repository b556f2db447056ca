"""The report as text: 80 columns for the terminal, Markdown for a file and docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

from bench.verdicts import Verdict
from fastfc.machine.terminal import wrapped

WIDTH, CLAIM = 80, 47  # columns of a line, and of what is claimed
QUIET = 0.3  # cores that others may use before the report says so


def seconds(value: float) -> str:
    """Three significant digits, with a unit."""
    if value < 1e-3:
        return f"{value * 1e6:.3g} µs"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def amount(verdict: Verdict) -> str:
    if verdict.measured is None:
        return "-"
    if verdict.unit == "s":
        return seconds(verdict.measured)
    return f"{verdict.measured:.3g} {verdict.unit}"


def terminal(row: dict[str, Any]) -> str:
    """One row of the report: who took how long, what was claimed, and whether it holds."""
    lines = [f"{row['row']:>3}  {row['title']}"[:WIDTH]]
    if row.get("floor"):
        lines.append(f"     {'dense floor':32}{seconds(row['floor']):>10}")
    base = row.get("entries", {}).get("fastfc", {}).get("median")
    for name, entry in row.get("entries", {}).items():
        if "median" not in entry:
            lines.append(f"     {name:32}{'-':>10}  {entry.get('error', '')}"[:WIDTH])
            continue
        if "megabytes" in entry:
            lines.append(f"     {name:32}{megabytes(entry):>10}")
            continue
        ratio = f"{entry['median'] / base:8.2f} x" if base else ""
        rate = f"{entry['gflops']:8.1f} GFLOP/s" if "gflops" in entry else ""
        lines.append(f"     {name:32}{seconds(entry['median']):>10}{ratio}{rate}"[:WIDTH])
    if row.get("others_busy", 0) > QUIET:
        lines.append(f"  !  other processes kept {row['others_busy']:.1f} cores busy: measure again on a quiet machine")
    for verdict in (Verdict(**v) for v in row["verdicts"]):
        lines.append(f"  >  {verdict.claim[:CLAIM]:{CLAIM}} {amount(verdict):>10} {verdict.word}")
        if verdict.note:
            lines.append(wrapped(verdict.note, 7 * " ", 7 * " "))
    return "\n".join(lines)


def markdown(report: dict[str, Any]) -> str:
    """The tables: the times by row, then the figures to reach."""
    machine, peaks = report["machine"], report["peaks"]
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    rates = ", ".join(f"{peak['gflops']:.0f} GFLOP/s ({name}; {peak['by']})" for name, peak in peaks.items())
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {report['date']}{older(report)}. "
        f"Medians of {report['repeats']} interleaved repeats or more, ratios to others within a round; float32 and 2 threads unless said; "
        "compilation is not counted.",
        *filter(None, [disturbance(report["rows"])]),
        f"GEMM peak: {rates}.",
        f"Versions: {versions}. Data: {report['data']}.",
        "",
        "| row | workload | fastfc | others | dense floor |",
        "|---|---|---|---|---|",
    ]
    lines += [_times(row) for row in report["rows"] if row.get("entries")]
    lines += ["", "| row | must reach | measured | |", "|---|---|---|---|"]
    for row in report["rows"]:
        for verdict in (Verdict(**v) for v in row["verdicts"]):
            note = f" ({verdict.note})" if verdict.note else ""
            word = f"**{verdict.word}**" if verdict.passed is False else verdict.word
            lines.append(f"| {row['row']} | {verdict.claim} | {amount(verdict)}{note} | {word} |")
    return "\n".join(lines) + "\n"


def older(report: dict[str, Any]) -> str:
    """Which rows were measured on another day."""
    days: dict[str, list[str]] = {}
    for row in report["rows"]:
        days.setdefault(row["date"], []).append(row["row"])
    days.pop(report["date"], None)
    said = "; ".join(f"{', '.join(numbers)} on {day}" for day, numbers in days.items())
    return f" (rows {said})" if said else ""


def counts(rows: list[dict[str, Any]]) -> str:
    """How many verdicts there are of each kind."""
    words = [Verdict(**verdict).word for row in rows for verdict in row["verdicts"]]
    return ", ".join(f"{words.count(word)} {word.lower()}" for word in dict.fromkeys(["reached", "MISSED", *words]))


def disturbance(rows: list[dict[str, Any]]) -> str:
    """One sentence on a machine that was taken away while it measured; empty if it was not."""
    disturbed = [row for row in rows if row["disturbed"]]
    if not disturbed:
        return ""
    numbers = ", ".join(row["row"] for row in disturbed)
    gaps, steal = (100 * max(row["away"][kind] for row in disturbed) for kind in ("gaps", "steal"))
    return (
        f"The machine was taken away for part of its time (up to {gaps:.0f} % of that of a spinning thread, steal {steal:.0f} %) "
        f"in rows {numbers}: their verdicts and ratios are of the quarter of the repeats that it disturbed least."
    )


def _times(row: dict[str, Any]) -> str:
    entries = dict(row["entries"])
    mine = entries.pop("fastfc", {})
    shown = []
    for name, entry in entries.items():
        if "median" not in entry:
            shown.append(f"{name} - ({entry.get('error', 'not run')})")
        elif "megabytes" in entry:
            shown.append(f"{name} {megabytes(entry)}")
        else:
            shown.append(f"{name} {seconds(entry['median'])}")
    own = megabytes(mine) if "megabytes" in mine else seconds(mine["median"]) if "median" in mine else ""
    limit = seconds(row["floor"]) if row.get("floor") else ""
    return f"| {row['row']} | {row['title']} | {own} | {' · '.join(shown)} | {limit} |"


def megabytes(entry: dict[str, Any]) -> str:
    return f"{entry['median']:.3g} MB"
