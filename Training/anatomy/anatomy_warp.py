"""Label maps bent, scaled and mirrored onto a new grid. Arrays are z, y, x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

Floats = NDArray[np.float64]
Shape = tuple[int, int, int]
CONTROL_MM = 45.0
LARGEST_BEND_MM = 7.0
TURN_DEGREES = 6.0
SLAB_SLICES = 32


@dataclass(frozen=True)
class Warp:
    """Where each point of the new grid comes from.

    Attributes:
        matrix: 3 x 3 on z, y, x mm: from an offset to the new grid's centre to one in the source.
        bend: smooth displacement in mm (3, z, y, x) on a coarse grid that covers the new one.
    """

    matrix: Floats
    bend: Tensor


def random_warp(rng: np.random.Generator, shape: Shape, spacing_mm: float, mirrored: bool, scale: tuple[float, float] = (0.88, 1.12)) -> Warp:
    """A patient's size and build drawn at random, and organs bent by up to some mm."""
    angles = np.radians(rng.uniform(-TURN_DEGREES, TURN_DEGREES, size=3))
    sizes = rng.uniform(*scale) * rng.uniform(0.94, 1.06, size=3) * (1.0, 1.0, -1.0 if mirrored else 1.0)
    control = [max(4, round(length * spacing_mm / CONTROL_MM)) for length in shape]
    bend = rng.uniform(0.0, LARGEST_BEND_MM) * rng.standard_normal((3, *control)).astype(np.float32)
    return Warp(rotation(angles) / sizes, torch.from_numpy(bend.astype(np.float32)))


def rotation(angles: Floats) -> Floats:
    """3 x 3, turned about z, then y, then x by those angles (radians)."""
    result = np.eye(3)
    for (a, b), angle in zip(((1, 2), (0, 2), (0, 1)), angles, strict=True):
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        result = result @ turn
    return result


def warped(
    source: NDArray[np.uint8],
    source_mm: float,
    centre: Floats,
    shape: Shape,
    spacing_mm: float,
    target_centre: Floats,
    warp: Warp,
    device: torch.device,
) -> NDArray[np.uint8]:
    """The source's labels on the new grid: `centre` (voxel z, y, x of the source) comes to lie at `target_centre` (of the new grid).

    Outside the source there is 0. Nearest neighbours, so that no label appears that was not there.
    """
    field = torch.from_numpy(np.ascontiguousarray(source)).to(device, torch.float32)[None, None]
    bend = interpolate(warp.bend[None].to(device), size=shape, mode="trilinear", align_corners=True)[0]
    y, x = (torch.arange(shape[axis], device=device, dtype=torch.float32) - float(target_centre[axis]) for axis in (1, 2))
    result = np.empty(shape, dtype=np.uint8)
    for start in range(0, shape[0], SLAB_SLICES):
        stop = min(shape[0], start + SLAB_SLICES)
        z = torch.arange(start, stop, device=device, dtype=torch.float32) - float(target_centre[0])
        offset = (z[:, None, None], y[None, :, None], x[None, None, :])
        points = []
        for axis in (2, 1, 0):
            moved = sum(float(warp.matrix[axis, other]) * spacing_mm * offset[other] for other in range(3)) + bend[axis, start:stop]
            index = moved / source_mm + float(centre[axis])
            points.append(index * (2.0 / (source.shape[axis] - 1)) - 1.0)
        sampled = grid_sample(field, torch.stack(points, dim=-1)[None], mode="nearest", padding_mode="zeros", align_corners=True)
        result[start:stop] = sampled[0, 0].round().to(torch.uint8).cpu().numpy()
    return result
