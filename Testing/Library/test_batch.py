"""A batch ends with every scan done or named, whatever happens to its workers; a second run does what is missing and no more."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from KidneyTumorCascadeLib import batch_case, batch_pool
from KidneyTumorCascadeLib.batch import OUTDATED, Batch, Watch, described, printable
from KidneyTumorCascadeLib.batch_page import PAGE_NAME
from KidneyTumorCascadeLib.batch_records import DONE, FAILED, SKIPPED, BatchOptions, Case, CaseOptions, CaseOutcome
from KidneyTumorCascadeLib.batch_summary import SUMMARY_NAME
from KidneyTumorCascadeLib.volume import read_label_map
from Testing.bright_blocks import Desk, Outcome, make_scan, true_labels, write_dicom

WORKER = (sys.executable, "-m", "Testing.faulty_batch_worker")


class BatchDesk:
    """A folder of scans, whose names say what happens to them, and a command line to run batches with."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.input, self.output = desk.folder / "in", desk.folder / "results"
        self.input.mkdir()

    def add(self, *names: str) -> None:
        for name in names:
            (self.input / f"{name}.nii.gz").write_bytes(self.desk.ct.read_bytes())

    def run(self, *words: str) -> Outcome:
        return self.desk.run("batch", self.input, self.output, "--bundle", self.desk.bundle, "--device", "cpu", *words)

    def outcomes(self, *words: str) -> dict[str, dict[str, Any]]:
        """The outcomes of a run, by case."""
        ended = self.run("--json", *words)
        assert ended.code in (0, 1), ended.err
        return {outcome["case"]: outcome for outcome in json.loads(ended.out)["outcomes"]}

    def read(self) -> list[str]:
        """Names of the scans in the order in which workers began to read them, since the last call."""
        log = self.desk.folder / "log.txt"
        names = [name.partition(".")[0] for name in log.read_text(encoding="utf-8").split()] if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    def written(self) -> list[str]:
        """All files in the output folder but the table and the page."""
        names = [path.relative_to(self.output).as_posix() for path in self.output.rglob("*") if path.is_file()]
        return sorted(set(names) - {SUMMARY_NAME, PAGE_NAME})

    def states(self) -> dict[str, str]:
        """What the table says of each case."""
        with (self.output / SUMMARY_NAME).open(encoding="utf-8", newline="") as file:
            return {row["case"]: row["state"] for row in csv.DictReader(file)}

    def page(self) -> str:
        return (self.output / PAGE_NAME).read_text(encoding="utf-8")

    def hashes(self) -> dict[str, str]:
        """Of the label maps."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.output.rglob("*.nii.gz")}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> BatchDesk:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(batch_pool, "COMMAND", WORKER)
    return BatchDesk(Desk(tmp_path, capsys))


def statuses(outcomes: dict[str, dict[str, Any]]) -> dict[str, tuple[str, int]]:
    return {name: (outcome["status"], outcome["attempts"]) for name, outcome in outcomes.items()}


def test_each_scan_gets_its_labels_and_a_manifest_that_names_them(desk: BatchDesk) -> None:
    (desk.input / "site").mkdir()
    desk.add("a", "site/b")
    outcome = desk.run("--preview", "--probabilities")
    assert (outcome.code, outcome.out) == (0, f"2 done, 0 were there already, 0 failed; results are in {desk.output}\n")
    assert [line.partition(":")[0] for line in outcome.err.splitlines()] == ["[1/2] a", "[2/2] site/b"]
    for name in ("a", "site/b"):
        labels = read_label_map(desk.output / f"{name}.nii.gz")
        assert (labels.voxels == true_labels(desk.desk.scan).voxels).mean() > 0.99
        manifest = json.loads((desk.output / f"{name}.json").read_text())
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (desk.output / name).parent.glob(f"{Path(name).name}[_.]*")}
        del files[f"{Path(name).name}.json"]
        assert manifest["files"] == files
        assert len(files) == 6
        assert manifest["seconds"]["reading"] > 0


def test_a_second_run_does_nothing_but_what_is_missing(desk: BatchDesk) -> None:
    desk.add("a", "b")
    assert statuses(desk.outcomes()) == {"a": (DONE, 1), "b": (DONE, 1)}
    before = desk.hashes()
    (desk.output / "b.nii.gz").write_bytes(b"cut off")
    assert desk.read() == ["a", "b"]
    assert statuses(desk.outcomes()) == {"a": (SKIPPED, 1), "b": (DONE, 1)}
    assert desk.read() == ["b"]
    assert desk.hashes() == before


def test_nobody_listens_on_a_port(desk: BatchDesk) -> None:
    psutil = pytest.importorskip("psutil")
    desk.add("a", "b", "c")
    batch = Batch(desk.input, desk.output, BatchOptions(CaseOptions(str(desk.desk.bundle), device="cpu"), workers=2))
    batch.look()
    seen: list[Any] = []

    def look(outcome: CaseOutcome, line: str) -> None:
        for process in psutil.Process().children(recursive=True):
            seen.append(process.net_connections("inet"))

    batch.run(look)
    assert seen
    assert not any(seen)


def test_bad_scans_are_named_and_cost_nobody_else(desk: BatchDesk) -> None:
    desk.add("a", "z")
    (desk.input / "m.nii.gz").write_bytes(b"no scan")
    outcome = desk.run("--workers", "2")
    assert outcome.code == 1
    assert "m: FAILED: " in outcome.err
    assert "1 of 3 scans failed" in outcome.err.splitlines()[-1]
    assert desk.written() == ["a.json", "a.nii.gz", "z.json", "z.nii.gz"]
    (desk.input / "m.nii.gz").unlink()
    assert desk.run("--quiet").err == ""


def test_the_table_and_the_page_tell_of_every_scan(desk: BatchDesk) -> None:
    desk.add("a", "labels")
    (desk.input / "m.nii.gz").write_bytes(b"no scan")
    desk.run("--preview")
    assert desk.states() == {"a": "done", "m": "failed", "labels.nii.gz": "left out"}
    assert "Not finished" not in desk.page()
    assert "bundle tiny 1.0.0, preset standard" in desk.page()
    assert 'src="./a.png"' in desk.page()
    desk.run()
    assert desk.states() == {"a": "skipped", "m": "failed", "labels.nii.gz": "left out"}


def test_a_batch_that_is_stopped_leaves_a_table_of_what_it_did(desk: BatchDesk) -> None:
    desk.add("a", "b")

    def stopped(cases: Sequence[Case]) -> Iterator[CaseOutcome]:
        yield CaseOutcome(cases[0].name, FAILED, reason="It is torn.")
        raise KeyboardInterrupt

    batch = Batch(desk.input, desk.output, BatchOptions(CaseOptions(str(desk.desk.bundle))))
    batch.look()
    with pytest.raises(KeyboardInterrupt):
        batch.run(lambda outcome, line: None, stopped)
    assert desk.states() == {"a": "failed", "b": "waiting"}
    assert "Not finished" in desk.page()


def test_a_failure_tells_of_an_older_result_under_its_name(desk: BatchDesk) -> None:
    desk.add("a")
    desk.run()
    (desk.input / "a.nii.gz").write_bytes(b"no scan")
    reason = desk.outcomes()["a"]["reason"]
    assert reason.endswith(OUTDATED)
    assert desk.written() == ["a.json", "a.nii.gz"]


def test_a_killed_worker_costs_one_more_attempt_and_the_scan_that_always_kills_is_named(desk: BatchDesk) -> None:
    desk.add("a", "b-kill-once", "c", "d-kill", "e", "f-read-kill")
    outcomes = desk.outcomes("--workers", "2", "--retries", "1")
    ended = statuses(outcomes)
    assert [ended[name] for name in ("a", "b-kill-once", "c", "d-kill", "e", "f-read-kill")] == [
        *[(DONE, ended["a"][1]), (DONE, 2), (DONE, ended["c"][1]), (FAILED, 2), (DONE, ended["e"][1]), (FAILED, 2)]
    ]
    assert "killed" in outcomes["d-kill"]["reason"]
    assert desk.written() == sorted(f"{name}.{ending}" for name in ("a", "b-kill-once", "c", "e") for ending in ("json", "nii.gz"))


def test_a_result_whose_worker_died_before_it_could_say_so_is_not_made_again(desk: BatchDesk) -> None:
    desk.add("a-after")
    assert statuses(desk.outcomes()) == {"a-after": (DONE, 2)}
    assert desk.read() == ["a-after"]


def test_memory_and_bugs_end_a_worker_and_are_named(desk: BatchDesk) -> None:
    desk.add("a", "memory", "bug")
    outcomes = desk.outcomes("--retries", "0")
    assert statuses(outcomes) == {"a": (DONE, 1), "memory": (FAILED, 1), "bug": (FAILED, 1)}
    assert "not enough memory" in outcomes["memory"]["reason"]
    assert "ValueError" in outcomes["bug"]["reason"]


def test_a_scan_that_takes_too_long_is_ended_and_named_at_once(desk: BatchDesk) -> None:
    desk.add("a-hang")
    outcomes = desk.outcomes("--timeout", "0.2")
    assert statuses(outcomes) == {"a-hang": (FAILED, 1)}
    assert "limit of 0.2 s" in outcomes["a-hang"]["reason"]


def test_dicom_series_are_segmented_and_nothing_tells_whose_they_are(desk: BatchDesk) -> None:
    (desk.input / "DOE^JANE").mkdir()
    write_dicom(make_scan(), desk.input / "DOE^JANE" / "CT")
    write_dicom(make_scan(), desk.input / "DOE^JANE" / "holes")
    (desk.input / "DOE^JANE" / "holes" / "005.dcm").unlink()
    outcome = desk.run("--preview")
    assert outcome.code == 1
    told = outcome.out + outcome.err + "".join(desk.written()) + "".join(path.read_text() for path in desk.output.glob("*.json"))
    assert "missing or unevenly spaced" in told
    assert "dicom-" in told
    assert "DOE" not in told
    assert "DOE" in desk.run("--list").out


def test_nothing_is_begun_when_it_cannot_be_done(desk: BatchDesk) -> None:
    desk.add("a")
    for words, code, message in (
        (["--preset", "none"], 2, "no preset"),
        (["--device", "mps"], 3, "does not work"),
        (["--pattern", "x*"], 2, "no CT scans"),
        (["--workers", "0"], 2, "--workers"),
        (["--timeout", "inf"], 2, "--timeout"),
    ):
        outcome = desk.run(*words)
        assert outcome.code == code
        assert message in outcome.err
        assert not desk.output.exists() or desk.written() == []


def test_workers_that_cannot_be_started_end_the_batch_with_one_sentence(desk: BatchDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.add("a")
    monkeypatch.setattr(batch_pool, "COMMAND", (sys.executable, "-c", "raise SystemExit(7)"))
    outcome = desk.run()
    assert outcome.code == 3
    assert "code 7" in outcome.err
    assert desk.written() == []


def test_too_little_room_is_said_before_anything_is_computed(desk: BatchDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.add("a")
    monkeypatch.setattr(batch_case, "LABELS_BYTES", 10**18)
    outcome = desk.run()
    assert outcome.code == 3
    assert "free some space" in outcome.err
    assert desk.read() == []
    assert desk.written() == []


def test_the_time_left_is_guessed_by_what_was_computed() -> None:
    now = [0.0]
    watch = Watch(6, 4, lambda: now[0])

    def line(seconds: float, status: str) -> str:
        now[0] += seconds
        return watch.line(CaseOutcome("a", status, seconds))

    assert line(50, SKIPPED) == "[1/6] a: is there already"
    assert line(10, DONE) == "[2/6] a: done in 10 s (about 30 s left)"
    assert line(50, SKIPPED).endswith("(about 30 s left)")
    assert line(20, FAILED).endswith("(about 30 s left)")
    assert line(30, DONE).endswith("(about 20 s left)")
    assert line(10, DONE) == "[6/6] a: done in 10 s"


@pytest.mark.parametrize(("workers", "wish", "threads"), [(1, "3", 3), (4, "0", 1), (2, "", 1)])
def test_workers_share_the_processors(workers: int, wish: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert batch_pool.threads_each(workers) == threads


def test_strange_names_stay_on_one_line() -> None:
    assert printable("a\nb\x1b[31m") == "a?b?[31m"
    assert described(CaseOutcome("a", FAILED, attempts=3, reason="x\ny")) == "FAILED at attempt 3: x?y"
