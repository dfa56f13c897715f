"""Lesions: found by overlap, missed, invented; sorted by size."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from Testing.Training.measured import lesion as tumor
from Training.measuring.lesion_detection import (
    LEAST_IOU,
    SPECK_ML,
    Share,
    detect,
    found_by_contrast,
    found_by_size,
    lesion_of,
    overlap_table,
    sphere_diameter_mm,
)

# Every voxel is above the size of a speck.
VOXEL_ML = 1.0


def masks(*blocks: tuple[slice, slice, slice]) -> np.ndarray:
    """A mask of blocks."""
    mask = np.zeros((20, 20, 40), dtype=bool)
    for block in blocks:
        mask[block] = True
    return mask


ONE = (slice(2, 6), slice(2, 6), slice(2, 6))
OTHER = (slice(2, 6), slice(2, 6), slice(20, 30))
FAR = (slice(12, 14), slice(12, 14), slice(12, 14))


def test_what_is_found_missed_and_invented_is_counted() -> None:
    result = detect(masks(ONE, FAR), masks(ONE, OTHER), VOXEL_ML)
    assert [(lesion.ml, lesion.found, lesion.dice) for lesion in result.lesions] == [(64.0, True, 1.0), (160.0, False, 0.0)]
    assert result.false_tumors == 1


def test_without_tumors_everything_found_is_false() -> None:
    assert detect(masks(ONE, FAR), masks(), VOXEL_ML).false_tumors == 2
    assert detect(masks(), masks(), VOXEL_ML).false_tumors == 0
    assert detect(masks(), masks(ONE), VOXEL_ML).false_tumors == 0


def test_a_lesion_is_found_from_a_tenth_of_overlap_on() -> None:
    assert LEAST_IOU == 0.1
    below, exactly = lesion_of(100, 9, 9, 1.0), lesion_of(100, 10, 10, 1.0)
    assert (below.found, exactly.found) == (False, True)
    assert exactly.dice == pytest.approx(2 * 10 / 110)
    # A flood that covers the lesion and nine times as much besides says nothing of where it is.
    assert not lesion_of(100, 100, 1001, 1.0).found


def test_a_prediction_that_only_grazes_a_lesion_is_false_too() -> None:
    grazing = (slice(5, 10), slice(5, 10), slice(5, 10))
    result = detect(masks(grazing), masks(ONE), VOXEL_ML)
    assert [lesion.found for lesion in result.lesions] == [False]
    assert result.false_tumors == 1


def test_the_parts_that_touch_a_lesion_count_together() -> None:
    left, right = (slice(2, 6), slice(2, 6), slice(20, 23)), (slice(2, 6), slice(2, 6), slice(26, 30))
    (lesion,) = detect(masks(left, right), masks(OTHER), VOXEL_ML).lesions
    assert lesion.dice == pytest.approx(2 * 112 / (160 + 112))


def test_specks_are_neither_missed_nor_make_findings_false() -> None:
    speck = (slice(15, 16), slice(15, 16), slice(15, 16))
    result = detect(masks(speck), masks(speck, ONE), SPECK_ML * 0.99)
    assert [lesion.ml for lesion in result.lesions] == [pytest.approx(64 * SPECK_ML * 0.99)]
    assert result.false_tumors == 0
    assert len(detect(masks(speck), masks(speck, ONE), SPECK_ML).lesions) == 2


def test_corners_connect() -> None:
    corner = (slice(6, 8), slice(6, 8), slice(6, 8))
    assert len(detect(masks(), masks(ONE, corner), VOXEL_ML).lesions) == 1


@settings(max_examples=40)
@given(arrays.arrays(bool, (5, 6, 7)), arrays.arrays(bool, (5, 6, 7)))
def test_the_overlap_table_counts_what_the_components_share(reference: np.ndarray, prediction: np.ndarray) -> None:
    table = overlap_table(reference, prediction)
    expected, lesions = ndimage.label(reference, np.ones((3, 3, 3)))
    predicted, findings = ndimage.label(prediction, np.ones((3, 3, 3)))
    for lesion in range(lesions + 1):
        for finding in range(findings + 1):
            if lesion or finding:
                assert table[lesion, finding] == ((expected == lesion) & (predicted == finding)).sum()


@given(st.floats(1.0, 200.0))
def test_the_diameter_is_that_of_a_sphere(diameter: float) -> None:
    assert sphere_diameter_mm(4.0 / 3.0 * np.pi * (diameter / 2.0) ** 3 / 1000.0) == pytest.approx(diameter)


def test_sizes_are_counted_apart() -> None:
    result = detect(masks(ONE), masks(ONE, OTHER, FAR), VOXEL_ML)
    diameters = [lesion.diameter_mm for lesion in result.lesions]
    assert diameters == [pytest.approx(value, abs=0.1) for value in (49.6, 67.4, 24.8)]
    assert found_by_size([asdict(lesion) for lesion in result.lesions]) == {
        "under 2 cm": Share(0, 0),
        "2 to 4 cm": Share(0, 1),
        "4 cm and more": Share(1, 2),
    }
    at_bounds = [{"diameter_mm": diameter, "found": True} for diameter in (19.99, 20.0, 39.99, 40.0)]
    assert [share.lesions for share in found_by_size(at_bounds).values()] == [1, 2, 1]


def test_a_lesion_tells_how_much_it_differs_from_the_kidney() -> None:
    """By its own median, in the order of the lesions, and wherever in the scan they lie; without a kidney nothing is told."""
    hu = np.full((20, 20, 40), 999, dtype=np.int16)
    hu[ONE], hu[OTHER] = 40, 170
    hu[2, 2:6, 2:6] = -500
    lesions = detect(masks(), masks(OTHER, ONE), VOXEL_ML, hu, 150.0).lesions
    assert [(found.ml, found.contrast_hu) for found in lesions] == [(64.0, -110.0), (160.0, 20.0)]
    assert [found.contrast_hu for found in detect(masks(), masks(OTHER, ONE), VOXEL_ML, hu).lesions] == [None, None]
    assert detect(masks(ONE), masks(), VOXEL_ML, hu, 150.0).lesions == []


def test_only_large_lesions_are_counted_by_contrast() -> None:
    lesions = [tumor(30.0, True, -20.0), tumor(20.0, False, 20.0), tumor(19.9, False, -90.0)]
    lesions += [tumor(30.0, False, 19.9), tumor(30.0, False, -19.9), tumor(90.0, True, 0.0), tumor(90.0, True, None)]
    assert found_by_contrast(lesions) == {"20 HU and more": Share(1, 2), "under 20 HU": Share(1, 3)}
