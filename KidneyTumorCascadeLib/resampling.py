"""Linear resampling between two grids that share their axes, on whatever device the cascade runs.

Each axis is a small matrix of interpolation weights, so a volume is three matrix products, streamed slab by slab: a scan of any size is
never held as floating point numbers. Where the target is coarser the interpolating triangle is widened to the target's spacing (as in
Pillow and in torch's antialiased interpolation), so that thin structures fade instead of flickering.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KidneyTumorCascadeLib.geometry import Geometry, as_vector

SLAB_VOXELS = 4_000_000
# Rows of an interpolation matrix that are multiplied together: few read few columns, many keep the processor busy.
BAND_ROWS = 16


def interpolation_matrix(source_length: int, target_length: int, first: float, step: float) -> NDArray[np.float32]:
    """Weights (target_length, source_length); row t gives the value at source index `first + t * step`. Rows sum to one.

    Positions outside the source take its edge value.
    """
    centres = np.clip(first + step * np.arange(target_length), 0.0, source_length - 1.0)
    half_width = max(1.0, abs(step))
    distance = np.abs(centres[:, None] - np.arange(source_length)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / half_width)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def axis_matrices(source: Geometry, target: Geometry) -> list[NDArray[np.float32]]:
    """The interpolation matrices along x, y, z. Raises ValueError when the grids' axes differ."""
    if not np.allclose(source.axes, target.axes, atol=1e-4):
        raise ValueError("only grids with the same axes can be resampled into each other")
    first = source.to_index(target.origin)
    return [
        interpolation_matrix(source.size[axis], target.size[axis], float(first[axis]), target.spacing[axis] / source.spacing[axis])
        for axis in range(3)
    ]


def needed_range(weights: NDArray[np.float32]) -> slice:
    """The source indices that any target voxel reads."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)


def in_bands(weights: NDArray[np.float32], device: torch.device) -> list[tuple[slice, Tensor]]:
    """An interpolation matrix some rows at a time, each with the columns that these rows read: nearly all others hold zeros."""
    bands = []
    for start in range(0, len(weights), BAND_ROWS):
        band = weights[start : start + BAND_ROWS]
        used = needed_range(band)
        bands.append((used, torch.from_numpy(np.ascontiguousarray(band[:, used])).to(device)))
    return bands


def to_tensor(voxels: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """float32 on the device; numpy views with negative strides are copied, which torch cannot read."""
    if isinstance(voxels, Tensor):
        return voxels.to(device, torch.float32)
    if voxels.dtype != np.int16:
        return torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32)).to(device)
    # Half as much to copy and to transfer; torch then converts with all cores. What is mapped read-only it would warn of.
    return torch.from_numpy(np.array(voxels, order="C")).to(device).float()


def thinned(voxels: NDArray[Any], source: Geometry, target: Geometry) -> tuple[NDArray[Any], Geometry]:
    """Every n-th voxel (z, y, x), n as large as leaves two to a voxel of the target along each axis, and their grid; a view.

    Resampling then reads a fraction of the scan. What a target voxel is the mean of is still spread over all of it; only its noise grows.
    """
    steps = [max(1, int(wanted / (2 * present) + 1e-6)) for present, wanted in zip(source.spacing, target.spacing, strict=True)]
    x, y, z = steps
    sizes = [-(-size // step) for size, step in zip(source.size, steps, strict=True)]
    spacing = as_vector([present * step for present, step in zip(source.spacing, steps, strict=True)])
    return voxels[::z, ::y, ::x], replace(source, size=(sizes[0], sizes[1], sizes[2]), spacing=spacing)


def resample(voxels: NDArray[Any] | Tensor, source: Geometry, target: Geometry, device: torch.device | None = None) -> Tensor:
    """Values (z, y, x) of the source grid at the voxel centres of the target grid, as float32 on the device.

    Args:
        voxels: array or tensor of `source.shape_zyx`, any number type.
        source, target: grids with the same axes.
        device: where to compute; the CPU by default.

    Raises:
        ValueError: when the grids' axes differ or the voxels do not fit the source.
    """
    if tuple(voxels.shape) != source.shape_zyx:
        raise ValueError(f"voxels of shape {tuple(voxels.shape)} do not fit a grid of shape {source.shape_zyx}")
    device = device or torch.device("cpu")
    matrices = axis_matrices(source, target)
    x, y, z = (needed_range(matrix) for matrix in matrices)
    along_x, along_z = (torch.from_numpy(np.ascontiguousarray(matrix[:, used])).to(device) for matrix, used in ((matrices[0], x), (matrices[2], z)))
    along_y = in_bands(matrices[1][:, y], device)
    needed = voxels[z, y, x]
    result = torch.zeros(target.shape_zyx, dtype=torch.float32, device=device)
    slices = max(1, SLAB_VOXELS // (needed.shape[1] * needed.shape[2]))
    for start in range(0, needed.shape[0], slices):
        slab = to_tensor(needed[start : start + slices], device)
        # First what makes the image smaller for the price of a band.
        in_plane = torch.cat([weights @ slab[:, rows] for rows, weights in along_y], dim=1) @ along_x.T
        along = along_z[:, start : start + slices]
        planes = torch.nonzero(along.any(dim=1))[:, 0]
        result[planes] += torch.tensordot(along[planes], in_plane, dims=1)
    return result
