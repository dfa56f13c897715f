"""The report of a batch is written whole, in time, and without taking the time that the scans need."""

from __future__ import annotations

from pathlib import Path

import pytest

from KidneyTumorCascadeLib import batch_report
from KidneyTumorCascadeLib.batch_report import BatchReport
from KidneyTumorCascadeLib.errors import SetupError
from Testing.Library.test_batch_summary import done


class Watch:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rows(output: Path) -> list[str]:
    """State of each case in the summary."""
    return [line.split(",")[1] for line in (output / "summary.csv").read_text(encoding="utf-8").splitlines()[1:]]


def test_both_files_follow_the_batch(tmp_path: Path) -> None:
    report = BatchReport(tmp_path, ["a", "b"], bundle="default 1.0", preset="fast")
    report.add(done("b"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "summary.csv"]
    assert rows(tmp_path) == ["waiting", "done"]
    assert "Not finished" in (tmp_path / "index.html").read_text(encoding="utf-8")
    report.add(done("a"))
    overview = report.finish()
    assert rows(tmp_path) == ["done", "done"]
    assert overview.counts()["done"] == 2
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Not finished" not in page
    assert "bundle default 1.0, preset fast" in page


def test_a_run_that_was_stopped_says_so(tmp_path: Path) -> None:
    report = BatchReport(tmp_path, ["a", "b"])
    report.add(done("a"))
    report.finish(complete=False)
    assert rows(tmp_path) == ["done", "waiting"]
    assert "Not finished" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_slow_writing_happens_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, written = Watch(), []

    def slow_page(overview: object) -> str:
        written.append(watch.now)
        watch.now += 1.0
        return ""

    monkeypatch.setattr(batch_report, "batch_page", slow_page)
    report = BatchReport(tmp_path, [str(number) for number in range(100)], clock=watch)
    for number in range(100):
        report.add(done(str(number)))
        watch.now += 1.0
    # One second of writing in twenty.
    assert written == [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    report.finish()
    assert len(written) == 7


def test_a_full_disk_costs_no_scan_and_is_said_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise SetupError("The disk has no room.")

    monkeypatch.setattr(batch_report, "write_text_atomically", full)
    report = BatchReport(tmp_path, ["a"])
    report.add(done("a"))
    with pytest.raises(SetupError):
        report.finish()
