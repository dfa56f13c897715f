"""Room made for a mass: what lies around it is pushed outwards instead of being painted over. Arrays are z, y, x."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

Field = NDArray[np.float32]
# The field is smooth: it is worked out on every second voxel.
STRIDE = 2
# Bone and gas stay, and so does what lies within this distance of them (mm), more so the nearer.
STIFF_MM = 5.0
# The surroundings give way up to this many radii beyond the mass.
REACH_RADII = 1.6
SMOOTHING_MM = 3.0


def displacement(distance: Field, rigid: NDArray[np.bool_], spacing_mm: float, push: float) -> Field:
    """How far (voxels; 3, z, y, x) to look inwards for what comes to lie around a mass of that signed distance (mm, negative inside).

    As much of a ball's volume as the share `push` (0 to 1) is moved radially: what lies at r comes from cbrt(r^3 - push R^3), which keeps
    volumes. It fades to nothing at REACH_RADII beyond the mass, and towards `rigid` tissue.
    """
    coarse_mm = STRIDE * spacing_mm
    near, fixed = distance[::STRIDE, ::STRIDE, ::STRIDE] < 0.0, rigid[::STRIDE, ::STRIDE, ::STRIDE]
    radius = coarse_mm * float(np.cbrt(3.0 * (np.count_nonzero(near) + 1) / (4.0 * np.pi)))
    # Distances are between the middles of voxels: the border lies half a voxel nearer.
    outside = np.maximum(ndimage.distance_transform_edt(~near).astype(np.float32) - 0.5, 0.0) * coarse_mm
    signed = outside - ndimage.distance_transform_edt(near).astype(np.float32) * coarse_mm
    r = radius + outside
    shift = (r - np.cbrt(r**3 - push * radius**3)) * np.square(np.clip(1.0 - np.square(outside / (REACH_RADII * radius)), 0.0, 1.0))
    if fixed.any():
        shift *= np.clip(ndimage.distance_transform_edt(~fixed) * coarse_mm / STIFF_MM, 0.0, 1.0)
    direction = np.stack(np.gradient(ndimage.gaussian_filter(signed, SMOOTHING_MM / coarse_mm)))
    direction /= np.maximum(np.linalg.norm(direction, axis=0), 1e-3)
    coarse = torch.from_numpy(np.asarray(direction * shift / spacing_mm, dtype=np.float32))[None]
    return np.asarray(functional.interpolate(coarse, size=distance.shape, mode="trilinear", align_corners=True)[0].numpy())


def pushed(fields: Field, inward: Field) -> Field:
    """Fields (channels, z, y, x) with each voxel taken from where `displacement` says, linearly interpolated."""
    size = fields.shape[1:]
    axes = [np.arange(length, dtype=np.float32).reshape([-1 if axis == own else 1 for axis in range(3)]) for own, length in enumerate(size)]
    # grid_sample takes x, y, z between -1 and 1.
    places = [2.0 * (axes[axis] - inward[axis]) / max(size[axis] - 1, 1) - 1.0 for axis in (2, 1, 0)]
    grid = torch.from_numpy(np.stack(places, axis=-1).astype(np.float32))[None]
    moved = functional.grid_sample(torch.from_numpy(np.ascontiguousarray(fields))[None], grid, padding_mode="border", align_corners=True)
    return np.asarray(moved[0].numpy())


def lost_noise(inward: Field) -> Field:
    """Standard deviation of white noise of deviation 1 that linear interpolation at these places smooths away."""
    kept = np.ones(inward.shape[1:], dtype=np.float32)
    for along in inward:
        part = along - np.floor(along)
        kept *= part**2 + (1.0 - part) ** 2
    return np.asarray(np.sqrt(np.maximum(1.0 - kept, 0.0)), dtype=np.float32)
