"""Where the patient is in a scan, from Hounsfield units on a coarse grid in LPS order. Arrays are z, y, x."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from KidneyTumorCascadeLib.geometry import Geometry, Size, Slices

BODY_HU = -300.0
# A couch or an arm may touch the border of the field of view; a body that is cut covers more of it.
MOST_OF_A_FACE = 0.05
# A plane of which less is dense shows noise, a sheet or the couch's edge, and no patient who has a kidney there.
LEAST_OF_A_PLANE = 0.01


def body_midline(hu: Tensor, grid: Geometry) -> float | None:
    """LPS x (mm) of the middle of everything denser than fat, at the height of the grid's centre.

    None in a grid of air, and where the field of view cuts the body on the right or left: its middle is then not the patient's.
    """
    body = hu > BODY_HU
    profile = body.sum(dim=(0, 1)).double().cpu().numpy()
    if not profile.any() or max(profile[0], profile[-1]) > MOST_OF_A_FACE * body.shape[0] * body.shape[1]:
        return None
    x = float((profile * np.arange(len(profile))).sum() / profile.sum())
    middle = (np.array(grid.size) - 1.0) / 2.0
    return float(grid.to_patient((x, middle[1], middle[2]))[0])


def body_slices(hu: Tensor, least: Size) -> Slices:
    """The part of the grid that holds the patient: all of z, and along y and x the extent of the body with a voxel around it.

    Args:
        hu: (z, y, x).
        least: edges (z, y, x) that the part has at least where the grid allows, such as those of a patch: around a small body
            more of the scan beats padding.

    Returns:
        The whole grid where there is nothing but air.
    """
    body = hu > BODY_HU
    y, x = (body.float().mean(dim=others).cpu().numpy() for others in ((0, 2), (0, 1)))
    return slice(0, hu.shape[0]), span_of(y, least[1]), span_of(x, least[2])


def span_of(shares: NDArray[np.float32], least: int) -> slice:
    """From the first to the last plane of the body and one further on each side, but at least so many; all where no plane shows it."""
    found = np.flatnonzero(shares > LEAST_OF_A_PLANE)
    if not found.size:
        return slice(0, len(shares))
    first, last = int(found[0]) - 1, int(found[-1]) + 2
    length = min(max(last - first, least), len(shares))
    start = min(max((first + last - length) // 2, 0), len(shares) - length)
    return slice(start, start + length)
