"""A scan: voxels and where they are; reading and writing it through SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from KidneyTumorCascadeLib.geometry import Geometry


@dataclass(frozen=True)
class Volume:
    """Voxels (z, y, x) with the grid they lie on. `voxels.shape == geometry.shape_zyx`, HU for a CT."""

    voxels: NDArray[Any]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape_zyx:
            raise ValueError(f"voxels of shape {self.voxels.shape} do not fit a grid of shape {self.geometry.shape_zyx}")

    def in_lps_order(self) -> Volume:
        """A view of this scan along its own axes in LPS order; nothing is copied or interpolated."""
        order = self.geometry.lps_order()
        return Volume(order.apply(self.voxels), self.geometry.reordered(order))
