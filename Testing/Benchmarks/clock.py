"""Times of contenders that take turns, so that a machine that slows down or speeds up meanwhile does so for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one thing, in seconds or any other unit. Raises ValueError for none at all."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a timing needs at least one measurement")

    @property
    def median(self) -> float:
        """The middle one, or the mean of the two in the middle."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest."""
        return max(self.values)

    def times(self, factor: float) -> Timing:
        """Every measurement multiplied."""
        return Timing(tuple(value * factor for value in self.values))

    def text(self, unit: str = "s") -> str:
        """`12.3 s (11.9 to 13.0, n = 5)`: median, least and greatest, and how many."""
        if len(self.values) == 1:
            return f"{digits(self.median)} {unit} (n = 1)"
        return f"{digits(self.median)} {unit} ({digits(self.low)} to {digits(self.high)}, n = {len(self.values)})"


def ratio(slower: Timing, faster: Timing) -> tuple[float, float, float]:
    """How many times as long the first takes as the second: median by median, and the least and greatest that the spreads allow."""
    return slower.median / faster.median, slower.low / faster.high, slower.high / faster.low


def digits(value: float) -> str:
    """Three significant digits without exponent, whole numbers from 100 on."""
    if abs(value) >= 100 or value == 0:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def in_turns(contenders: Mapping[str, Callable[[], T]], repeats: int, warmups: int = 0) -> dict[str, list[T]]:
    """What each contender gives, `repeats` times; they take turns, every second round in reverse order. Warm-ups are thrown away.

    Raises ValueError when there is nothing to repeat.
    """
    if repeats < 1 or not contenders:
        raise ValueError("a comparison needs at least one contender and one repeat")
    results: dict[str, list[T]] = {name: [] for name in contenders}
    for turn in range(-warmups, repeats):
        names: Sequence[str] = list(contenders)[:: 1 if turn % 2 == 0 else -1]
        for name in names:
            result = contenders[name]()
            if turn >= 0:
                results[name].append(result)
    return results


def timed(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    warmups: int = 1,
    settle: Callable[[], None] = lambda: None,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Seconds of each contender, in turns.

    Args:
        contenders: what to do, by name.
        repeats: measurements of each.
        warmups: rounds that are not counted.
        settle: waits until the device has done what it was asked to; called before and after each measurement.
        clock: seconds.
    """

    def measured(work: Callable[[], object]) -> float:
        settle()
        begin = clock()
        work()
        settle()
        return clock() - begin

    def bound(work: Callable[[], object]) -> Callable[[], float]:
        return lambda: measured(work)

    seconds = in_turns({name: bound(work) for name, work in contenders.items()}, repeats, warmups)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
