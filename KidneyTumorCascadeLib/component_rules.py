"""Which connected parts of a label map are believed: rules in ml and mm, each of them a parameter, each removal counted.

Labels are 0 background, 1 kidney, 2 tumor; arrays are z, y, x. Voxels that share a corner are connected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.geometry import Geometry, Slices, mask_extent

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BACKGROUND, KIDNEY, TUMOR = 0, 1, 2
CORNERS_TOUCH = np.ones((3, 3, 3), dtype=bool)
FACES_TOUCH = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True)
class ComponentRules:
    """What is too small or too far off to be believed. A rule with the value 0 is switched off, except `touch_mm`.

    Attributes:
        fill_holes_ml: background wholly enclosed and at most this large is filled, with the label that most of its rim has.
        min_kidney_ml: a connected part of kidney and tumor together below this is removed.
        max_kidney_parts: of the connected parts of kidney and tumor together only so many, the largest, are kept.
        min_tumor_ml: a tumor below this is no tumor: it becomes kidney where it touches kidney, background elsewhere.
        keep_tumor_ml: a tumor without kidney (see `touch_mm`) below this is removed; a larger one has replaced its kidney and is kept.
        touch_mm: how near a kidney must be to a tumor. Touching is always near enough.
    """

    fill_holes_ml: float = 0.0
    min_kidney_ml: float = 5.0
    max_kidney_parts: int = 0
    min_tumor_ml: float = 0.2
    keep_tumor_ml: float = 50.0
    touch_mm: float = 3.0

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise ValueError(f"the component rule {name} must be a number of at least 0, not {value!r}")
        if not isinstance(self.max_kidney_parts, int):
            raise ValueError(f"the component rule max_kidney_parts must be a whole number, not {self.max_kidney_parts!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a bundle."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ComponentRules:
        """The reverse of `to_dict`; what is missing has its default. Raises ValueError on unknown names or impossible numbers."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown component rules: {', '.join(sorted(unknown))}")
        return cls(**values)


@dataclass(frozen=True)
class Removal:
    """What one rule changed.

    Attributes:
        rule: the name of the rule's field in `ComponentRules`.
        count: connected parts changed.
        ml: their volume together.
    """

    rule: str
    count: int
    ml: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Part:
    """A connected part of a mask.

    Attributes:
        slices: its bounding box in the whole array.
        mask: itself within that box.
        ml: its volume.
    """

    slices: Slices
    mask: Mask
    ml: float


def apply_rules(labels: Labels, geometry: Geometry, rules: ComponentRules) -> tuple[Labels, list[Removal]]:
    """The label map without the parts that the rules do not believe.

    Args:
        labels: (z, y, x); left as it is.
        geometry: the grid of the labels.
        rules: what to believe.

    Returns:
        A new label map, and one entry for each rule that changed something, in the order in which they were applied: holes first, then
        parts of kidney and tumor together, then tumors.
    """
    result = labels.copy()
    # No rule looks beyond what is labelled: background that is enclosed lies wholly inside, and what is not reaches its border.
    around = result[mask_extent(result != BACKGROUND)]
    filled = fill_holes(around, geometry, rules.fill_holes_ml)
    # Numbering is what takes time, and one rule leaves the other parts as they were: each kind of part is numbered once.
    kidneys = parts_of(around != BACKGROUND, geometry) if rules.min_kidney_ml or rules.max_kidney_parts else []
    small = drop_small_kidneys(around, kidneys, rules.min_kidney_ml)
    surplus = drop_surplus_kidneys(around, [part for part in kidneys if part.ml >= rules.min_kidney_ml], rules.max_kidney_parts)
    tumors = parts_of(around == TUMOR, geometry) if rules.min_tumor_ml or rules.keep_tumor_ml else []
    specks = drop_small_tumors(around, tumors, rules.min_tumor_ml)
    lone = drop_lone_tumors(around, [part for part in tumors if part.ml >= rules.min_tumor_ml], geometry, rules)
    applied = (
        removal("fill_holes_ml", filled),
        removal("min_kidney_ml", small),
        removal("max_kidney_parts", surplus),
        removal("min_tumor_ml", specks),
        removal("keep_tumor_ml", lone),
    )
    return result, [entry for entry in applied if entry.count]


def removal(rule: str, changed: Iterable[Part]) -> Removal:
    """The entry of one rule."""
    volumes = [part.ml for part in changed]
    return Removal(rule, len(volumes), sum(volumes))


def parts_of(mask: Mask, geometry: Geometry, structure: NDArray[np.bool_] = CORNERS_TOUCH) -> list[Part]:
    """The connected parts of a mask."""
    # Numbering takes time for every voxel, and a tumor fills little of the box around its kidney.
    if not mask.any():
        return []
    extent = mask_extent(mask)
    numbered, count = ndimage.label(mask[extent], structure)
    if count == 1:
        return [Part(extent, mask[extent], float(np.count_nonzero(mask)) * geometry.voxel_ml)]
    parts = []
    for number, slices in enumerate(ndimage.find_objects(numbered), start=1):
        inside = numbered[slices] == number
        parts.append(Part(shifted(slices, extent), inside, float(np.count_nonzero(inside)) * geometry.voxel_ml))
    return parts


def shifted(slices: Slices, extent: Slices) -> Slices:
    """Slices within an extent, as slices of the whole."""
    z, y, x = (slice(part.start + whole.start, part.stop + whole.start) for part, whole in zip(slices, extent, strict=True))
    return z, y, x


def paint(labels: Labels, part: Part, label: int) -> None:
    """Gives every voxel of the part that label."""
    labels[part.slices][part.mask] = label


def fill_holes(labels: Labels, geometry: Geometry, at_most_ml: float) -> list[Part]:
    """Fills enclosed background, with the label that most of its rim has."""
    if not at_most_ml:
        return []
    # Foreground is connected across corners, so background is connected across faces only.
    enclosed = [part for part in parts_of(labels == BACKGROUND, geometry, FACES_TOUCH) if part.ml <= at_most_ml]
    holes = [part for part in enclosed if not reaches_border(part.slices, labels.shape)]
    for hole in holes:
        around, mask = with_rim(hole, labels.shape, (1, 1, 1))
        rim = labels[around][ndimage.binary_dilation(mask, FACES_TOUCH) & ~mask]
        paint(labels, hole, TUMOR if 2 * np.count_nonzero(rim == TUMOR) > rim.size else KIDNEY)
    return holes


def drop_small_kidneys(labels: Labels, parts: Sequence[Part], below_ml: float) -> list[Part]:
    """Removes small ones among the parts of kidney and tumor together."""
    small = [part for part in parts if part.ml < below_ml]
    for part in small:
        paint(labels, part, BACKGROUND)
    return small


def drop_surplus_kidneys(labels: Labels, parts: Sequence[Part], at_most: int) -> list[Part]:
    """Removes all but the largest parts of kidney and tumor together; with 0 none."""
    surplus = sorted(parts, key=lambda part: part.ml, reverse=True)[at_most:] if at_most else []
    for part in surplus:
        paint(labels, part, BACKGROUND)
    return surplus


def drop_small_tumors(labels: Labels, tumors: Sequence[Part], below_ml: float) -> list[Part]:
    """Turns small tumors into kidney where they touch kidney, and into background elsewhere."""
    small = [part for part in tumors if part.ml < below_ml]
    for part in small:
        paint(labels, part, KIDNEY if touches_kidney(part, labels) else BACKGROUND)
    return small


def drop_lone_tumors(labels: Labels, tumors: Sequence[Part], geometry: Geometry, rules: ComponentRules) -> list[Part]:
    """Removes tumors that are far from every kidney and not large enough to have replaced one."""
    candidates = (part for part in tumors if part.ml < rules.keep_tumor_ml)
    lone = [part for part in candidates if not is_near_kidney(part, labels, geometry, rules.touch_mm)]
    for part in lone:
        paint(labels, part, BACKGROUND)
    return lone


def touches_kidney(part: Part, labels: Labels) -> bool:
    """Whether a kidney voxel shares at least a corner with one of the part's."""
    around, mask = with_rim(part, labels.shape, (1, 1, 1))
    return bool((labels[around][ndimage.binary_dilation(mask, CORNERS_TOUCH)] == KIDNEY).any())


def is_near_kidney(part: Part, labels: Labels, geometry: Geometry, within_mm: float) -> bool:
    """Whether a kidney voxel's centre is that near to one of the part's, or touches it."""
    if touches_kidney(part, labels):
        return True
    spacing = geometry.spacing[::-1]
    reach = max(within_mm, math.hypot(*spacing))
    around, mask = with_rim(part, labels.shape, [math.ceil(reach / step) for step in spacing])
    kidney = labels[around] == KIDNEY
    if not kidney.any():
        return False
    distance = ndimage.distance_transform_edt(~kidney, sampling=spacing)
    return bool(distance[mask].min() <= reach + 1e-6)


def with_rim(part: Part, shape: tuple[int, ...], width: Iterable[int]) -> tuple[Slices, Mask]:
    """The part's bounding box grown by so many voxels along z, y, x, as far as the array goes, and the part within it."""
    limits = list(zip(part.slices, shape, width, strict=True))
    z, y, x = (slice(max(item.start - rim, 0), min(item.stop + rim, length)) for item, length, rim in limits)
    padding = [(inner.start - outer.start, outer.stop - inner.stop) for inner, outer in zip(part.slices, (z, y, x), strict=True)]
    return (z, y, x), np.pad(part.mask, padding)


def reaches_border(slices: Slices, shape: tuple[int, ...]) -> bool:
    """Whether a bounding box reaches the border of the array."""
    return any(item.start == 0 or item.stop == length for item, length in zip(slices, shape, strict=True))
