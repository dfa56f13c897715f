"""Which kidney of a mask is the right and which the left one, and where the midline is between them. Arrays are z, y, x."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Point = NDArray[np.float64]
Sides = dict[str, Mask]
SMALLEST_KIDNEY_ML = 20.0
CLOSING_VOXELS = 7
# From a kidney's middle to the midline.
KIDNEY_TO_MIDLINE_MM = 62.0
# A mass wider than this is both kidneys, grown together.
WIDEST_KIDNEY_MM = 170.0


def opposite(side: str) -> str:
    """The other side."""
    return "left" if side == "right" else "right"


def sides_of(mask: Mask, spacing_mm: float, middle: float | None) -> Sides:
    """The right and the left kidney of a mask, specks going to the nearer one. Kidneys grown together make one, on the side of its middle.

    `middle` (voxel x) tells the side of a single kidney; without it that is where its hollow points to.
    """
    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())[1:] * spacing_mm**3 / 1000.0
    large = [int(index) + 1 for index in np.argsort(sizes)[::-1][:2] if sizes[index] >= SMALLEST_KIDNEY_ML]
    if not large:
        return {}
    boxes = ndimage.find_objects(parts)
    centres = [middle_of(parts[boxes[index - 1]] == index) + boxes[index - 1][2].start for index in large]
    if len(large) == 1:
        middle = toward_hollow(parts == large[0]) if middle is None else middle
        return {"right" if centres[0] < middle else "left": mask}
    right = np.zeros(count + 1, dtype=bool)
    for index, box in enumerate(boxes, start=1):
        right[index] = (box[2].start + box[2].stop) / 2.0 < sum(centres) / 2.0
    right[large[0]], right[large[1]] = centres[0] < centres[1], centres[1] < centres[0]
    return {"right": mask & right[parts], "left": mask & ~right[parts]}


def middle_of(mask: Mask) -> float:
    """Voxel x of a mask's centre of mass."""
    columns = np.count_nonzero(mask, axis=(0, 1))
    return float(np.average(np.arange(len(columns)), weights=columns))


def toward_hollow(mask: Mask) -> float:
    """Voxel x of the middle of what closing a kidney adds: its hilum, which points to the midline."""
    padded = np.pad(mask[::2, ::2, ::2], CLOSING_VOXELS + 1)
    closed = ndimage.distance_transform_edt(ndimage.distance_transform_edt(~padded) < CLOSING_VOXELS) >= CLOSING_VOXELS
    hollow = np.argwhere(closed & ~padded)
    return float((hollow[:, 2].mean() - CLOSING_VOXELS - 1) * 2.0) if len(hollow) else mask.shape[2] / 2.0


def between_kidneys(parenchyma: Mask, everything: Mask, spacing_mm: float) -> Point:
    """The point (voxels z, y, x) of the midline between the kidneys, found from their parenchyma: a large tumor does not shift it.

    Raises ValueError for an empty mask.
    """
    if not everything.any():
        raise ValueError("there is no kidney to find the midline from")
    sides = sides_of(everything, spacing_mm, None)
    centres = {side: np.argwhere(mask & parenchyma if (mask & parenchyma).any() else mask).mean(axis=0) for side, mask in sides.items()}
    if len(centres) == 2:
        return np.asarray((centres["right"] + centres["left"]) / 2.0)
    if not centres:
        return np.asarray(np.argwhere(everything).mean(axis=0))
    side, centre = next(iter(centres.items()))
    x = np.flatnonzero(everything.any(axis=(0, 1)))
    if (x[-1] - x[0]) * spacing_mm > WIDEST_KIDNEY_MM:
        return np.asarray([centre[0], centre[1], (x[0] + x[-1]) / 2.0])
    inwards = KIDNEY_TO_MIDLINE_MM / spacing_mm * (1.0 if side == "right" else -1.0)
    return np.asarray(centre + np.array([0.0, 0.0, inwards]))
