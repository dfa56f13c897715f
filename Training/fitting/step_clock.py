"""Where the time of training steps goes: how much of it they wait for patches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StepClock:
    """Adds up seconds.

    Attributes:
        stepping: seconds within steps.
        waiting: seconds of these in which a step waited for its patches.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.stepping = self.waiting = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """What happens inside is a step."""
        begin = self.clock()
        yield
        self.stepping += self.clock() - begin

    @contextmanager
    def wait(self) -> Iterator[None]:
        """What happens inside, within a step, is waiting."""
        begin = self.clock()
        yield
        self.waiting += self.clock() - begin

    def seconds(self) -> list[float]:
        """Waiting and stepping so far."""
        return [self.waiting, self.stepping]


def share(seconds: list[float]) -> float:
    """Waiting as a share of stepping; 0 before the first step."""
    waiting, stepping = seconds
    return waiting / stepping if stepping > 0 else 0.0
