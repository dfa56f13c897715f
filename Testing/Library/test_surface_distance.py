"""Surface distances against the package that the KiTS challenges score with, and against what is known of boxes."""

from __future__ import annotations

import itertools
import warnings
from types import ModuleType

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.surface_distance import CORNERS, element_areas, neighbourhood_codes, surface_distances, surface_elements

SPACING = st.tuples(*[st.sampled_from([0.5, 0.78, 1.0, 1.3, 3.0])] * 3)


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    """The package surface-distance of DeepMind."""
    module: ModuleType = pytest.importorskip("surface_distance")
    return module


def blob(seed: int, shape: tuple[int, int, int], smooth: float, level: float) -> NDArray[np.bool_]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), smooth)
    return np.asarray(noise > level * noise.std())


def test_every_neighbourhood_has_the_published_area(oracle: ModuleType) -> None:
    # The package's bits run the other way.
    published_code = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    for spacing in ((1.0, 1.0, 1.0), (3.0, 0.78, 0.78), (0.6, 2.9, 1.7)):
        published = oracle.lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        np.testing.assert_allclose(element_areas(spacing)[published_code], published, atol=1e-12)


@given(st.integers(0, 10_000), st.integers(0, 10_000), SPACING, st.sampled_from([0.0, 0.6, 1.2]), st.floats(-0.5, 1.5))
@settings(max_examples=40)
def test_equals_the_published_package(
    oracle: ModuleType, seed: int, other: int, spacing: tuple[float, float, float], smooth: float, level: float
) -> None:
    prediction, reference = blob(seed, (7, 9, 8), smooth, level), blob(other, (7, 9, 8), smooth, level)
    assume(prediction.any() and reference.any())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = oracle.compute_surface_distances(reference, prediction, spacing)
    ours = surface_distances(prediction, reference, spacing)
    np.testing.assert_allclose(ours.from_prediction, theirs["distances_pred_to_gt"], atol=1e-9)
    np.testing.assert_allclose(ours.from_reference, theirs["distances_gt_to_pred"], atol=1e-9)
    np.testing.assert_allclose(ours.prediction_areas.sum(), theirs["surfel_areas_pred"].sum())
    np.testing.assert_allclose(ours.robust_hausdorff(95), oracle.compute_robust_hausdorff(theirs, 95), atol=1e-3)
    for tolerance in (0.5, 1.0, 1.033, 1.15, 3.0):
        np.testing.assert_allclose(ours.surface_dice(tolerance), oracle.compute_surface_dice_at_tolerance(theirs, tolerance), atol=1e-6)


def test_codes_hold_the_voxels_around_each_corner() -> None:
    mask = np.random.default_rng(0).random((4, 3, 5)) > 0.5
    codes, padded = neighbourhood_codes(mask), np.pad(mask, 1)
    for position in itertools.product(*(range(length) for length in codes.shape)):
        voxels = [padded[tuple(np.add(position, corner))] for corner in CORNERS]
        assert [bool(codes[position] >> bit & 1) for bit in range(8)] == voxels


def test_a_large_flat_plate_has_the_area_of_its_faces() -> None:
    mask = np.ones((4, 60, 60), dtype=bool)
    _, areas = surface_elements(mask, (3.0, 0.5, 0.5))
    # Rounded edges cost a little of 2 * 30 * 30 + 4 * 12 * 30 mm².
    assert areas.sum() == pytest.approx(3240, rel=0.05)


def test_a_shifted_box_is_as_far_away_as_the_shift() -> None:
    reference, prediction = np.zeros((30, 30, 30), dtype=bool), np.zeros((30, 30, 30), dtype=bool)
    reference[5:15, 5:25, 5:25] = True
    prediction[5:18, 5:25, 5:25] = True
    distances = surface_distances(prediction, reference, (2.0, 1.0, 1.0))
    assert distances.robust_hausdorff(100) == pytest.approx(6.0)
    assert distances.robust_hausdorff(50) == 0.0
    assert distances.surface_dice(6.0) == 1.0
    assert 0.5 < distances.surface_dice(5.9) < 1.0


def test_the_tolerance_includes_surfaces_exactly_that_far_away() -> None:
    # In floating point 0.1 * 6 - 0.1 * 5 is above 0.1.
    reference, prediction = np.zeros((40, 3, 3), dtype=bool), np.zeros((40, 3, 3), dtype=bool)
    reference[:5], prediction[:6] = True, True
    assert surface_distances(prediction, reference, (0.1, 1.0, 1.0)).surface_dice(0.1) == 1.0


def test_a_mask_that_fills_the_array_ends_there() -> None:
    full = np.ones((3, 3, 3), dtype=bool)
    distances = surface_distances(full, full, (1.0, 1.0, 1.0))
    assert len(distances.from_prediction) == 4**3 - 2**3
    assert distances.surface_dice(0.0) == 1.0


def test_without_a_surface_there_is_no_distance() -> None:
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    assert surface_distances(empty, full, (1.0, 1.0, 1.0)).robust_hausdorff(95) == np.inf
    assert surface_distances(full, empty, (1.0, 1.0, 1.0)).robust_hausdorff(95) == np.inf
    assert surface_distances(full, empty, (1.0, 1.0, 1.0)).surface_dice(1e9) == 0.0
    assert np.isnan(surface_distances(empty, empty, (1.0, 1.0, 1.0)).surface_dice(1.0))
