"""From the ROI-V-Net's prediction to a box around each kidney: fixed boxes as published, or boxes that fit what was found.

Arrays are z, y, x of a grid in LPS order: z runs from inferior to superior, y from anterior to posterior, x from the patient's right to the
left. Everything here is anatomical; the publication's x, y and z are not used, because its z is left-right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from KidneyTumorCascadeLib.box_rules import BoxRules
from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Box, Geometry, Slices, box_of_slices
from KidneyTumorCascadeLib.kidney_groups import (
    Cut,
    Group,
    Mask,
    Probability,
    choose_kidneys,
    cut_between,
    extent_around,
    fragments_of,
    group_fragments,
    mask_of,
    numbered_parts,
)

__all__ = ["BoxRules", "FoundKidneys", "adaptive_boxes", "fixed_boxes"]

Span = tuple[int, int]
Spans = tuple[Span, Span, Span]

# Median filters in pixels of the scan: superior-inferior x left-right, and antero-posterior x left-right. The published "10 x 25" is rows x
# columns of a coronal picture, whose rows are slices: on the published grid (3 x 0.78 x 0.78 mm) that is 30 x 20 mm, about as square as the
# 20 x 20 mm of the other filter, while 25 x 10 would be 75 x 8 mm and erase most kidneys.
CORONAL_FILTER = (10, 25)
AXIAL_FILTER = (25, 25)

NOTHING_FOUND = "No kidney was found in this scan; the label map is empty."
CROSSING = "A kidney or tumor reaches across the midline; one box holds both sides."
SIDE_UNKNOWN = "The field of view cuts the body; whether this is the right or the left kidney is uncertain."
# In 194 public KiTS23 label maps each of two kidneys has its centre at least 45 mm on its own side of the scan's middle. Only a centre this
# far on the other side is called odd, so a midline that is off by 65 mm raises no false alarm.
CLEARLY_BESIDE_MM = 20.0


@dataclass(frozen=True)
class FoundKidneys:
    """What was found.

    Attributes:
        boxes: at most two, disjoint, the right side's first; or one for both sides; none when nothing was found.
        warnings: sentences for the user.
        dropped: connected parts that were not taken for kidney, counted by reason: "small", "faint", "elsewhere".
    """

    boxes: list[Box]
    warnings: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


def fixed_boxes(mask_zyx: NDArray[Any], mask_geometry: Geometry, scan_geometry: Geometry, edge: int = 256) -> list[Box]:
    """A box of `edge` voxels of the scan for each half of the image, clipped to the scan and along left-right to the half.

    As published: the mask is halved at the middle of the image along left-right; in each half it is projected by summing along the axial
    and along the coronal direction; both projections are median filtered; the box is laid around the mid-point m of what is left, in 1-based
    voxels [max(1, m - 127), min(m + 128, f)]. Settled here, because the publication leaves it open: m is the middle (rounded down) of the
    extent of what is left, superior-inferior from the coronal projection, antero-posterior and left-right from the axial one; the filters
    mirror the half at its borders; f is the scan's size superior-inferior and antero-posterior (the printed formula halves a second axis, which
    would cut off the back of the patient) and the half's size left-right.

    Args:
        mask_zyx: (z, y, x), kidney and tumor together; what is not 0 is kidney.
        mask_geometry: the mask's grid; it may be coarser than the scan's, with the same outer faces.
        scan_geometry: the scan's grid, which the filters and the edge are counted in. Only projections of that size are made.
        edge: of the box, in voxels of the scan.

    Returns:
        The right box and the left one. A half without kidney is a box of its own, with the source "whole half".

    Raises:
        InputError: when the scan is a single voxel wide.
        ValueError: when the grids do not cover the same extent.
    """
    if not np.allclose(mask_geometry.extent, scan_geometry.extent, rtol=1e-3):
        raise ValueError(f"the mask covers {mask_geometry.extent} mm, the scan {scan_geometry.extent} mm")
    depth, height, width = scan_geometry.shape_zyx
    if width < 2:
        raise InputError("The scan is a single voxel wide from right to left; it cannot be halved to find two kidneys.")
    mask = np.asarray(mask_zyx) != 0
    coronal = enlarge(mask.sum(axis=1), (depth, width))
    axial = enlarge(mask.sum(axis=0), (height, width))
    boxes = []
    for side, half in (("right", (0, width // 2)), ("left", (width // 2, width))):
        columns = slice(*half)
        spans = half_spans(coronal[:, columns], axial[:, columns], half, edge)
        source = "whole half" if spans is None else "network"
        boxes.append(box_of_slices(as_slices(spans or ((0, depth), (0, height), half)), scan_geometry, side, source))
    return boxes


def half_spans(coronal: NDArray[Any], axial: NDArray[Any], half: Span, edge: int) -> Spans | None:
    """The fixed box of one half from its projections (z, x) and (y, x); None when the filters leave nothing."""
    superior_inferior, _ = filtered_extents(coronal, CORONAL_FILTER)
    antero_posterior, left_right = filtered_extents(axial, AXIAL_FILTER)
    if superior_inferior is None or antero_posterior is None or left_right is None:
        return None
    start, stop = fixed_span(left_right, edge, half[1] - half[0])
    return (
        fixed_span(superior_inferior, edge, coronal.shape[0]),
        fixed_span(antero_posterior, edge, axial.shape[0]),
        (half[0] + start, half[0] + stop),
    )


def filtered_extents(projection: NDArray[Any], size: tuple[int, int]) -> tuple[Span | None, Span | None]:
    """Extent along rows and columns of what a median filter leaves of the projection."""
    # A median and "above zero" can be exchanged, and a picture of zeros and ones is filtered faster than one of counts.
    left = ndimage.median_filter((projection > 0).astype(np.uint8), size=size, mode="reflect")
    return extent_of(left.any(axis=1)), extent_of(left.any(axis=0))


def extent_of(profile: NDArray[Any]) -> Span | None:
    """First true element and the one after the last; None when none is true."""
    found = np.flatnonzero(profile)
    return (int(found[0]), int(found[-1]) + 1) if found.size else None


def fixed_span(extent: Span, edge: int, size: int) -> Span:
    """`edge` voxels around the middle of the extent, as far as the size allows: 127 before the middle and 128 behind it when the edge is 256."""
    start = (extent[0] + extent[1] - 1) // 2 - (edge - 1) // 2
    return max(start, 0), min(start + edge, size)


def enlarge(projection: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """The projection on pixels of another size within the same outer faces; each takes the pixel that its centre lies in."""
    rows, columns = ((2 * np.arange(length) + 1) * present // (2 * length) for length, present in zip(shape, projection.shape, strict=True))
    return projection[np.ix_(rows, columns)]


def adaptive_boxes(
    probability_zyx: Probability, geometry: Geometry, rules: BoxRules | None = None, midline_x_mm: float | None = None
) -> FoundKidneys:
    """A box around each kidney found, with its tumors and a margin; nothing that was found is cut.

    Args:
        probability_zyx: (z, y, x), of kidney and tumor together.
        geometry: its grid, in LPS order; about 4 mm is fine enough.
        rules: see there.
        midline_x_mm: LPS x of the middle of the body, at the height of the grid's centre. It decides the side of a single kidney, and
            whether a single mass belongs to both. None when the field of view cuts the body, so that nobody can tell: the side of a single
            kidney is then that of the grid, and said to be uncertain.

    Returns:
        The boxes, on the grid's axes, clipped to the grid, and what to tell the user.
    """
    rules = rules or BoxRules()
    numbered = numbered_parts(probability_zyx > rules.threshold)
    groups = group_fragments(fragments_of(probability_zyx, numbered, geometry), numbered, geometry, rules)
    plausible, dropped = sort_out(groups, rules)
    kidneys = choose_kidneys(plausible, rules)
    surplus = [group for group in plausible if group not in kidneys]
    dropped["elsewhere"] = count_parts(surplus)
    if not kidneys:
        return FoundKidneys([], [NOTHING_FOUND], dropped)
    middle = middle_between(kidneys, geometry) if midline_x_mm is None else midline_on_grid(geometry, midline_x_mm)
    sides = sides_of(kidneys, geometry, rules, middle)
    region = enclosed_region(probability_zyx, [mask_of(group.numbers, numbered) for group in kidneys], geometry, rules)
    cut = cut_between(*kidneys) if len(sides) == 2 else None
    spans = kidney_spans(region, cut, geometry, rules)
    boxes = [box_of_slices(as_slices(item), geometry, side, "network") for side, item in zip(sides, spans, strict=True)]
    warnings = side_warnings(kidneys, sides, middle, certain=midline_x_mm is not None)
    return FoundKidneys(boxes, warnings + [left_out(group, middle) for group in surplus], dropped)


def sort_out(groups: Sequence[Group], rules: BoxRules) -> tuple[list[Group], dict[str, int]]:
    """The groups that may be kidneys, and how many parts of the others are too small or too faint."""
    large = [group for group in groups if group.ml >= rules.min_kidney_ml]
    plausible = [group for group in large if group.peak >= rules.min_peak_probability]
    small = [group for group in groups if group.ml < rules.min_kidney_ml]
    faint = [group for group in large if group.peak < rules.min_peak_probability]
    return plausible, {"small": count_parts(small), "faint": count_parts(faint)}


def count_parts(groups: Sequence[Group]) -> int:
    """Fragments in all of them."""
    return sum(len(group.fragments) for group in groups)


def midline_on_grid(geometry: Geometry, midline_x_mm: float) -> float:
    """Where the midline crosses the line through the grid's centre along left-right: mm from the grid's right outer face."""
    centre = geometry.to_patient((np.array(geometry.size) - 1.0) / 2.0)
    return geometry.extent[0] / 2 + float((midline_x_mm - centre[0]) / geometry.axes[0, 0])


def middle_between(kidneys: Sequence[Group], geometry: Geometry) -> float:
    """What stands in for an unknown midline: between two kidneys, or the grid's middle. mm from the grid's right outer face."""
    return sum(group.x_mm for group in kidneys) / 2 if len(kidneys) == 2 else geometry.extent[0] / 2


def sides_of(kidneys: Sequence[Group], geometry: Geometry, rules: BoxRules, middle_mm: float) -> list[str]:
    """Right and left for two kidneys that a plane can separate, else one of them or both sides in one."""
    if len(kidneys) == 2:
        return ["both"] if cut_between(*kidneys) is None else ["right", "left"]
    start, stop = (index * geometry.spacing[0] - middle_mm for index in kidneys[0].span(2))
    if start < -rules.crossing_mm and stop > rules.crossing_mm:
        return ["both"]
    return ["right" if kidneys[0].x_mm < middle_mm else "left"]


def side_warnings(kidneys: Sequence[Group], sides: Sequence[str], middle_mm: float, certain: bool) -> list[str]:
    """What is odd about the sides, as sentences; `certain` when the midline is known."""
    if len(sides) == 2:
        return on_one_side(kidneys, middle_mm)
    if len(kidneys) == 1 and not certain:
        return [SIDE_UNKNOWN]
    if sides[0] == "both":
        return [CROSSING]
    return [f"No kidney was found on the {'left' if sides[0] == 'right' else 'right'} side."]


def on_one_side(kidneys: Sequence[Group], middle_mm: float) -> list[str]:
    """A sentence when both centres lie clearly on the same side of the midline, where the other one may be liver, spleen or bowel."""
    offsets = [group.x_mm - middle_mm for group in kidneys]
    for side, nearer in (("right", -max(offsets)), ("left", min(offsets))):
        if nearer > CLEARLY_BESIDE_MM:
            return [f"Both regions found lie on the patient's {side} of the middle; one of them may not be a kidney, check the sides."]
    return []


def left_out(group: Group, middle_mm: float) -> str:
    """A sentence about something that could be a third kidney."""
    side = "right" if group.x_mm < middle_mm else "left"
    return f"A further region of {group.ml:.0f} ml on the {side} side resembles a kidney and was left out; check there, and draw a box if it is one."


def enclosed_region(probability_zyx: Probability, cores: Sequence[Mask], geometry: Geometry, rules: BoxRules) -> Mask:
    """The cores and every voxel that is connected to one of them above `low_threshold` and lies within `grow_mm` of one."""
    numbered = numbered_parts(probability_zyx > rules.low_threshold)
    connected = np.zeros(int(numbered.max()) + 1, dtype=bool)
    for core in cores:
        connected[numbered[core]] = True
    region = np.zeros_like(cores[0])
    for core in cores:
        around = extent_around(core, geometry, rules.grow_mm)
        distance = ndimage.distance_transform_edt(~core[around], sampling=geometry.spacing[::-1])
        region[around] |= connected[numbered[around]] & (distance <= rules.grow_mm)
    return region


def kidney_spans(region: Mask, cut: Cut | None, geometry: Geometry, rules: BoxRules) -> list[Spans]:
    """The region's extent with its margins, clipped to the grid; one on each side of the cut if there is one, sharing the gap between them."""
    margins = [math.ceil(mm / step - 1e-6) for mm, step in zip(rules.margin_mm[::-1], geometry.spacing[::-1], strict=True)]
    around = [(margin, margin) for margin in margins]
    if cut is None:
        return [widened(spans_of(region), around, region.shape)]
    axis, position = cut.axis, cut.position
    before, behind = np.split(region, [position], axis=axis)
    lower, upper = spans_of(before), shifted(spans_of(behind), axis, position)
    share = min(margins[axis], (upper[axis][0] - lower[axis][1]) // 2)
    lower_around, upper_around = list(around), list(around)
    lower_around[axis], upper_around[axis] = (margins[axis], share), (share, margins[axis])
    spans = [widened(lower, lower_around, region.shape), widened(upper, upper_around, region.shape)]
    return spans if cut.right_first else spans[::-1]


def spans_of(mask: Mask) -> Spans:
    """Extent of a mask that is not empty, along z, y, x."""
    z, y, x = (extent_of(np.asarray(mask.any(axis=others))) or (0, 0) for others in ((1, 2), (0, 2), (0, 1)))
    return z, y, x


def shifted(spans: Spans, axis: int, offset: int) -> Spans:
    """The extents, moved along one axis."""
    z, y, x = ((start + offset, stop + offset) if index == axis else (start, stop) for index, (start, stop) in enumerate(spans))
    return z, y, x


def widened(spans: Spans, around: Sequence[Span], shape: Sequence[int]) -> Spans:
    """The extents with so many voxels more before and behind, as far as the grid goes."""
    limits = zip(spans, around, shape, strict=True)
    z, y, x = ((max(start - before, 0), min(stop + behind, size)) for (start, stop), (before, behind), size in limits)
    return z, y, x


def as_slices(spans: Spans) -> Slices:
    """For indexing."""
    z, y, x = (slice(start, stop) for start, stop in spans)
    return z, y, x
