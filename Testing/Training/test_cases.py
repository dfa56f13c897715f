"""Cases: a scan keeps its content and its place on cubic voxels, and what cannot be used is refused with a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import AxisOrder, Geometry
from KidneyTumorCascadeLib.volume import Volume, write_volume
from Training.cases import Case, around, coarser, cubic_case, load_case, load_cases, read_case, read_labels, widened

GEOMETRY = Geometry((44, 40, 24), (1.5, 1.5, 3.0), (-30.0, -20.0, 100.0))


def scan_and_labels() -> tuple[Volume, Volume]:
    """An ellipsoid kidney with a tumor in it."""
    z, y, x = np.ogrid[:24, :40, :44]
    z, y, x = z * 3.0, y * 1.5, x * 1.5
    labels = (((z - 34) / 25) ** 2 + ((y - 28) / 18) ** 2 + ((x - 30) / 20) ** 2 < 1).astype(np.uint8)
    labels[(z - 28) ** 2 + (y - 24) ** 2 + (x - 36) ** 2 < 9.5**2] = 2
    hu = (labels * 100.0 + np.linspace(-50, 50, 44)).astype(np.int16)
    return Volume(hu, GEOMETRY), Volume(labels, GEOMETRY)


def center_mm(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    return geometry.to_patient(np.argwhere(mask).mean(axis=0)[::-1])


@pytest.mark.parametrize("spacing", [1.0, 1.5, 2.0])
def test_volume_and_position_of_labels_are_kept(spacing: float) -> None:
    scan, labels = scan_and_labels()
    case = cubic_case("a", scan, labels, spacing)
    grid = GEOMETRY.resampled((spacing,) * 3)
    for label in (1, 2):
        before, after = labels.voxels == label, case.labels == label
        assert after.sum() * grid.voxel_ml == pytest.approx(before.sum() * GEOMETRY.voxel_ml, rel=0.1)
        np.testing.assert_allclose(center_mm(after, grid), center_mm(before, GEOMETRY), atol=0.5)
    assert case.spacing_mm == spacing
    assert case.hu.dtype == np.int16
    assert case.labels.dtype == np.uint8


def test_same_voxels_come_back_unchanged() -> None:
    labels = np.zeros((8, 9, 10), dtype=np.uint8)
    labels[2:5, 3:6, 4:8] = 1
    hu = np.random.default_rng(0).integers(-1000, 1000, labels.shape).astype(np.int16)
    geometry = Geometry((10, 9, 8), (2.0, 2.0, 2.0))
    case = cubic_case("a", Volume(hu, geometry), Volume(labels, geometry), 2.0)
    assert np.array_equal(case.hu, hu)
    assert np.array_equal(case.labels, labels)


@given(permutation=st.permutations([0, 1, 2]), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_order_of_the_scans_axes_makes_no_difference(permutation: list[int], flips: tuple[bool, bool, bool]) -> None:
    scan, labels = scan_and_labels()
    order = AxisOrder((permutation[0], permutation[1], permutation[2]), flips)
    turned = [Volume(order.apply(volume.voxels), GEOMETRY.reordered(order)) for volume in (scan, labels)]
    plain, other = cubic_case("a", scan, labels, 2.0), cubic_case("a", turned[0], turned[1], 2.0)
    assert np.array_equal(plain.labels, other.labels)
    assert np.abs(plain.hu.astype(int) - other.hu).max() <= 1


def test_any_label_but_two_is_kidney() -> None:
    scan, labels = scan_and_labels()
    with_cyst = replace(labels, voxels=np.where(labels.voxels == 1, 3, labels.voxels).astype(np.uint8))
    assert np.array_equal(cubic_case("a", scan, with_cyst, 1.5).labels, cubic_case("a", scan, labels, 1.5).labels)


def test_a_scan_without_labels_has_nothing_to_find() -> None:
    assert not cubic_case("a", scan_and_labels()[0], None, 3.0).labels.any()


def test_what_a_ct_cannot_hold_is_clipped() -> None:
    voxels = np.array([-5000.0, 0.0, 9000.0], dtype=np.float32).reshape(1, 1, 3).repeat(3, 0).repeat(3, 1)
    case = cubic_case("a", Volume(voxels, Geometry((3, 3, 3), (1.0, 1.0, 1.0))), None, 1.0)
    assert case.hu[0, 0].tolist() == [-1024, 0, 3071]


def test_coarser_keeps_volume_and_place() -> None:
    fine = cubic_case("a", *scan_and_labels(), 1.0)
    coarse = coarser(fine, 3.0)
    assert coarse.name == fine.name
    assert coarse.hu.shape == tuple(round(length / 3) for length in fine.hu.shape)
    grid = fine.geometry.resampled((3.0, 3.0, 3.0))
    assert (coarse.labels > 0).sum() * grid.voxel_ml == pytest.approx((fine.labels > 0).sum() / 1000.0, rel=0.15)
    np.testing.assert_allclose(center_mm(coarse.labels > 0, grid), center_mm(fine.labels > 0, fine.geometry), atol=1.0)


def test_what_is_saved_is_loaded(tmp_path: Path, body_with_tumor: Case) -> None:
    replace(body_with_tumor, name="b.with_dot").save(tmp_path)
    body_with_tumor.save(tmp_path)
    loaded = load_cases(tmp_path)
    assert [case.name for case in loaded] == ["b.with_dot", "body"]
    assert np.array_equal(loaded[1].hu, body_with_tumor.hu)
    assert np.array_equal(loaded[1].labels, body_with_tumor.labels)
    assert loaded[1].spacing_mm == body_with_tumor.spacing_mm
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.with_dot.npz", "body.npz"]


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no cases .*; write a pool"):
        load_cases(tmp_path / "missing")


@pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "other arrays"])
def test_a_damaged_case_is_refused(tmp_path: Path, body: Case, damage: str) -> None:
    body.save(tmp_path)
    path = tmp_path / "body.npz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "text":
        path.write_text("no zip file")
    elif damage == "pickle":
        np.savez(path, hu=np.array([{}], dtype=object), labels=body.labels, spacing_mm=1.0)
    else:
        np.savez(path, pixels=body.hu)
    with pytest.raises(InputError, match=r"body.npz is not a training case"):
        load_case(path)


def test_labels_that_do_not_fit_are_refused(body: Case) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        replace(body, labels=body.labels[1:])


def test_bounding_box_is_widened_and_clipped() -> None:
    mask = np.zeros((10, 12, 14), dtype=bool)
    mask[1:3, 5:7, 13] = True
    assert around(mask, 2) == (slice(0, 5), slice(3, 9), slice(11, 14))
    with pytest.raises(ValueError, match="empty mask"):
        around(np.zeros_like(mask), 1)


@given(
    length=st.integers(1, 60),
    ends=st.tuples(st.integers(0, 59), st.integers(0, 59)),
    margin=st.integers(0, 40),
    least=st.integers(0, 80),
)
def test_a_widened_part_holds_its_margin_and_is_long_enough(length: int, ends: tuple[int, int], margin: int, least: int) -> None:
    start, stop = min(*ends, length - 1), min(max(ends) + 1, length)
    alone, found = widened(slice(start, stop), length, margin), widened(slice(start, stop), length, margin, least)
    assert alone == slice(max(0, start - margin), min(length, stop + margin))
    assert 0 <= found.start <= alone.start
    assert alone.stop <= found.stop <= length
    assert found.stop - found.start == max(alone.stop - alone.start, min(least, length))


def test_what_the_end_cuts_off_is_added_on_the_other_side() -> None:
    assert widened(slice(0, 9), 129, 23, 83) == slice(0, 83)
    assert widened(slice(50, 60), 129, 5, 40) == slice(35, 75)


def test_a_case_is_read_from_files(tmp_path: Path) -> None:
    scan, labels = scan_and_labels()
    write_volume(scan, tmp_path / "ct.nii.gz")
    write_volume(labels, tmp_path / "labels.nii.gz")
    case = read_case("a", tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", 2.0)
    assert np.array_equal(case.labels, cubic_case("a", scan, labels, 2.0).labels)
    assert not read_case("a", tmp_path / "ct.nii.gz", None, 2.0).labels.any()


def test_labels_of_other_organs_are_left_out(tmp_path: Path) -> None:
    voxels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3).repeat(2, 0)
    write_volume(Volume(voxels, Geometry((3, 2, 2), (1.0, 1.0, 1.0))), tmp_path / "organs.nii.gz")
    assert read_labels(tmp_path / "organs.nii.gz", (2, 5)).voxels[0].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert np.array_equal(read_labels(tmp_path / "organs.nii.gz").voxels, voxels)


def test_a_label_map_of_another_scan_is_refused(tmp_path: Path) -> None:
    scan, labels = scan_and_labels()
    write_volume(scan, tmp_path / "ct.nii.gz")
    write_volume(replace(labels, geometry=replace(GEOMETRY, origin=(-30.0, -20.0, 103.0))), tmp_path / "labels.nii.gz")
    with pytest.raises(InputError, match=r"labels.nii.gz does not lie on the grid of .*ct.nii.gz"):
        read_case("a", tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", 2.0)
