"""The two plots of the report, and the chart of README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bench.verdicts import lead

EPOCH_ROWS = ("1", "2", "3", "4")
OWN, OTHER = "#c44e52", "#8c8c8c"
PEER_ROWS = {
    "1": "an epoch of MNIST, 784-200-50-10, Nesterov momentum",
    "14": "an epoch of 784-1024-1024-10, Adam, dense input",
}
PEERS = {"fastfc": "fastfc", "JAX": "JAX", "PyTorch": "PyTorch", "PyTorch compiled": "PyTorch, compiled",
         "scikit-learn": "scikit-learn", "numpy float32": "fastfc, NumPy backend"}  # fmt: skip


def epochs(report: dict[str, Any], path: Path) -> bool:
    """Seconds an epoch of 784-200-50-10 by backend and peer, the dense floor as a line. False if no row has them."""
    rows = [row for row in report["rows"] if row["row"] in EPOCH_ROWS and row.get("entries")]
    if not rows:
        return False
    heights = [len(row["entries"]) + 1 for row in rows]
    figure = Figure(figsize=(8, 0.3 * sum(heights) + 1), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, row in zip(axes, rows, strict=True):
        shown = [(name, entry["median"]) for name, entry in row["entries"].items() if "median" in entry]
        shown.sort(key=lambda pair: -pair[1])
        names, values = [name for name, _ in shown], [value for _, value in shown]
        bars = ax.barh(names, values, color=[OWN if name.startswith("fastfc") else OTHER for name in names])
        ax.bar_label(bars, [f" {value:.3g}" for value in values], fontsize=8)
        ax.axvline(row["floor"], color="black", linestyle="--", linewidth=1)
        ax.set_title(f"{row['title']} (dashed: dense floor)", fontsize=9, loc="left")
        ax.margins(x=0.12)
        ax.tick_params(labelsize=8)
    axes[-1].set_xlabel("seconds an epoch")
    figure.savefig(path, dpi=120)
    return True


def peers(report: dict[str, Any], path: Path) -> None:
    """Seconds an epoch in the two PEER_ROWS, fastest first, each with how many times as fast fastfc is."""
    rows = {row["row"]: row for row in report["rows"]}
    shown = {
        number: sorted((entry["median"], name) for name, entry in rows[number]["entries"].items() if name in PEERS and "median" in entry)
        for number in PEER_ROWS
    }
    figure = Figure(figsize=(8, 0.29 * sum(map(len, shown.values())) + 1.6), layout="constrained", facecolor="white")
    axes = figure.subplots(len(shown), 1, height_ratios=[len(bars) for bars in shown.values()])
    for ax, (number, found) in zip(axes, shown.items(), strict=True):
        times = {name: "" if name == "fastfc" else f"   {lead(rows[number], name):.2f} x" for _, name in found}
        colors = [OWN if name == "fastfc" else OTHER for _, name in found]
        bars = ax.barh([PEERS[name] for _, name in found], [value for value, _ in found], color=colors, height=0.7)
        ax.bar_label(bars, [f"{value:.2f} s{times[name]}" for value, name in found], padding=4)
        ax.set_title(f"Seconds for {PEER_ROWS[number]}", fontsize=10, loc="left")
        ax.invert_yaxis()
        ax.margins(x=0.24)
        ax.spines[["top", "right"]].set_visible(False)
    about, used = report["machine"], report["versions"]
    versions = ", ".join(f"{name} {used[name]}" for name in ("fastfc", "jax", "torch", "scikit-learn") if name in used)
    days = " and ".join(sorted({rows[number]["date"] for number in shown}))
    figure.supxlabel(
        f"{about['cpu']}, {about['cores']} cores, float32, 2 threads, {days}. Medians of {report['repeats']} interleaved repeats or more;\n"
        f"shorter is better; x: so many times as fast is fastfc. {versions}",
        fontsize=8, x=0.01, ha="left",
    )  # fmt: skip
    figure.savefig(path, dpi=200)


def sizes(report: dict[str, Any], path: Path) -> bool:
    """GFLOP/s (of the dense computation) against width and batch, and time a sample against rows and density."""
    points = next((row["points"] for row in report["rows"] if row.get("points")), None)
    if not points:
        return False
    peak = report["peaks"]["float32, 2 threads"]["gflops"]
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    (hidden, batch), (rows, density) = figure.subplots(2, 2)
    for sweep, style in ("hidden, dense input", "-"), ("hidden, MNIST", ":"):
        rates(hidden, points, sweep, style)
    rates(batch, points, "batch", "-")
    for ax, label in (hidden, "width h of 784-h-h-10"), (batch, "batch, 784-200-50-10, MNIST"):
        ax.axhline(peak, color="black", linestyle="--", linewidth=1, label="dense floor (GEMM peak)")
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="GFLOP/s, zeros counted")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.yaxis.set_minor_formatter("{x:g}")
    times(rows, points, "rows", peak)
    rows.set(xscale="log", xlabel="rows of MNIST, 784-200-50-10, batch 128")
    times(density, points, "density", peak)
    density.set(xlabel="share of the input that is not zero, 784-200-50-10, batch 128")
    for ax, sweep in (hidden, "hidden, MNIST"), (batch, "batch"), (rows, "rows"):
        values = [point["value"] for point in points if point["sweep"] == sweep]
        ax.set_xticks(values, [f"{value:,}" for value in values])
        ax.xaxis.set_minor_locator(NullLocator())
    for ax in (hidden, batch, rows, density):
        if ax.lines:
            ax.legend(fontsize=7, framealpha=0.5)
    figure.savefig(path, dpi=120)
    return True


def series(points: list[dict[str, Any]], sweep: str) -> dict[str, list[tuple[float, dict[str, Any], float]]]:
    """By entry name: (value, point, median seconds)."""
    found: dict[str, list[tuple[float, dict[str, Any], float]]] = {}
    for point in points:
        for name, entry in point["entries"].items():
            if point["sweep"] == sweep and "median" in entry:
                found.setdefault(name, []).append((point["value"], point, entry["median"]))
    return found


def rates(ax: Axes, points: list[dict[str, Any]], sweep: str, style: str) -> None:
    for name, found in series(points, sweep).items():
        label = name + sweep.removeprefix("hidden") if sweep.startswith("hidden") else name
        y = [point["flops"] / time / 1e9 for _, point, time in found]
        ax.plot([value for value, *_ in found], y, style, marker="o", markersize=3, label=label,
                color=OWN if name == "fastfc" else OTHER)  # fmt: skip


def times(ax: Axes, points: list[dict[str, Any]], sweep: str, peak: float) -> None:
    found = series(points, sweep)
    for name, line in found.items():
        y = [1e6 * time / point["rows"] for _, point, time in line]
        style = ":" if name == "auto" else "-"  # it lies on the better of the others
        ax.plot([value for value, *_ in line], y, style, marker="o", markersize=3, label=name)
    if found:
        line = next(iter(found.values()))
        y = [point["flops"] / peak / 1e3 / point["rows"] for _, point, _ in line]
        ax.plot([value for value, *_ in line], y, "--", color="black", linewidth=1, label="dense floor")
    ax.set(ylabel="µs a sample")
    ax.set_ylim(bottom=0)
