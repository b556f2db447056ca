"""Put results into the documents: whole into docs/benchmarks.md; in short, losses too, into README.md and its chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import machine, plots, tables
from bench.verdicts import Verdict, lead

Report = dict[str, Any]
CLAIM = ("JAX", "PyTorch", "scikit-learn")
# The rows of README: what it calls them, and whom they are compared with.
FIGURES = {
    "1": ("epoch of MNIST, 784-200-50-10, SGD", ("JAX", "PyTorch", "PyTorch compiled", "scikit-learn")),
    "21d": ("`MLPClassifier().fit`, 1,797 digits of 8 x 8, float64", ("scikit-learn",)),
    "8a": ("predict one sample from Python, 784-200-50-10", ("NumPy by hand", "JAX", "PyTorch", "scikit-learn")),
    "14": ("epoch of 784-1024-1024-10, Adam, dense input", ("JAX", "PyTorch", "PyTorch compiled", "scikit-learn")),
    "26": ("import and first fit on iris, in a new process", ("scikit-learn",)),
}
LIMITS = {"10": ("empty kernel cache", "warm", "JAX"), "23b": ("fastfc", "scikit-learn"), "24b": ("fastfc", "scikit-learn")}


def publish(report: Report, root: Path) -> list[str]:
    """Write what stands between the markers, and the chart; what there is to say of it.

    docs/benchmarks.md has a section for each machine. README is of the machine whose results were published last.
    """
    about = report["machine"]
    replace(root / "docs/benchmarks.md", tables.markdown(report), machine.slug(about["cpu"], about["cores"]))
    absent = lacking(report)
    if absent:
        return [f"README.md: left as it is, as there is no figure of {', '.join(absent)}"]
    for name, text in blocks(report).items():
        replace(root / "README.md", text, name)
    plots.peers(report, root / "docs/benchmarks.png")
    return []


def replace(path: Path, text: str, name: str) -> None:
    """Replace what stands between the two markers of that name."""
    head, tail = around(path, name)
    path.write_text(f"{head}\n{text}{tail}", encoding="utf-8")


def around(path: Path, name: str) -> tuple[str, str]:
    """What stands before and after, markers included. ValueError where they are not once each, in order."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = path.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{path.name}: given no pair of markers, expected {begin} before {end}, once each")
    return text.split(begin)[0] + begin, end + text.split(end)[1]


def lacking(report: Report) -> list[str]:
    """What README shows and the report does not have: "row 1 of JAX"."""
    entries = {row["row"]: row["entries"] for row in report["rows"]}
    needed = {number: ("fastfc", *others) for number, (_, others) in FIGURES.items()} | LIMITS
    return [
        f"row {number} of {name}"
        for number, names in needed.items()
        for name in names
        if "median" not in entries.get(number, {}).get(name, {})
    ]


def blocks(report: Report) -> dict[str, str]:
    """What stands between README's markers, by their name."""
    rows = {row["row"]: row for row in report["rows"]}
    return {"claim": _claim(report, rows), "example": _example(rows), "figures": _figures(rows), "limits": _limits(report, rows)}


def _claim(report: Report, rows: dict[str, Any]) -> str:
    row, about = rows["1"], report["machine"]
    own, *times = (tables.seconds(row["entries"][name]["median"]) for name in ("fastfc", *CLAIM))
    leads = [f"{lead(row, name):.1f}" for name in CLAIM]
    first, *others = (f"{times} times as" for times in leads)
    words = [f"{first} fast as {CLAIM[0]}", *(f"{so} {name}" for so, name in zip(others, CLAIM[1:], strict=True))]
    return (
        f"**An epoch of MNIST in {own}: {', '.join(words)}.**\n\n"
        f"| {about['cpu']}, {about['cores']} cores, {row['date']} | fastfc | {' | '.join(CLAIM)} |\n|---|---|---|---|---|\n"
        f"| an epoch of MNIST | {own} | {' | '.join(times)} |\n| fastfc is so many times as fast | | {' | '.join(leads)} |\n"
    )


def _example(rows: dict[str, Any]) -> str:
    row = rows["21d"]
    own, other = (tables.seconds(row["entries"][name]["median"]) for name in ("fastfc", "scikit-learn"))
    return (
        f"This fit took {own} where scikit-learn's own took {other}: {lead(row, 'scikit-learn'):.1f} x as fast, "
        "with the same loss curve.\n"
    )


def _figures(rows: dict[str, Any]) -> str:
    lines = ["| row | | fastfc | the best other | times as fast |", "|---|---|---|---|---|"]
    for number, (what, others) in FIGURES.items():
        entries = rows[number]["entries"]
        best = min(others, key=lambda name: entries[name]["median"])
        times = lead(rows[number], best)
        shown = f"{times:.2f}" if times >= 1 else f"**{times:.2f}: slower**"
        own, other = (tables.seconds(entries[name]["median"]) for name in ("fastfc", best))
        lines.append(f"| {number} | {what} | {own} | {best} {other} | {shown} |")
    return "\n".join(lines) + "\n"


def _limits(report: Report, rows: dict[str, Any]) -> str:
    cold, warm, jax = (tables.seconds(rows["10"]["entries"][name]["median"]) for name in LIMITS["10"])
    once = [tables.seconds(rows["26"]["entries"][name]["median"]) for name in ("fastfc", "scikit-learn")]
    memory = [tables.megabytes(rows["23b"]["entries"][name]) for name in LIMITS["23b"]]
    words = [Verdict(**verdict).word for row in report["rows"] for verdict in row["verdicts"]]
    return (
        "- On a GPU, or with convolutions: it has neither.\n"
        f"- Wide layers: with Adam on 784-1024-1024-10 it is {lead(rows['14'], 'JAX'):.2f} x as fast as JAX (row 14).\n"
        f"- One short fit in a new process: {once[0]} on iris, scikit-learn {once[1]} (row 26).\n"
        f"- The very first training compiles: {cold} to the end of its first epoch, {warm} from then on, JAX {jax} each time (row 10).\n"
        f"- Large sparse tables where memory is short: {memory[0]}, scikit-learn {memory[1]} (row 23b).\n"
        f"- `predict_proba` of 10,000 rows gains less, {lead(rows['24b'], 'scikit-learn'):.1f} x (row 24b).\n"
        f"- Of {len(words)} figures aimed at here, {words.count('MISSED')} are missed: each is marked in "
        "[docs/benchmarks.md](docs/benchmarks.md).\n"
    )
