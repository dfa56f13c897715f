"""Labels of the scan's voxels from probabilities on another grid: the same whether all of a box is looked at or only where something can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from KidneyTumorCascadeLib import labelling
from KidneyTumorCascadeLib.geometry import Geometry, as_vector
from KidneyTumorCascadeLib.labelling import labels_on, reading_part, without_faint_tumors
from KidneyTumorCascadeLib.merging import MERGES
from KidneyTumorCascadeLib.resampling import resample

GRID = Geometry((14, 12, 10), (2.0, 2.0, 2.0), (3.0, -5.0, 7.0))


def some_probabilities(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two blobs, of kidney and of tumor, that may be faint, cut, or not there at all."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices(GRID.shape_zyx)
    blobs = []
    for _ in range(2):
        centre, radius, peak = random.uniform(-2, 14, 3), random.uniform(1, 5), random.uniform(0.3, 1.0)
        distance = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        blobs.append((peak / (1 + np.exp(distance - radius))).astype(np.float32))
    return blobs[0], blobs[1]


@given(
    seed=st.integers(0, 10_000),
    spacing=st.tuples(*[st.floats(0.7, 5.0)] * 3),
    shift=st.tuples(*[st.floats(-6, 6)] * 3),
    merge=st.sampled_from(sorted(MERGES)),
    support=st.sampled_from([None, 0.0, 0.1, 0.5]),
)
def test_labels_are_those_of_probabilities_that_are_resampled_everywhere(
    seed: int, spacing: tuple[float, float, float], shift: tuple[float, float, float], merge: str, support: float | None
) -> None:
    kidney, tumor = some_probabilities(seed)
    target = Geometry((9, 11, 13), spacing, as_vector(np.add(GRID.origin, shift)))
    expected = MERGES[merge](resample(kidney, GRID, target), resample(tumor, GRID, target), support)
    assert np.array_equal(labels_on(target, kidney, tumor, GRID, merge, support), expected)


def test_slabs_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    kidney, tumor = next(pair for pair in map(some_probabilities, range(100)) if (pair[0] > 0.5).sum() > 100)
    target = GRID.resampled((0.9, 0.9, 0.9))
    whole = labels_on(target, kidney, tumor, GRID, "overlay", None)
    assert whole.any()
    monkeypatch.setattr(labelling, "SLAB_VOXELS", 1)
    assert np.array_equal(labels_on(target, kidney, tumor, GRID, "overlay", None), whole)


@pytest.mark.parametrize("merge", sorted(MERGES))
@pytest.mark.parametrize("support", [None, 0.1, 0.5])
def test_a_tumor_that_is_nowhere_probable_enough_is_none(merge: str, support: float | None) -> None:
    """Two tumors in a kidney, of which one is surer in a single voxel; on finer voxels too, nothing of the other is left, and all of the first."""
    kidney, tumor = np.full(GRID.shape_zyx, 0.6, np.float32), np.full(GRID.shape_zyx, 0.1, np.float32)
    tumor[2:5, 2:5, 2:5] = tumor[7:9, 7:10, 7:12] = 0.7
    tumor[3, 3, 3] = 0.96
    result, removals = without_faint_tumors(kidney, tumor, GRID, merge, support, 0.95)
    assert np.array_equal(result, np.where(tumor == np.float32(0.7), np.where(np.arange(14) < 6, tumor, 0), tumor))
    assert [(entry.rule, entry.count, round(entry.ml, 6)) for entry in removals] == [("min_tumor_peak", 1, 0.24)]
    fine = GRID.resampled((0.9, 0.9, 0.9))
    before, after = (labels_on(fine, kidney, values, GRID, merge, support) == 2 for values in (tumor, result))
    first = np.indices(before.shape)[2] < 14
    assert np.array_equal(after, before & first)
    assert 0 < np.count_nonzero(after) < np.count_nonzero(before)
    assert without_faint_tumors(kidney, tumor, GRID, merge, support, 0.0) == (tumor, [])
    assert without_faint_tumors(kidney, tumor, GRID, merge, support, 0.7)[0] is tumor


def test_only_what_reads_the_mask_is_looked_at() -> None:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[4, 5:7, 13] = True
    # A voxel between two of the grid reads both, and beyond the grid lies its edge: along x everything from the last but one on.
    assert reading_part(mask, GRID, GRID) == (slice(4, 5), slice(5, 7), slice(13, 14))
    finer = GRID.resampled((1.0, 1.0, 1.0))
    assert reading_part(mask, GRID, finer) == (slice(7, 11), slice(9, 15), slice(25, 28))
    assert reading_part(np.zeros_like(mask), GRID, finer) == (slice(0, 0), slice(0, 0), slice(0, 0))


def test_a_target_beside_the_mask_reads_nothing() -> None:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[8, 5, 5] = True
    below = GRID.cropped((slice(0, 3), slice(0, 12), slice(0, 14)))
    assert reading_part(mask, GRID, below) == (slice(0, 0), slice(0, 0), slice(0, 0))
    assert not labels_on(below, mask.astype(np.float32), mask.astype(np.float32), GRID, "overlay", None).any()
