"""The command line does what it promises: every command, what it writes, what it says on which stream, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from KidneyTumorCascadeLib import __version__, arguments, bundle, bundle_format, cli, commands, device, phantom_anatomy
from KidneyTumorCascadeLib.bundle import load_bundle
from KidneyTumorCascadeLib.evaluation import compare_label_maps
from KidneyTumorCascadeLib.geometry import Box
from KidneyTumorCascadeLib.phantom import PhantomSettings
from KidneyTumorCascadeLib.preview import write_preview
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_volume, write_volume
from Testing.bright_blocks import Desk, make_coronal_scan, make_scan, true_labels, use_brightness, write_dicom
from Testing.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
THICK = "ct.nii.gz has slices of 6 mm; with more than 5 mm small tumors may be missed."
COARSE = PhantomSettings(seed=7, tumors=2, spacing=(8.0, 8.0, 8.0))


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    use_brightness(monkeypatch)
    return Desk(tmp_path, capsys)


def manifest_in(folder: Path, name: str = "labels.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return content


def dices(labels: Volume, scan: Volume) -> tuple[float, float]:
    scores = compare_label_maps(labels, true_labels(scan))
    assert scores.kidney.dice is not None
    assert scores.tumor.dice is not None
    return scores.kidney.dice, scores.tumor.dice


# --- segment ---------------------------------------------------------------------------------------------------------------------------------


def test_segment_writes_a_label_map_and_its_manifest(desk: Desk) -> None:
    outcome = desk.segment()
    assert outcome.code == 0
    assert desk.written() == ["labels.json", "labels.nii.gz"]
    labels = read_label_map(desk.out / "labels.nii.gz")
    assert labels.voxels.dtype == np.uint8
    assert labels.geometry.matches(read_volume(desk.ct).geometry, tolerance_mm=0.0)
    assert min(dices(labels, desk.scan)) > 0.95


def test_the_manifest_says_all_that_is_needed_to_trace_a_result(desk: Desk) -> None:
    desk.segment()
    manifest = manifest_in(desk.out)
    found = load_bundle(desk.bundle)
    assert manifest["product"] == {"name": "kidney-tumor-cascade", "version": __version__}
    assert {"python", "torch", "numpy", "SimpleITK"} <= manifest["versions"].keys()
    assert manifest["bundle"] == {"name": "tiny", "version": "1.0.0", "sha256": found.digest, "licence": "CC0-1.0"}
    assert manifest["input"]["name"] == "ct.nii.gz"
    assert manifest["input"]["geometry"] == read_volume(desk.ct).geometry.to_dict()
    assert manifest["output"] == {"name": "labels.nii.gz"}
    assert (manifest["preset"], manifest["merge"]) == ("standard", "overlay")
    assert manifest["device"]["name"] == "cpu"
    assert manifest["device"]["precision"] in ("float32", "bfloat16")
    assert [Box.from_dict(box).side for box in manifest["boxes"]] == ["right", "left"]
    assert manifest["removals"] == []
    assert manifest["passed_over"] == {"small": 0, "faint": 0, "elsewhere": 0}
    assert list(manifest["seconds"]) == ["reading", "finding kidneys", "segmenting right", "segmenting left", "measuring", "writing"]
    assert manifest["peak_memory_mb"] > 10
    assert manifest["warnings"] == [THICK]


def test_the_manifest_measures_what_the_label_map_shows(desk: Desk) -> None:
    desk.segment()
    right, left = manifest_in(desk.out)["measurements"]
    labels = read_label_map(desk.out / "labels.nii.gz")
    voxels = labels.voxels
    for side, part in ((right, voxels[..., :24]), (left, voxels[..., 24:])):
        assert side["kidney_ml"] == pytest.approx((part == 1).sum() * labels.geometry.voxel_ml, abs=0.01)
        assert side["tumor_ml"] == pytest.approx((part == 2).sum() * labels.geometry.voxel_ml, abs=0.01)
    assert (right["side"], right["tumors"], left["side"], left["tumors"]) == ("right", 0, "left", 1)
    assert right["mean_hu"] == pytest.approx(200, abs=1)


def test_removals_are_in_the_manifest(desk: Desk) -> None:
    path = desk.bundle / "bundle.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["presets"]["standard"]["rules"] = {"min_tumor_ml": 20}
    path.write_text(json.dumps(content), encoding="utf-8")
    desk.segment()
    assert [removal["side"] for removal in manifest_in(desk.out)["removals"]] == ["left"]


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_any_format_and_orientation_gives_labels_on_its_own_grid(desk: Desk, ending: str) -> None:
    scan = make_coronal_scan()
    source = desk.folder / f"coronal{ending}"
    write_volume(scan, source)
    assert desk.segment(source=source, output=f"coronal-labels{ending}").code == 0
    labels = read_label_map(desk.out / f"coronal-labels{ending}")
    assert labels.geometry == read_volume(source).geometry
    assert labels.geometry.matches(scan.geometry, tolerance_mm=0.001)
    assert min(dices(labels, scan)) > 0.95


def test_a_dicom_folder_is_segmented_and_its_name_stays_out_of_the_results(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []

    def draw(*given: Any) -> None:
        titles.append(given[4])
        write_preview(*given)

    monkeypatch.setattr("KidneyTumorCascadeLib.segment_file.write_preview", draw)
    folder = write_dicom(desk.scan, desk.folder / "DOE^JANE")
    outcome = desk.segment("--preview", desk.out / "picture.png", source=folder, output="labels.seg.nrrd")
    assert outcome.code == 0
    labels = read_label_map(desk.out / "labels.seg.nrrd")
    assert labels.geometry.matches(desk.scan.geometry, tolerance_mm=0.001)
    assert min(dices(labels, desk.scan)) > 0.95
    text = (desk.out / "labels.json").read_text(encoding="utf-8")
    assert "DOE" not in text + outcome.out + outcome.err
    assert manifest_in(desk.out)["input"]["name"] == "DICOM series"
    assert titles == ["DICOM series"]


def test_one_file_of_a_dicom_series_is_not_named_either(desk: Desk) -> None:
    folder = write_dicom(desk.scan, desk.folder / "series")
    (folder / "000.dcm").rename(folder / "DOE-JANE.dcm")
    assert desk.segment(source=folder / "DOE-JANE.dcm").code == 0
    assert "DOE" not in (desk.out / "labels.json").read_text(encoding="utf-8")


def test_warnings_of_a_dicom_series_do_not_name_its_folder(desk: Desk) -> None:
    folder = write_dicom(desk.scan, desk.folder / "DOE^JANE")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"CT\x08\x00", b"MR\x08\x00").replace(b"CS\x02\x00CT", b"CS\x02\x00MR"))
    assert desk.segment(source=folder).code == 0
    warnings = manifest_in(desk.out)["warnings"]
    assert any("MR, not CT" in text for text in warnings)
    assert "DOE" not in " ".join(warnings)


def test_segment_says_what_it_found(desk: Desk) -> None:
    outcome = desk.segment()
    assert outcome.err == f"Warning: {THICK}\n"
    assert THICK not in outcome.out
    for word in ("right", "left", "kidney ml", "segmenting left", "tiny 1.0.0", "Not for clinical use"):
        assert word in outcome.out


def test_quiet_says_nothing_but_warnings(desk: Desk) -> None:
    outcome = desk.segment("--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", f"Warning: {THICK}\n")
    scan = make_scan(4.5)
    write_volume(scan, desk.ct)
    outcome = desk.segment("--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_json_is_one_document_and_everything_else_a_json_line(desk: Desk) -> None:
    outcome = desk.segment("--json")
    assert json.loads(outcome.out) == manifest_in(desk.out)
    lines = [json.loads(line) for line in outcome.err.splitlines()]
    progress = [line for line in lines if "stage" in line]
    assert {line["stage"] for line in progress} == {"reading", "finding kidneys", "segmenting", "measuring", "writing"}
    percents = [line["percent"] for line in progress]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert [line for line in lines if "stage" not in line] == [{"warning": THICK}]


def test_json_errors_are_json_lines_too(desk: Desk) -> None:
    outcome = desk.segment("--json", source=desk.folder / "absent.nii.gz")
    assert (outcome.code, outcome.out) == (2, "")
    last = json.loads(outcome.err.splitlines()[-1])
    assert last["exit_code"] == 2
    assert "absent.nii.gz" in last["error"]


def test_progress_is_for_terminals_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\r" not in desk.segment().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "100 %" in desk.segment().err
    assert desk.segment("--quiet").err == f"Warning: {THICK}\n"


def test_the_preview_is_a_picture(desk: Desk) -> None:
    assert desk.segment("--preview", desk.out / "picture.PNG").code == 0
    with Image.open(desk.out / "picture.PNG") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
    assert desk.written() == ["labels.json", "labels.nii.gz", "picture.PNG"]


def test_probabilities_are_written_for_each_box(desk: Desk) -> None:
    desk.segment("--probabilities")
    names = [f"labels_{side}_{what}_probability.nii.gz" for side in ("left", "right") for what in ("kidney", "tumor")]
    assert desk.written() == ["labels.json", "labels.nii.gz", *names]
    kidney, tumor = (read_volume(desk.out / name) for name in names[:2])
    assert kidney.geometry == tumor.geometry
    assert (kidney.voxels > 0.5).sum() > (tumor.voxels > 0.5).sum() > 0
    assert kidney.voxels.max() <= 1.0


def test_merge_is_the_users_choice(desk: Desk) -> None:
    desk.segment("--merge", "compare")
    assert manifest_in(desk.out)["merge"] == "compare"


def test_presets_are_those_of_the_bundle(desk: Desk) -> None:
    desk.segment("--preset", "paper")
    manifest = manifest_in(desk.out)
    assert manifest["preset"] == "paper"
    # The publication's boxes are 256 voxels long: the whole half of so small a scan.
    assert manifest["boxes"][0]["size_mm"][2] == pytest.approx(192.0)
    outcome = desk.segment("--preset", "best", output="other.nii.gz")
    assert outcome.code == 2
    assert "'best'" in outcome.err


def write_scan_without_kidneys(desk: Desk) -> None:
    scan = make_scan()
    scan.voxels[scan.voxels > 0] = 0
    scan.voxels[:, :, :10] += 60
    write_volume(scan, desk.ct)


def test_nothing_found_is_a_warning_and_an_empty_label_map(desk: Desk) -> None:
    write_scan_without_kidneys(desk)
    outcome = desk.segment()
    assert outcome.code == 0
    assert not read_label_map(desk.out / "labels.nii.gz").voxels.any()
    assert any("No kidney" in text for text in manifest_in(desk.out)["warnings"])
    assert "No kidney" in outcome.err


def test_an_earlier_result_is_replaced(desk: Desk) -> None:
    desk.segment()
    (desk.out / "labels.nii.gz").write_bytes(b"old")
    (desk.out / "labels.json").write_text('{"product": {"name": "kidney-tumor-cascade"}}', encoding="utf-8")
    assert desk.segment().code == 0
    assert read_label_map(desk.out / "labels.nii.gz").voxels.any()
    assert manifest_in(desk.out)["output"]["name"] == "labels.nii.gz"


# --- boxes -----------------------------------------------------------------------------------------------------------------------------------


def find_boxes(desk: Desk, *words: str | Path) -> dict[str, Any]:
    outcome = desk.run("boxes", desk.ct, *words, "--bundle", desk.bundle, "--device", "cpu")
    assert outcome.code == 0
    content: dict[str, Any] = json.loads(outcome.out)
    return content


def test_boxes_go_to_standard_output_or_a_file(desk: Desk) -> None:
    content = find_boxes(desk)
    assert [(box["side"], box["source"]) for box in content["boxes"]] == [("right", "network"), ("left", "network")]
    assert content["warnings"] == [THICK]
    outcome = desk.run("boxes", desk.ct, desk.out / "boxes.json", "--bundle", desk.bundle)
    assert (outcome.code, outcome.out) == (0, "")
    assert manifest_in(desk.out, "boxes.json") == content
    assert find_boxes(desk, desk.out / "again.json", "--json") == content


def test_what_boxes_writes_segment_reads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.segment(output="found.nii.gz")
    desk.run("boxes", desk.ct, desk.out / "boxes.json", "--bundle", desk.bundle)
    monkeypatch.setattr("KidneyTumorCascadeLib.cascade.Cascade.find_kidneys", None)
    assert desk.segment("--boxes", desk.out / "boxes.json").code == 0
    found, given = (read_label_map(desk.out / name).voxels for name in ("found.nii.gz", "labels.nii.gz"))
    assert np.array_equal(found, given)
    assert "finding kidneys" not in manifest_in(desk.out)["seconds"]


def test_what_boxes_writes_of_a_scan_without_kidneys_segment_reads_too(desk: Desk) -> None:
    write_scan_without_kidneys(desk)
    desk.run("boxes", desk.ct, desk.out / "boxes.json", "--bundle", desk.bundle)
    assert manifest_in(desk.out, "boxes.json")["boxes"] == []
    outcome = desk.segment("--boxes", desk.out / "boxes.json", "--preview", desk.out / "picture.png", "--probabilities")
    assert outcome.code == 0
    assert not read_label_map(desk.out / "labels.nii.gz").voxels.any()
    assert "No kidney was found in this scan; the label map is empty." in manifest_in(desk.out)["warnings"]


def test_boxes_that_hold_the_same_kidney_are_said(desk: Desk) -> None:
    left = find_boxes(desk)["boxes"][1]
    sides = [{**left, "side": side} for side in ("right", "left")]
    (desk.folder / "twice.json").write_text(json.dumps({"boxes": sides}), encoding="utf-8")
    outcome = desk.segment("--boxes", desk.folder / "twice.json")
    sentence = "The boxes of the right and the left side overlap; what lies in both is counted on both sides."
    assert sentence in manifest_in(desk.out)["warnings"]
    assert sentence in outcome.err


def test_an_edited_box_is_segmented_as_it_is(desk: Desk) -> None:
    edited = find_boxes(desk)["boxes"][1] | {"source": "user"}
    edited["size_mm"] = [60.0, 48.0, 36.0]
    (desk.folder / "edited.json").write_text(json.dumps({"boxes": [edited]}), encoding="utf-8")
    desk.segment("--boxes", desk.folder / "edited.json")
    manifest = manifest_in(desk.out)
    assert manifest["boxes"] == [edited]
    assert [side["side"] for side in manifest["measurements"]] == ["left"]
    slices = Box.from_dict(edited).slices(desk.scan.geometry)
    voxels = read_label_map(desk.out / "labels.nii.gz").voxels
    assert voxels[slices].any()
    voxels[slices] = 0
    assert not voxels.any()


# --- evaluate and phantom --------------------------------------------------------------------------------------------------------------------


def test_evaluate_prints_scores_and_writes_csv(desk: Desk) -> None:
    desk.segment()
    write_volume(true_labels(desk.scan), desk.folder / "truth.nii.gz")
    outcome = desk.run("evaluate", desk.out / "labels.nii.gz", desk.folder / "truth.nii.gz", "--csv", desk.out / "scores.csv")
    assert (outcome.code, outcome.err) == (0, "")
    assert "HD95" in outcome.out
    header, row = (desk.out / "scores.csv").read_text(encoding="utf-8").splitlines()
    scores = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(scores["kidney_dice"]) > 0.95
    assert float(scores["tumor_reference_ml"]) == pytest.approx(64 * 0.216, rel=1e-3)


def test_evaluate_names_references_without_a_prediction(desk: Desk) -> None:
    references = desk.folder / "references"
    references.mkdir()
    for name in ("case_00001.nii.gz", "case_00002.nii.gz", "case_00003.nii.gz"):
        write_volume(true_labels(desk.scan), references / name)
    write_volume(true_labels(desk.scan), desk.out / "prediction_00002.nii.gz")
    outcome = desk.run("evaluate", desk.out, references, "--kidney-only")
    assert outcome.code == 0
    assert "case_00002" in outcome.out
    assert "case_00001" not in outcome.out
    assert outcome.err == f"Warning: {desk.out} has no prediction for case_00001, case_00003; the mean is that of the others.\n"


def test_a_table_never_replaces_what_it_scores(desk: Desk) -> None:
    truth = desk.folder / "truth.nii.gz"
    write_volume(true_labels(desk.scan), truth)
    before = truth.read_bytes()
    outcome = desk.run("evaluate", truth, truth, "--csv", truth)
    assert outcome.code == 2
    assert "overwrite" in outcome.err
    assert truth.read_bytes() == before


def test_phantom_writes_a_scan_with_its_truth(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PhantomSettings", partial(PhantomSettings, spacing=(8.0, 8.0, 8.0)))
    words = ["--seed", "3", "--tumors", "2", "--phase", "portal", "--orientation", "RAS", "--oblique", "10"]
    outcome = desk.run("phantom", desk.out / "ct.nrrd", desk.out / "truth.nrrd", *words)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    ct, truth = read_volume(desk.out / "ct.nrrd"), read_label_map(desk.out / "truth.nrrd")
    assert ct.geometry == truth.geometry
    assert ct.geometry.direction[0] < -0.9
    assert set(np.unique(truth.voxels)) == {0, 1, 2}


@pytest.mark.parametrize("words", [["--seed", "-1"], ["--tumors", "99"], ["--orientation", "XYZ"], ["--oblique", "nan"]])
def test_an_impossible_phantom_is_refused(desk: Desk, words: list[str]) -> None:
    outcome = desk.run("phantom", desk.out / "ct.nrrd", desk.out / "truth.nrrd", *words)
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert desk.written() == []


def test_a_phantoms_two_files_are_two(desk: Desk) -> None:
    outcome = desk.run("phantom", desk.out / "ct.nrrd", desk.out / "." / "ct.nrrd")
    assert outcome.code == 2
    assert "overwrite" in outcome.err
    assert desk.written() == []


# --- bundle, check, demo ---------------------------------------------------------------------------------------------------------------------


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    return path


def test_bundles_come_and_go(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIDNEY_TUMOR_CASCADE_HOME", str(desk.folder / "home"))
    monkeypatch.setattr(bundle, "DEFAULT_FOLDER", make_tiny_bundle(desk.folder / "default"))
    path = zipped(desk.bundle, desk.folder / "tiny.zip")
    installed = desk.run("bundle", "install", path)
    assert (installed.code, installed.err) == (0, "")
    assert installed.out.startswith("Installed tiny 1.0.0")
    assert [line.split()[0] for line in desk.run("bundle", "list").out.splitlines()] == ["default", "tiny"]
    assert "SHA-256" in desk.run("bundle", "verify", "tiny").out
    assert desk.run("segment", desk.ct, desk.out / "labels.nii.gz", "--bundle", "tiny").code == 0
    again = desk.run("bundle", "install", path)
    assert (again.code, len(again.err.splitlines())) == (3, 1)
    assert desk.run("bundle", "remove", "tiny").code == 0
    gone = desk.run("bundle", "remove", "tiny")
    assert (gone.code, len(gone.err.splitlines())) == (2, 1)
    assert desk.run("bundle", "verify").code == 0


def test_a_damaged_bundle_is_listed_with_its_problem(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "DEFAULT_FOLDER", desk.bundle)
    (desk.bundle / "bundle.json").write_text("{", encoding="utf-8")
    outcome = desk.run("bundle", "list")
    assert outcome.code == 0
    assert "unusable" in outcome.out


def test_check_reports_also_without_a_bundle(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "DEFAULT_FOLDER", desk.bundle)
    outcome = desk.run("check")
    assert (outcome.code, outcome.err) == (0, "")
    for word in (__version__, "torch", "device cpu", "free memory", "free disk", "tiny 1.0.0"):
        assert word in outcome.out
    monkeypatch.setattr(bundle, "DEFAULT_FOLDER", desk.folder / "nowhere")
    outcome = desk.run("check")
    assert (outcome.code, len(outcome.err.splitlines())) == (3, 1)
    assert "torch" in outcome.out
    assert "nowhere" in outcome.err


def test_demo_shows_how_far_the_result_is_from_the_truth(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "DEMO", COARSE)
    words: list[str | Path] = ["demo", desk.out / "new" / "demo", "--bundle", desk.bundle, "--device", "cpu"]
    outcome = desk.run(*words)
    assert outcome.code == 0
    assert "known truth" in outcome.out
    names = ["ct.nii.gz", "demo", "new", "preview.png", "segmentation.json", "segmentation.nii.gz", "truth.nii.gz"]
    assert desk.written() == sorted(names)
    assert json.loads(desk.run(*words, "--json").out)["input"]["name"] == "ct.nii.gz"
    assert desk.written() == sorted(names)


def test_demo_leaves_somebodys_own_scan_alone(desk: Desk) -> None:
    before = desk.ct.read_bytes()
    outcome = desk.run("demo", desk.folder, "--bundle", desk.bundle)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert desk.ct.read_bytes() == before
    outcome = desk.run("demo", desk.ct, "--bundle", desk.bundle)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)


# --- words, and the program as others start it -----------------------------------------------------------------------------------------------


def test_the_words_choices_are_the_librarys() -> None:
    assert arguments.DEVICES == device.DEVICES
    assert arguments.MERGES == bundle_format.MERGES
    assert arguments.PHASES == phantom_anatomy.PHASES
    assert list(commands.COMMANDS) == ["segment", "batch", "boxes", "evaluate", "phantom", "bundle", "check", "demo"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["dance"],
        ["segment"],
        ["segment", "ct.nii.gz"],
        ["segment", "", "labels.nii.gz"],
        ["segment", "ct.nii.gz", "labels.nii.gz", "--device", "tpu"],
        ["segment", "ct.nii.gz", "labels.nii.gz", "--merge", "guess"],
        ["segment", "ct.nii.gz", "labels.nii.gz", "--quiet", "--json"],
        ["phantom", "ct.nii.gz", "labels.nii.gz", "--seed", "seven"],
        ["phantom", "ct.nii.gz", "labels.nii.gz", "--phase", "late"],
        ["bundle"],
        ["bundle", "burn"],
    ],
)
def test_wrong_words_are_a_usage_and_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: kidney-tumor-cascade")
    assert ": error: " in err.splitlines()[-1]
    assert err.count("error: ") == 1


@pytest.mark.parametrize("command", [[], *([name] for name in commands.COMMANDS), ["bundle", "install"]])
def test_help_is_there_for_every_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: kidney-tumor-cascade", *command]))


def python(*words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)


def test_help_and_wrong_words_need_no_torch() -> None:
    code = "import sys; from KidneyTumorCascadeLib.cli import main; codes = main(['--version']), main(['dance']); sys.exit('torch' in sys.modules)"
    done = python("-c", code)
    assert done.returncode == 0
    assert done.stdout == f"kidney-tumor-cascade {__version__}\n"


def test_the_program_in_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path, capsys)
    box = {"side": "left", "center_lps_mm": [70.0, -10.0, 120.0], "size_mm": [90.0, 90.0, 90.0]}
    (tmp_path / "boxes.json").write_text(json.dumps({"boxes": [box]}), encoding="utf-8")
    words: list[str | Path] = ["segment", desk.ct, desk.out / "ergebnis-\u00e4.nii.gz", "--bundle", desk.bundle, "--boxes", tmp_path / "boxes.json"]
    done = python("-m", "KidneyTumorCascadeLib", *words)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("Warning: ") for line in done.stderr.splitlines())
    assert "\r" not in done.stdout + done.stderr
    assert "segmenting left" in done.stdout
    assert desk.written() == ["ergebnis-\u00e4.json", "ergebnis-\u00e4.nii.gz"]
