"""This tree against another: `python -m bench.against PATH [--python PATH/.venv/bin/python] [--rounds N] [--rows 1,3]`.

PATH is a clone with an environment of its own. Each tree trains and predicts in worker processes of its own, in turns
within one run, so that both meet the same machine. Prints ratios of the times, new / old; nothing fails by them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, quantiles

from bench.datasets import Store
from bench.report import progress
from bench.rows import select
from bench.tables import seconds
from bench.verdicts import ratios
from bench.workers import ROOT, Measured, Worker, environment, measure, start
from bench.workloads import Entry, Workload

ROWS = "1,3,5a,6,8a"


def main(arguments: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__.splitlines()[0])
    made.add_argument("path", type=Path, help="the other tree")
    made.add_argument("--python", type=Path, help="its interpreter (default PATH/.venv/bin/python)")
    made.add_argument("--rounds", type=int, default=40, help="rounds of each row (default 40)")
    made.add_argument("--rows", default=ROWS, help=f"default {ROWS}")
    made.add_argument("--quick", action="store_true", help="small data: shows that all runs, no figures")
    options = made.parse_args(arguments)
    other = options.path.resolve()
    try:
        rows = select(options.rows)
        python = (options.python or other / ".venv/bin/python").absolute()
        trees = {"new": (Path(sys.executable), ROOT), "old": (python, other)}
        for python, root in trees.values():
            check(python, root)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2

    def begin(entry: Entry, workload: Workload, store: Store) -> Worker:
        return start(entry, workload, store, *trees[entry.name])

    log = progress if sys.stderr.isatty() else lambda _: None
    print(f"{'row':4} {'new':>9} {'old':>9}   new / old (quartiles)     least disturbed   taken away   others busy")
    with tempfile.TemporaryDirectory(prefix="fastfc-bench-") as folder:
        store = Store(Path(folder))
        for row in rows:
            workload = row.workload.small() if options.quick else row.workload
            entries = [(Entry(name), workload) for name in trees]
            new, old = measure(entries, store, max(2, options.rounds), 0, log, begin)
            print(f"{row.number:4} {line(new, old)}", flush=True)
    return 0


def check(python: Path, root: Path) -> None:
    """`python`, started in `root`, must import both packages from there: else a tree is compared with itself."""
    code = "import fastfc, fastfc.kernels; print(fastfc.__file__, fastfc.kernels.__file__, sep='\\n')"
    try:
        done = subprocess.run([python, "-c", code], cwd=root, env=environment(2), capture_output=True, text=True)
    except OSError as error:
        raise ValueError(f"tree: given {root}, expected a clone with {python}: {error}") from None
    found = [str(Path(name).resolve().parent) for name in done.stdout.splitlines()]
    if found != [str(root / "fastfc"), str(root / "kernels")]:
        told = found or done.stderr.strip().splitlines()[-1:]
        raise ValueError(
            f"tree: given {root}, expected fastfc and kernels imported from there, got {' and '.join(told)}"
        )


def line(new: Measured, old: Measured) -> str:
    """What was measured of a row: medians, the median ratio of the rounds with its quartiles, that of the quarter of
    the rounds in which both were fastest, the share of the pauses in which the machine was taken away, and the cores
    that other processes kept busy in them."""
    if new.error or old.error:
        return f"new: {new.error or 'ran'}; old: {old.error or 'ran'}"
    found = ratios(new.seconds, old.seconds)
    low, middle, high = quantiles(found, n=4, method="inclusive")
    quiet = median(ratios(new.seconds, old.seconds, disturbed=True))
    taken, others = mean((new.taken, old.taken)), mean((new.others, old.others))
    return (
        f"{seconds(new.median):>9} {seconds(old.median):>9}   {middle:.3f} ({low:.3f} to {high:.3f})"
        f"   {quiet:15.3f}   {100 * taken:8.1f} %   {others:11.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
