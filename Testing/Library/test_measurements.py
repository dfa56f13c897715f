"""Measurements against brute force, against what is known of balls and boxes, and on kidneys that are cut."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from KidneyTumorCascadeLib.geometry import Box, Geometry, Slices, as_matrix, box_of_slices
from KidneyTumorCascadeLib.labelled_box import LabelledBox
from KidneyTumorCascadeLib.measurements import SideMeasurement, longest_diameter, measure, measure_side, measure_tumors, overlap_warnings
from KidneyTumorCascadeLib.volume import Volume

SPACINGS = st.tuples(*[st.sampled_from([0.4, 0.78, 1.0, 2.5])] * 3)
MASKS = st.tuples(*[st.integers(1, 7)] * 3).flatmap(lambda shape: arrays(np.bool_, shape))


def scan_of(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (0.7, 0.9, 3.0), hu: float = 0.0) -> Volume:
    z, y, x = shape
    return Volume(np.full(shape, hu, dtype=np.int16), Geometry((x, y, z), spacing, (-30.0, 20.0, 400.0)))


def part_of(scan: Volume, slices: Slices, labels: NDArray[np.uint8], side: str = "left") -> LabelledBox:
    return LabelledBox(box_of_slices(slices, scan.geometry, side, "network"), slices, labels)


def whole(scan: Volume) -> Slices:
    z, y, x = (slice(0, length) for length in scan.voxels.shape)
    return z, y, x


def ball(scan: Volume, center: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[np.bool_]:
    """An ellipsoid around a point x, y, z in mm from the scan's corner."""
    z, y, x = np.indices(scan.voxels.shape)
    steps = np.stack([x, y, z], axis=-1) * scan.geometry.spacing
    inside: NDArray[np.bool_] = (((steps - center) / np.array(radii)) ** 2).sum(axis=-1) <= 1.0
    return inside


# --- diameters -------------------------------------------------------------------------------------------------------------------------------


def brute_force_diameter(mask: NDArray[np.bool_], spacing: Any) -> float:
    points = np.argwhere(mask) * np.asarray(spacing)
    return float(pdist(points).max()) if len(points) > 1 else 0.0


@given(MASKS, SPACINGS)
@settings(max_examples=100)
def test_diameters_equal_the_largest_of_all_distances(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> None:
    assert longest_diameter(mask, spacing) == pytest.approx(brute_force_diameter(mask, spacing))
    for plane in mask:
        assert longest_diameter(plane, spacing[1:]) == pytest.approx(brute_force_diameter(plane, spacing[1:]))


@given(st.integers(0, 1000), SPACINGS)
@settings(max_examples=15)
def test_diameters_of_large_blobs(seed: int, spacing: tuple[float, float, float]) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((14, 15, 16)), 1.5)
    mask = noise > 0.7 * noise.std()
    assert longest_diameter(mask, spacing) == pytest.approx(brute_force_diameter(mask, spacing))


def test_diameters_of_lines_and_planes() -> None:
    line = np.zeros((9, 9, 9), dtype=bool)
    line[range(9), range(9), range(9)] = True
    assert longest_diameter(line, (3.0, 1.0, 2.0)) == pytest.approx(8 * 14**0.5)
    oblique_plane = np.add.outer(np.add.outer(np.arange(6), np.arange(6)), np.zeros(6)) == 5
    assert longest_diameter(oblique_plane, (1.0, 1.0, 1.0)) == pytest.approx(75**0.5)
    # A rod is no line: its longest diameter runs from corner to corner.
    rod = np.ones((2, 60, 2), dtype=bool)
    rod[0, 0], rod[1, -1] = False, False
    assert longest_diameter(rod, (1.0, 1.0, 1.0)) == pytest.approx((59**2 + 2) ** 0.5)
    assert longest_diameter(np.ones((1, 1, 1), dtype=bool), (1.0, 1.0, 1.0)) == 0.0
    assert longest_diameter(np.zeros((2, 2, 2), dtype=bool), (1.0, 1.0, 1.0)) == 0.0


# --- tumors ----------------------------------------------------------------------------------------------------------------------------------


def test_an_ellipsoid_has_its_known_volume_diameters_and_place() -> None:
    scan = scan_of((60, 80, 90), (0.7, 0.9, 1.5))
    mask = ball(scan, (30.1, 36.0, 45.0), (12.0, 9.0, 30.001))
    scan.voxels[mask] = 60
    (tumor,) = measure_tumors(mask, scan.voxels, scan.geometry)
    assert tumor.volume_ml == pytest.approx(4 / 3 * np.pi * 12 * 9 * 30 / 1000, rel=0.01)
    assert tumor.longest_diameter_mm == pytest.approx(60.0)
    assert tumor.longest_axial_diameter_mm == pytest.approx(24.0, abs=0.7)
    assert tumor.center_lps_mm == pytest.approx((0.1, 56.0, 445.0))
    assert (tumor.mean_hu, tumor.sd_hu, tumor.touches_border) == (60.0, 0.0, False)


@given(st.integers(0, 1000))
@settings(max_examples=25)
def test_tumors_are_the_parts_that_touch_across_corners_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    scan = scan_of((5, 6, 7))
    mask = random.random((5, 6, 7)) < 0.12
    scan.voxels[...] = random.integers(-50, 200, mask.shape)
    tumors = measure_tumors(mask, scan.voxels, scan.geometry)
    groups = [{tuple(point)} for point in np.argwhere(mask).tolist()]
    for point in np.argwhere(mask).tolist():
        near = [group for group in groups if any(np.abs(np.subtract(point, other)).max() <= 1 for other in group)]
        groups = [group for group in groups if group not in near] + [set.union(*near)]
    expected = [scan.voxels[tuple(np.array(sorted(group)).T)] for group in groups]
    assert sorted((len(values) * 0.7 * 0.9 * 3.0 / 1000, values.mean(), values.std()) for values in expected) == [
        pytest.approx((tumor.volume_ml, tumor.mean_hu, tumor.sd_hu)) for tumor in sorted(tumors, key=lambda t: (t.volume_ml, t.mean_hu, t.sd_hu))
    ]
    assert [tumor.volume_ml for tumor in tumors] == sorted((tumor.volume_ml for tumor in tumors), reverse=True)


def test_a_tumor_beside_another_is_measured_without_it() -> None:
    # The bounding box of the L holds the single voxel, which touches none of it.
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[1, 1:7, 1], mask[1, 1, 1:7], mask[1, 5, 5] = True, True, True
    scan = scan_of((8, 8, 8), (1.0, 1.0, 1.0))
    scan.voxels[1, 5, 5] = 1000
    large, small = measure_tumors(mask, scan.voxels, scan.geometry)
    assert (large.volume_ml, large.mean_hu, large.longest_axial_diameter_mm) == pytest.approx((0.011, 0.0, 50**0.5))
    assert (small.volume_ml, small.mean_hu, small.longest_diameter_mm) == pytest.approx((0.001, 1000.0, 0.0))


@pytest.mark.parametrize("index", [(0, 3, 3), (7, 3, 3), (3, 0, 3), (3, 7, 3), (3, 3, 0), (3, 3, 7)])
def test_a_tumor_at_any_face_may_go_on_there(index: tuple[int, int, int]) -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[index] = True
    scan = scan_of((8, 8, 8))
    assert measure_tumors(mask, scan.voxels, scan.geometry)[0].touches_border
    assert not measure_tumors(np.pad(mask, 1), np.zeros((10, 10, 10)), scan_of((10, 10, 10)).geometry)[0].touches_border


# --- sides -----------------------------------------------------------------------------------------------------------------------------------


def kidney_with_tumor(scan: Volume) -> NDArray[np.uint8]:
    labels = np.zeros(scan.voxels.shape, dtype=np.uint8)
    labels[3:9, 4:12, 4:12] = 1
    labels[5:7, 6:8, 6:8] = 2
    return labels


def test_a_box_is_measured_on_its_own_part_of_the_scan() -> None:
    scan = scan_of((20, 24, 28))
    scan.voxels[...] = np.random.default_rng(3).integers(-100, 300, scan.voxels.shape)
    slices = (slice(5, 17), slice(2, 18), slice(10, 26))
    labels = kidney_with_tumor(Volume(scan.voxels[slices], scan.geometry.cropped(slices)))
    (side,) = measure([part_of(scan, slices, labels)], scan)
    values = scan.voxels[slices]
    assert (side.side, side.touches_scan_border, side.touches_box, side.warnings) == ("left", (), False, [])
    assert side.kidney_ml == pytest.approx((6 * 8 * 8 - 8) * 0.7 * 0.9 * 3.0 / 1000)
    assert side.tumor_ml == pytest.approx(8 * 0.7 * 0.9 * 3.0 / 1000)
    assert side.kidney_and_tumor_ml == pytest.approx(6 * 8 * 8 * 0.7 * 0.9 * 3.0 / 1000)
    assert (side.mean_hu, side.sd_hu) == pytest.approx((values[labels == 1].mean(), values[labels == 1].std()))
    (tumor,) = side.tumors
    assert tumor.mean_hu == pytest.approx(values[labels == 2].mean())
    assert tumor.center_lps_mm == pytest.approx((-30 + (10 + 6.5) * 0.7, 20 + (2 + 6.5) * 0.9, 400 + (5 + 5.5) * 3.0))
    assert tumor.longest_diameter_mm == pytest.approx((0.7**2 + 0.9**2 + 3.0**2) ** 0.5)
    assert tumor.longest_axial_diameter_mm == pytest.approx((0.7**2 + 0.9**2) ** 0.5)


def test_an_oblique_scan_places_tumors_in_the_patient() -> None:
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    scan = Volume(np.zeros((12, 16, 16), dtype=np.int16), Geometry((16, 16, 12), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), as_matrix(turn)))
    side = measure_side(part_of(scan, whole(scan), kidney_with_tumor(scan)), scan)
    assert side.tumors[0].center_lps_mm == pytest.approx(turn @ (6.5, 13.0, 16.5) + (5.0, 6.0, 7.0))
    assert side.tumors[0].longest_diameter_mm == pytest.approx(14**0.5)


@pytest.mark.parametrize(
    ("axis", "end", "face"),
    [(0, 0, "inferior"), (0, 1, "superior"), (1, 0, "anterior"), (1, 1, "posterior"), (2, 0, "right"), (2, 1, "left")],
)
@pytest.mark.parametrize("value", [1, 2])
def test_a_kidney_cut_by_the_scan_is_said_to_be_incomplete(axis: int, end: int, face: str, value: int) -> None:
    scan = scan_of((10, 10, 10))
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[3:7, 3:7, 3:7] = 1
    np.moveaxis(labels, axis, 0)[-1 if end else 0, 4:6, 4:6] = value
    side = measure_side(part_of(scan, whole(scan), labels), scan)
    assert (side.touches_scan_border, side.touches_box) == ((face,), False)
    assert side.warnings == [f"The left kidney touches the {face} border of the scan; its volume is incomplete."]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, 1])
def test_a_kidney_cut_by_its_box_is_said_to_go_on(axis: int, end: int) -> None:
    scan = scan_of((12, 12, 12))
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    np.moveaxis(labels, axis, 0)[-1 if end else 0, 4:6, 4:6] = 1
    side = measure_side(part_of(scan, (slice(1, 11), slice(1, 11), slice(1, 11)), labels, "right"), scan)
    assert (side.touches_scan_border, side.touches_box) == ((), True)
    assert side.warnings == ["The right kidney reaches the border of its box; enlarge the box and segment it again."]


@pytest.mark.parametrize(("slices", "face"), [(slice(4, 12), "superior"), (slice(0, 8), "inferior")])
def test_a_box_at_one_end_of_the_scan_tells_its_two_ends_apart(slices: slice, face: str) -> None:
    scan = scan_of((12, 12, 12))
    labels = np.zeros((8, 10, 10), dtype=np.uint8)
    labels[:, 4:6, 4:6] = 1
    side = measure_side(part_of(scan, (slices, slice(1, 11), slice(1, 11)), labels), scan)
    assert (side.touches_scan_border, side.touches_box) == ((face,), True)
    assert len(side.warnings) == 2


def test_a_mass_across_the_midline_cut_at_both_ends() -> None:
    scan = scan_of((6, 8, 8))
    labels = np.zeros((6, 8, 8), dtype=np.uint8)
    labels[:, 3:5, 2:6] = 1
    side = measure_side(part_of(scan, whole(scan), labels, "both"), scan)
    assert side.warnings == ["The kidney mass across the midline touches the inferior and superior borders of the scan; its volume is incomplete."]


def test_an_empty_box_has_no_hu_and_no_tumors() -> None:
    scan = scan_of((6, 8, 8))
    side = measure_side(part_of(scan, whole(scan), np.zeros((6, 8, 8), dtype=np.uint8)), scan)
    assert side == SideMeasurement("left", 0.0, 0.0, None, None)
    assert (side.to_dict()["tumors"], side.to_dict()["longest_mm"], side.warnings) == (0, None, [])
    assert measure([], scan) == []


def test_labels_of_another_shape_are_refused() -> None:
    scan = scan_of((6, 8, 8))
    part = LabelledBox(Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "left"), (slice(0, 6), slice(0, 8), slice(0, 7)), np.zeros((6, 8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match="do not fit"):
        measure_side(part, scan)


# --- tables ----------------------------------------------------------------------------------------------------------------------------------


def test_the_manifest_holds_the_largest_diameters_of_all_tumors() -> None:
    scan = scan_of((20, 20, 20), (1.0, 1.0, 1.0), hu=100.0)
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[0:12, 2:18, 2:18] = 1
    labels[2:10, 4, 4] = 2
    labels[5, 10:14, 10:14] = 2
    (side,) = measure([part_of(scan, whole(scan), labels)], scan)
    manifest = json.loads(json.dumps(side.to_dict()))
    tumors = manifest.pop("tumor_list")
    assert manifest == {
        "side": "left",
        "kidney_ml": 3.048,
        "tumor_ml": 0.024,
        "kidney_and_tumor_ml": 3.072,
        "tumors": 2,
        "longest_mm": 7.0,
        "longest_axial_mm": pytest.approx(18**0.5, abs=1e-3),
        "mean_hu": 100.0,
        "sd_hu": 0.0,
        "touches_scan_border": ["inferior"],
        "touches_box": False,
        "warnings": ["The left kidney touches the inferior border of the scan; its volume is incomplete."],
    }
    assert [type(manifest[key]) for key in ("kidney_ml", "longest_mm", "mean_hu")] == [float] * 3
    assert [tumor["volume_ml"] for tumor in tumors] == [0.016, 0.008]
    assert tumors[1]["center_lps_mm"] == [-26.0, 24.0, 405.5]


# --- boxes that overlap ----------------------------------------------------------------------------------------------------------------------


def part_with_voxel(side: str, start: int, voxel: int) -> LabelledBox:
    """A box over the voxels start to start + 6 along x, with one of the scan's voxels labelled."""
    labels = np.zeros((4, 4, 6), dtype=np.uint8)
    labels[2, 1, voxel - start] = 1
    return LabelledBox(Box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), side), (slice(3, 7), slice(0, 4), slice(start, start + 6)), labels)


def test_what_two_boxes_both_hold_is_said() -> None:
    right, left = part_with_voxel("right", 0, 5), part_with_voxel("left", 4, 5)
    sentence = "The boxes of the right and the left side overlap; what lies in both is counted on both sides."
    assert overlap_warnings([right, left]) == overlap_warnings([left, right]) == [sentence]
    assert overlap_warnings([right, left, left]) == [sentence, "Two boxes (left and left) overlap; what lies in both is counted in both."]


def test_boxes_that_share_no_labelled_voxel_are_not_worth_a_word() -> None:
    right = part_with_voxel("right", 0, 5)
    assert overlap_warnings([right, part_with_voxel("left", 4, 6)]) == [], "they overlap, but not in what they found"
    assert overlap_warnings([right, part_with_voxel("left", 6, 6)]) == [], "they share a face"
    assert overlap_warnings([right]) == overlap_warnings([]) == []
