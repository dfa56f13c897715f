"""A slice of a scan as a picture: windowed, in true proportions, with smooth thin contours of kidney and tumor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]
Color = tuple[int, int, int]
SpacingZYX = tuple[float, float, float]

KIDNEY, TUMOR = 1, 2
KIDNEY_COLOR: Color = (250, 214, 60)
TUMOR_COLOR: Color = (255, 70, 70)

# Soft tissue, in HU.
WINDOW_LEVEL, WINDOW_WIDTH = 50.0, 400.0
CONTOUR_WIDTH = 2.0
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Plane:
    """A slice through an array (z, y, x) in LPS order and how it is hung: the patient's right is on the left of the picture.

    Attributes:
        axis, rows, columns: axes of the array across the slice, down and along the picture.
        superior_up: whether the rows run against the array (superior on top).
        letters: at the picture's left, right, top and bottom.
    """

    name: str
    axis: int
    rows: int
    columns: int
    superior_up: bool
    letters: str


AXIAL = Plane("Axial", 0, 1, 2, False, "RLAP")
CORONAL = Plane("Coronal", 1, 0, 2, True, "RLSI")
SAGITTAL = Plane("Sagittal", 2, 0, 1, True, "APSI")


@dataclass(frozen=True)
class View:
    """What one panel shows: a slice, and the middle and extent of its field in mm (down, along), counted from the first voxel's centre."""

    plane: Plane
    index: int
    middle: tuple[float, float]
    field: tuple[float, float]
    caption: str


@dataclass(frozen=True)
class Frame:
    """Where a panel lies in the picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def slice_of(volume: Array, plane: Plane, index: int) -> Array:
    """A view of one slice, (rows, columns) of the plane."""
    return np.asarray(np.moveaxis(volume, plane.axis, 0)[index])


@dataclass(frozen=True)
class Projection:
    """From mm in a slice to pixels of its frame: the same scale both ways, so that a circle stays one."""

    view: View
    frame: Frame

    @property
    def mm_per_pixel(self) -> float:
        """So that the whole field fits."""
        return max(self.view.field[0] / self.frame.height, self.view.field[1] / self.frame.width)

    def positions(self, spacing: SpacingZYX, fine: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Continuous voxel indices (down, along) of the centres of `fine` samples per pixel."""
        plane = self.view.plane
        down = self._millimetres(self.frame.height, fine) * (-1.0 if plane.superior_up else 1.0) + self.view.middle[0]
        along = self._millimetres(self.frame.width, fine) + self.view.middle[1]
        return down / spacing[plane.rows], along / spacing[plane.columns]

    def _millimetres(self, pixels: int, fine: int) -> NDArray[np.float64]:
        return ((np.arange(pixels * fine) + 0.5) / fine - pixels / 2) * self.mm_per_pixel

    def pixel(self, down_mm: float, along_mm: float) -> tuple[float, float]:
        """x, y in the picture."""
        down = (down_mm - self.view.middle[0]) / self.mm_per_pixel * (-1.0 if self.view.plane.superior_up else 1.0)
        along = (along_mm - self.view.middle[1]) / self.mm_per_pixel
        return self.frame.left + self.frame.width / 2 + along, self.frame.top + self.frame.height / 2 + down


def render_slice(scan: Array, labels: Array, spacing: SpacingZYX, projection: Projection) -> NDArray[np.uint8]:
    """The windowed slice with kidney and tumor contours.

    Args:
        scan: HU (z, y, x) in LPS order.
        labels: 0 background, 1 kidney, 2 tumor, of the same shape.
        spacing: mm, z, y, x.
        projection: which slice, and the frame to fill.

    Returns:
        (height, width, 3) of the frame.
    """
    view = projection.view
    picture = _windowed(slice_of(scan, view.plane, view.index), spacing, projection)[..., None].repeat(3, axis=2)
    label_slice = slice_of(labels, view.plane, view.index)
    for mask, color in ((label_slice > 0, KIDNEY_COLOR), (label_slice == TUMOR, TUMOR_COLOR)):
        alpha = contour(mask, spacing, projection)[..., None]
        picture += alpha * (np.array(color, dtype=np.float32) - picture)
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def _windowed(hu: Array, spacing: SpacingZYX, projection: Projection) -> NDArray[np.float32]:
    """Grey values 0 to 255; black outside the scan."""
    grey = np.clip((hu.astype(np.float32) - (WINDOW_LEVEL - WINDOW_WIDTH / 2)) / WINDOW_WIDTH, 0, 1) * 255
    down, along = projection.positions(spacing)
    rows, columns = _cubic_weights(down, grey.shape[0]), _cubic_weights(along, grey.shape[1])
    return np.asarray(rows @ grey @ columns.T, dtype=np.float32)


def contour(mask: Array, spacing: SpacingZYX, projection: Projection) -> NDArray[np.float32]:
    """Opacity (height, width), 0 to 1, of a thin antialiased line along the mask's edge."""
    height, width = projection.frame.height, projection.frame.width
    line = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.float32)
    if mask.any():
        inside = _inside_at(projection.positions(spacing, SUPERSAMPLING), mask, spacing, projection.view.plane)
        near = _bounds(inside, margin=int(SUPERSAMPLING * CONTOUR_WIDTH) + 2)
        line[near] = _edge_line(inside[near])
    return np.asarray(line.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING).mean(axis=(1, 3)), dtype=np.float32)


def _inside_at(positions: tuple[NDArray[Any], NDArray[Any]], mask: Array, spacing: SpacingZYX, plane: Plane) -> NDArray[np.bool_]:
    """Whether each position lies in the mask, by interpolating the signed distance to its edge.

    Unlike interpolating the mask itself this leaves no stairs between thick slices (shape-based interpolation, Raya and Udupa 1990), and
    at the voxels' centres it says what the mask says, so that even a single voxel gets its contour.
    """
    # The rim closes contours at the border of the scan.
    padded = np.pad(mask, 1)
    step = (spacing[plane.rows], spacing[plane.columns])
    signed = ndimage.distance_transform_edt(padded, step) - ndimage.distance_transform_edt(~padded, step)
    rows, columns = (_linear_weights(position + 1, length) for position, length in zip(positions, padded.shape, strict=True))
    return np.asarray(rows @ signed.astype(np.float32) @ columns.T > 0)


def _bounds(inside: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    lines = (np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0)))
    if not lines[0].size:
        return slice(0, 0), slice(0, 0)
    rows, columns = (slice(max(0, int(line[0]) - margin), int(line[-1]) + margin + 1) for line in lines)
    return rows, columns


def _edge_line(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Coverage of each fine sample by a line of CONTOUR_WIDTH pixels along the edge."""
    if not inside.size or inside.all():
        return np.zeros(inside.shape, np.float32)
    # Zero on the edge, which runs between the last sample inside and the first outside.
    distance = ndimage.distance_transform_edt(inside) + ndimage.distance_transform_edt(~inside) - 0.5
    return np.asarray(np.clip(SUPERSAMPLING * CONTOUR_WIDTH / 2 + 0.5 - distance, 0, 1), dtype=np.float32)


def _linear_weights(positions: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """(positions, count): the share of each sample at each position; beyond the samples the nearest counts."""
    distance = np.abs(positions.clip(0, count - 1)[:, None] - np.arange(count)[None])
    return np.asarray(np.clip(1 - distance, 0, 1), dtype=np.float32)


def _cubic_weights(positions: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """The same with Catmull-Rom's kernel (Keys 1981, a = -1/2), widened when samples are denser than positions, against moire.

    Rows outside the samples' extent are zero.
    """
    step = max(1.0, float(abs(positions[-1] - positions[0])) / max(1, len(positions) - 1))
    distance = np.abs(positions[:, None] - np.arange(count)[None]) / step
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    outside = (positions < -0.5) | (positions > count - 0.5)
    shares = weights / weights.sum(axis=1, keepdims=True).clip(1e-9)
    return np.asarray(np.where(outside[:, None], 0.0, shares), dtype=np.float32)
