"""Progress: percentages that only rise, estimates that are right for steady work, and displays that suit their stream."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.cascade import FINDING, SEGMENTING
from KidneyTumorCascadeLib.progress import (
    STAGE_WEIGHTS,
    Estimate,
    JsonProgress,
    Reporter,
    StageTimer,
    TerminalProgress,
    describe_duration,
    make_reporter,
    progress_line,
)
from KidneyTumorCascadeLib.segment_file import MEASURING, READING, WRITING

WEIGHTS = {"finding": 1.0, "segmenting": 3.0}


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Keeps what a terminal of one line would show."""

    def isatty(self) -> bool:
        return True

    @property
    def line(self) -> str:
        cells: list[str] = []
        column = 0
        for character in self.getvalue():
            if character == "\r":
                column = 0
                continue
            cells[column : column + 1] = [character]
            column += 1
        return "".join(cells).rstrip()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")


def test_stages_count_by_their_weight(clock: FakeClock) -> None:
    estimate = Estimate(WEIGHTS, clock)
    percents = []
    for stage, done in (("finding", 1), ("finding", 2), ("segmenting", 1), ("segmenting", 2)):
        estimate.update(stage, done, 2)
        percents.append(estimate.percent)
    assert percents == [12, 25, 62, 100]


def test_steady_work_is_estimated_exactly(clock: FakeClock) -> None:
    estimate = Estimate(WEIGHTS, clock)
    for step in range(1, 41):
        clock.now += 2.0
        stage, done, total = ("finding", step, 10) if step <= 10 else ("segmenting", step - 10, 30)
        estimate.update(stage, done, total)
        assert estimate.seconds_left == pytest.approx(80.0 - 2.0 * step)


def test_no_estimate_before_there_is_anything_to_go_by(clock: FakeClock) -> None:
    estimate = Estimate(WEIGHTS, clock)
    assert estimate.seconds_left is None
    estimate.update("finding", 1, 2)
    assert estimate.seconds_left is None, "no time has passed"
    clock.now += 600.0
    fresh = Estimate(WEIGHTS, clock)
    clock.now += 600.0
    fresh.update("finding", 0, 2)
    assert fresh.seconds_left is None, "nothing is done"


def test_a_stage_passed_over_is_not_waited_for(clock: FakeClock) -> None:
    estimate = Estimate(WEIGHTS, clock)
    clock.now += 10.0
    estimate.update("segmenting", 1, 2)
    assert estimate.percent == 50
    assert estimate.seconds_left == pytest.approx(10.0)


def test_every_stage_of_the_cascade_has_a_weight() -> None:
    estimate = Estimate()
    for stage, least in ((READING, 1), (FINDING, 10), (SEGMENTING, 90), (MEASURING, 95), (WRITING, 100)):
        estimate.update(stage, 1, 1)
        assert estimate.percent >= least


@given(st.lists(st.tuples(st.sampled_from([*STAGE_WEIGHTS, "something else"]), st.integers(0, 8), st.integers(0, 8)), max_size=30))
def test_percent_never_goes_back_and_stays_in_range(reports: list[tuple[str, int, int]]) -> None:
    estimate = Estimate()
    before = 0
    for stage, done, total in reports:
        estimate.update(stage, done, total)
        assert before <= estimate.percent <= 100
        before = estimate.percent


def test_timer_adds_up_and_keeps_the_order(clock: FakeClock) -> None:
    timer = StageTimer(clock)
    for name, seconds in (("b", 1.0), ("a", 2.0), ("b", 4.0)):
        with timer.stage(name):
            clock.now += seconds
    assert list(timer.seconds.items()) == [("b", 5.0), ("a", 2.0)]


def test_timer_counts_a_stage_that_fails(clock: FakeClock) -> None:
    timer = StageTimer(clock)

    def fail() -> None:
        with timer.stage("a"):
            clock.now += 3.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert timer.seconds == {"a": 3.0}


def test_terminal_shows_one_line_and_wipes_it(clock: FakeClock) -> None:
    stream = Terminal()
    with make_reporter(stream, weights=WEIGHTS, clock=clock) as progress:
        assert isinstance(progress, TerminalProgress)
        clock.now += 30.0
        progress("finding", 2, 2)
        assert stream.line == "[######------------------]  25 %  finding  1 min 30 s left"
        clock.now += 90.0
        progress("segmenting", 2, 2)
        assert stream.line == f"[{'#' * 24}] 100 %  segmenting", "nothing of the longer line before is left"
    assert stream.line == ""
    assert "\n" not in stream.getvalue()


def test_terminal_is_redrawn_ten_times_a_second_at_most(clock: FakeClock) -> None:
    stream = Terminal()
    progress = TerminalProgress(stream, WEIGHTS, clock)
    for step in range(1000):
        clock.now += 0.001
        progress("segmenting", step, 1000)
    assert 5 <= stream.getvalue().count("\r") <= 12


def test_a_line_never_fills_the_terminal(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    TerminalProgress(stream, WEIGHTS, clock)("finding", 1, 2)
    assert len(stream.line) == 19


def test_json_lines_for_programs(clock: FakeClock) -> None:
    stream = io.StringIO()
    progress = make_reporter(stream, as_json=True, weights=WEIGHTS, clock=clock)
    for step in range(1, 1001):
        clock.now += 0.025
        progress("finding", step, 1000)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["percent"] for line in lines] == list(range(26)), "one line per percent"
    assert lines[0] == {"stage": "finding", "percent": 0, "seconds_left": None}
    assert lines[-1] == {"stage": "finding", "percent": 25, "seconds_left": 75.0}


def test_silence_in_a_pipe_and_when_quiet(clock: FakeClock) -> None:
    for stream, quiet in ((io.StringIO(), False), (Terminal(), True)):
        with make_reporter(stream, quiet=quiet, clock=clock) as progress:
            progress("finding", 1, 2)
        assert type(progress) is Reporter
        assert stream.getvalue() == ""


@pytest.mark.parametrize("kind", [TerminalProgress, JsonProgress])
def test_a_reader_that_went_away_does_not_stop_the_run(kind: type[TerminalProgress | JsonProgress], clock: FakeClock) -> None:
    class Broken(Terminal):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise BrokenPipeError

    stream = Broken()
    with kind(stream, WEIGHTS, clock) as progress:
        progress("finding", 1, 2)
        progress("segmenting", 1, 2)
    assert stream.writes == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (65, "1 min 05 s"), (3599.7, "1 h 00 min"), (7800, "2 h 10 min")]
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text


def test_line_without_an_estimate() -> None:
    assert progress_line("reading", 0, None) == f"[{'-' * 24}]   0 %  reading"
