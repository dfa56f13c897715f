"""Merging two probabilities into labels, and the rules for what is too small or too far off to be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.component_rules import (
    KIDNEY,
    TUMOR,
    Part,
    drop_lone_tumors,
    drop_small_kidneys,
    drop_small_tumors,
    drop_surplus_kidneys,
    fill_holes,
    parts_of,
    removal,
)
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.merging import MERGES, ComponentRules, Removal, apply_rules, compare, overlay

Labels = NDArray[np.uint8]

OFF = ComponentRules(fill_holes_ml=0, min_kidney_ml=0, max_kidney_parts=0, min_tumor_ml=0, keep_tumor_ml=0, touch_mm=0)
# One voxel is 0.01 ml.
GRID = Geometry((30, 24, 20), (2.5, 2.0, 2.0))


def rules(**settings: Any) -> ComponentRules:
    """Only the rules named here are switched on."""
    return ComponentRules.from_dict(OFF.to_dict() | settings)


def summary(removals: list[Removal]) -> list[tuple[str, int, float]]:
    return [(removal.rule, removal.count, round(removal.ml, 9)) for removal in removals]


def blank() -> Labels:
    return np.zeros(GRID.shape_zyx, dtype=np.uint8)


def random_probabilities(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    # Eighths, so that ties and values on the threshold occur.
    kidney, tumor = ((generator.integers(0, 9, (4, 5, 6)) / 8).astype(np.float32) for _ in range(2))
    return kidney, tumor


@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.25, 0.5, 0.75]))
def test_overlay_lays_the_tumor_over_the_kidney(seed: int, threshold: float) -> None:
    kidney, tumor = random_probabilities(seed)
    labels = overlay(kidney, tumor, threshold=threshold)
    for index in np.ndindex(labels.shape):
        expected = 2 if tumor[index] > threshold else 1 if kidney[index] > threshold else 0
        assert labels[index] == expected


@given(seed=st.integers(0, 10_000))
def test_compare_takes_the_most_probable(seed: int) -> None:
    kidney, tumor = random_probabilities(seed)
    labels = compare(kidney, tumor)
    for index in np.ndindex(labels.shape):
        background = min(1 - kidney[index], 1 - tumor[index])
        # max() takes the first of equals: background before tumor before kidney.
        scores = {0: background, 2: tumor[index], 1: kidney[index]}
        assert labels[index] == max(scores, key=lambda label: scores[label])


@given(seed=st.integers(0, 10_000))
def test_both_merges_agree_on_what_is_background(seed: int) -> None:
    kidney, tumor = random_probabilities(seed)
    assert np.array_equal(overlay(kidney, tumor) > 0, compare(kidney, tumor) > 0)


def test_what_both_networks_call_background_is_background() -> None:
    """The product of the two background probabilities would say kidney here."""
    assert compare(np.full((1, 1, 1), 0.45, np.float32), np.full((1, 1, 1), 0.4, np.float32)) == 0


def test_merges_differ_where_both_networks_say_yes() -> None:
    kidney, tumor = np.array([[[0.9, 0.6, 0.8]]], np.float32), np.array([[[0.6, 0.9, 0.8]]], np.float32)
    assert overlay(kidney, tumor).tolist() == [[[2, 2, 2]]]
    assert compare(kidney, tumor).tolist() == [[[1, 2, 2]]]


@pytest.mark.parametrize("name", sorted(MERGES))
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_tensors_and_arrays_give_the_same(name: str, kind: torch.dtype) -> None:
    kidney, tumor = random_probabilities(7)
    from_arrays = MERGES[name](kidney, tumor)
    from_tensors = MERGES[name](torch.from_numpy(kidney).to(kind), torch.from_numpy(tumor).to(kind))
    assert isinstance(from_tensors, np.ndarray)
    assert from_tensors.dtype == from_arrays.dtype == np.uint8
    assert np.array_equal(from_arrays, from_tensors)


@given(seed=st.integers(0, 999))
def test_compare_takes_the_most_probable_of_nested_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kidney = rng.random((4, 5, 6), dtype=np.float32)
    tumor = kidney * rng.random((4, 5, 6), dtype=np.float32)
    classes = np.stack((1.0 - kidney, kidney - tumor, tumor))
    labels = compare(kidney, tumor, support=0.5)
    assert np.array_equal(labels > 0, kidney > 0.5)
    inside = labels > 0
    assert np.array_equal(labels[inside], 1 + (classes[2] >= classes[1])[inside])


def test_a_tumor_half_seen_inside_a_certain_kidney_makes_no_hole() -> None:
    kidney, tumor = np.full((1, 1, 1), 0.9, dtype=np.float32), np.full((1, 1, 1), 0.46, dtype=np.float32)
    assert compare(kidney, tumor, support=0.5)[0, 0, 0] == 2
    assert overlay(kidney, tumor, support=0.5)[0, 0, 0] == 1


@pytest.mark.parametrize("name", sorted(MERGES))
def test_where_tumors_are_kidney_too_there_is_no_tumor_outside(name: str) -> None:
    kidney, tumor = np.full((1, 1, 1), 0.3, dtype=np.float32), np.full((1, 1, 1), 0.9, dtype=np.float32)
    assert MERGES[name](kidney, tumor, 0.5)[0, 0, 0] == 0
    assert MERGES[name](kidney, tumor, None)[0, 0, 0] == 2


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(MERGES)), support=st.sampled_from([0.0, 0.125, 0.25, 0.5]))
def test_a_tumor_needs_the_support_of_the_kidney_network(seed: int, name: str, support: float) -> None:
    """Less support adds tumor where Tumor-V-Net says so and Kidney-V-Net is above it, and changes nothing else."""
    kidney, tumor = random_probabilities(seed)
    strict, lenient = MERGES[name](kidney, tumor, 0.5), MERGES[name](kidney, tumor, support)
    added = (kidney <= 0.5) & (kidney > support) & (tumor > 0.5)
    assert np.array_equal(lenient, np.where(added, 2, strict))


def test_not_a_number_is_background() -> None:
    nothing = np.full((1, 1, 1), np.nan, np.float32)
    assert overlay(nothing, nothing) == compare(nothing, nothing) == 0


def test_rules_switched_off_change_nothing() -> None:
    labels = np.random.default_rng(3).integers(0, 3, GRID.shape_zyx).astype(np.uint8)
    result, removals = apply_rules(labels, GRID, OFF)
    assert np.array_equal(result, labels)
    assert removals == []


def test_input_is_left_as_it_is() -> None:
    labels = blank()
    labels[5, 5, 5] = 1
    result, _ = apply_rules(labels, GRID, rules(min_kidney_ml=1))
    assert result.max() == 0
    assert labels[5, 5, 5] == 1


def test_small_kidney_parts_are_dropped_with_the_tumor_in_them() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1  # 2.16 ml
    labels[14:17, 14:17, 20:23] = 1  # 0.27 ml with its tumor
    labels[15, 15, 21] = 2
    result, removals = apply_rules(labels, GRID, rules(min_kidney_ml=0.28))
    assert summary(removals) == [("min_kidney_ml", 1, 0.27)]
    assert np.count_nonzero(result) == 216
    kept, removals = apply_rules(labels, GRID, rules(min_kidney_ml=0.27))
    assert np.array_equal(kept, labels)
    assert removals == []


def test_voxels_that_share_a_corner_belong_together() -> None:
    labels = blank()
    labels[5, 5, 5] = labels[6, 6, 6] = labels[7, 5, 7] = 1
    result, _ = apply_rules(labels, GRID, rules(min_kidney_ml=0.03))
    assert np.count_nonzero(result) == 3


def test_only_the_largest_kidney_parts_are_kept() -> None:
    labels = blank()
    for edge, start in ((2, 2), (4, 6), (3, 13), (1, 20)):
        labels[2 : 2 + edge, 2 : 2 + edge, start : start + edge] = 1
    result, removals = apply_rules(labels, GRID, rules(max_kidney_parts=2))
    assert summary(removals) == [("max_kidney_parts", 2, 0.09)]
    assert np.count_nonzero(result) == 64 + 27
    assert result[2, 2, 6] == result[2, 2, 13] == 1


def test_small_tumors_become_what_they_touch() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[4, 4, 4:6] = 2  # within the kidney
    labels[8, 8, 8] = 2  # touches its corner
    labels[15, 15, 15] = 2  # alone
    result, removals = apply_rules(labels, GRID, rules(min_tumor_ml=0.03))
    assert summary(removals) == [("min_tumor_ml", 3, 0.04)]
    assert result[4, 4, 4] == result[4, 4, 5] == result[8, 8, 8] == 1
    assert result[15, 15, 15] == 0


def test_a_small_tumor_far_from_kidney_is_counted_by_one_rule() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[15, 15, 15] = 2
    result, removals = apply_rules(labels, GRID, rules(min_tumor_ml=0.03, keep_tumor_ml=50, touch_mm=3))
    assert summary(removals) == [("min_tumor_ml", 1, 0.01)]
    assert result[15, 15, 15] == 0


def test_large_enough_tumors_stay() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[3:6, 3:6, 3:6] = 2
    result, removals = apply_rules(labels, GRID, rules(min_tumor_ml=0.27))
    assert np.array_equal(result, labels)
    assert removals == []


@pytest.mark.parametrize(("touch_mm", "stays"), [(0.0, False), (7.4, False), (7.5, True), (30.0, True)])
def test_tumor_needs_a_kidney_nearby(touch_mm: float, stays: bool) -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[3:6, 3:6, 10:13] = 2  # centres 3 voxels of 2.5 mm from the kidney's last one
    result, removals = apply_rules(labels, GRID, rules(keep_tumor_ml=50, touch_mm=touch_mm))
    assert bool((result == 2).any()) is stays
    assert summary(removals) == ([] if stays else [("keep_tumor_ml", 1, 0.27)])
    assert np.count_nonzero(result == 1) == 216


@pytest.mark.parametrize("position", [(8, 5, 5), (8, 8, 8)])
def test_touching_is_near_enough_whatever_the_voxels_are(position: tuple[int, int, int]) -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[position] = 2
    result, _ = apply_rules(labels, GRID, rules(keep_tumor_ml=50, touch_mm=0))
    assert result[position] == 2


def test_tumor_that_replaced_its_kidney_is_kept() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 2  # 2.16 ml, no kidney anywhere
    kept, removals = apply_rules(labels, GRID, rules(keep_tumor_ml=2.1, touch_mm=5))
    assert np.array_equal(kept, labels)
    assert removals == []
    result, removals = apply_rules(labels, GRID, rules(keep_tumor_ml=2.2, touch_mm=5))
    assert result.max() == 0
    assert [removal.count for removal in removals] == [1]


def test_a_speck_of_kidney_cannot_vouch_for_a_tumor() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 2
    labels[3, 3, 10] = 1
    result, removals = apply_rules(labels, GRID, rules(min_kidney_ml=0.05, keep_tumor_ml=50, touch_mm=20))
    assert [removal.rule for removal in removals] == ["min_kidney_ml", "keep_tumor_ml"]
    assert result.max() == 0


def test_enclosed_holes_take_the_label_of_their_rim() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[10:17, 10:17, 10:17] = 2
    labels[4, 4, 4:6] = 0
    labels[12, 12, 12] = 0
    result, removals = apply_rules(labels, GRID, rules(fill_holes_ml=0.02))
    assert summary(removals) == [("fill_holes_ml", 2, 0.03)]
    assert result[4, 4, 4] == result[4, 4, 5] == 1
    assert result[12, 12, 12] == 2
    assert np.count_nonzero(result) == 216 + 343


def test_a_hole_that_only_a_corner_opens_is_closed() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[2, 2, 2] = labels[3, 3, 3] = 0
    result, _ = apply_rules(labels, GRID, rules(fill_holes_ml=0.02))
    assert result[3, 3, 3] == 1
    assert result[2, 2, 2] == 0


def test_open_and_large_holes_stay() -> None:
    labels = blank()
    labels[2:8, 2:8, 2:8] = 1
    labels[4:6, 4:6, 4:6] = 0  # 0.08 ml
    labels[4, 4, 2] = 0  # open to the outside
    labels[0:3, 15:18, 15:18] = 1
    labels[0, 16, 16] = 0  # open to the border of the array
    result, removals = apply_rules(labels, GRID, rules(fill_holes_ml=0.07))
    assert np.array_equal(result, labels)
    assert removals == []


@given(seed=st.integers(0, 10_000), density=st.floats(0.3, 0.95), at_most=st.integers(1, 12))
def test_holes_are_the_background_that_scipy_cannot_reach_from_the_border(seed: int, density: float, at_most: int) -> None:
    labels = (np.random.default_rng(seed).random((8, 9, 10)) < density).astype(np.uint8)
    geometry = Geometry((10, 9, 8), (1.0, 1.0, 1.0))
    enclosed = ndimage.binary_fill_holes(labels) & (labels == 0)
    numbered, count = ndimage.label(enclosed)
    sizes = ndimage.sum_labels(enclosed, numbered, np.arange(count + 1))
    result, removals = apply_rules(labels, geometry, rules(fill_holes_ml=at_most / 1000))
    assert np.array_equal(result == 1, (labels == 1) | (enclosed & (sizes[numbered] <= at_most)))
    assert sum(removal.count for removal in removals) == np.count_nonzero(sizes[1:] <= at_most)


@given(seed=st.integers(0, 10_000), density=st.floats(0.02, 0.5))
def test_counts_and_volumes_are_those_of_the_difference(seed: int, density: float) -> None:
    generator = np.random.default_rng(seed)
    labels = np.where(generator.random((12, 13, 14)) < density, generator.integers(1, 3, (12, 13, 14)), 0).astype(np.uint8)
    geometry = Geometry((14, 13, 12), (1.0, 2.0, 5.0))
    result, removals = apply_rules(labels, geometry, rules(min_kidney_ml=0.05, min_tumor_ml=0.03, keep_tumor_ml=0.06, touch_mm=4))
    assert set(result[result > 0]) <= set(labels[result > 0]) | {1}
    assert not (result[labels == 0]).any()
    tumor, count = ndimage.label(result == 2, np.ones((3, 3, 3)))
    volumes = ndimage.sum_labels(result == 2, tumor, range(1, count + 1)) * geometry.voxel_ml
    assert (volumes >= 0.03 - 1e-9).all()
    assert sum(removal.ml for removal in removals) == pytest.approx(np.count_nonzero(result != labels) * geometry.voxel_ml)
    assert all(removal.count > 0 and removal.ml > 0 for removal in removals)


@given(seed=st.integers(0, 10_000))
def test_small_parts_are_those_that_scipy_counts(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = (generator.random((12, 13, 14)) < 0.08).astype(np.uint8)
    geometry = Geometry((14, 13, 12), (1.0, 1.0, 1.0))
    numbered, count = ndimage.label(labels, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(labels, numbered, np.arange(count + 1))
    result, removals = apply_rules(labels, geometry, rules(min_kidney_ml=0.003))
    assert np.array_equal(result, np.where(sizes[numbered] >= 3, labels, 0))
    assert sum(removal.count for removal in removals) == np.count_nonzero(sizes[1:] < 3)


@given(seed=st.integers(0, 10_000), density=st.floats(0.02, 0.5), edge=st.integers(1, 3))
def test_background_beyond_the_foreground_changes_nothing(seed: int, density: float, edge: int) -> None:
    random = np.random.default_rng(seed)
    inner = np.where(random.random((6, 7, 8)) < density, random.integers(1, 3, (6, 7, 8)), 0).astype(np.uint8)
    some = rules(fill_holes_ml=0.004, min_kidney_ml=0.005, max_kidney_parts=3, min_tumor_ml=0.003, keep_tumor_ml=0.1, touch_mm=2)
    # A rim of one voxel already makes the borders of the label map background, as more of it does.
    small, large = (np.pad(inner, width) for width in (1, 1 + edge))
    result, removals = apply_rules(large, Geometry((8 + 2 * edge + 2, 7 + 2 * edge + 2, 6 + 2 * edge + 2), (1.0, 1.0, 1.0)), some)
    expected, expected_removals = plain_rules(small, Geometry((10, 9, 8), (1.0, 1.0, 1.0)), some)
    np.testing.assert_array_equal(result, np.pad(expected, edge))
    assert removals == expected_removals


def plain_rules(labels: Labels, geometry: Geometry, some: ComponentRules) -> tuple[Labels, list[Removal]]:
    """The rules one after the other over the whole label map, background included; each numbers the parts that it finds."""
    result = labels.copy()

    def parts(least: int) -> list[Part]:
        return parts_of(result >= least, geometry)

    applied = [
        removal("fill_holes_ml", fill_holes(result, geometry, some.fill_holes_ml)),
        removal("min_kidney_ml", drop_small_kidneys(result, parts(KIDNEY), some.min_kidney_ml)),
        removal("max_kidney_parts", drop_surplus_kidneys(result, parts(KIDNEY), some.max_kidney_parts)),
        removal("min_tumor_ml", drop_small_tumors(result, parts(TUMOR), some.min_tumor_ml)),
        removal("keep_tumor_ml", drop_lone_tumors(result, parts(TUMOR), geometry, some)),
    ]
    return result, [entry for entry in applied if entry.count]


def test_rules_survive_json() -> None:
    chosen = ComponentRules(1.5, 2.5, 2, 0.5, 40.0, 4.0)
    assert ComponentRules.from_dict(chosen.to_dict()) == chosen
    assert ComponentRules.from_dict({}) == ComponentRules()
    assert Removal("min_tumor_ml", 2, 0.5).to_dict() == {"rule": "min_tumor_ml", "count": 2, "ml": 0.5}


@pytest.mark.parametrize(
    "settings",
    [
        {"min_tumor_ml": -1},
        {"touch_mm": float("nan")},
        {"max_kidney_parts": 1.5},
        {"min_kidney_ml": "5"},
        {"keep_tumor_ml": True},
        {"min_tumour_ml": 1},
    ],
)
def test_impossible_rules_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ComponentRules.from_dict(settings)
