"""When the disk is full, at whichever moment, a run says so and leaves everything as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from KidneyTumorCascadeLib import batch_case, preview, segment_file
from KidneyTumorCascadeLib.batch import Batch
from KidneyTumorCascadeLib.batch_case import CaseRunner
from KidneyTumorCascadeLib.batch_records import DONE, FAILED, BatchOptions, CaseOptions
from KidneyTumorCascadeLib.cascade import Cascade
from KidneyTumorCascadeLib.errors import SetupError
from KidneyTumorCascadeLib.segment_file import Request, open_cascade
from Testing.bright_blocks import Desk, Outcome, use_brightness
from Testing.Faults.full_disk import FOR_EVER, FullDisk, full_disk

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    use_brightness(monkeypatch)
    desk = Desk(tmp_path, capsys)
    compute_once(desk, monkeypatch)
    return desk


def compute_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run have the same result at once: what happens on its way to the disk is what is looked at."""
    cascade = open_cascade(Request(desk.ct, desk.out, bundle=str(desk.bundle), device="cpu", probabilities=True))
    result = cascade.segment(desk.scan)
    without_maps = replace(result, boxes=[replace(box, probabilities=None) for box in result.boxes])
    monkeypatch.setattr(Cascade, "segment", lambda self, *_: result if self.keep_probabilities else without_maps)
    monkeypatch.setattr(preview, "preview", lambda *_: Image.effect_noise((200, 200), 80.0))
    for module in (segment_file, batch_case):
        monkeypatch.setattr(module, "choose_device", lambda _: cascade.engine)


def segmented(desk: Desk) -> Outcome:
    """With all that can be written."""
    return desk.segment("--quiet", "--preview", desk.out / "labels.png", "--probabilities")


def content_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def check_disk_is_blamed(outcome: Outcome) -> None:
    assert outcome.code == 3, outcome.err
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    check_words(outcome.err)


@pytest.mark.parametrize("times", [1, FOR_EVER], ids=["once", "from then on"])
@pytest.mark.parametrize("earlier", [False, True], ids=["nothing there", "earlier results there"])
def test_at_whichever_step_the_disk_runs_full_the_folder_stays_as_it_was(desk: Desk, times: int, earlier: bool) -> None:
    if earlier:
        assert segmented(desk).code == 0
    before = content_of(desk.out)
    steps = 0
    for at in range(1, 1000):
        with full_disk(FullDisk(desk.out, at, times)) as disk:
            outcome = segmented(desk)
        if not disk.failed:
            break
        steps += 1
        check_disk_is_blamed(outcome)
        # From the moment that it is full, nothing can be moved back, either: what is left is of one run, and without the manifest.
        after = content_of(desk.out)
        assert after == before or (times == FOR_EVER and after.items() < before.items() and "labels.json" not in after), (at, after.keys())
    assert steps > 20, "every file is made, filled, flushed and moved"
    assert outcome.code == 0
    assert len(content_of(desk.out)) == 7


def test_too_little_room_is_said_before_anything_is_computed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    monkeypatch.setattr("KidneyTumorCascadeLib.cascade.Cascade.segment", lambda *_: pytest.fail("computed"))
    outcome = desk.segment("--quiet", "--probabilities")
    check_disk_is_blamed(outcome)
    assert "has 1 MB left, and results may need 30 MB" in outcome.err
    assert desk.written() == []


def test_an_uncompressed_label_map_needs_a_byte_a_voxel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(segment_file, "require_room", lambda folder, size: asked.append((folder.name, size)))
    for name in ("a.nii", "a.nii.gz"):
        segment_file.require_room_for_results(Request(tmp_path, tmp_path / name, preview=tmp_path / "p" / "a.png"), 10**8)
    assert asked == [(tmp_path.name, 10**8 + 500_000), ("p", 1_500_000), (tmp_path.name, 500_000), ("p", 1_500_000)]


# --- batches ---------------------------------------------------------------------------------------------------------------------------------


def run_batch(desk: Desk, output: Path) -> Batch:
    """A batch of two scans in this process."""
    options = BatchOptions(CaseOptions(str(desk.bundle), device="cpu", preview=True))
    batch = Batch(desk.folder / "in", output, options)
    batch.look()
    runner = CaseRunner(options.case, output)
    batch.run(lambda *_: None, lambda cases: map(runner.run, cases))
    return batch


@pytest.fixture
def scans(desk: Desk) -> Path:
    (desk.folder / "in").mkdir()
    for name in ("a", "b"):
        (desk.folder / "in" / f"{name}.nii.gz").write_bytes(desk.ct.read_bytes())
    return desk.folder / "in"


def check_batch(batch: Batch) -> int:
    """Every scan is there with all its files, or failed for the disk and has none; returns how many failed."""
    states = {outcome.case: outcome.status for outcome in batch.outcomes.values()}
    lost = [outcome for outcome in batch.outcomes.values() if outcome.status == FAILED]
    assert all("disk" in outcome.reason for outcome in lost), lost
    whole = {f"{name}{ending}" for name, status in states.items() if status != FAILED for ending in (".nii.gz", ".json", ".png")}
    assert {path.name for path in batch.output.iterdir()} - {"summary.csv", "index.html"} == whole
    return len(lost)


def lost_scans(desk: Desk, output: Path) -> tuple[int, Batch | None]:
    """How many scans a batch lost for the disk, none where it said itself that it cannot go on; and the batch, if it came to its end."""
    said = ""
    try:
        batch = run_batch(desk, output)
    except SetupError as error:
        said = str(error)
    if said:
        check_words(said)
        return 0, None
    return check_batch(batch), batch


def check_words(sentence: str) -> None:
    assert "disk" in sentence
    assert "Errno" not in sentence


@pytest.mark.usefixtures("scans")
def test_at_whichever_step_the_disk_runs_full_a_batch_loses_that_scan_at_most(desk: Desk) -> None:
    output = desk.folder / "results"
    failures = []
    for at in range(1, 1000):
        shutil.rmtree(output, ignore_errors=True)
        with full_disk(FullDisk(output, at, times=1)) as disk:
            lost, batch = lost_scans(desk, output)
        if not disk.failed:
            break
        failures.append(lost)
    assert max(failures) == 1
    assert sum(failures) > 20
    assert batch is not None
    assert batch.count(DONE) == 2


# --- a real one ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of 64 pages; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={64 * PAGE}", "small", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, pages_left: int) -> None:
    """Leave that many pages."""
    (folder / "filler").unlink(missing_ok=True)
    usage = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes((usage.f_bavail - pages_left) * usage.f_frsize))


def without_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if another program filled the disk after they were made."""
    for module in (segment_file, batch_case):
        monkeypatch.setattr(module, "require_room", lambda *_: None)
    monkeypatch.setattr("KidneyTumorCascadeLib.batch.require_room_for", lambda *_: None)


def test_a_small_disk_is_noticed_beforehand(desk: Desk, small_disk: Path) -> None:
    desk.out = small_disk
    check_disk_is_blamed(desk.segment("--quiet"))
    assert content_of(small_disk) == {}


def test_a_small_disk_that_fills_up_is_left_as_it_was(desk: Desk, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_checks(monkeypatch)
    desk.out = small_disk
    pages, outcome = 0, Outcome(3, "", "")
    while outcome.code != 0:
        fill(small_disk, pages)
        outcome = segmented(desk)
        if outcome.code != 0:
            check_disk_is_blamed(outcome)
            assert list(content_of(small_disk)) == ["filler"]
        pages += 1
    assert pages > 5
    assert len(content_of(small_disk)) == 8


@pytest.mark.usefixtures("scans")
def test_a_batch_on_a_small_disk_that_fills_up_names_the_scans_it_lost(desk: Desk, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_checks(monkeypatch)
    lost = set()
    for pages in range(2, 40, 2):
        shutil.rmtree(small_disk / "results", ignore_errors=True)
        fill(small_disk, pages)
        lost.add(lost_scans(desk, small_disk / "results")[0])
    assert 0 in lost
    assert len(lost) > 1
