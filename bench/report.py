"""Measure every row of bench.rows and write the report: `python -m bench.report [--rows 1,3,8] [--quick] [--publish]`.

Results are kept by machine: <cpu>-<n>-cores.json, .md and two plots (-epochs.png, -sizes.png), written after each row. Rows that
are not measured stay there as they were. `--from FILE.json` measures nothing, and makes the documents anew.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from bench import fits, fresh, growth, machine, plots, publish, tables, yardsticks
from bench.datasets import Store
from bench.rows import ROWS, select
from bench.verdicts import Verdict, judge, same_curve, same_result, wording
from bench.workers import ROOT, Log, measure, peers_python
from bench.workloads import PASSES, Row
from fastfc.machine.terminal import wrapped

DISTURBED = 0.05  # share of its time taken away from the machine, above which the report says so
LEAST_SECONDS = 15.0  # of rounds, where a row's repeats are short
Report = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.source:
            report = json.loads(options.source.read_text(encoding="utf-8"))
            write(report, options.source)
            published(report)
            return 0
        rows = select(options.rows)
        path = (options.out or ROOT / ("runs/bench-quick" if options.quick else "bench/results")) / f"{machine.slug()}.json"
        before = earlier(path, options.quick)
        if options.publish:
            publish.around(ROOT / "docs/benchmarks.md", machine.slug())  # there is a section for this machine
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2

    def save(report: Report) -> None:
        write(report, path)
        if options.publish and not options.quick:
            published(report)

    repeats = 1 if options.quick else max(options.repeats, 5)
    with tempfile.TemporaryDirectory(prefix="fastfc-bench-") as folder:
        report = run(rows, repeats, options.quick, Store(Path(folder)), before, save, progress)
    print()
    measured = {row.number for row in rows}
    show(report | {"rows": [row for row in report["rows"] if row["row"] in measured]})
    print(f"written to {path.parent}: {path.stem}*")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__.splitlines()[0])
    made.add_argument("--rows", help="the rows to measure, such as 1,3,8; all by default")
    made.add_argument("--repeats", type=int, default=5, help="repeats of each row, at least 5 (default 5)")
    made.add_argument("--quick", action="store_true", help="small data and one repeat: shows that all runs, no figures")
    made.add_argument("--out", type=Path, help="folder for the results (default bench/results)")
    made.add_argument("--publish", action="store_true", help="put the results into README.md and docs/benchmarks.md")
    made.add_argument("--from", dest="source", type=Path, metavar="FILE", help="measure nothing: tables, plots and documents of this .json")
    return made


def published(report: Report) -> None:
    for said in publish.publish(report, ROOT):
        print(said, file=sys.stderr)


def earlier(path: Path, quick: bool) -> Report:
    """What is known of the machine already; {} if nothing is."""
    if not path.exists():
        return {}
    report: Report = json.loads(path.read_text(encoding="utf-8"))
    if report["quick"] != quick:
        kinds = ["full", "quick"]
        raise ValueError(f"{path.name}: given results of a {kinds[report['quick']]} run, expected those of a {kinds[quick]} one")
    return report


def run(
    rows: tuple[Row, ...], repeats: int, quick: bool, store: Store, before: Report, save: Callable[[Report], None], log: Log
) -> Report:
    """The whole report as JSON-ready data: `rows` measured now, others as they are `before`. save: what to do with it after each row.

    The peak is measured before and after the rows, and the highest of these and the earlier ones counts: a busy moment must not
    lower the floor.
    """
    if peers_python() is None:
        print("no peers' environment found (make peers): their entries stay empty")
    limits: dict[str, Any] = {"sizes": (512,), "repeats": 2} if quick else {}
    log("GEMM peak")
    peaks = yardsticks.merge(yardsticks.gemm_peaks(**limits), before.get("peaks", {}))
    measured: list[tuple[Row, dict[str, Any]]] = []

    def report() -> Report:
        today = {"date": datetime.now(UTC).date().isoformat(), "quick": quick, "repeats": repeats, "data": store.images.name}
        return assemble(today | {"peaks": peaks}, [judge_row(row, found, peaks) for row, found in measured], before)

    for row in rows:
        log("the machine alone")
        watch = machine.Watch()
        found = measure_row(row, repeats, quick, store, log)
        watch.look()
        measured.append((row, found | {"away": watch.shares()}))
        save(report())
    log("GEMM peak again")
    peaks = yardsticks.merge(peaks, yardsticks.gemm_peaks(**limits))
    save(report())
    return report()


def assemble(today: Report, rows: list[dict[str, Any]], before: Report) -> Report:
    """The report of `rows`, measured today, and of the rows from `before` that were not, with the verdicts that they had."""
    measured = {row["row"]: row | {"date": today["date"]} for row in rows}
    kept = {row["row"]: row for row in before.get("rows", [])}
    place = {row.number: k for k, row in enumerate(ROWS)}
    together = sorted((kept | measured).values(), key=lambda row: place.get(row["row"], len(ROWS)))
    about = machine.describe()
    versions = {name: {number} for name, number in about.pop("versions").items()}
    for entry in (entry for row in together for entry in row["entries"].values()):
        for name, number in entry.get("versions", {}).items():
            versions.setdefault(name, set()).add(number)
    return today | {
        "machine": about, "rows": together, "versions": {name: " and ".join(sorted(versions[name])) for name in sorted(versions)},
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


def judge_row(row: Row, found: dict[str, Any], peaks: dict[str, Any]) -> dict[str, Any]:
    """The row of the report: what was measured, JSON-ready, and the verdicts; of the least disturbed repeats on a
    machine that was disturbed meanwhile."""
    done = {"row": row.number, "title": row.title, "entries": found.get("entries", {}), "verdicts": []}
    done["away"] = found.get("away", {})
    disturbed = done["disturbed"] = max(done["away"].values(), default=0.0) > DISTURBED
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


def show(report: Report) -> None:
    if said := tables.disturbance(report["rows"]):
        print(wrapped(said, "", ""))
    for name, peak in report["peaks"].items():
        print(f"GEMM peak {name:20}{peak['gflops']:8.1f} GFLOP/s  {peak['by']}")
    for row in report["rows"]:
        print("\n" + tables.terminal(row))
    print(f"\nFigures: {tables.counts(report['rows'])}")
    if report["quick"]:
        print("A quick run: it shows that everything runs; its figures mean nothing.")


def write(report: Report, path: Path) -> None:
    """Write the four files, of which `path` is the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(tables.markdown(report), encoding="utf-8")
    plots.epochs(report, path.with_name(f"{path.stem}-epochs.png"))
    plots.sizes(report, path.with_name(f"{path.stem}-sizes.png"))


def progress(text: str) -> None:
    """One line on a terminal that the next one overwrites; lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:78]}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers and data are cleared away
    sys.exit(main())
