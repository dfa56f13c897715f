"""One case: a result that is there and answers what is asked for is kept, everything else is made again; what goes wrong is told apart."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from KidneyTumorCascadeLib import batch_case, earlier_results
from KidneyTumorCascadeLib.batch_case import CaseRunner
from KidneyTumorCascadeLib.batch_records import DONE, FAILED, IMAGE, SKIPPED, Case, CaseOptions, CaseOutcome
from KidneyTumorCascadeLib.errors import BundleError, InputError, MemoryShortage
from KidneyTumorCascadeLib.volume import write_volume
from Testing.bright_blocks import make_bright_bundle, make_scan, use_brightness


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CaseRunner:
    use_brightness(monkeypatch)
    (tmp_path / "out").mkdir()
    return CaseRunner(CaseOptions(str(make_bright_bundle(tmp_path / "bundle")), device="cpu"), tmp_path / "out")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    path = tmp_path / "a.nii.gz"
    write_volume(make_scan(), path)
    return Case("sub/a", path, IMAGE, (path,))


def run_with(runner: CaseRunner, case: Case, **options: Any) -> CaseOutcome:
    """The case by another runner with other options."""
    return CaseRunner(replace(runner.options, **options), runner.output).run(case)


def files(runner: CaseRunner) -> list[str]:
    return sorted(path.name for path in (runner.output / "sub").iterdir())


def test_a_case_is_done_once(runner: CaseRunner, case: Case) -> None:
    first, second = runner.run(case), runner.run(case)
    assert (first.status, second.status) == (DONE, SKIPPED)
    assert (second.manifest, second.measurements, second.warnings) == (first.manifest, first.measurements, first.warnings) != (None, (), ())
    assert CaseOutcome.from_dict(json.loads(json.dumps(first.to_dict()))) == first


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "no manifest"])
def test_labels_that_are_not_as_the_manifest_says_are_made_again(runner: CaseRunner, case: Case, damage: str) -> None:
    runner.run(case)
    labels = case.labels(runner.output)
    good = labels.read_bytes()
    if damage == "missing":
        labels.unlink()
    elif damage == "no manifest":
        case.manifest(runner.output).unlink()
    else:
        labels.write_bytes(good[:-9] if damage == "cut" else good[:-9] + b"123456789")
    assert runner.run(case).status == DONE
    assert labels.read_bytes() == good


@pytest.mark.parametrize("options", [{"preset": "fast"}, {"merge": "compare"}, {"preview": True}, {"probabilities": True}])
def test_other_options_are_another_result(runner: CaseRunner, case: Case, options: Mapping[str, Any]) -> None:
    runner.run(case)
    assert run_with(runner, case, **options).status == DONE
    assert run_with(runner, case, **options).status == SKIPPED


def test_a_result_with_more_files_than_are_asked_for_is_kept(runner: CaseRunner, case: Case) -> None:
    outcome = run_with(runner, case, preview=True, probabilities=True)
    assert outcome.preview == "sub/a.png"
    assert runner.run(case).status == SKIPPED
    (runner.output / "sub" / "a_left_tumor_probability.nii.gz").unlink()
    assert runner.run(case).status == DONE


def test_another_scan_or_bundle_is_another_result(runner: CaseRunner, case: Case, tmp_path: Path) -> None:
    runner.run(case)
    write_volume(make_scan(5.5), case.path)
    assert runner.run(case).status == DONE
    description = tmp_path / "bundle" / "bundle.json"
    description.write_text(description.read_text().replace("1.0.0", "1.0.1"))
    assert run_with(runner, case).status == DONE


def test_files_of_an_earlier_run_do_not_stay_beside_labels_that_they_do_not_belong_to(runner: CaseRunner, case: Case) -> None:
    run_with(runner, case, probabilities=True, preview=True)
    (runner.output / "sub" / "a_note.txt").touch()
    run_with(runner, case, merge="compare")
    assert files(runner) == ["a.json", "a.nii.gz", "a_note.txt"]


def test_a_manifest_that_somebody_edited_is_no_result(runner: CaseRunner, case: Case) -> None:
    runner.run(case)
    path = case.manifest(runner.output)
    row = json.loads(path.read_text())["measurements"][0]
    wrong_in_row: list[dict[str, Any]] = [
        {"tumors": "1"},
        {"tumors": 0.5},
        {"kidney_ml": -1},
        {"tumor_ml": 1e300},
        {"side": []},
        {"longest_axial_mm": [1.0]},
    ]
    changes: list[dict[str, Any]] = [
        {"files": {"a.nii.gz": 1}},
        {"files": {}},
        {"files": []},
        {"request": []},
        {"measurements": 1},
        {"measurements": ["right"]},
        *({"measurements": [row | wrong]} for wrong in wrong_in_row),
        {"seconds": None},
        {"seconds": {"reading": "1"}},
        {"seconds": {"reading": 10**400}},
        {"warnings": None},
        {"warnings": [1]},
    ]
    for change in changes:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert runner.run(case).status == DONE, change


@pytest.mark.parametrize(
    ("text", "status"),
    # What is no JSON may be anybody's file, and is not written over.
    [("1e999", DONE), ("[" * 60 + "]" * 60, DONE), ('{"a": ' * 30_000, FAILED), ("1" * 5_000, FAILED)],
    ids=["beyond all numbers", "deep", "too deep for Python", "too long for Python"],
)
def test_a_manifest_with_something_strange_in_it_is_no_result(runner: CaseRunner, case: Case, text: str, status: str) -> None:
    runner.run(case)
    path = case.manifest(runner.output)
    path.write_text(path.read_text().replace('"sd_hu": ', f'"more": {text}, "sd_hu": ', 1))
    assert runner.run(case).status == status


def test_a_manifest_is_not_followed_to_files_elsewhere(runner: CaseRunner, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.run(case)
    os.mkfifo(runner.output / "sub" / "pipe")
    path = case.manifest(runner.output)
    content = json.loads(path.read_text())
    read: list[str] = []
    monkeypatch.setattr(earlier_results, "sha256_of", lambda path: read.append(path.name))
    for name in ("/dev/zero", "../sub/a.json", "pipe", "a\0b", "x" * 300, "."):
        path.write_text(json.dumps(content | {"files": {name: "0", **content["files"]}}))
        assert not earlier_results.has_files(earlier_results.read_manifest(path), case.labels(runner.output)), name
    assert read == []


def test_an_edited_manifest_removes_nothing_elsewhere(runner: CaseRunner, case: Case) -> None:
    runner.run(case)
    other = runner.output / "a-other.txt"
    other.touch()
    path = case.manifest(runner.output)
    names = ("../a-other.txt", str(other), "b.txt", "a\0", "a" * 300)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": dict.fromkeys(names, "")}))
    (runner.output / "sub" / "b.txt").touch()
    assert runner.run(case).status == DONE
    assert other.exists()
    assert files(runner) == ["a.json", "a.nii.gz", "b.txt"]


def test_somebody_elses_file_is_not_overwritten(runner: CaseRunner, case: Case) -> None:
    path = case.manifest(runner.output)
    path.parent.mkdir()
    path.write_text('{"mine": 1}')
    outcome = runner.run(case)
    assert outcome.status == FAILED
    assert "a.json" in outcome.reason
    assert files(runner) == ["a.json"]


def test_a_scan_that_cannot_be_used_has_failed(runner: CaseRunner, case: Case) -> None:
    case.path.write_bytes(b"no scan")
    outcome = runner.run(case)
    assert (outcome.status, outcome.manifest) == (FAILED, None)
    assert "a.nii.gz" in outcome.reason
    case.path.unlink()
    assert runner.run(case).status == FAILED
    assert not (runner.output / "sub").exists()


def test_a_full_disk_is_said_before_anything_is_computed(runner: CaseRunner, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_case, "LABELS_BYTES", 10**18)
    monkeypatch.setattr(CaseRunner, "cascade", None)
    outcome = runner.run(case)
    assert outcome.status == FAILED
    assert "free some space" in outcome.reason


def test_a_disk_that_runs_full_is_one_failed_case_without_files(runner: CaseRunner, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        outcome = runner.run(case)
    assert outcome.status == FAILED
    assert "free some space" in outcome.reason
    assert files(runner) == []
    assert runner.run(case).status == DONE


def test_errors_that_are_no_fault_of_the_scan_are_passed_on(runner: CaseRunner, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryShortage("m"), MemoryError(), BundleError("b"), ValueError("v")):
        monkeypatch.setattr(batch_case, "segment_file", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            runner.run(case)
        monkeypatch.undo()
    monkeypatch.setattr(batch_case, "checked_scan", lambda _: (_ for _ in ()).throw(ValueError("v")))
    with pytest.raises(ValueError, match="v"):
        runner.run(case)


def test_after_memory_ran_out_once_the_next_scan_begins_at_the_top_again(runner: CaseRunner) -> None:
    first = runner.cascade()
    assert runner.cascade() is first
    first.warnings = ["Memory ran out with 4 patches at a time."]
    assert runner.cascade() is not first


def test_a_bundle_or_preset_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        CaseRunner(CaseOptions(str(tmp_path / "absent")), tmp_path)
    with pytest.raises(InputError):
        CaseRunner(CaseOptions(preset="absent"), tmp_path)
