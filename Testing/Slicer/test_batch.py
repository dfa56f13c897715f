"""Scripts/batch_segment.py on the desk, with a worker whose networks find bright voxels."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from KidneyTumorCascadeBatch import reading
from KidneyTumorCascadeBatch.cases import Case, findCases
from KidneyTumorCascadeBatch.engine import Engine
from KidneyTumorCascadeBatch.results import Place, writeWhole
from KidneyTumorCascadeLib.errors import BundleError, InputError, SetupError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.report import PRODUCT, write_json
from KidneyTumorCascadeLib.volume import Volume, read_label_map, write_volume
from KidneyTumorCascadeLib.worker_client import WorkerClient
from KidneyTumorCascadeLib.worker_messages import Options
from KidneyTumorCascadeScene.worker_process import workerCommand
from Testing.bright_blocks import make_bright_bundle, make_coronal_scan, make_scan, true_labels, write_dicom

SCRIPT = Path(__file__).resolve().parents[2] / "KidneyTumorCascade" / "Scripts" / "batch_segment.py"
MAIN: Callable[[Sequence[str]], int] = runpy.run_path(str(SCRIPT))["main"]


@dataclass
class Ward:
    """A folder with scans, one for results, and Slicer's Python, whose starts are counted."""

    folder: Path
    bundle: Path

    @property
    def scans(self) -> Path:
        """Where scans lie."""
        return self.folder / "scans"

    @property
    def output(self) -> Path:
        """Where results go."""
        return self.folder / "results"

    def arguments(self, *words: str) -> list[str]:
        """The command line, with the -- that Slicer's own options end with."""
        places = ["--input", str(self.scans), "--output", str(self.output)]
        return ["--", *places, "--bundle", str(self.bundle), "--device", "cpu", *words]

    def run(self, *words: str) -> int:
        """Run the script; returns its exit code."""
        return MAIN(self.arguments(*words))

    def starts(self) -> int:
        """How many workers were started so far."""
        log = self.folder / "starts"
        return len(log.read_text(encoding="utf-8")) if log.exists() else 0

    def summary(self) -> dict[str, list[dict[str, str]]]:
        """The summary's rows by case."""
        with (self.output / "summary.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [row for row in rows if row["case"] == name] for name in dict.fromkeys(row["case"] for row in rows)}

    def statuses(self) -> dict[str, str]:
        """How each case ended."""
        return {name: rows[0]["status"] for name, rows in self.summary().items()}

    def files(self) -> list[str]:
        """All results, hidden files too."""
        return sorted(path.relative_to(self.output).as_posix() for path in self.output.rglob("*") if path.is_file())


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ward:
    """A ward with no scans yet."""
    python = tmp_path / "bin" / "PythonSlicer"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nprintf x >>"{tmp_path}/starts"\nexec "{sys.executable}" -m Testing.bright_worker\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(python.parent), prepend=":")
    (tmp_path / "scans").mkdir()
    return Ward(tmp_path, make_bright_bundle(tmp_path / "bundle"))


def make_three_and_a_broken_one(folder: Path) -> None:
    """Three phantoms, each stored in another way, and half of one."""
    write_dicom(make_scan(), folder / "dicom")
    (folder / "inner").mkdir()
    write_volume(make_coronal_scan(), folder / "inner" / "coronal.nii.gz")
    write_volume(make_scan(), folder / "axial.nrrd")
    whole = (folder / "inner" / "coronal.nii.gz").read_bytes()
    (folder / "broken.nii.gz").write_bytes(whole[: len(whole) // 2])


def test_three_phantoms_and_a_broken_file(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    make_three_and_a_broken_one(ward.scans)
    assert ward.run() == 1
    assert ward.statuses() == {"axial": "done", "broken": "failed", "dicom": "done", "inner/coronal": "done"}
    results = [f"{name}.{ending}" for name in ("axial", "dicom", "inner/coronal") for ending in ("json", "seg.nrrd")]
    assert ward.files() == sorted([*results, "summary.csv"])
    assert "Failed: broken: " in capsys.readouterr().err
    assert ward.starts() == 1
    rows = ward.summary()
    assert [row["side"] for row in rows["axial"]] == ["right", "left"]
    assert float(rows["axial"][1]["tumor_ml"]) > 0
    assert "broken.nii.gz" in rows["broken"][0]["error"]

    before = {name: (ward.output / name).read_bytes() for name in results}
    times = {name: (ward.output / name).stat().st_mtime_ns for name in results}
    assert ward.run() == 1
    assert ward.statuses() == {"axial": "skipped", "broken": "failed", "dicom": "skipped", "inner/coronal": "skipped"}
    assert "0 done, 3 skipped, 1 failed" in capsys.readouterr().out
    assert {name: (ward.output / name).read_bytes() for name in results} == before
    assert {name: (ward.output / name).stat().st_mtime_ns for name in results} == times
    assert [row["side"] for row in ward.summary()["axial"]] == ["right", "left"]


def test_results_lie_on_the_scan_and_scenes_hold_both(ward: Ward) -> None:
    scan = turned(make_scan())
    write_volume(scan, ward.scans / "ct.nrrd")
    assert ward.run("--scene") == 0
    segmentation = slicer.util.loadSegmentation(str(ward.output / "ct.seg.nrrd"))
    assert segments_of(segmentation, slicer.util.loadVolume(str(ward.scans / "ct.nrrd"))) == drawn(scan)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(ward.output / "ct.mrb"))
    (volume,), (segmentation,) = (slicer.util.getNodesByClass(f"vtkMRML{kind}Node") for kind in ("ScalarVolume", "Segmentation"))
    assert np.array_equal(slicer.util.arrayFromVolume(volume), scan.voxels)
    assert segments_of(segmentation, volume) == drawn(scan)
    assert {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")} == {"Right kidney box", "Left kidney box"}
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetNumberOfRows() == 3


def test_a_scan_without_kidneys_gives_an_empty_result(ward: Ward) -> None:
    scan = make_scan()
    scan.voxels[scan.voxels > 0] = 0
    write_volume(scan, ward.scans / "ct.nrrd")
    assert ward.run() == 0
    segmentation = slicer.util.loadSegmentation(str(ward.output / "ct.seg.nrrd"))
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert ward.summary()["ct"][0]["warnings"]


def turned(scan: Volume) -> Volume:
    """The same patient, lying askew."""
    return Volume(scan.voxels, replace(scan.geometry, direction=(0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)))


def segments_of(segmentation: Any, reference: Any) -> dict[str, bytes]:
    """Which voxels of the reference each segment holds, by name, packed so that a difference is not printed."""
    segments = segmentation.GetSegmentation()
    found = {}
    for number in range(segments.GetNumberOfSegments()):
        identifier = segments.GetNthSegmentID(number)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, reference)
        found[segments.GetSegment(identifier).GetName()] = np.packbits(mask > 0).tobytes()
    return found


def drawn(scan: Volume) -> dict[str, bytes]:
    """What there is to be found, as `segments_of` says it. The patient's left is at the end of the rows."""
    labels = true_labels(scan).voxels
    left = np.arange(labels.shape[2]) >= labels.shape[2] // 2
    masks = {"Right kidney": (labels == 1) & ~left, "Left kidney": (labels == 1) & left, "Left tumor": labels == 2}
    return {name: np.packbits(mask).tobytes() for name, mask in masks.items()}


def test_a_label_map_is_the_librarys_and_a_scan_that_changed_is_done_again(ward: Ward) -> None:
    scan = make_coronal_scan()
    write_volume(scan, ward.scans / "a.nrrd")
    write_volume(scan, ward.scans / "b.nrrd")
    assert ward.run("--format", "nii.gz") == 0
    labels = read_label_map(ward.output / "a.nii.gz")
    assert labels.geometry.matches(scan.geometry)
    assert np.array_equal(labels.voxels, true_labels(scan).voxels)
    manifest = json.loads((ward.output / "a.json").read_text(encoding="utf-8"))
    assert manifest["input"]["name"] == "a.nrrd"
    assert manifest["output"]["name"] == "a.nii.gz"
    scan.voxels[0, 0, 0] += 1
    write_volume(scan, ward.scans / "a.nrrd")
    assert ward.run("--format", "nii.gz") == 0
    assert ward.statuses() == {"a": "done", "b": "skipped"}


def test_only_a_whole_result_of_the_same_request_is_skipped(tmp_path: Path) -> None:
    scene = tmp_path / "ct.mrb"
    place = Place(tmp_path / "ct.seg.nrrd", scene)
    request = {"bundle_sha256": "1", "preset": "standard"}
    manifest = {"product": {"name": PRODUCT}, "request": request}
    write_json(place.manifest, manifest)
    place.result.touch()
    assert place.manifestOf(request) is None
    assert Place(place.result, None).manifestOf(request) == manifest
    scene.touch()
    assert place.manifestOf(request) == manifest
    assert place.manifestOf({**request, "preset": "fast"}) is None
    assert place.manifestOf({**request, "bundle_sha256": "2"}) is None
    write_json(place.manifest, {"request": request})
    assert place.manifestOf(request) is None


def test_files_of_others_stay_and_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path / "ct.seg.nrrd", None)
    place.manifest.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="did not write"):
        place.prepare()
    place.result.write_bytes(b"old")
    with pytest.raises(SetupError, match="could not write"):
        writeWhole(place.result, lambda path: Path(path).write_bytes(b"half") < 0)
    assert place.result.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct.json", "ct.seg.nrrd"]


def test_a_dead_worker_costs_one_case(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        write_volume(make_scan(), ward.scans / f"{name}.nrrd")
    segment = WorkerClient.segment

    def killed_first(client: WorkerClient, *arguments: Any) -> Any:
        if ward.starts() == 1:
            client.process.kill()
        return segment(client, *arguments)

    monkeypatch.setattr(WorkerClient, "segment", killed_first)
    assert ward.run() == 1
    assert ward.statuses() == {"a": "failed", "b": "done"}
    assert ward.starts() == 2
    assert not list(Path(slicer.app.temporaryPath).iterdir())


def test_wrong_arguments(ward: Ward, capsys: pytest.CaptureFixture[str]) -> None:
    assert ward.run() == 2
    assert "holds no scans" in capsys.readouterr().err
    assert MAIN(["--input", "somewhere"]) == 2
    assert MAIN(["--help"]) == 0
    write_volume(make_scan(), ward.scans / "ct.nrrd")
    assert ward.run("--preset", "nonsense") == 2
    assert "choose one of standard, fast, paper" in capsys.readouterr().err
    with Engine(ward.folder, workerCommand()) as engine, pytest.raises(BundleError, match="no model bundle 'nonsense'"):
        engine.request(Options(bundle="nonsense"))


def test_slicer_ends_with_the_exit_code(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(slicer.util, "exit", codes.append)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *ward.arguments()])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert codes == [2]


def test_each_scan_has_a_name_of_its_own(ward: Ward) -> None:
    for name in ("ct.nrrd", "ct.nii.gz", "inner/ct.nrrd", ".hidden.nrrd", "preview.png", "ct.seg.nrrd", "notes.txt", "results/old.nrrd"):
        path = ward.scans / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = findCases(ward.scans, ward.scans / "results")
    assert [case.name for case in found] == ["ct.nii.gz", "ct.nrrd", "inner/ct"]
    assert [case.name for case in findCases(ward.scans, ward.output, "*.nii.gz")] == ["ct"]


def test_other_formats_are_read_by_slicer(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    # Along Slicer's own axes, R, A and S.
    scan = Volume(make_scan().voxels, Geometry((48, 36, 32), (6.0, 6.0, 6.0), direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)))
    write_volume(scan, ward.scans / "ct.nrrd")
    monkeypatch.setattr(reading, "CHECKED", ())
    volume, _ = reading.readCase(Case(ward.scans / "ct.nrrd", "ct"))
    assert volume.geometry.matches(scan.geometry)
    assert np.array_equal(volume.voxels, scan.voxels)
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
