"""What becomes of measurements: files of results, which rows are joined to, and the documents that show them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import machine, plots, publish, report, tables, yardsticks
from bench.rows import select
from tests.bench_reports import PEAKS, made_up, measured

RESULTS = sorted((report.ROOT / "bench" / "results").glob("*.json"))


def test_losses_are_published_with_the_wins() -> None:
    text = tables.markdown(made_up())
    assert "| 1 | >= 10 x as fast as numpy float64 | 9 x | **MISSED** |" in text
    assert "| 11 | compiling: <= 400 MB | 300 MB | reached |" in text
    assert "PyTorch 300 ms" in text
    assert "JAX - (not installed (make peers))" in text


def test_the_report_is_written_with_its_plots(tmp_path: Path) -> None:
    path, shown = tmp_path / "results" / "a-cpu.json", made_up()
    report.write(shown, path)
    names = sorted(p.name.removeprefix(path.stem) for p in path.parent.iterdir())
    assert names == ["-epochs.png", "-sizes.png", ".json", ".md"]
    assert not plots.sizes({**shown, "rows": shown["rows"][:1]}, tmp_path / "none.png")


def stand_in(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Rows are measured in no time: fastfc takes so many seconds, others ten times as many."""

    def measure_row(row: Any, *_: Any) -> dict[str, Any]:
        if row.number == "2":
            raise KeyboardInterrupt
        return {"results": {e.name: measured(e.name, seconds if e.name == "fastfc" else 10 * seconds) for e in row.entries}}

    monkeypatch.setattr(report, "measure_row", measure_row)
    monkeypatch.setattr(report, "Store", lambda _: SimpleNamespace(images=SimpleNamespace(name="mnist")))
    monkeypatch.setattr(yardsticks, "gemm_peaks", lambda **_: PEAKS)
    monkeypatch.setattr(machine, "gaps", lambda _: 0.0)
    monkeypatch.setattr(plots, "epochs", lambda *_: False)


def test_each_row_is_kept_and_joined_to_those_measured_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def medians() -> dict[str, float]:
        (file,) = tmp_path.glob("*.json")
        return {row["row"]: row["entries"]["fastfc"]["median"] for row in json.loads(file.read_text())["rows"]}

    def main(rows: str, *more: str) -> int:
        return report.main(["--rows", rows, "--out", str(tmp_path), *more])

    stand_in(monkeypatch, 0.1)
    with pytest.raises(KeyboardInterrupt):
        main("1,2,3")
    assert medians() == {"1": 0.1}
    assert main("3,4") == 0
    stand_in(monkeypatch, 0.2)
    assert main("3") == 0
    assert medians() == {"1": 0.1, "3": 0.2, "4": 0.1}
    assert main("3", "--quick") == 2  # its figures mean nothing


def test_rows_are_published_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page, slug = tmp_path / "docs" / "benchmarks.md", machine.slug()
    page.parent.mkdir()
    page.write_text(f"<!-- {slug}: begin -->\n<!-- {slug}: end -->\n")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    stand_in(monkeypatch, 0.1)
    with pytest.raises(KeyboardInterrupt):
        report.main(["--rows", "1,2", "--publish"])
    (file,) = (tmp_path / "bench" / "results").glob("*.json")
    assert tables.markdown(json.loads(file.read_text())) in page.read_text()
    page.write_text("")
    assert report.main(["--from", str(file)]) == 2
    assert report.main(["--rows", "1", "--publish"]) == 2  # before anything is measured


def test_the_highest_peak_stays_and_all_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, 0.1)
    before = made_up()
    before["peaks"] = {name: peak | {"gflops": 500.0} for name, peak in PEAKS.items()}
    before["rows"][0]["entries"]["fastfc"]["versions"] = {"numpy": "1.0"}
    saved: list[dict[str, Any]] = []
    found = report.run(select("3"), 5, False, report.Store(Path()), before, saved.append, lambda _: None)
    assert saved[-1] == found and found["peaks"] == before["peaks"]
    assert found["versions"]["numpy"].startswith("1.0 and ")
    assert [row["date"] == "2026-01-02" for row in found["rows"]] == [True, False, True, True]
    assert tables.older(found) == " (rows 1, 11, 12 on 2026-01-02)"


def test_only_what_stands_between_the_markers_changes(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    begin, end = "<!-- claim: begin -->", "<!-- claim: end -->"
    path.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    publish.replace(path, "new\n", "claim")
    assert path.read_text() == f"before\n{begin}\nnew\n{end}\nafter\n"
    path.write_text("no markers")
    with pytest.raises(ValueError, match=r"README\.md: given no pair of markers"):
        publish.replace(path, "new\n", "claim")
    assert path.read_text() == "no markers"


def test_the_documents_show_the_results() -> None:
    """docs/benchmarks.md those of every machine, README those of one of them."""
    page, readme = ((report.ROOT / name).read_text(encoding="utf-8") for name in ("docs/benchmarks.md", "README.md"))
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS]
    for path, results in zip(RESULTS, reports, strict=True):
        assert f"<!-- {path.stem}: begin -->\n{tables.markdown(results)}<!-- {path.stem}: end -->" in page
        assert path.with_suffix(".md").read_text(encoding="utf-8") == tables.markdown(results)
    whole = [publish.blocks(results) for results in reports if not publish.lacking(results)]
    assert any(all(f"begin -->\n{text}<!-- {name}: end" in readme for name, text in blocks.items()) for blocks in whole)


def test_results_are_published_as_far_as_they_go(tmp_path: Path) -> None:
    """README, which shows rows that were not measured, is left as it is."""
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "benchmarks.md"
    page.write_text("<!-- a-cpu-2-cores: begin -->\n<!-- a-cpu-2-cores: end -->\n")
    (said,) = publish.publish(made_up(), tmp_path)
    assert said.startswith("README.md: left as it is, as there is no figure of row 1 of JAX, row 21d of fastfc")
    assert tables.markdown(made_up()) in page.read_text()


def test_the_chart_shows_who_is_faster(tmp_path: Path) -> None:
    results = next(results for path in RESULTS if not publish.lacking(results := json.loads(path.read_text(encoding="utf-8"))))
    plots.peers(results, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"
