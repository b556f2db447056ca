"""The promises of reliability, and the count of cases that the tests of each tried and survived."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

PROMISES = {
    1: "malformed IDX files",
    2: "gzip, downloads, full disk",
    3: "hostile model files and checkpoints",
    4: "atomic saving",
    5: "resuming bit for bit",
    6: "Ctrl-C and time budgets",
    7: "threads",
    8: "processes",
    9: "reproducibility",
    10: "arrays of every kind",
    11: "hostile cache of kernels",
    12: "memory, leaks, limits restored",
    13: "numbers at the edge, backends agree",
    14: "quotas, more threads than cores",
    15: "ranks that fail or are interrupted",
}


HANGS = 300.0  # s: what takes longer in `make test` hangs. No shorter time fails there: the machine may be a busy one


class Cases:
    """What a test says of itself: how many cases it tries, and what it measured."""

    def __init__(self, soak: bool) -> None:
        self.soak, self.tried = soak, 0
        self.figures: dict[str, float] = {}

    def __call__(self, short: int, full: int | None = None) -> int:
        """How many cases to try, which are counted: `short` in `make test`, `full` in `make soak`."""
        number = full if self.soak and full is not None else short
        self.tried += number
        return number

    def within(self, what: str, seconds: float, promised: float) -> None:
        """A promised time is held to the letter in `make soak`, on a quiet machine; in `make test` nothing may hang."""
        self.figure(f"{what} (s, promised {promised:g})", seconds)
        limit = promised if self.soak else HANGS
        assert seconds < limit, f"{what}: given {seconds:.3f} s, expected < {limit:g} s (on a quiet machine)"

    def figure(self, what: str, value: float) -> None:
        """The largest is reported."""
        self.figures[what] = max(value, self.figures.get(what, value))


@dataclass
class Tally:
    """Of one promise. A test that fails survived none of its cases; one that was skipped tried none."""

    tried: int = 0
    survived: int = 0
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        return self.survived == self.tried > 0

    def add(self, cases: Cases, passed: bool) -> None:
        tried = cases.tried or 1
        self.tried += tried
        self.survived += tried * passed
        for what, value in cases.figures.items():
            self.figures[what] = max(value, self.figures.get(what, value))

    def measured(self) -> str:
        return "; ".join(f"{what}: {value:.3g}" for what, value in self.figures.items())


def lines(tallies: dict[int, Tally]) -> list[str]:
    """One for each promise."""
    return [
        f"{number:2}  {name:36}{tallies[number].tried:7,} tried {tallies[number].survived:7,} survived"
        + ("" if tallies[number].kept else "  BROKEN" if tallies[number].tried else "  NOT TRIED")
        for number, name in PROMISES.items()
    ]


def figures(tallies: dict[int, Tally]) -> list[str]:
    return [f"{number:2}  {tally.measured()}" for number, tally in tallies.items() if tally.figures]


def about(minutes: float) -> str:
    """How long the soak took, where and when."""
    from bench import machine
    from fastfc.machine import info

    where = f"{info.cpu_name()}, {len(machine.cores())} cores"
    return f"`make soak`, {minutes:.0f} minutes on {where}, {datetime.now(UTC).date()}."


def markdown(tallies: dict[int, Tally], heading: str) -> str:
    rows = [
        f"| {number} | {name} | {tallies[number].tried:,} | {tallies[number].survived:,} | {tallies[number].measured()} |"
        for number, name in PROMISES.items()
    ]
    return "\n".join(
        [heading, "", "| # | property | tried | survived | largest measured |", "|---|---|---|---|---|", *rows, ""]
    )
