"""The weights that come with the program: whole, small, and right on phantoms and on the real scans where those lie at hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from KidneyTumorCascadeLib.bundle import DEFAULT_FOLDER, load_bundle, verify_bundle
from KidneyTumorCascadeLib.cascade import Cascade, Segmentation
from KidneyTumorCascadeLib.cli import main
from KidneyTumorCascadeLib.commands import DEMO
from KidneyTumorCascadeLib.device import choose_device
from KidneyTumorCascadeLib.evaluation import compare_label_maps
from KidneyTumorCascadeLib.geometry import Slices
from KidneyTumorCascadeLib.phantom import make_phantom
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_volume, write_volume

LARGEST_MIB = 30
LEAST_DICE = 0.80
MOST_INVENTED_ML = 2.0
WHOLE = ("pancreas_ct_cb001", "tcga_ov_09_2043", "cort_liver", "totalsegmentator_example")
CUT = ("totalsegmentator_0009", "cptac_pda_c3l_00189", "cptac_pda_c3n_00249", "chaos_ct_3")
NEGATIVE = ("lung1_003", "lung1_007", "totalsegmentator_0002", "totalsegmentator_0003", "totalsegmentator_s0335")
# A chest whose lowest slices show the upper halves of both kidneys; a scan without kidneys from this slice on.
CHEST, ABOVE_KIDNEYS = "lung1_007", 24
# There they end in the ninth slice; spleen lies above the left one.
END_OF_KIDNEYS = 9
# The axes of KiTS19's files: the first runs from superior to inferior.
PERMUTED = "IPL"


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade(load_bundle(), choose_device("auto"))


def tumor_ml(result: Segmentation) -> float:
    """All that was called tumor."""
    return float((result.labels.voxels == 2).sum()) * result.labels.geometry.voxel_ml


def test_the_bundle_is_whole_and_small() -> None:
    verify_bundle(DEFAULT_FOLDER)
    size = sum(path.stat().st_size for path in DEFAULT_FOLDER.glob("*.safetensors"))
    assert size <= LARGEST_MIB * 1024**2
    assert load_bundle().licence == "CC-BY-NC-SA-4.0"
    assert set(load_bundle().presets) == {"standard", "fast", "paper"}


def test_what_the_card_says_was_measured() -> None:
    card, accuracy = (DEFAULT_FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8"), load_bundle().accuracy
    assert "Not measured" not in card
    for name in WHOLE + CUT + NEGATIVE:
        assert f"| {name} |" in card
    assert 0.0 < accuracy["real_kidney_dice"] <= 1.0


def test_the_demo_finds_kidneys_and_tumor(cascade: Cascade) -> None:
    phantom = make_phantom(DEMO)
    scores = compare_label_maps(cascade.segment(phantom.volume).labels, phantom.labels)
    assert scores.kidney.dice is not None
    assert scores.tumor.dice is not None
    assert scores.kidney.dice > 0.90
    assert scores.tumor.dice > 0.50


def test_permuted_and_oblique_files_give_the_same_segmentation_in_the_patient(tmp_path: Path) -> None:
    settings = replace(DEMO, spacing=(3.0, 3.0, 4.0))
    results = {}
    for name, changed in (
        ("straight", settings),
        ("permuted", replace(settings, orientation=PERMUTED)),
        ("oblique", replace(settings, oblique_degrees=15.0, orientation="RAS")),
    ):
        write_volume(make_phantom(changed).volume, tmp_path / f"{name}.nii.gz")
        assert main(["segment", str(tmp_path / f"{name}.nii.gz"), str(tmp_path / f"{name}_labels.nii.gz"), "--quiet"]) == 0
        results[name] = read_label_map(tmp_path / f"{name}_labels.nii.gz")
        assert results[name].geometry.matches(read_volume(tmp_path / f"{name}.nii.gz").geometry)
    straight = results["straight"].in_lps_order()
    assert (straight.voxels == 1).any()
    assert straight.geometry.matches(results["permuted"].in_lps_order().geometry)
    for name in ("permuted", "oblique"):
        assert np.array_equal(results[name].in_lps_order().voxels, straight.voxels), name


@pytest.mark.parametrize("name", WHOLE)
def test_whole_kidneys_of_real_scans_are_found_and_no_tumor_is_invented(cascade: Cascade, shared_data: Path, name: str) -> None:
    result, dice = segment_real(cascade, shared_data / "real" / name)
    assert dice > LEAST_DICE
    assert tumor_ml(result) <= MOST_INVENTED_ML


@pytest.mark.parametrize("name", CUT)
def test_no_tumor_is_invented_in_kidneys_that_are_cut(cascade: Cascade, shared_data: Path, name: str) -> None:
    result, dice = segment_real(cascade, shared_data / "real" / name)
    assert dice > LEAST_DICE
    assert tumor_ml(result) <= MOST_INVENTED_ML


def segment_real(cascade: Cascade, folder: Path) -> tuple[Segmentation, float]:
    """The result on a real scan and its kidney Dice."""
    scan, reference = read_volume(folder / "ct.nii.gz"), read_label_map(folder / "kidney.nii.gz")
    result = cascade.segment(scan)
    assert result.labels.geometry == scan.geometry
    dice = compare_label_maps(result.labels, reference, kidney_only=True).kidney.dice
    assert dice is not None
    return result, dice


@pytest.mark.parametrize("name", NEGATIVE)
def test_scans_without_kidneys_give_a_warning_and_an_empty_label_map(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shared_data: Path, name: str
) -> None:
    scan, output = shared_data / "negatives" / f"{name}.nii.gz", tmp_path / "labels.nii.gz"
    if name == CHEST:
        scan = above_kidneys(scan, tmp_path)
    assert main(["segment", str(scan), str(output), "--quiet"]) == 0
    assert "No kidney was found" in capsys.readouterr().err
    assert not read_label_map(output).voxels.any()
    manifest = json.loads((tmp_path / "labels.json").read_text(encoding="utf-8"))
    assert any("No kidney was found" in warning for warning in manifest["warnings"])


def above_kidneys(scan: Path, folder: Path) -> Path:
    """The chest without the slices that show kidneys."""
    volume = read_volume(scan).in_lps_order()
    depth, height, width = volume.voxels.shape
    part: Slices = (slice(ABOVE_KIDNEYS, depth), slice(0, height), slice(0, width))
    write_volume(Volume(np.ascontiguousarray(volume.voxels[part]), volume.geometry.cropped(part)), folder / scan.name)
    return folder / scan.name


@pytest.mark.parametrize("preset", ["standard", "fast"])
def test_kidneys_at_the_end_of_a_chest_are_found(cascade: Cascade, shared_data: Path, preset: str) -> None:
    scan = read_volume(shared_data / "negatives" / f"{CHEST}.nii.gz")
    found = Cascade(cascade.bundle, cascade.engine, preset).segment(scan)
    labels = scan.geometry.lps_order().apply(found.labels.voxels)
    assert [box.part.box.side for box in found.boxes] == ["right", "left"]
    # The upper halves of both kidneys, and nothing above.
    assert (labels > 0).sum() * scan.geometry.voxel_ml > 80.0
    assert not labels[END_OF_KIDNEYS:].any()


def test_the_paper_preset_draws_the_published_boxes(cascade: Cascade) -> None:
    phantom = make_phantom(replace(DEMO, spacing=(1.0, 1.0, 2.0)))
    paper = Cascade(cascade.bundle, cascade.engine, "paper")
    boxes = paper.find_kidneys(phantom.volume).boxes
    size = phantom.volume.geometry.size
    assert [box.side for box in boxes] == ["right", "left"]
    for box in boxes:
        depth, height, width = (item.stop - item.start for item in box.slices(phantom.volume.geometry))
        assert width <= size[0] // 2
        assert height <= 256
        assert depth <= 256


def test_the_fast_preset_agrees_with_the_standard_one(cascade: Cascade) -> None:
    phantom = make_phantom(DEMO)
    standard, fast = (Cascade(cascade.bundle, cascade.engine, preset).segment(phantom.volume).labels for preset in ("standard", "fast"))
    scores = compare_label_maps(fast, standard)
    assert scores.kidney.dice is not None
    assert scores.kidney.dice > 0.9
