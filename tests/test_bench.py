"""The benchmarks' own machinery: their figures are only as good as this. No test here depends on a time."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import fresh, growth, machine, report, tables, verdicts, yardsticks
from bench.rows import ROWS, select
from bench.rows.kernels import MNIST, RECIPES
from bench.verdicts import Verdict
from bench.workers import Measured
from bench.workloads import Claim, Entry, Workload
from tests.bench_reports import PEAKS, made_up, measured, point


def counted_flops(layers: tuple[int, ...], train: bool) -> int:
    """2 m n for every product of one sample with an (m, n) matrix, product by product."""
    total = 0
    for k in range(len(layers) - 1):
        product = 2 * layers[k] * layers[k + 1]
        total += product  # forward
        if train:
            total += product  # weight gradient
            total += product if k > 0 else 0  # delta of the layer before; the input needs none
    return total


@pytest.mark.parametrize("layers", [(784, 200, 50, 10), (784, 1024, 1024, 10), (784, 10)])
def test_flops_are_those_of_the_products(layers: tuple[int, ...]) -> None:
    workload = Workload(layers, rows=7)
    assert workload.flops == 7 * counted_flops(layers, train=True)
    assert replace(workload, task="predict").flops == 7 * counted_flops(layers, train=False)


def test_the_dense_floor_is_flops_by_peak() -> None:
    assert yardsticks.floor(MNIST, PEAKS) == pytest.approx(690_200 * 60_000 / 200e9)
    assert yardsticks.floor(MNIST, PEAKS, "float64", 1) == pytest.approx(690_200 * 60_000 / 50e9)


def test_the_higher_peak_counts() -> None:
    other = {
        **PEAKS,
        "float32, 2 threads": {"gflops": 250.0, "by": "JAX"},
        "float64, 1 thread": {"gflops": 1.0, "by": "x"},
    }
    merged = yardsticks.merge(PEAKS, other)
    assert merged["float32, 2 threads"] == {"gflops": 250.0, "by": "JAX"}
    assert merged["float64, 1 thread"]["gflops"] == 50.0


def test_rows_are_selected_by_number() -> None:
    assert [row.number for row in select("8, 1")] == ["1", "8a", "8b"]
    assert [row.number for row in select("5b")] == ["5b"]
    assert select(None) == ROWS
    with pytest.raises(ValueError, match=r"rows: given 99, expected some of 1, 2"):
        select("1,99")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_claims_name_what_is_measured(row: Any) -> None:
    assert all(len(verdicts.wording(claim)) <= tables.CLAIM for claim in row.claims)
    names = [entry.name for entry in row.entries]
    assert len(set(names)) == len(names)
    if row.kind == "repeats":
        assert row.claims
        for claim in row.claims:
            assert {claim.entry, *claim.against} <= set(names)
    if row.kind == "recipes":
        assert [claim.entry for claim in row.claims] == list(RECIPES)


@pytest.mark.parametrize(
    ("claim", "mine", "other", "value", "passed"),
    [
        (Claim("floor", 0.5), 0.41412 / 4, 1.0, 0.5, True),
        (Claim("floor", 0.5), 0.41412 / 4 * 1.01, 1.0, 0.505, False),
        (Claim("peak", 0.85), 0.20706 / 0.85, 1.0, 85.0, True),
        (Claim("peak", 0.85), 0.20706 / 0.84, 1.0, 84.0, False),
        (Claim("faster", 3.5, ("JAX",)), 0.1, 0.36, 3.6, True),
        (Claim("faster", 3.5, ("JAX",)), 0.1, 0.34, 3.4, False),
        (Claim("within", 1.15, ("JAX",)), 0.114, 0.1, 1.14, True),
        (Claim("within", 1.15, ("JAX",)), 0.116, 0.1, 1.16, False),
        (Claim("seconds", 5e-6), 4.9e-6, 1.0, 4.9e-6, True),
        (Claim("seconds", 5e-6), 5.1e-6, 1.0, 5.1e-6, False),
    ],
)
def test_judgement(claim: Claim, mine: float, other: float, value: float, passed: bool) -> None:
    results = {"fastfc": measured("fastfc", mine, mine, 99.0), "JAX": measured("JAX", other, other, 1e-9)}
    verdict = verdicts.judge(claim, results, PEAKS)
    assert verdict.measured == pytest.approx(value)
    assert verdict.passed is passed


def test_the_best_of_several_peers_is_the_one_to_beat() -> None:
    results = {"fastfc": measured("fastfc", 1.0), "JAX": measured("JAX", 3.0), "PyTorch": measured("PyTorch", 2.0)}
    verdict = verdicts.judge(Claim("faster", 1, ("JAX", "PyTorch", "scikit-learn")), results, PEAKS)
    assert verdict.measured == 2.0
    assert verdict.note == "best: PyTorch"


def test_claims_are_worded_by_whom_they_are_against() -> None:
    assert verdicts.wording(Claim("faster", 1.8, ("fastfc, 1 thread",))) == ">= 1.8 x as fast as fastfc, 1 thread"
    assert verdicts.wording(Claim("faster", 4, ("JAX", "JAX, 1 thread"))) == ">= 4 x as fast as JAX"
    assert verdicts.wording(Claim("faster", 1, ("JAX", "PyTorch"))) == ">= 1 x as fast as the best peer"


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    absent = Measured(Entry("JAX"), MNIST, error="not installed (make peers)")
    verdict = verdicts.judge(Claim("faster", 3.5, ("JAX",)), {"fastfc": measured("fastfc", 1.0), "JAX": absent}, PEAKS)
    assert verdict.passed is None
    assert "not installed" in verdict.note
    failed = Measured(Entry("fastfc"), MNIST, error="boom")
    assert "boom" in verdicts.judge(Claim("floor", 0.5), {"fastfc": failed}, PEAKS).note


def test_losses_that_differ_are_seen() -> None:
    same = {"a": measured("a", 1.0, loss=0.30), "b": measured("b", 1.0, loss=0.31)}
    elsewhere = measured("c", 1.0, workload=replace(MNIST, data="normal"), loss=2.3)
    for more, passed in (None, True), (measured("c", 1.0, loss=0.33), False), (elsewhere, True):
        (verdict,) = verdicts.same_result(same | ({"c": more} if more else {}))
        assert verdict.passed is passed
    assert verdicts.same_result({"a": same["a"], "c": elsewhere}) == []
    failed = Measured(Entry("b"), MNIST, error="boom")
    assert [v.word for v in verdicts.same_result({"a": same["a"], "b": failed})] == ["not measured"]


def test_curves_that_differ_are_seen() -> None:
    mine = measured("fastfc", 1.0, curve=[0.5, 0.25])
    for curve, apart, passed in ([0.5, 0.2501], 0.04, True), ([0.51, 0.25], 1.96, False), ([0.5], 0.0, False):
        verdict = verdicts.same_curve({"fastfc": mine, "scikit-learn": measured("scikit-learn", 1.0, curve=curve)})
        assert verdict.measured == pytest.approx(apart, abs=0.01)
        assert verdict.passed is passed
    assert verdict.note == "1 and 2 numbers"
    assert verdicts.same_curve({"fastfc": mine}).word == "not measured"


def test_figures_of_fresh_processes_are_compared_within_a_round() -> None:
    times = {"fastfc": {"seconds": [1.0, 1.4, 1.0]}, "scikit-learn": {"seconds": [0.8, 1.2, 0.9]}}
    sizes = {"fastfc": {"megabytes": [300.0, 310.0]}, "scikit-learn": {"megabytes": [200.0, 200.0]}}
    for claim, entries, value in (
        (Claim("seconds", 1.2), times, 1.0),
        (Claim("longer", 0.3, ("scikit-learn",)), times, 0.2),
        (Claim("memory", 1.6, ("scikit-learn",)), sizes, 1.525),
    ):
        verdict = fresh.judge_value(claim, entries)
        assert (verdict.measured, verdict.word) == (pytest.approx(value), "reached")
    absent = {**times, "scikit-learn": {"error": "not installed (make peers)"}}
    assert fresh.judge_value(Claim("seconds", 1.2), absent).word == "reached"
    verdict = fresh.judge_value(Claim("longer", 0.3, ("scikit-learn",)), absent)
    assert (verdict.word, verdict.note) == ("not measured", "scikit-learn: not installed (make peers)")


@pytest.mark.parametrize(
    ("seconds", "lowest", "passed"), [(0.25, 0.9707, True), (0.27, 0.9707, False), (0.25, 0.97, False)]
)
def test_a_recipe_is_judged_by_time_and_by_every_seed(seconds: float, lowest: float, passed: bool) -> None:
    entry = {"seconds": [seconds] * 3, "median": seconds, "accuracy": [0.98, lowest, 0.98], "target": 0.9706}
    # The floor here is 0.20706 s, so that 0.25 s becomes 0.2588 s.
    verdict = fresh.judge_recipe(Claim("scaled", 0.25, entry="97.06 %"), entry, MNIST, PEAKS)
    assert verdict.passed is passed
    assert "0.259 s here" in verdict.note


def test_ratios_are_of_the_rounds() -> None:
    """A machine at half its speed in the second and third round."""
    fast, slow = measured("fastfc", 1.0), measured("JAX", 3.0)
    fast.seconds, slow.seconds = [1.0, 2.0, 1.1, 1.0], [3.0, 6.0, 6.6, 3.0]
    assert verdicts.judge(Claim("faster", 3, ("JAX",)), {"fastfc": fast, "JAX": slow}, PEAKS).measured == 3.0


def test_there_is_no_verdict_by_a_hair() -> None:
    """Ratios of 2.5, 3 and 3.4: 3.1 is nearer than their usual distance of 0.4, 3.5 and 2.5 are not."""
    results = {"fastfc": measured("fastfc", 1.0, 1.0, 1.0), "JAX": measured("JAX", 2.5, 3.0, 3.4)}
    words = [verdicts.judge(Claim("faster", limit, ("JAX",)), results, PEAKS).word for limit in (2.5, 3.1, 3.5)]
    assert words == ["reached", "within the noise", "MISSED"]
    assert verdicts.settle("c", [300.0, 340.0, 380.0], 350, "MB", least=False).note == "spread 40"
    entry = {"seconds": [0.2, 0.26, 0.3], "median": 0.26, "accuracy": [0.98, 0.98, 0.96], "target": 0.9706}
    assert fresh.judge_value(Claim("seconds", 0.25), {"fastfc": entry}).word == "within the noise"
    missed = fresh.judge_recipe(Claim("scaled", 0.25, entry="97.06 %"), entry, MNIST, PEAKS)
    assert missed.word == "MISSED"  # by its accuracy, whatever the time


def test_on_a_disturbed_machine_the_least_disturbed_rounds_count() -> None:
    """In most rounds one of the two was held up."""
    mine, other = [1.0, 3.0, 1.01, 1.0, 4.0, 1.02, 2.0, 1.0], [3.0, 3.0, 3.03, 9.0, 3.0, 3.06, 3.0, 8.0]
    results = {"fastfc": measured("fastfc", *mine), "JAX": measured("JAX", *other)}
    assert list(verdicts.rounds(True, mine, other)) == [0, 2, 5]
    verdict = verdicts.judge(Claim("faster", 2.9, ("JAX",)), results, PEAKS, disturbed=True)
    assert (verdict.measured, verdict.word) == (pytest.approx(3.0), "reached")
    assert verdicts.judge(Claim("faster", 2.9, ("JAX",)), results, PEAKS).word == "within the noise"
    assert verdicts.judge(Claim("seconds", 1.05), results, PEAKS, disturbed=True).measured == 1.0


def test_who_failed_on_the_way_is_not_compared() -> None:
    half = Measured(Entry("JAX"), MNIST, [3.0], error="worker ended with -9")
    verdict = verdicts.judge(Claim("faster", 3, ("JAX",)), {"fastfc": measured("fastfc", 1.0, 1.0), "JAX": half}, PEAKS)
    assert (verdict.word, verdict.note) == ("not measured", "JAX: worker ended with -9")


def test_growth_is_judged_at_its_worst_point() -> None:
    rows = [
        point("rows", n, n, fastfc=t * n, numpy_float32=3 * t * n)
        for n, t in ((6_000, 1.05), (60_000, 1.0), (600_000, 0.92))
    ]
    assert growth.flat(rows).measured == pytest.approx(-8.0)
    assert growth.flat(rows).passed is True
    assert growth.flat([*rows[:2], point("rows", 600_000, 600_000, fastfc=1.11 * 600_000)]).passed is False
    assert growth.flat(rows[:2]).passed is None
    assert growth.never_slower(rows).passed is True
    slower = [point("batch", size, fastfc=1.0, numpy_float32=lead) for size, lead in ((1, 0.9), (8, 1.2), (8192, 0.8))]
    verdict = growth.never_slower([*rows, *slower])
    assert (verdict.measured, verdict.passed) == (0.8, False)
    assert verdict.note == "numpy is faster at batch 1 (0.90 x), batch 8192 (0.80 x)"
    assert growth.never_slower([*rows, point("batch", 8192, fastfc=1.0)]).passed is None
    density = [
        point("density", 0.1, sparse=1.0, dense=2.0, auto=1.05),
        point("density", 0.5, sparse=3.0, dense=2.0, auto=3.0),
    ]
    assert growth.crossover(density).measured == pytest.approx(1.5)


def test_the_terminal_gets_80_columns_and_every_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    shown = made_up()
    report.show(shown)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(verdict["claim"] in "\n".join(lines) for row in shown["rows"] for verdict in row["verdicts"])
    text = "\n".join(lines)
    for expected in ("reached", "MISSED", "not measured", "not installed (make peers)", "out of memory", "300 MB"):
        assert expected in text


def test_a_busy_machine_is_reported() -> None:
    row = made_up()["rows"][0]
    assert "busy" not in tables.terminal({**row, "others_busy": 0.1})
    assert "other processes kept 1.5 cores busy" in tables.terminal({**row, "others_busy": 1.5})


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_time_that_is_taken_away_is_seen() -> None:
    """Ten times a second, the spinning thread is held up for 50 ms."""
    before = signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.05))
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        assert machine.gaps(0.5) > 0.3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    shares = machine.Watch().shares()
    assert all(0 <= shares[kind] <= 1 for kind in ("gaps", "steal"))


def test_a_disturbed_machine_is_named_in_the_head(capsys: pytest.CaptureFixture[str]) -> None:
    expected = "(up to 12 % of that of a spinning thread, steal 3 %) in rows 1:"
    quiet = made_up()
    assert "taken away" not in tables.markdown(quiet)
    first, *others = quiet["rows"]
    disturbed = {**quiet, "rows": [first | {"disturbed": True, "away": {"gaps": 0.12, "steal": 0.03}}, *others]}
    assert expected in tables.markdown(disturbed).split("| row")[0]
    report.show(disturbed)
    assert expected in " ".join(capsys.readouterr().out.split("GEMM peak")[0].split())


def test_a_busy_row_is_judged_by_its_least_disturbed_rounds() -> None:
    results = {e.name: measured(e.name, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0) for e in ROWS[0].entries}
    results["JAX"].seconds = [4.0] * 7
    quiet, busy = (
        next(v for v in report.judge_row(ROWS[0], {"results": results}, PEAKS)["verdicts"] if "JAX" in v["claim"])
        for results["fastfc"].pauses in ([(0.0, 0.0)], [(9.0, 0.0)])
    )
    assert (quiet["passed"], busy["passed"]) == (False, True)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")
def test_the_work_of_processes_is_seen() -> None:
    before, own = machine.busy_seconds(), time.process_time()
    while time.process_time() - own < 0.2:
        sum(range(1000))
    assert machine.busy_seconds() - before > 0.15


def test_an_unknown_row_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--rows", "99"]) == 2
    assert "rows: given 99" in capsys.readouterr().err


def test_verdicts_have_a_word_each() -> None:
    words = [Verdict("c", value, passed=p).word for value, p in ((1, True), (1, False), (1, None), (None, None))]
    assert words == ["reached", "MISSED", "within the noise", "not measured"]
