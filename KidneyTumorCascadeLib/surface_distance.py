"""How far apart two surfaces are, weighted by area: robust Hausdorff distance and normalized surface Dice.

The definitions are those of Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy: deep learning
algorithm development and validation study" (JMIR 2021), whose package `surface-distance` the KiTS challenges score with: a surface passes
through every 2 x 2 x 2 neighbourhood of voxels that is partly inside, its area there is that of the marching cubes surface, and its
place is the neighbourhood's centre.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Point = tuple[float, float, float]
Corner = tuple[int, int, int]
Triangle = tuple[int, int, int]

# Corner n of a neighbourhood is bit n of its code.
CORNERS: tuple[Corner, ...] = tuple((z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1))
FULL = 255


@dataclass(frozen=True)
class SurfaceDistances:
    """Every element of two surfaces with its area and its distance to the other surface.

    Attributes:
        from_prediction: mm from each element of the prediction's surface to the nearest one of the reference's, rising.
        prediction_areas: mm² of those elements.
        from_reference: mm from each element of the reference's surface to the nearest one of the prediction's, rising.
        reference_areas: mm² of those elements.
    """

    from_prediction: NDArray[np.float64]
    prediction_areas: NDArray[np.float64]
    from_reference: NDArray[np.float64]
    reference_areas: NDArray[np.float64]

    def robust_hausdorff(self, percent: float) -> float:
        """mm within which `percent` of either surface's area lies from the other; infinite when one of them has none."""
        prediction = _percentile(self.from_prediction, self.prediction_areas, percent)
        return max(prediction, _percentile(self.from_reference, self.reference_areas, percent))

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share (0 to 1) of both surfaces' area that lies within the tolerance of the other surface; NaN when there is no surface."""
        near = self.prediction_areas[self.from_prediction <= tolerance_mm].sum() + self.reference_areas[self.from_reference <= tolerance_mm].sum()
        total = self.prediction_areas.sum() + self.reference_areas.sum()
        return float(near / total) if total else float("nan")


def surface_distances(prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_zyx: Sequence[float]) -> SurfaceDistances:
    """Distances between the surfaces of two masks (z, y, x) of one grid; what lies beyond the array counts as outside."""
    prediction_points, prediction_areas = surface_elements(prediction, spacing_zyx)
    reference_points, reference_areas = surface_elements(reference, spacing_zyx)
    from_prediction = _nearest(prediction_points, reference_points, spacing_zyx)
    from_reference = _nearest(reference_points, prediction_points, spacing_zyx)
    return SurfaceDistances(*_rising(from_prediction, prediction_areas), *_rising(from_reference, reference_areas))


def surface_elements(mask: NDArray[np.bool_], spacing_zyx: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the surface passes, as corners of voxels (n, 3) z, y, x counted in voxels, and its area in mm² at each of them."""
    codes = neighbourhood_codes(mask)
    where = (codes != 0) & (codes != FULL)
    return np.argwhere(where), element_areas(spacing_zyx)[codes[where]]


def neighbourhood_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which of the eight voxels around each corner of the grid are inside, one bit each; shape one more than the mask's along each axis."""
    padded = np.pad(mask, 1)
    codes = np.zeros([length + 1 for length in mask.shape], dtype=np.uint8)
    for bit, corner in enumerate(CORNERS):
        shifted = tuple(slice(offset, offset + length) for offset, length in zip(corner, codes.shape, strict=True))
        codes |= padded[shifted].astype(np.uint8) << np.uint8(bit)
    return codes


def element_areas(spacing_zyx: Sequence[float]) -> NDArray[np.float64]:
    """Area in mm² of the surface in a neighbourhood of each of the 256 codes."""
    z, y, x = spacing_zyx
    faces = np.array([y * x, z * x, z * y])
    return np.array([np.linalg.norm(normals * faces, axis=1).sum() for normals in _all_normals()])


def _nearest(points: NDArray[np.int64], others: NDArray[np.int64], spacing_zyx: Sequence[float]) -> NDArray[np.float64]:
    """mm from each point to the nearest of the others; infinite without others."""
    if not len(points) or not len(others):
        return np.full(len(points), np.inf)
    spacing = np.asarray(spacing_zyx, dtype=np.float64)
    nearest = cKDTree(others * spacing).query(points * spacing)[1]
    # From whole steps, not from the tree's coordinates: a distance of exactly the tolerance must not depend on rounding.
    steps = points - others[nearest]
    return np.asarray(np.sqrt(((steps * spacing) ** 2).sum(axis=1)))


def _rising(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]


def _percentile(rising: NDArray[np.float64], areas: NDArray[np.float64], percent: float) -> float:
    if not len(rising):
        return float("inf")
    share = np.cumsum(areas) / areas.sum()
    return float(rising[min(int(np.searchsorted(share, percent / 100.0)), len(rising) - 1)])


# --- the marching cubes surface of each code, on a cube of edge 1 ----------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _all_normals() -> tuple[NDArray[np.float64], ...]:
    """For each code the triangles' normals (n, 3), as long as their areas."""
    return tuple(_normals(code) for code in range(FULL + 1))


def _normals(code: int) -> NDArray[np.float64]:
    inside = frozenset(corner for bit, corner in enumerate(CORNERS) if code >> bit & 1)
    if len(inside) > len(CORNERS) // 2:
        # The surface of what is outside, so that a mask and its complement have the same area.
        inside = frozenset(CORNERS) - inside
    normals = [normal for polygon in _polygons(inside) for normal in _largest_triangulation(polygon)]
    return np.array(normals, dtype=np.float64).reshape(-1, 3)


def _polygons(inside: frozenset[Corner]) -> list[NDArray[np.float64]]:
    """Closed polygons between the middles of the cube's edges that separate these corners from the others."""
    following = dict(segment for face in _faces() for segment in _segments(face, inside))
    polygons = []
    while following:
        first, point = following.popitem()
        polygon = [first]
        while point != first:
            polygon.append(point)
            point = following.pop(point)
        polygons.append(np.array(polygon))
    return polygons


def _faces() -> Iterator[list[Corner]]:
    """The cube's six faces, each as its corners in turn, all in the same sense seen from outside."""
    ring = [(0, 0), (1, 0), (1, 1), (0, 1)]
    for axis, value in itertools.product(range(3), (0, 1)):
        corners = np.zeros((4, 3), dtype=int)
        corners[:, axis] = value
        corners[:, [(axis + 1) % 3, (axis + 2) % 3]] = ring if value else ring[::-1]
        yield [(int(z), int(y), int(x)) for z, y, x in corners]


def _segments(face: list[Corner], inside: frozenset[Corner]) -> Iterator[tuple[Point, Point]]:
    """The lines that cut the corners inside off this face, neighbours together, each from where a walk around the face enters to where it leaves."""
    for start in range(4):
        if face[start] in inside and face[start - 1] not in inside:
            end = next(step for step in range(start, start + 4) if face[(step + 1) % 4] not in inside)
            yield _middle(face[start - 1], face[start]), _middle(face[end % 4], face[(end + 1) % 4])


def _middle(a: Corner, b: Corner) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2


def _largest_triangulation(polygon: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Normals of the triangles that fill the polygon with the most area, which is what the published table of areas holds for each code."""
    choices = ([_normal(polygon[list(triangle)]) for triangle in triangles] for triangles in _triangulations(range(len(polygon))))
    return max(choices, key=lambda normals: sum(float(np.linalg.norm(normal)) for normal in normals))


def _triangulations(vertices: Sequence[int]) -> Iterator[list[Triangle]]:
    """All ways to cut a polygon into triangles between its vertices."""
    if len(vertices) < 3:
        yield []
        return
    first, last = vertices[0], vertices[-1]
    for middle in range(1, len(vertices) - 1):
        for before in _triangulations(vertices[: middle + 1]):
            for after in _triangulations(vertices[middle:]):
                yield [(first, vertices[middle], last), *before, *after]


def _normal(triangle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its length is the triangle's area."""
    return np.asarray(np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0]) / 2)
