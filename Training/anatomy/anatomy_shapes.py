"""Tubes, erosion and smooth random fields on the grid of an anatomy. Arrays are z, y, x."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Point = tuple[float, float, float]


def random_field(shape: tuple[int, ...], length_voxels: float, rng: np.random.Generator) -> Floats:
    """Smooth noise of about that correlation length, mean 0 and standard deviation about 1."""
    coarse = [max(3, round(size / length_voxels) + 2) for size in shape]
    values = torch.from_numpy(rng.standard_normal((1, 1, *coarse), dtype=np.float32))
    # Linear interpolation takes a third of the variance away along each axis.
    return np.asarray(interpolate(values, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0].numpy() * 1.8)


def eroded(mask: Mask) -> Mask:
    """The mask without its outermost voxels (six neighbours); faster than scipy's on large arrays."""
    result = mask.copy()
    for axis in range(3):
        inner, outer = [slice(None)] * 3, [slice(None)] * 3
        inner[axis], outer[axis] = slice(1, None), slice(None, -1)
        result[tuple(inner)] &= mask[tuple(outer)]
        result[tuple(outer)] &= mask[tuple(inner)]
    return result


def paint_tube(labels: NDArray[np.uint8], value: int, points: Sequence[Point], radii: Sequence[float], step: float) -> None:
    """Write a tube through points (z, y, x mm), its radius (mm) changing evenly from one to the next."""
    for start, stop, first, last in zip(points, points[1:], radii, radii[1:], strict=False):
        reach = max(first, last) + step
        low = np.maximum(0, np.floor((np.minimum(start, stop) - reach) / step)).astype(int)
        high = np.maximum(0, np.ceil((np.maximum(start, stop) + reach) / step)).astype(int) + 1
        part = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        if part.size:
            part[tube_level(part.shape, low * step, np.array(start), np.array(stop), (first, last), step) < 0] = value


def tube_level(
    shape: tuple[int, ...],
    corner: NDArray[np.float64],
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
    radii: tuple[float, float],
    step: float,
) -> Floats:
    """Distance (mm) from the surface of a piece of a tube, negative inside."""
    offset = [
        (np.arange(size, dtype=np.float32) * step + np.float32(corner[axis] - start[axis])).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, size in enumerate(shape)
    ]
    along = (stop - start).astype(np.float32)
    share = np.clip(sum(o * a for o, a in zip(offset, along, strict=True)) / max(float(along @ along), 1e-6), 0.0, 1.0)
    square = sum((o - share * a) ** 2 for o, a in zip(offset, along, strict=True))
    return np.asarray(np.sqrt(square) - (radii[0] + share * (radii[1] - radii[0])), dtype=np.float32)
