"""Shapes that a phantom's organs are made of, and how they are filled. LPS mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.geometry import Slices, Vector, as_vector
from KidneyTumorCascadeLib.phantom_texture import Canvas, Coordinates, Floats, Mask


@dataclass(frozen=True)
class Blob:
    """An ellipsoid.

    Attributes:
        center: x, y, z mm.
        semi: half axes mm.
        axes: 3 x 3, columns are its axes; None for upright.
    """

    center: Vector
    semi: Vector
    axes: NDArray[np.float64] | None = None

    @property
    def low(self) -> Vector:
        """Corner of a box that holds it."""
        return as_vector(np.subtract(self.center, self._reach))

    @property
    def high(self) -> Vector:
        """The other corner."""
        return as_vector(np.add(self.center, self._reach))

    @property
    def _reach(self) -> NDArray[np.float64]:
        return np.array(self.semi) if self.axes is None else np.full(3, max(self.semi))

    def level(self, at: Coordinates) -> Floats:
        """About the distance from the surface in mm, negative inside."""
        offset = [part - np.float32(middle) for part, middle in zip(at, self.center, strict=True)]
        if self.axes is not None:
            turned = self.axes.T.astype(np.float32)
            offset = [row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2] for row in turned]
        squares = sum((part / np.float32(length)) ** 2 for part, length in zip(offset, self.semi, strict=True))
        return np.asarray((np.sqrt(squares) - 1.0) * np.float32(min(self.semi)))


@dataclass(frozen=True)
class Tube:
    """A straight piece of a vessel or bowel with rounded ends; its radius changes evenly."""

    start: Vector
    stop: Vector
    radius: float
    end_radius: float

    @property
    def low(self) -> Vector:
        """Corner of a box that holds it."""
        return as_vector(np.minimum(self.start, self.stop) - max(self.radius, self.end_radius))

    @property
    def high(self) -> Vector:
        """The other corner."""
        return as_vector(np.maximum(self.start, self.stop) + max(self.radius, self.end_radius))

    def level(self, at: Coordinates) -> Floats:
        """Distance from the surface in mm, negative inside."""
        along = np.subtract(self.stop, self.start).astype(np.float32)
        offset = [part - np.float32(first) for part, first in zip(at, self.start, strict=True)]
        share = sum(part * step for part, step in zip(offset, along, strict=True)) / np.float32(max(float(along @ along), 1e-6))
        share = np.clip(share, 0.0, 1.0)
        distance = np.sqrt(sum((part - share * step) ** 2 for part, step in zip(offset, along, strict=True)))
        return np.asarray(distance - (np.float32(self.radius) + share * np.float32(self.end_radius - self.radius)))


@dataclass(frozen=True)
class Organ:
    """A shape filled with one tissue; `where` is the part of the patient that it keeps to; `firm` that nothing displaces it."""

    shape: Blob | Tube
    hu: float
    uneven: float = 2.0
    where: str = "abdomen"
    firm: bool = False

    def paint(self, canvas: Canvas) -> None:
        """Paint it."""
        window = canvas.window(self.shape.low, self.shape.high)
        if window is None:
            return
        inside = self.shape.level(canvas.coordinates(window)) < 0
        kept = _kept(canvas, window, inside, self.where)
        canvas.fill(window, kept, self.hu, self.uneven)
        if self.firm:
            canvas.firm[window] |= kept


@dataclass(frozen=True)
class Hollow:
    """Stomach or bowel: a wall, contents, and gas above a level (the patient lies on the back, so above is in front)."""

    shape: Blob | Tube
    wall: float
    contents: float
    thickness: float
    gas_above: float
    uneven: float = 3.0

    def paint(self, canvas: Canvas) -> None:
        """Paint it."""
        window = canvas.window(self.shape.low, self.shape.high)
        if window is None:
            return
        at = canvas.coordinates(window)
        level = self.shape.level(at)
        canvas.fill(window, canvas.abdomen[window] & (level < 0), self.wall, 4.0)
        lumen = canvas.abdomen[window] & (level < -self.thickness)
        canvas.fill(window, lumen, self.contents, self.uneven)
        canvas.fill(window, lumen & (canvas.y[None, window[1], None] < self.gas_above), -950.0)


def _kept(canvas: Canvas, window: Slices, inside: Mask, where: str) -> Mask:
    if where == "abdomen":
        return inside & canvas.abdomen[window]
    if where == "cavity":
        return inside & canvas.cavity[window]
    return inside & (canvas.hu[window] > -900)


def tubes(points: Sequence[Vector], radii: Sequence[float]) -> list[Tube]:
    """A vessel through these points."""
    return [Tube(a, b, r, s) for a, b, r, s in zip(points, points[1:], radii, radii[1:], strict=False)]
