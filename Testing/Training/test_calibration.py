"""Calibration: bins, errors and sums as computed by hand, on exactly the voxels of the boxes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from KidneyTumorCascadeLib.bundle import Bundle
from KidneyTumorCascadeLib.cascade import SegmentedBox
from KidneyTumorCascadeLib.geometry import Geometry, box_of_slices
from KidneyTumorCascadeLib.labelled_box import LabelledBox
from KidneyTumorCascadeLib.volume import Volume
from Training.measuring.calibration import Reliability, reliability, reliability_in_boxes, voxels_within, write_reliability_plot


def error_by_hand(probabilities: np.ndarray, foreground: np.ndarray) -> float:
    """The definition of Naeini et al. 2015, bin by bin."""
    total = 0.0
    for low in range(10):
        inside = (probabilities * 10 >= low) & ((probabilities * 10 < low + 1) | (low == 9))
        if inside.any():
            total += inside.sum() / probabilities.size * abs(probabilities[inside].mean() - foreground[inside].mean())
    return total


def test_a_small_table_is_as_by_hand() -> None:
    table = reliability(np.array([0.05, 0.15, 0.12, 0.95, 1.0, 1.0]), np.array([0, 1, 0, 1, 1, 0], dtype=bool))
    assert table.voxels.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    assert table.positives.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    gaps = [0.05, 0.5 - 0.135, 2.95 / 3 - 2 / 3]
    assert table.expected_error == pytest.approx((gaps[0] + 2 * gaps[1] + 3 * gaps[2]) / 6)
    assert table.average_error == pytest.approx(sum(gaps) / 3)


@settings(max_examples=40)
@given(arrays.arrays(np.float32, (4, 5, 6), elements=st.floats(0, 1, width=32)), st.integers(0, 2**31))
def test_the_error_is_the_definitions(probabilities: np.ndarray, seed: int) -> None:
    foreground = np.random.default_rng(seed).random(probabilities.shape) < 0.4
    values = probabilities.astype(np.float64)
    assert reliability(probabilities, foreground).expected_error == pytest.approx(error_by_hand(values, foreground), abs=1e-9)


def test_honest_probabilities_have_no_error_and_sure_lies_have_all_of_it() -> None:
    values = np.random.default_rng(0).random(200_000)
    honest = reliability(values, np.random.default_rng(1).random(values.shape) < values)
    assert honest.expected_error == pytest.approx(0.0, abs=0.01)
    assert reliability(np.ones(9), np.zeros(9, dtype=bool)).expected_error == 1.0
    assert Reliability.none().expected_error is None
    assert Reliability.none().average_error is None


def test_tables_add_up_and_survive_json() -> None:
    rng = np.random.default_rng(2)
    values, truth = rng.random(1000), rng.random(1000) < 0.5
    parts = reliability(values[:300], truth[:300]) + reliability(values[300:], truth[300:])
    whole = Reliability.from_dict(reliability(values, truth).to_dict())
    assert np.array_equal(parts.voxels, whole.voxels)
    assert np.array_equal(parts.positives, whole.positives)
    assert np.allclose(parts.probabilities, whole.probabilities)
    with pytest.raises(ValueError, match="10 bins"):
        Reliability.from_dict({"voxels": [1], "probabilities": [1], "positives": [1]})


def test_the_voxels_within_a_box_are_those_with_their_centres_in_it() -> None:
    scan = Geometry((30, 20, 10), (1.0, 1.5, 3.0), (5.0, -7.0, 9.0))
    box = scan.cropped((slice(2, 5), slice(4, 14), slice(3, 23)))
    grid = scan.resampled((2.0, 2.0, 2.0))
    inside = voxels_within(grid, box)
    for axis, part in zip((2, 1, 0), inside, strict=True):
        low = box.origin[axis] - box.spacing[axis] / 2
        centres = grid.origin[axis] + grid.spacing[axis] * np.arange(grid.size[axis])
        expected = np.flatnonzero((centres >= low - 1e-6) & (centres <= low + box.size[axis] * box.spacing[axis] + 1e-6))
        assert list(range(grid.size[axis])[part]) == expected.tolist()


GEOMETRY = Geometry((12, 10, 8), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
HALF = (slice(0, 8), slice(0, 10), slice(0, 6))


def boxed(kidney: np.ndarray, tumor: np.ndarray) -> SegmentedBox:
    """The left half of the grid as a box, with probabilities of all of it."""
    part = LabelledBox(box_of_slices(HALF, GEOMETRY, "right", "given"), HALF, np.zeros((8, 10, 6), np.uint8))
    return SegmentedBox(part, [], (Volume(kidney.astype(np.float32), GEOMETRY), Volume(tumor.astype(np.float32), GEOMETRY)))


def bundle_with(kidney_foreground: tuple[int, ...]) -> Bundle:
    """A bundle as far as it matters here."""
    stages: dict[str, Any] = {"kidney": SimpleNamespace(foreground=kidney_foreground), "tumor": SimpleNamespace(foreground=(2,))}
    return cast(Bundle, SimpleNamespace(stages=stages))


def test_only_the_box_counts_and_each_network_by_its_own_labels() -> None:
    labels = np.zeros(GEOMETRY.shape_zyx, dtype=np.uint8)
    labels[:4, :, :6], labels[4:6, :, :6], labels[:, :, 6:] = 1, 2, 2
    wrong_outside = np.where(np.arange(12) < 6, labels > 0, 0.0)
    boxes = [boxed(wrong_outside, np.where(np.arange(12) < 6, labels == 2, 0.0))]
    tables = reliability_in_boxes(boxes, Volume(labels, GEOMETRY), bundle_with((1, 2)), 0.5)
    assert tables["kidney"].voxels.sum() == tables["tumor"].voxels.sum() == 8 * 10 * 6
    assert tables["kidney"].expected_error == tables["tumor"].expected_error == 0.0
    assert (tables["kidney"].positives.sum(), tables["tumor"].positives.sum()) == (6 * 60, 2 * 60)
    assert reliability_in_boxes(boxes, Volume(labels, GEOMETRY), bundle_with((1,)), None)["kidney"].positives.sum() == 4 * 60
    assert list(reliability_in_boxes(boxes, Volume(labels, GEOMETRY), bundle_with((1,)), None, ["kidney"])) == ["kidney"]


def test_tumor_outside_what_is_called_kidney_counts_as_merging_takes_it() -> None:
    empty = Volume(np.zeros(GEOMETRY.shape_zyx, dtype=np.uint8), GEOMETRY)
    boxes = [boxed(np.full(GEOMETRY.shape_zyx, 0.25), np.full(GEOMETRY.shape_zyx, 0.75))]
    errors = [reliability_in_boxes(boxes, empty, bundle_with((1, 2)), support)["tumor"].expected_error for support in (0.5, 0.25, 0.125, 0.0, None)]
    assert errors == [0.25, 0.5, 0.75, 0.75, 0.75]


def test_boxes_without_probabilities_give_empty_tables() -> None:
    part = LabelledBox(box_of_slices(HALF, GEOMETRY, "right", "given"), HALF, np.zeros((8, 10, 6), np.uint8))
    tables = reliability_in_boxes([SegmentedBox(part, [])], Volume(np.zeros((8, 10, 12), np.uint8), GEOMETRY), bundle_with((1, 2)), 0.5)
    assert not any(table.used.any() for table in tables.values())


def test_the_plot_is_a_picture_also_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table = reliability(np.array([0.05, 0.95]), np.array([False, True]))
    write_reliability_plot(tmp_path / "plot.png", {"kidney": table, "tumor": Reliability.none()}, "two scans")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width == 2 * picture.height == 1100
        assert len(set(picture.convert("L").tobytes())) > 20
