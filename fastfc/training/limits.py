"""What ends a training from outside."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from fastfc.machine.interrupts import Interrupts


@dataclass
class Limits:
    """The clock, from `begin` on, and Ctrl-C, as `is_over` last saw it."""

    max_seconds: float | None
    interrupts: Interrupts
    end: float = math.inf
    came: bool = False

    def begin(self) -> None:
        if self.max_seconds is not None:
            self.end = time.perf_counter() + self.max_seconds

    def is_over(self) -> bool:
        self.came = self.interrupts.came
        return self.came or self.seconds_left() <= 0

    def seconds_left(self) -> float:
        return self.end - time.perf_counter()
