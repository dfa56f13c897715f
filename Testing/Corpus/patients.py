"""Patients made of ellipsoids, known at every point in LPS mm, and the grids that they are scanned on. Needs nothing of the library's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# What the networks of Testing/bright_blocks.py take for kidney and for tumor.
AIR_HU, BODY_HU, FAT_HU, BONE_HU, KIDNEY_HU, TUMOR_HU = -1000, 0, -100, 110, 200, 390
KIDNEY, TUMOR = 1, 2


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and half axes in LPS mm."""

    center: tuple[float, float, float]
    semi: tuple[float, float, float]

    def moved(self, offset: Sequence[float] | Floats) -> Ellipsoid:
        """The same one elsewhere, by so many mm in LPS."""
        x, y, z = (float(value) for value in np.add(self.center, offset))
        return replace(self, center=(x, y, z))

    def holds(self, points: Floats) -> NDArray[np.bool_]:
        """Which of the points (..., 3) lie in it."""
        return np.asarray((((points - self.center) / self.semi) ** 2).sum(axis=-1) <= 1.0)


@dataclass(frozen=True)
class Patient:
    """Who is scanned.

    Attributes:
        kidneys, tumors: in LPS mm; a tumor wins over a kidney.
        sides: the sides that a right result has boxes for, in their order.
        unlabelled: kidneys that the program leaves out, with a warning.
        body: outline of the trunk; a point counts whatever its height.
    """

    kidneys: tuple[Ellipsoid, ...]
    tumors: tuple[Ellipsoid, ...] = ()
    sides: tuple[str, ...] = ("right", "left")
    unlabelled: tuple[Ellipsoid, ...] = ()
    body: Ellipsoid = Ellipsoid((0.0, 0.0, 0.0), (150.0, 105.0, 1e9))

    def moved(self, offset: Sequence[float] | Floats) -> Patient:
        """The same patient elsewhere, by so many mm in LPS."""

        def shift(shapes: tuple[Ellipsoid, ...]) -> tuple[Ellipsoid, ...]:
            return tuple(shape.moved(offset) for shape in shapes)

        return replace(self, kidneys=shift(self.kidneys), tumors=shift(self.tumors), unlabelled=shift(self.unlabelled), body=self.body.moved(offset))

    def labels_at(self, points: Floats) -> NDArray[np.uint8]:
        """What a right result has at the points (..., 3)."""
        labels = np.zeros(points.shape[:-1], dtype=np.uint8)
        for value, shapes in ((KIDNEY, self.kidneys), (TUMOR, self.tumors)):
            for shape in shapes:
                labels[shape.holds(points)] = value
        return labels

    def hu_at(self, points: Floats) -> NDArray[np.int16]:
        """What a CT shows at the points (..., 3): air, skin and fat, soft tissue, spine, kidneys and tumors."""
        hu = np.full(points.shape[:-1], AIR_HU, dtype=np.int16)
        hu[self.body.holds(points)] = FAT_HU
        inner = replace(self.body, semi=(self.body.semi[0] - 15.0, self.body.semi[1] - 15.0, self.body.semi[2]))
        hu[inner.holds(points)] = BODY_HU
        hu[Ellipsoid((0.0, 60.0, 0.0), (22.0, 22.0, 1e9)).holds(points)] = BONE_HU
        for shape in self.unlabelled:
            hu[shape.holds(points)] = KIDNEY_HU
        labels = self.labels_at(points)
        hu[labels == KIDNEY] = KIDNEY_HU
        hu[labels == TUMOR] = TUMOR_HU
        return hu


RIGHT_KIDNEY = Ellipsoid((-72.0, 35.0, -12.0), (30.0, 28.0, 50.0))
LEFT_KIDNEY = Ellipsoid((72.0, 33.0, 12.0), (33.0, 29.0, 56.0))
LEFT_TUMOR = Ellipsoid((90.0, 25.0, 36.0), (20.0, 20.0, 20.0))
# No two of right and left, front and back, top and bottom are alike, so that nothing can be swapped unnoticed.
STANDARD = Patient((RIGHT_KIDNEY, LEFT_KIDNEY), (LEFT_TUMOR,))


@dataclass(frozen=True)
class Grid:
    """Where a scan has its voxels.

    Attributes:
        size: voxels along i, j, k.
        affine: 4 x 4, from (i, j, k, 1) to LPS mm.
    """

    size: tuple[int, int, int]
    affine: Floats

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm along i, j, k."""
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def directions(self) -> Floats:
        """3 x 3, columns: unit vectors of i, j, k in LPS."""
        return np.asarray(self.affine[:3, :3] / np.array(self.spacing))

    @property
    def origin(self) -> Floats:
        """LPS mm of the first voxel's centre."""
        return self.affine[:3, 3]

    def points(self) -> Floats:
        """LPS mm of all voxels, (k, j, i, 3)."""
        return points_of(self.size, self.affine)


def points_of(size: Sequence[int], affine: Floats) -> Floats:
    """LPS mm of all voxels (k, j, i, 3) of a grid of this size (i, j, k)."""
    k, j, i = np.meshgrid(*(np.arange(length, dtype=np.float64) for length in reversed(size)), indexing="ij")
    return np.asarray(np.stack((i, j, k), axis=-1) @ affine[:3, :3].T + affine[:3, 3])


def grid_of(
    size: tuple[int, int, int] = (68, 48, 48),
    spacing: tuple[float, float, float] = (5.0, 5.0, 5.0),
    axes: Sequence[Sequence[float]] = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
) -> Grid:
    """A grid around (0, 0, 0) whose axes i, j, k run along these directions in LPS; 340 x 240 x 240 mm unless told otherwise."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes, dtype=np.float64).T * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(size) - 1) / 2)
    return Grid(size, affine)


AXIAL = grid_of()


def scanned(patient: Patient = STANDARD, grid: Grid = AXIAL) -> NDArray[np.int16]:
    """The patient's CT on a grid, (k, j, i), HU."""
    return patient.hu_at(grid.points())


def noisy(voxels: NDArray[Any], sd: float = 8.0) -> NDArray[np.int16]:
    """With a scanner's noise, without which a file compresses to almost nothing."""
    return np.asarray(np.rint(voxels + np.random.default_rng(5).normal(0.0, sd, voxels.shape)), dtype=np.int16)
