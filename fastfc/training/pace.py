"""How many threads compute, found out while they do: bits do not depend on the number, so it may change from call to call."""

from __future__ import annotations

from collections import Counter, defaultdict

PAIRS = 2  # of calls that a trial compares, one with the present number and one with another, in turns
TRIAL_SECONDS = 0.02  # of a call in a trial: it begins and ends in 1 ms
SHARE = 0.02  # of all time that trials may cost
LEAST = 0.25  # of the time of the other number, which counts as cost in any case: a trial is not worth repeating at once
GAIN = 0.95  # what another number must take of the time that the present one does
TRIALS = 3  # on end, in which it must: neighbours come and go, and a trial sees but a moment
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


class Pace:
    """threads  how many the next call is to have; `seconds` is how long it is to take, or None: as it likes

    It begins with a number that follows from the shapes, and goes up and down from there to the next on the ladder up to `most`;
    None: it stays.
    """

    def __init__(self, threads: int, most: int | None) -> None:
        self.threads = self.present = threads
        self.rungs = [threads] if most is None else sorted({count for count in LADDER if count <= most} | {threads, most})
        self.steps: Counter[int] = Counter()  # of this epoch, by threads
        self.spent = self.cost = 0.0  # seconds of all calls, and of them what trials cost
        self.queue: list[int] = []  # the numbers of threads that a trial still has to try
        self.times: defaultdict[int, float] = defaultdict(float)  # in a trial, sums over its calls, by threads: seconds a step
        self.tried = 0.0  # seconds of a trial with the other number
        self.won: Counter[int] = Counter()  # trials on end that a number has won
        self.is_up = False  # whether the next trial is of more threads

    @property
    def seconds(self) -> float | None:
        return TRIAL_SECONDS if self.queue else None

    def note(self, steps: int, seconds: float) -> None:
        """A call of so many steps took so long: what the next is to be."""
        self.steps[self.threads] += steps
        self.spent += seconds
        if self.queue:
            self.times[self.threads] += seconds / steps
            self.tried += seconds * (self.threads != self.present)
            self.queue.pop()
            if not self.queue:
                self._judge()
        elif self.cost + PAIRS * TRIAL_SECONDS / 2 <= SHARE * self.spent:
            self._begin()
        self.threads = self.queue[-1] if self.queue else self.present

    def _begin(self) -> None:
        """A trial of the next number up or down, where there is one."""
        self.is_up = not self.is_up
        place = self.rungs.index(self.present) + (1 if self.is_up else -1)
        if 0 <= place < len(self.rungs):
            self.times, self.tried, self.queue = defaultdict(float), 0.0, [self.rungs[place], self.present] * PAIRS

    def _judge(self) -> None:
        """The number that is tried is taken once it has won often enough; what a trial cost is what it took too long."""
        present, (other,) = self.times[self.present], self.times.keys() - {self.present}
        tried = self.times[other]
        self.cost += self.tried * max(LEAST, 1 - present / tried)
        self.won[other] = self.won[other] + 1 if tried < GAIN * present else 0
        if self.won[other] == TRIALS:
            self.present, self.won = other, Counter()

    def end_epoch(self) -> int:
        """How many threads made the most of its steps."""
        (threads, _), *_ = self.steps.most_common()
        self.steps.clear()
        return threads
