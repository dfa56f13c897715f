"""Where voxels are in the patient: sizes, spacings, axes, boxes, and exact changes of axis order.

Two orders meet here. Geometry is x, y, z in mm in LPS (left, posterior and superior are positive; the convention of DICOM and ITK). Arrays
are z, y, x. A function that takes or returns array order says so in its name or docstring.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError

Vector = tuple[float, float, float]
Size = tuple[int, int, int]
Matrix = tuple[float, float, float, float, float, float, float, float, float]
Slices = tuple[slice, slice, slice]

IDENTITY: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SIDES = ("right", "left", "both")
# 1000 slices of 2000 x 2000, twice what the finest scanners make: a header that says more would have the memory filled for nothing.
MOST_VOXELS = 4_000_000_000
# No scanner's coordinates reach this far; much further, a number has no millimetres left.
FARTHEST_MM = 1e6


def as_vector(values: Sequence[float] | NDArray[Any]) -> Vector:
    """Three floats."""
    x, y, z = (float(value) for value in values)
    return x, y, z


def mask_extent(mask_zyx: NDArray[np.bool_]) -> Slices:
    """The bounding box of what is true in an array (z, y, x); nothing at all of an empty one."""
    spans = []
    for axis in range(3):
        found = np.flatnonzero(mask_zyx.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0))
    return spans[0], spans[1], spans[2]


@dataclass(frozen=True)
class AxisOrder:
    """How to view an array along other axes: first transposed, then flipped.

    Attributes:
        permutation: for each new axis (x, y, z) the old axis that it shows.
        flips: for each new axis whether it runs the other way.
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array_zyx: NDArray[Any]) -> NDArray[Any]:
        """A view of the array (z, y, x) in the new order; nothing is copied."""
        transposed = array_zyx.transpose(tuple(2 - axis for axis in reversed(self.permutation)))
        return transposed[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(self.flips))]


@dataclass(frozen=True)
class Geometry:
    """A grid of voxels in the patient.

    Attributes:
        size: voxels along the grid's axes i, j, k (an array of this grid has shape k, j, i).
        spacing: mm between voxel centres along i, j, k.
        origin: LPS mm of the centre of voxel (0, 0, 0).
        direction: 3 x 3, row by row; column n is the unit vector of the grid's axis n in LPS (as in ITK).
    """

    size: Size
    spacing: Vector
    origin: Vector = (0.0, 0.0, 0.0)
    direction: Matrix = IDENTITY

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise InputError(f"An image of {describe_size(self.size)} voxels has no content.")
        numbers = (*self.spacing, *self.origin, *self.direction)
        if not np.isfinite(numbers).all():
            raise InputError("The image's spacing, origin or direction has a value that is not a number; its header is damaged.")
        if min(self.spacing) <= 0:
            raise InputError(f"A voxel spacing of {describe_mm(self.spacing)} is impossible; all three must be above zero.")
        if not at_right_angles(self.direction):
            raise InputError(
                "The image's axes are not at right angles to each other (a sheared affine or a tilted gantry); resample it to a regular grid first."
            )

    @property
    def axes(self) -> NDArray[np.float64]:
        """3 x 3; column n is the grid's axis n in LPS."""
        return np.array(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def shape_zyx(self) -> Size:
        """Shape of an array of this grid."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def extent(self) -> Vector:
        """mm from the first voxel's outer face to the last one's, along i, j, k."""
        return as_vector(np.multiply(self.size, self.spacing))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing)) / 1000.0

    def to_patient(self, index: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
        """LPS mm of continuous voxel indices (..., 3) in the order i, j, k."""
        scaled = np.asarray(index, dtype=np.float64) * np.array(self.spacing)
        return np.asarray(scaled @ self.axes.T + np.array(self.origin))

    def to_index(self, point: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
        """Continuous voxel indices i, j, k of LPS points (..., 3)."""
        offset = np.asarray(point, dtype=np.float64) - np.array(self.origin)
        # Not the transpose: direction cosines of three digits are that far from unit vectors that it misses by a voxel across a scan.
        return np.asarray(offset @ np.linalg.inv(self.axes).T / np.array(self.spacing))

    def lps_order(self) -> AxisOrder:
        """The flips and permutation that bring each axis closest to left, posterior, superior. Oblique grids stay oblique."""
        weight = np.abs(self.axes)
        best = max(itertools.permutations(range(3)), key=lambda order: sum(weight[row, order[row]] for row in range(3)))
        x, y, z = best
        right, anterior, inferior = (bool(self.axes[row, best[row]] < 0) for row in range(3))
        return AxisOrder((x, y, z), (right, anterior, inferior))

    def reordered(self, order: AxisOrder) -> Geometry:
        """The same voxels in the same places, listed in another order."""
        corner = [(self.size[axis] - 1) if flip else 0 for axis, flip in zip(order.permutation, order.flips, strict=True)]
        index = np.zeros(3)
        index[list(order.permutation)] = corner
        axes = self.axes[:, order.permutation] * np.where(order.flips, -1.0, 1.0)
        a, b, c = order.permutation
        return Geometry(
            size=(self.size[a], self.size[b], self.size[c]),
            spacing=(self.spacing[a], self.spacing[b], self.spacing[c]),
            origin=as_vector(self.to_patient(index)),
            direction=as_matrix(axes),
        )

    def in_lps_order(self) -> Geometry:
        """This grid with its axes in the order and sense closest to left, posterior, superior."""
        return self.reordered(self.lps_order())

    def cropped(self, slices_zyx: Slices) -> Geometry:
        """The grid of `array[slices_zyx]`; slices with start and stop, inside the grid."""
        start = [item.start for item in reversed(slices_zyx)]
        x, y, z = (item.stop - item.start for item in reversed(slices_zyx))
        return replace(self, size=(x, y, z), origin=as_vector(self.to_patient(start)))

    def resampled(self, spacing: Vector) -> Geometry:
        """A grid over the same extent with about this spacing: outer faces agree, so the spacing is adjusted to fit a whole number of voxels.

        An axis already coarser than that keeps at least one voxel.
        """
        x, y, z = (max(1, round(extent / wanted)) for extent, wanted in zip(self.extent, spacing, strict=True))
        exact = as_vector(np.divide(self.extent, (x, y, z)))
        first = (np.divide(exact, self.spacing) - 1.0) / 2.0
        return replace(self, size=(x, y, z), spacing=exact, origin=as_vector(self.to_patient(first)))

    def matches(self, other: Geometry, tolerance_mm: float = 0.01) -> bool:
        """True when both grids have the same size and no corner voxels are further apart than the tolerance."""
        if self.size != other.size:
            return False
        corners = np.array(list(itertools.product(*((0, length - 1) for length in self.size))), dtype=np.float64)
        return bool(np.abs(self.to_patient(corners) - other.to_patient(corners)).max() <= tolerance_mm)

    def to_dict(self) -> dict[str, list[float] | list[int]]:
        """Plain JSON types."""
        return {
            "size": list(self.size),
            "spacing_mm": list(self.spacing),
            "origin_lps_mm": list(self.origin),
            "direction_lps": list(self.direction),
        }


@dataclass(frozen=True)
class Box:
    """A box around a kidney, in the patient.

    Attributes:
        center: LPS mm.
        size: mm, full edge lengths along the box's own axes.
        side: "right", "left" (the patient's), or "both" for one box around a mass that crosses the midline.
        source: where it came from: "network", "whole half" (nothing found there), or "user".
        direction: 3 x 3 row by row, columns are the box's axes in LPS; those of the scan in LPS order.
    """

    center: Vector
    size: Vector
    side: str
    source: str = "network"
    direction: Matrix = IDENTITY

    def __post_init__(self) -> None:
        if not np.isfinite((*self.center, *self.size, *self.direction)).all() or min(self.size) <= 0:
            raise InputError(f"The box of the {self.side} side is impossible: centre {self.center}, size {self.size} mm.")
        if self.side not in SIDES:
            raise InputError(f"A box's side is one of {', '.join(SIDES)}, not {self.side!r}.")
        if not at_right_angles(self.direction):
            raise InputError(f"The axes of the box of the {self.side} side are not unit vectors at right angles; leave its direction_lps out.")

    def corners(self) -> NDArray[np.float64]:
        """(8, 3) LPS mm."""
        half = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * np.array(self.size)
        return np.asarray(half @ np.array(self.direction).reshape(3, 3).T + np.array(self.center))

    def slices(self, geometry: Geometry) -> Slices:
        """The voxels (z, y, x) of the grid whose centres lie in the box, at least one along each axis.

        A centre on a face belongs to the box that begins there, so that boxes which share a face share no voxel. A box turned against the
        grid is enclosed: no part of it is lost. Raises InputError when the box misses the grid.
        """
        # As far as the next voxel beyond the grid: what lies further away may be too far for a whole number.
        index = np.clip(geometry.to_index(self.corners()), -1.0, np.add(geometry.size, 1.0))
        # Half a thousandth of a voxel keeps faces that fall on voxel centres from flickering with rounding.
        low = np.ceil(index.min(axis=0) - 5e-4).astype(int)
        high = np.ceil(index.max(axis=0) - 5e-4).astype(int)
        thin = high <= low
        middle = np.rint(index.mean(axis=0)).astype(int)
        low, high = np.where(thin, middle, low), np.where(thin, middle + 1, high)
        if (high <= 0).any() or (low >= geometry.size).any():
            raise InputError(f"The box of the {self.side} side lies outside the scan; move it onto the patient.")
        low, high = np.maximum(low, 0), np.minimum(high, geometry.size)
        z, y, x = (slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))
        return z, y, x

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; what boxes.json holds for each box."""
        return {
            "side": self.side,
            "source": self.source,
            "center_lps_mm": list(self.center),
            "size_mm": list(self.size),
            "direction_lps": list(self.direction),
        }

    @classmethod
    def from_dict(cls, values: Any) -> Box:
        """The reverse of `to_dict`; direction and source may be missing. Raises InputError with the field that is wrong."""
        if not isinstance(values, dict):
            raise InputError("A box must be an object with side, center_lps_mm and size_mm.")
        side = values.get("side")
        if not isinstance(side, str):
            raise InputError(f"A box's side is one of {', '.join(SIDES)}, not {side!r}.")
        center = numbers_of(values, "center_lps_mm", 3)
        size = numbers_of(values, "size_mm", 3)
        direction = numbers_of(values, "direction_lps", 9) if "direction_lps" in values else np.array(IDENTITY)
        return cls(as_vector(center), as_vector(size), side, str(values.get("source", "user")), as_matrix(direction))


def box_of_slices(slices_zyx: Slices, geometry: Geometry, side: str, source: str) -> Box:
    """The box whose faces are the outer faces of those voxels of the grid."""
    start = np.array([item.start for item in reversed(slices_zyx)], dtype=np.float64)
    stop = np.array([item.stop for item in reversed(slices_zyx)], dtype=np.float64)
    center = geometry.to_patient((start + stop - 1.0) / 2.0)
    return Box(as_vector(center), as_vector((stop - start) * geometry.spacing), side, source, geometry.direction)


def as_matrix(values: Sequence[float] | NDArray[Any]) -> Matrix:
    """Nine floats, row by row."""
    a, b, c, d, e, f, g, h, i = (float(value) for value in np.asarray(values, dtype=np.float64).ravel())
    return a, b, c, d, e, f, g, h, i


def at_right_angles(direction: Matrix) -> bool:
    """Whether the columns are unit vectors at right angles to each other, as far as single precision and rounded headers keep them."""
    axes = np.array(direction).reshape(3, 3)
    return np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)


def numbers_of(values: dict[str, Any], name: str, count: int) -> NDArray[np.float64]:
    """`count` finite numbers of a JSON object's field. Raises InputError naming the field."""
    field = values.get(name)
    valid = isinstance(field, list) and len(field) == count
    if not valid or not all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in field or ()):
        raise InputError(f"A box's {name} must be a list of {count} numbers, not {field!r}.")
    try:
        return np.array(field, dtype=np.float64)
    except OverflowError as error:
        raise InputError(f"A box's {name} holds a number too large for a length in mm; correct it.") from error


def require_voxels(size: Sequence[int], name: str) -> None:
    """Raise InputError, naming the scan, when no CT has that many voxels: said before memory for them is asked for."""
    if math.prod(size) > MOST_VOXELS:
        raise InputError(f"{name} is too large for a CT ({describe_size(size)} voxels), or its header is damaged; export the scan again.")


def describe_size(size: Sequence[int]) -> str:
    """512 x 512 x 300"""
    return " x ".join(str(length) for length in size)


def describe_mm(lengths: Sequence[float]) -> str:
    """0.78 x 0.78 x 3 mm"""
    return " x ".join(f"{length:.4g}" for length in lengths) + " mm"
