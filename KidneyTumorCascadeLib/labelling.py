"""From two networks' probabilities on their own grid to labels of the scan's voxels: resampled first, then decided. Arrays are z, y, x."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.component_rules import TUMOR, Removal, parts_of, removal
from KidneyTumorCascadeLib.geometry import Geometry, Slices
from KidneyTumorCascadeLib.merging import MERGES
from KidneyTumorCascadeLib.resampling import axis_matrices, resample

# Probabilities on the scan's voxels exist for so many at a time.
SLAB_VOXELS = 8_000_000
# No merge rule calls a voxel foreground of which neither network is surer than this.
LEAST_PROBABILITY = 0.5
Probability = NDArray[np.float32]


def labels_on(target: Geometry, kidney: Probability, tumor: Probability, grid: Geometry, merge: str, support: float | None) -> NDArray[np.uint8]:
    """Labels (z, y, x) of the target's voxels: 0 background, 1 kidney, 2 tumor.

    Args:
        target: the voxels to label, on axes like the grid's.
        kidney: (z, y, x) on the grid, the Kidney-V-Net's probability.
        tumor: likewise, the Tumor-V-Net's.
        grid: the probabilities'.
        merge: the name of one of `MERGES`.
        support: of a tumor by the Kidney-V-Net, as in `merging`.
    """
    labels = np.zeros(target.shape_zyx, dtype=np.uint8)
    z, y, x = reading_part((kidney > LEAST_PROBABILITY) | (tumor > LEAST_PROBABILITY), grid, target)
    step = max(1, SLAB_VOXELS // max(1, (y.stop - y.start) * (x.stop - x.start)))
    for start in range(z.start, z.stop, step):
        slab = (slice(start, min(z.stop, start + step)), y, x)
        part = target.cropped(slab)
        p_kidney, p_tumor = (resample(values, grid, part) for values in (kidney, tumor))
        labels[slab] = MERGES[merge](p_kidney, p_tumor, support)
    return labels


def without_faint_tumors(
    kidney: Probability, tumor: Probability, grid: Geometry, merge: str, support: float | None, least_peak: float
) -> tuple[Probability, list[Removal]]:
    """The Tumor-V-Net's probabilities without the tumors that are nowhere as probable as `least_peak`, and what that took away.

    A tumor is what `labels_on` would call one, connected; the other arguments are its own. Elsewhere the probabilities are as they were:
    of a tumor that is believed nothing is lost (thresholds with hysteresis: Canny, IEEE PAMI 8(6), 1986, section VI).
    """
    if not least_peak:
        return tumor, []
    parts = parts_of(MERGES[merge](kidney, tumor, support) == TUMOR, grid)
    faint = [part for part in parts if tumor[part.slices][part.mask].max() < least_peak]
    if not faint:
        return tumor, []
    result = tumor.copy()
    for part in faint:
        result[part.slices][part.mask] = 0.0
    return result, [removal("min_tumor_peak", faint)]


def reading_part(mask: NDArray[np.bool_], source: Geometry, target: Geometry) -> Slices:
    """The part of the target that reads voxels of the mask when it is resampled; nothing at all for an empty mask.

    Elsewhere every value is a mean of values outside the mask. A box has wide margins around its kidney, so this is a fraction of most.
    """
    spans = []
    for axis, weights in enumerate(reversed(axis_matrices(source, target))):
        planes = mask.any(axis=tuple(other for other in range(3) if other != axis))
        reading = np.flatnonzero(weights[:, planes].any(axis=1))
        # The mask is empty, or the target lies beside it.
        if not reading.size:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        spans.append(slice(int(reading[0]), int(reading[-1]) + 1))
    return spans[0], spans[1], spans[2]
