"""Labels of the scan's voxels from probabilities on another grid: the same whether all of a box is looked at or only where something can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from KidneyTumorCascadeLib import labelling
from KidneyTumorCascadeLib.geometry import Geometry, as_vector
from KidneyTumorCascadeLib.labelling import labels_on, reading_part
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
