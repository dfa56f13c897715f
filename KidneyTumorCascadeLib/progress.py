"""How far a run is: on a terminal, as JSON lines, or nowhere; and how long each stage took."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, TextIO

Clock = Callable[[], float]

# The share of a whole run on a CPU, in the order of the stages; only the proportions count, and only for the estimate.
STAGE_WEIGHTS: Mapping[str, float] = {
    "reading": 3.0,
    "finding kidneys": 10.0,
    "segmenting": 80.0,
    "measuring": 4.0,
    "writing": 3.0,
}
BAR_LENGTH = 24
REDRAW_SECONDS = 0.1
# Before this much is done an estimate would be a guess.
ESTIMATE_FROM_FRACTION = 0.02
ESTIMATE_FROM_SECONDS = 1.0


class Progress(Protocol):
    """Told that `done` of `total` steps of a stage are finished."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


class StageTimer:
    """Collects seconds per stage, in the order in which the stages began; a stage that comes again adds up."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside, also when it fails."""
        begin = self._clock()
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - begin


class Estimate:
    """Joins the stages into one percentage and guesses the time left from it.

    A stage that was passed over (boxes given by the user: no finding) is left out of the whole as soon as a later one is reported. The
    percentage never goes back.
    """

    def __init__(self, weights: Mapping[str, float] = STAGE_WEIGHTS, clock: Clock = time.monotonic) -> None:
        self.fraction = 0.0
        self._weights = dict(weights)
        self._order = list(weights)
        self._seen: dict[str, float] = {}
        self._clock = clock
        self._begin = clock()

    def update(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of this stage are finished; all stages seen before are then complete."""
        self._seen = dict.fromkeys(self._seen, 1.0)
        self._seen[stage] = min(1.0, done / total) if total > 0 else 1.0
        finished = sum(share * self._weights.get(name, 0.0) for name, share in self._seen.items())
        whole = sum(self._weights.get(name, 0.0) for name in [*self._seen, *self._still_to_come(stage)])
        self.fraction = max(self.fraction, finished / whole if whole > 0 else 0.0)

    def _still_to_come(self, stage: str) -> list[str]:
        after = self._order.index(stage) + 1 if stage in self._weights else 0
        return [name for name in self._order[after:] if name not in self._seen]

    @property
    def percent(self) -> int:
        """Whole percent of the run; 100 only when all is done."""
        # Sums of weights may end a hair below the whole.
        return int(100.0 * self.fraction + 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """What is left if the rest goes on as before; None while that cannot be told."""
        elapsed = self._clock() - self._begin
        if self.fraction < ESTIMATE_FROM_FRACTION or elapsed < ESTIMATE_FROM_SECONDS:
            return None
        return max(0.0, elapsed * (1.0 - self.fraction) / self.fraction)


class Reporter:
    """Progress that goes nowhere (a pipe, `--quiet`), and the base of those that show it. A context manager; closing tidies the line."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage are finished."""

    def clear(self) -> None:
        """Make room for a message on the same stream."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()


class StreamReporter(Reporter):
    """Base of the reporters that write. When the reader of the stream goes away they fall silent: the run is worth more than its display."""

    def __init__(self, stream: TextIO, weights: Mapping[str, float] = STAGE_WEIGHTS, clock: Clock = time.monotonic) -> None:
        self.estimate = Estimate(weights, clock)
        self._clock = clock
        self._stream: TextIO | None = stream

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None


class TerminalProgress(StreamReporter):
    """One line, redrawn in place: bar, percent, stage, remaining time."""

    def __init__(self, stream: TextIO, weights: Mapping[str, float] = STAGE_WEIGHTS, clock: Clock = time.monotonic) -> None:
        super().__init__(stream, weights, clock)
        self._shown = ""
        self._stage = ""
        self._drawn_at = float("-inf")

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Redraw at a new stage, at the end, and otherwise at most ten times a second."""
        self.estimate.update(stage, done, total)
        now = self._clock()
        if stage == self._stage and done < total and now - self._drawn_at < REDRAW_SECONDS:
            return
        self._stage, self._drawn_at = stage, now
        self._draw(progress_line(stage, self.estimate.percent, self.estimate.seconds_left))

    def _draw(self, line: str) -> None:
        # The last column stays free: writing to it makes some terminals begin a new line.
        line = line[: shutil.get_terminal_size().columns - 1]
        self._write("\r" + line.ljust(len(self._shown)))
        self._shown = line

    def clear(self) -> None:
        """Wipe the line."""
        if self._shown:
            self._write("\r" + " " * len(self._shown) + "\r")
        self._shown = ""


class JsonProgress(StreamReporter):
    """A JSON object a line for programs: stage, percent of the whole run, seconds left (null while unknown). A line per change of percent."""

    def __init__(self, stream: TextIO, weights: Mapping[str, float] = STAGE_WEIGHTS, clock: Clock = time.monotonic) -> None:
        super().__init__(stream, weights, clock)
        self._last: tuple[str, int] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Write a line when the stage or the percentage is another one than before."""
        self.estimate.update(stage, done, total)
        if (stage, self.estimate.percent) == self._last:
            return
        self._last = (stage, self.estimate.percent)
        left = self.estimate.seconds_left
        content = {"stage": stage, "percent": self.estimate.percent, "seconds_left": None if left is None else round(left, 1)}
        self._write(json.dumps(content) + "\n")


def make_reporter(
    stream: TextIO, quiet: bool = False, as_json: bool = False, weights: Mapping[str, float] = STAGE_WEIGHTS, clock: Clock = time.monotonic
) -> Reporter:
    """The reporter that suits the stream: JSON lines when asked for, a bar on a terminal, nothing in a pipe or when quiet."""
    if quiet:
        return Reporter()
    if as_json:
        return JsonProgress(stream, weights, clock)
    return TerminalProgress(stream, weights, clock) if stream.isatty() else Reporter()


def progress_line(stage: str, percent: int, seconds_left: float | None) -> str:
    """[######------]  50 %  segmenting  1 min 20 s left"""
    filled = BAR_LENGTH * percent // 100
    left = "" if seconds_left is None or percent >= 100 else f"  {describe_duration(seconds_left)} left"
    return f"[{'#' * filled}{'-' * (BAR_LENGTH - filled)}] {percent:3d} %  {stage}{left}"


def describe_duration(seconds: float) -> str:
    """12 s, 1 min 05 s, 2 h 10 min"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
