"""Which parts of a probability map of kidney belong together, and which of them are the kidneys.

Arrays and slices are z, y, x of a grid in LPS order, so x runs from the patient's right to the left.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.box_rules import BoxRules
from KidneyTumorCascadeLib.geometry import Geometry, Slices, mask_extent

Probability = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.int32]

CORNERS_TOUCH = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Fragment:
    """A connected part of the mask.

    Attributes:
        number: its value in the array of numbered parts.
        slices: its bounding box.
        ml: its volume.
        weight: its volume, each voxel weighted with its probability.
        peak: its largest probability.
        x_mm: its centre, weighted likewise, from the grid's right outer face.
    """

    number: int
    slices: Slices
    ml: float
    weight: float
    peak: float
    x_mm: float


@dataclass(frozen=True)
class Group:
    """Fragments that belong together: a kidney with its tumors, or something that was taken for one."""

    fragments: tuple[Fragment, ...]

    @property
    def ml(self) -> float:
        """Volume."""
        return sum(fragment.ml for fragment in self.fragments)

    @property
    def weight(self) -> float:
        """Volume in ml, each voxel weighted with its probability."""
        return sum(fragment.weight for fragment in self.fragments)

    @property
    def peak(self) -> float:
        """Largest probability."""
        return max(fragment.peak for fragment in self.fragments)

    @property
    def x_mm(self) -> float:
        """Centre, from the grid's right outer face."""
        return sum(fragment.x_mm * fragment.weight for fragment in self.fragments) / self.weight

    @property
    def numbers(self) -> list[int]:
        """Values of the fragments in the array of numbered parts."""
        return [fragment.number for fragment in self.fragments]

    def span(self, axis: int) -> tuple[int, int]:
        """First voxel, and the one after the last, along an array axis (0 is z)."""
        return (
            min(fragment.slices[axis].start for fragment in self.fragments),
            max(fragment.slices[axis].stop for fragment in self.fragments),
        )


def numbered_parts(mask: Mask) -> Numbers:
    """The connected parts numbered from 1 on, 0 elsewhere. Numbering takes time for every voxel, and kidneys fill little of a scan."""
    numbered = np.zeros(mask.shape, dtype=np.int32)
    if mask.any():
        extent = mask_extent(mask)
        numbered[extent], _ = ndimage.label(mask[extent], CORNERS_TOUCH)
    return numbered


def fragments_of(probability: Probability, numbered: Numbers, geometry: Geometry) -> list[Fragment]:
    """What is known about each numbered part."""
    fragments = []
    for number, slices in enumerate(ndimage.find_objects(numbered), start=1):
        weights = np.where(numbered[slices] == number, probability[slices], 0.0).astype(np.float64)
        weight = weights.sum()
        index = weights.sum(axis=(0, 1)) @ np.arange(slices[2].start, slices[2].stop) / weight
        ml = np.count_nonzero(numbered[slices] == number) * geometry.voxel_ml
        x_mm = (index + 0.5) * geometry.spacing[0]
        fragments.append(Fragment(number, slices, ml, float(weight) * geometry.voxel_ml, float(weights.max()), float(x_mm)))
    return fragments


def group_fragments(fragments: Sequence[Fragment], numbered: Numbers, geometry: Geometry, rules: BoxRules) -> list[Group]:
    """Puts together what is no further apart than `join_mm`.

    Parts large enough to be a kidney come first and small ones are added to the nearest of them, so that a chain of specks cannot tie
    two kidneys together.
    """
    anchors = [fragment for fragment in fragments if fragment.ml >= rules.min_kidney_ml]
    small = [fragment for fragment in fragments if fragment.ml < rules.min_kidney_ml]
    clusters = clusters_of(anchors, numbered, geometry, rules.join_mm)
    far = attach(small, clusters, numbered, geometry, rules.join_mm)
    clusters += clusters_of(far, numbered, geometry, rules.join_mm)
    return [Group(tuple(cluster)) for cluster in clusters]


def clusters_of(fragments: Sequence[Fragment], numbered: Numbers, geometry: Geometry, join_mm: float) -> list[list[Fragment]]:
    """Fragments chained by gaps of at most about `join_mm`."""
    # Voxels that touch count as joined, so gaps reach a little further. Two kidneys are much further apart than that, and nothing to compute.
    reach = join_mm + 2 * math.hypot(*geometry.spacing)
    if all(least_gap_mm(one, other, geometry) > reach for one, other in itertools.combinations(fragments, 2)):
        return [[fragment] for fragment in fragments]
    mask = mask_of((fragment.number for fragment in fragments), numbered)
    distance, _ = distance_and_nearest(mask, numbered, geometry, join_mm / 2)
    joined, _ = ndimage.label(distance <= join_mm / 2, CORNERS_TOUCH)
    clusters: dict[int, list[Fragment]] = {}
    for fragment in fragments:
        inside = numbered[fragment.slices] == fragment.number
        clusters.setdefault(int(joined[fragment.slices][inside][0]), []).append(fragment)
    return list(clusters.values())


def least_gap_mm(one: Fragment, other: Fragment, geometry: Geometry) -> float:
    """No voxel of one is nearer to the other: the distance of their bounding boxes, from the outermost voxels' centres."""
    gaps = []
    for first, second, spacing in zip(one.slices, other.slices, reversed(geometry.spacing), strict=True):
        gaps.append(max(0, first.start - second.stop + 1, second.start - first.stop + 1) * spacing)
    return math.hypot(*gaps)


def attach(fragments: Sequence[Fragment], clusters: list[list[Fragment]], numbered: Numbers, geometry: Geometry, join_mm: float) -> list[Fragment]:
    """Adds each fragment within `join_mm` of a cluster to the nearest one; returns those that are too far."""
    if not clusters or not fragments:
        return list(fragments)
    owner = {fragment.number: cluster for cluster in clusters for fragment in cluster}
    mask = mask_of(owner, numbered)
    distance, nearest_number = distance_and_nearest(mask, numbered, geometry, join_mm)
    far = []
    for fragment in fragments:
        inside = numbered[fragment.slices] == fragment.number
        gaps = distance[fragment.slices][inside]
        if gaps.min() > join_mm:
            far.append(fragment)
        else:
            owner[int(nearest_number[fragment.slices][inside][gaps.argmin()])].append(fragment)
    return far


def distance_and_nearest(mask: Mask, numbered: Numbers, geometry: Geometry, most_mm: float) -> tuple[NDArray[np.float64], Numbers]:
    """Each voxel's distance in mm from the mask, and the number of the voxel of the mask that is nearest.

    Beyond `most_mm` the distance may be infinite and the number 0: nothing is computed but around the mask, a fraction of most scans.
    """
    distance, nearest_number = np.full(mask.shape, np.inf), np.zeros_like(numbered)
    around = extent_around(mask, geometry, most_mm)
    distance[around], nearest = ndimage.distance_transform_edt(~mask[around], sampling=geometry.spacing[::-1], return_indices=True)
    nearest_number[around] = numbered[around][tuple(nearest)]
    return distance, nearest_number


def extent_around(mask: Mask, geometry: Geometry, margin_mm: float) -> Slices:
    """The extent of a mask that is not empty, wider by at least so much on all sides as far as the grid goes."""
    margins = (math.ceil(margin_mm / spacing) for spacing in reversed(geometry.spacing))
    limits = zip(mask_extent(mask), margins, mask.shape, strict=True)
    z, y, x = (slice(max(span.start - margin, 0), min(span.stop + margin, size)) for span, margin, size in limits)
    return z, y, x


def mask_of(numbers: Iterable[int], numbered: Numbers) -> Mask:
    """Where the array has one of these numbers."""
    wanted = np.zeros(int(numbered.max()) + 1, dtype=bool)
    wanted[list(numbers)] = True
    return np.asarray(wanted[numbered])


def choose_kidneys(groups: Sequence[Group], rules: BoxRules) -> list[Group]:
    """The heaviest two groups that are far enough apart, right one first; else the heaviest alone; none when there is none.

    The midline is between the kidneys, wherever the patient lies in the scan, so the middle of the image plays no part.
    """
    pairs = [pair for pair in itertools.combinations(groups, 2) if abs(pair[0].x_mm - pair[1].x_mm) >= rules.min_separation_mm]
    if pairs:
        best = max(pairs, key=lambda pair: pair[0].weight + pair[1].weight)
        return sorted(best, key=lambda group: group.x_mm)
    return sorted(groups, key=lambda group: group.weight)[-1:]


@dataclass(frozen=True)
class Cut:
    """A plane between two groups.

    Attributes:
        axis: the array axis that it is at right angles to (0 is z).
        position: index of the first voxel behind it.
        right_first: whether the first of the two groups lies before it.
    """

    axis: int
    position: int
    right_first: bool


def cut_between(right: Group, left: Group) -> Cut | None:
    """A plane in the middle of the gap between two groups, across left-right if possible; None when they overlap along every axis."""
    for axis in (2, 0, 1):
        (start, stop), (other_start, other_stop) = right.span(axis), left.span(axis)
        if stop <= other_start:
            return Cut(axis, (stop + other_start) // 2, right_first=True)
        if other_stop <= start:
            return Cut(axis, (other_stop + start) // 2, right_first=False)
    return None
