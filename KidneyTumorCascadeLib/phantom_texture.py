"""Smooth random fields in mm, the canvas that a phantom is painted on slab by slab, and CT noise.

Fields live in the patient's millimetres and not on the voxels, so that a phantom is the same patient at every spacing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.geometry import Slices, Vector

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Coordinates = tuple[Floats, Floats, Floats]

LATTICE_NODES = 24
# The sum of squared cubic B-spline weights is 0.4794 on average along one axis.
SPLINE_SD = 0.4794**1.5
# How far the patient's warp may move a point, mm; bounding boxes are widened by it.
WARP_REACH = 14.0


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose, so that asking for more of one thing changes nothing else."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


@dataclass(frozen=True)
class Field:
    """A smooth random field of about unit standard deviation: a periodic lattice of normal numbers under a cubic B-spline.

    Attributes:
        nodes: (n, n, n) values at the lattice's nodes.
        pitch: mm between nodes.
    """

    nodes: Floats
    pitch: float

    @classmethod
    def random(cls, rng: np.random.Generator, pitch: float) -> Field:
        """A new field."""
        nodes = rng.standard_normal((LATTICE_NODES,) * 3) / SPLINE_SD
        return cls(nodes.astype(np.float32), pitch)

    def sample(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Values on the grid spanned by three axes in mm: (len(z), len(y), len(x))."""
        along_z = np.tensordot(self._weights(z), self.nodes, axes=1)
        along_y = np.matmul(self._weights(y), along_z)
        return np.asarray(np.matmul(along_y, self._weights(x).T))

    def _weights(self, axis: Floats) -> Floats:
        position = np.asarray(axis, dtype=np.float64) / self.pitch
        node = np.floor(position).astype(int)
        t = position - node
        weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        matrix = np.zeros((len(axis), LATTICE_NODES))
        for offset, weight in enumerate(weights, start=-1):
            matrix[np.arange(len(axis)), (node + offset) % LATTICE_NODES] += weight / 6.0
        return matrix.astype(np.float32)


@dataclass(frozen=True)
class Canvas:
    """A slab of the phantom while it is painted; arrays are z, y, x, coordinates LPS mm of the patient.

    Attributes:
        z, y, x: the voxel centres along each axis.
        hu: what has been painted.
        labels: 0 background, 1 kidney, 2 tumor.
        cavity: voxels inside the abdominal wall.
        abdomen: voxels inside the abdominal wall and below the diaphragm.
        firm: muscle and bone, which kidneys and tumors give way to.
        warp: displacement of the anatomy at each voxel, along x, y, z.
        texture: unit field that makes tissues uneven.
    """

    z: Floats
    y: Floats
    x: Floats
    hu: Floats
    labels: NDArray[np.uint8]
    cavity: Mask
    abdomen: Mask
    firm: Mask
    warp: Coordinates
    texture: Floats

    @classmethod
    def blank(cls, z: Floats, y: Floats, x: Floats, warp: tuple[Field, Field, Field], amplitude: float, texture: Field) -> Canvas:
        """Air everywhere."""
        shape = (len(z), len(y), len(x))
        dx, dy, dz = (np.clip(amplitude * field.sample(z, y, x), -WARP_REACH, WARP_REACH) for field in warp)
        empty = np.zeros(shape, dtype=bool)
        hu = np.full(shape, -1000, dtype=np.float32)
        return cls(z, y, x, hu, np.zeros(shape, np.uint8), empty, empty.copy(), empty.copy(), (dx, dy, dz), texture.sample(z, y, x))

    def window(self, low: Vector, high: Vector) -> Slices | None:
        """The part of the slab that a structure between two corners (x, y, z mm) can reach; None when it reaches none."""
        found = []
        for axis, a, b in zip((self.z, self.y, self.x), reversed(low), reversed(high), strict=True):
            start, stop = np.searchsorted(axis, (a - WARP_REACH, b + WARP_REACH))
            found.append(slice(int(start), int(stop)))
        if any(item.start >= item.stop for item in found):
            return None
        return found[0], found[1], found[2]

    def coordinates(self, window: Slices) -> Coordinates:
        """x, y, z of the unwarped anatomy at the voxels of the window."""
        dx, dy, dz = (part[window] for part in self.warp)
        z, y, x = window
        return self.x[None, None, x] + dx, self.y[None, y, None] + dy, self.z[z, None, None] + dz

    def fill(self, window: Slices, mask: Mask, hu: float, uneven: float = 0.0) -> None:
        """Paint a tissue where the mask (of the window) is set, uneven by so many HU."""
        value: Floats | float = hu + uneven * self.texture[window] if uneven else hu
        np.copyto(self.hu[window], value, where=mask)

    def label(self, window: Slices, mask: Mask, value: int) -> None:
        """Write a label where the mask (of the window) is set."""
        np.copyto(self.labels[window], np.uint8(value), where=mask)


def noise(seed: int, first_slice: int, shape_zyx: tuple[int, int, int], sd: float) -> Floats:
    """CT noise of standard deviation `sd` HU, correlated over two to three voxels in the slice and a little across slices.

    Each slice has its own random numbers, so that slabs of any thickness give the same noise.
    """
    planes = np.stack([_noise_plane(seed, first_slice + k, shape_zyx[1:]) for k in range(shape_zyx[0] + 1)])
    mixed = 0.9 * planes[:-1] + 0.436 * planes[1:]
    return np.asarray(sd * mixed, dtype=np.float32)


def _noise_plane(seed: int, index: int, shape_yx: tuple[int, ...]) -> Floats:
    sigma = 0.75
    white = generator(seed, f"noise {index}").standard_normal(shape_yx, dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, sigma, mode="wrap", truncate=3.0)
    # A Gaussian of this width leaves 1 / (2 sqrt(pi) sigma) of the standard deviation; wrapped, the same everywhere.
    return np.asarray(smooth * (2.0 * np.sqrt(np.pi) * sigma), dtype=np.float32)
