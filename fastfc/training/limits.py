"""What ends a training from outside."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from fastfc.machine.interrupts import Interrupts


@dataclass
class Limits:
    """The clock, from `begin` on, and Ctrl-C."""

    max_seconds: float | None
    interrupts: Interrupts
    end: float = math.inf

    def begin(self) -> None:
        if self.max_seconds is not None:
            self.end = time.perf_counter() + self.max_seconds

    def is_over(self) -> bool:
        return self.interrupts.came or self.seconds_left() <= 0

    def seconds_left(self) -> float:
        return self.end - time.perf_counter()
