"""Measure every row of bench.rows and write the report: `python -m bench.report [--rows 1,3,8] [--quick]`.

Writes <date>-<cpu>.json, .md and two plots (-epochs.png, -sizes.png), and prints the figures with those to reach.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from bench import fits, fresh, growth, machine, plots, tables, yardsticks
from bench.datasets import Store
from bench.rows import select
from bench.verdicts import Verdict, judge, same_curve, same_result, wording
from bench.workers import ROOT, Log, measure, peers_python
from bench.workloads import PASSES, Row
from fastfc.machine.terminal import wrapped

DISTURBED = 0.05  # share of its time taken away from the machine, above which the report says so
LEAST_SECONDS = 15.0  # of rounds, where a row's repeats are short


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        rows = select(options.rows)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    out = options.out or ROOT / ("runs/bench-quick" if options.quick else "bench/results")
    repeats = 1 if options.quick else max(options.repeats, 5)
    with tempfile.TemporaryDirectory(prefix="fastfc-bench-") as folder:
        report = run(rows, repeats, options.quick, Store(Path(folder)), progress)
    print()
    show(report)
    path = write(report, out)
    print(f"written to {path.parent}: {path.stem}*")
    if options.update_readme:
        tables.update_readme(ROOT / "README.md", tables.markdown(report))
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__.splitlines()[0])
    made.add_argument("--rows", help="the rows to measure, such as 1,3,8; all by default")
    made.add_argument("--repeats", type=int, default=5, help="repeats of each row, at least 5 (default 5)")
    made.add_argument("--quick", action="store_true", help="small data and one repeat: shows that all runs, no figures")
    made.add_argument("--out", type=Path, help="folder for the results (default bench/results)")
    made.add_argument("--update-readme", action="store_true", help="put the table between the markers in README.md")
    return made


def run(rows: tuple[Row, ...], repeats: int, quick: bool, store: Store, log: Log) -> dict[str, Any]:
    """The whole report as JSON-ready data.

    The peak is measured before and after the rows, and the higher one counts: a busy moment must not lower the floor.
    """
    if peers_python() is None:
        print("no peers' environment found (make peers): their entries stay empty")
    limits: dict[str, Any] = {"sizes": (512,), "repeats": 2} if quick else {}
    log("GEMM peak")
    peaks = yardsticks.gemm_peaks(**limits)
    log("the machine alone")
    watch, measured = machine.Watch(), []
    for row in rows:
        measured.append(measure_row(row, repeats, quick, store, log))
        watch.look()
    taken = watch.shares()
    log("GEMM peak again")
    peaks = yardsticks.merge(peaks, yardsticks.gemm_peaks(**limits))
    disturbed = max(taken.values()) > DISTURBED
    done = [judge_row(row, found, peaks, disturbed) for row, found in zip(rows, measured, strict=True)]
    about = machine.describe()
    versions: dict[str, str] = about.pop("versions")
    for found in done:
        for entry in found["entries"].values():
            versions = entry.get("versions", {}) | versions
    return {
        "date": datetime.now(UTC).date().isoformat(), "quick": quick, "repeats": repeats, "machine": about,
        "taken": taken, "disturbed": disturbed,
        "versions": dict(sorted(versions.items())), "data": store.images.name, "peaks": peaks, "rows": done,
    }  # fmt: skip


def measure_row(row: Row, repeats: int, quick: bool, store: Store, log: Log) -> dict[str, Any]:
    """What the row's kind measures: {"results": {name: Measured}}, {"entries": ...} or {"points": ...}."""
    seconds = 0.0 if quick else LEAST_SECONDS
    say = lambda text: log(f"row {row.number}: {text}")  # noqa: E731
    try:
        if row.kind == "recipes":
            return {"entries": fresh.recipes(1 if quick else repeats, say)}
        if row.kind == "startup":
            return {"entries": fresh.startup(repeats, store, say)}
        if row.kind == "memory":
            return {"entries": fresh.memory(repeats, store, say)}
        if row.kind in ("first fit", "fit memory"):
            return {"entries": fits.measure(row, repeats, quick, store, say)}
        if row.kind == "growth":
            return {"points": growth.run(row.entries, repeats, quick, store, say)}
        entries = [(entry, entry.workload or row.workload) for entry in row.entries]
        if quick:
            entries = [(entry, workload.small()) for entry, workload in entries]
        return {"results": {m.entry.name: m for m in measure(entries, store, repeats, seconds, say)}}
    except (RuntimeError, subprocess.SubprocessError) as error:
        return {"error": str(error)}


def judge_row(row: Row, found: dict[str, Any], peaks: dict[str, Any], disturbed: bool = False) -> dict[str, Any]:
    """The row of the report: what was measured, JSON-ready, and the verdicts; of the least disturbed repeats on a
    machine that is disturbed."""
    done = {"row": row.number, "title": row.title, "entries": found.get("entries", {}), "verdicts": []}
    if "error" in found:
        verdicts = [Verdict(wording(claim), None, note=found["error"]) for claim in row.claims]
    elif row.kind == "growth":
        verdicts = growth.judge(found["points"], disturbed)
        done["points"] = found["points"]
    elif row.kind == "recipes":
        entries = found["entries"]
        verdicts = [
            fresh.judge_recipe(claim, entries[claim.entry], row.workload, peaks, disturbed) for claim in row.claims
        ]
    elif row.kind != "repeats":
        verdicts = [fresh.judge_value(claim, found["entries"], disturbed) for claim in row.claims]
    else:
        results = found["results"]
        others = mean(result.others for result in results.values())
        verdicts = [judge(claim, results, peaks, disturbed or others > tables.QUIET) for claim in row.claims]
        if any("loss" in result.about for result in results.values()):
            verdicts += same_result(results)
        if any("curve" in result.about for result in results.values()):
            verdicts.append(same_curve(results))
        done["entries"] = {name: result.to_dict() for name, result in results.items()}
        first = next(iter(results.values()))
        done["others_busy"] = others
        done["taken"] = mean(result.taken for result in results.values())
        if row.workload.task in PASSES:
            done["floor"] = yardsticks.floor(first.workload, peaks, first.entry.dtype, first.entry.threads)
    return done | {"verdicts": [verdict.to_dict() for verdict in verdicts]}


def show(report: dict[str, Any]) -> None:
    if report["disturbed"]:
        print(wrapped(tables.disturbance(report), "", ""))
    for name, peak in report["peaks"].items():
        print(f"GEMM peak {name:20}{peak['gflops']:8.1f} GFLOP/s  {peak['by']}")
    for row in report["rows"]:
        print("\n" + tables.terminal(row))
    words = [Verdict(**verdict).word for row in report["rows"] for verdict in row["verdicts"]]
    counts = ", ".join(f"{words.count(word)} {word.lower()}" for word in dict.fromkeys(["reached", "MISSED", *words]))
    print(f"\nFigures: {counts}")
    if report["quick"]:
        print("A quick run: it shows that everything runs; its figures mean nothing.")


def write(report: dict[str, Any], out: Path) -> Path:
    """Write the four files; the path of the first."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{report['date']}-{machine.slug()}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(tables.markdown(report), encoding="utf-8")
    plots.epochs(report, path.with_name(f"{path.stem}-epochs.png"))
    plots.sizes(report, path.with_name(f"{path.stem}-sizes.png"))
    return path


def progress(text: str) -> None:
    """One line on a terminal that the next one overwrites; lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:78]}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers and data are cleared away
    sys.exit(main())
