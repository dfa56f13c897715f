"""Slabs of single slices: HU, body, labels, and patients on one side of the split only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from Training import slice_cases
from Training.cases import AIR_HU, load_cases

EDGE = 120


def body_picture() -> tuple[np.ndarray, np.ndarray]:
    """A ring of muscle with fat and a kidney with a tumor in it, above a couch; gray (y, x) and labels."""
    y, x = np.mgrid[:EDGE, :EDGE]
    radius = np.hypot(y - 55, x - 60)
    gray = np.where((radius > 38) & (radius < 46), 50.0, 0.0)
    gray[115:117] = 90.0
    kidney = np.hypot(y - 55, x - 45) < 12
    tumor = np.hypot(y - 55, x - 38) < 6
    gray[kidney], gray[tumor] = 150.0, 80.0
    return gray.astype(np.float32), np.where(tumor, 2, np.where(kidney, 1, 0)).astype(np.uint8)


def write_slices(folder: Path, *names: str) -> None:
    gray, labels = body_picture()
    for name in names:
        Image.fromarray(gray.astype(np.uint8)).save(folder / f"{name}_ct.png")
        Image.fromarray(labels).save(folder / f"{name}_label.png")


def test_black_is_fat_in_the_body_and_air_around_it() -> None:
    hu = slice_cases.hu_of(body_picture()[0])
    assert hu[30, 60] == slice_cases.FAT_HU
    assert hu[2, 2] == hu[108, 60] == AIR_HU
    assert hu[55, 50] == pytest.approx(150 / 255 * 300)


def test_a_gap_in_the_muscles_lets_no_air_in() -> None:
    gray, _ = body_picture()
    gray[:30, 57:62] = 0.0
    assert slice_cases.hu_of(gray)[40, 60] == slice_cases.FAT_HU


def test_a_slab_is_the_slice_again_and_again_at_its_true_size() -> None:
    gray, labels = body_picture()
    case = slice_cases.slab_case("slice_1", gray, labels, pixel_mm=0.75)
    assert case.hu.shape == (28, 60, 60)
    assert (case.hu == case.hu[:1]).all()
    assert (case.labels == case.labels[:1]).all()
    for value in (1, 2):
        area_mm2 = np.count_nonzero(case.labels[0] == value) * case.spacing_mm**2
        assert area_mm2 == pytest.approx(np.count_nonzero(labels == value) * 0.75**2, rel=0.15)


def test_a_picture_without_tissue_has_no_body() -> None:
    assert not slice_cases.body_of(np.zeros((20, 20), dtype=bool)).any()


def test_a_patients_slices_lie_on_one_side_whatever_their_order(tmp_path: Path) -> None:
    names = [f"{patient}_{number}" for patient in range(8) for number in range(2)]
    (tmp_path / "slices").mkdir()
    write_slices(tmp_path / "slices", *names)
    assert slice_cases.write_slabs(tmp_path / "slices", tmp_path / "pool", 0.25, seed=3) == {"train": 12, "validation": 4}
    sides = {split: {case.name.split("_")[1] for case in load_cases(tmp_path / "pool" / split / "slices")} for split in ("train", "validation")}
    assert not sides["train"] & sides["validation"]
    patients = {str(patient) for patient in range(8)}
    assert slice_cases.validation_patients(patients, 0.25, 3) == sides["validation"]


def test_a_pool_with_slabs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With another seed a patient would get onto both sides."""
    (tmp_path / "slices").mkdir()
    write_slices(tmp_path / "slices", "1_1", "2_1")
    words = [str(tmp_path / "slices"), str(tmp_path / "pool"), "--validation-share", "0.5", "--seed"]
    assert slice_cases.main([*words, "1"]) == 0
    before = sorted(tmp_path.glob("pool/*/*/*"))
    assert slice_cases.main([*words, "2"]) == 2
    assert "already holds slabs" in capsys.readouterr().err
    assert sorted(tmp_path.glob("pool/*/*/*")) == before


def test_a_folder_without_slices_is_refused_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slice_cases.main([str(tmp_path), str(tmp_path / "pool")]) == 2
    assert "There are no slices" in capsys.readouterr().err
