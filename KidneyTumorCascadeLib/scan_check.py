"""Is this a CT that can be worked on? Errors and warnings, each one sentence that its reader can act on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import FARTHEST_MM, Geometry, describe_mm, describe_size
from KidneyTumorCascadeLib.volume import Volume

# A kidney is 80 to 130 mm long: below these a scan cannot show enough of one to be told from anything else.
FEWEST_VOXELS = 8
SMALLEST_EXTENT_MM = 50.0
LARGEST_SPACING_MM = 20.0

# Beyond these no scanner, no metal (up to 32767 on extended scales) and no padding (-32768) leaves a value.
LOWEST_VALUE, HIGHEST_VALUE = -40_000.0, 65_535.0
# Scanners pad with values down to -2000 - 1024; what lies below is no measurement.
LOWEST_USUAL_VALUE = -3_100.0
# Padding is no part of the statistics.
PADDING_BELOW = -1_500.0

# In 13 real CTs of chest, neck and abdomen, wide and narrow fields of view, 60 to 92 % of the voxels are below 0 HU (air, lung, fat),
# 22 to 84 % in the range of soft tissue, at most 0.9 % as dense as cortical bone around 1100 HU, and the middle 99 % span over 1200 HU.
# The limits leave room for a crop without air, which keeps its fat and muscle.
LEAST_NEGATIVE = 0.001
SOFT_TISSUE, LEAST_SOFT_TISSUE = (-150.0, 300.0), 0.05
LEAST_SPAN = 100.0
# Soft tissue of a CT whose intercept of -1024 was not applied, and the share of it that no real bone reaches.
UNSCALED_TISSUE, MOST_DENSE_BONE = (900.0, 1300.0), 0.10
AIR_AND_FAT = (PADDING_BELOW, -50.0)
# Air with the wrong sign: bone never fills so much, least of all where there is no air.
NEGATED_AIR, MOST_BONE, AIR_AND_GAS, LEAST_AIR = (500.0, 2000.0), 0.25, (PADDING_BELOW, -500.0), 0.01
# Every CT has air or gas; where the lowest value is above these and fills more than this share, a display window has cut off what is below.
LOWEST_AIR, MOST_AT_LOWEST = -800.0, 0.02
# Air of a signed CT that was stored as unsigned 16-bit numbers.
WRAPPED_AIR = (63_000.0, 65_535.0)

THICK_SLICE_MM = 5.0
SMALL_FIELD_OF_VIEW_MM = 150.0
SHORT_SCAN_MM = 120.0

SAMPLES = 4_000_000


@dataclass(frozen=True)
class Statistics:
    """What is known of a scan's values: the range of all of them, and a sample spread evenly over the scan, without padding."""

    lowest: float
    highest: float
    sample: NDArray[Any]

    def share(self, limits: tuple[float, float]) -> float:
        """Fraction of the sample from the lower to the upper limit."""
        return float(((self.sample >= limits[0]) & (self.sample <= limits[1])).mean()) if self.sample.size else 0.0


def check_scan(volume: Volume, name: str) -> list[str]:
    """Warnings about a scan that can be used; the name begins each message.

    Refused are scans of fewer than 8 voxels or 50 mm along an axis, spacings over 20 mm, positions beyond 1e6 mm, NaN or infinity, one single
    value, 8-bit pictures and label maps, and values that are not Hounsfield units: none below zero, none of soft tissue, shifted by 1024,
    wrapped round.
    Warned of are slices over 5 mm, fields of view under 150 mm and scans shorter than 120 mm, where kidneys may be cut.

    Raises:
        InputError: the scan cannot be used.
    """
    _check_grid(volume.geometry, name)
    statistics = _statistics(volume.voxels, name)
    _check_range(statistics, name)
    _check_hounsfield(statistics, name)
    return _grid_warnings(volume.in_lps_order().geometry, name) + _value_warnings(statistics, name)


def _check_grid(geometry: Geometry, name: str) -> None:
    if min(geometry.size) < FEWEST_VOXELS or min(geometry.extent) < SMALLEST_EXTENT_MM:
        size = f"{describe_size(geometry.size)} voxels, {describe_mm(geometry.extent)}"
        least = f"at least {FEWEST_VOXELS} voxels and {SMALLEST_EXTENT_MM:.0f} mm along each axis are needed"
        raise InputError(f"{name} is too small ({size}): {least}.")
    if max(geometry.spacing) > LARGEST_SPACING_MM:
        spacing = describe_mm(geometry.spacing)
        raise InputError(f"{name} has voxels of {spacing}; more than {LARGEST_SPACING_MM:.0f} mm is too coarse for a kidney, or its header is wrong.")
    if max(map(abs, geometry.origin)) > FARTHEST_MM:
        distance = max(map(abs, geometry.origin))
        raise InputError(f"{name} says that it lies {distance:.3g} mm from the scanner's centre; its header is damaged, so export the scan again.")


def _statistics(voxels: NDArray[Any], name: str) -> Statistics:
    lowest, highest = float(voxels.min()), float(voxels.max())
    # Minimum and maximum hand on a NaN and show an infinity, without a copy of the scan.
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InputError(f"{name} holds voxels that are not numbers (NaN or infinite); replace them, with -1024 outside the field of view.")
    step = max(1, math.ceil((voxels.size / SAMPLES) ** (1 / 3)))
    sample = voxels[::step, ::step, ::step]
    return Statistics(lowest, highest, sample[sample > PADDING_BELOW])


def _check_range(values: Statistics, name: str) -> None:
    found = f"its values run from {values.lowest:g} to {values.highest:g}"
    if values.lowest == values.highest:
        raise InputError(f"{name} is empty: every voxel is {values.lowest:g}.")
    if (values.lowest >= 0 and values.highest <= 255) or (values.lowest == -128 and values.highest <= 127):
        raise InputError(f"{name} is an 8-bit picture or a label map ({found}), not a CT in Hounsfield units; give the CT itself.")
    if values.lowest < LOWEST_VALUE or values.highest > HIGHEST_VALUE:
        raise InputError(f"{name} is no CT in Hounsfield units: {found}; give the CT as the scanner made it.")


def _check_hounsfield(values: Statistics, name: str) -> None:
    found = f"its values run from {values.lowest:g} to {values.highest:g}"
    unscaled, air = values.share(UNSCALED_TISSUE), values.share(AIR_AND_FAT)
    if values.share(WRAPPED_AIR) > LEAST_NEGATIVE:
        raise InputError(f"{name} has negative values wrapped round to {values.highest:g}; export it again with a signed type.")
    if unscaled > MOST_DENSE_BONE and air < 0.01:
        raise InputError(f"{name} looks like raw values without the rescale intercept ({found}); Hounsfield units are needed, so subtract 1024.")
    if values.share(NEGATED_AIR) > MOST_BONE and values.share(AIR_AND_GAS) < LEAST_AIR:
        raise InputError(f"{name} has its values upside down ({found}), with air above water; Hounsfield units are needed, so change their sign.")
    if values.share((PADDING_BELOW, -0.5)) < LEAST_NEGATIVE:
        raise InputError(f"{name} has hardly a value below zero ({found}), as MR or a rescaled image has; a CT in Hounsfield units is needed.")
    if np.ptp(np.percentile(values.sample, (0.5, 99.5))) < LEAST_SPAN:
        raise InputError(f"{name} has too little contrast for a CT ({found}), as after a normalization; Hounsfield units are needed.")
    if values.share(SOFT_TISSUE) < LEAST_SOFT_TISSUE:
        raise InputError(f"{name} has hardly any soft tissue between {SOFT_TISSUE[0]:g} and {SOFT_TISSUE[1]:g} HU ({found}); check that it is a CT.")


def _grid_warnings(geometry: Geometry, name: str) -> list[str]:
    """Warnings about a grid in LPS order: x and y are the field of view, z the length of the scan."""
    warnings = []
    if max(geometry.spacing) > THICK_SLICE_MM * 1.001:
        warnings.append(f"{name} has slices of {max(geometry.spacing):.3g} mm; with more than {THICK_SLICE_MM:g} mm small tumors may be missed.")
    if min(geometry.extent[:2]) < SMALL_FIELD_OF_VIEW_MM:
        warnings.append(f"{name} has a field of view of {describe_mm(geometry.extent[:2])}; kidneys may be cut by its border.")
    if geometry.extent[2] < SHORT_SCAN_MM:
        warnings.append(f"{name} covers only {geometry.extent[2]:.0f} mm from top to bottom; kidneys may be cut by its ends.")
    return warnings


def _value_warnings(values: Statistics, name: str) -> list[str]:
    warnings = []
    if values.lowest < LOWEST_USUAL_VALUE:
        warnings.append(f"{name} has values down to {values.lowest:g} HU, lower than air can be; they are taken as padding.")
    if values.lowest > LOWEST_AIR and values.share((values.lowest, values.lowest)) > MOST_AT_LOWEST:
        warnings.append(f"{name} has nothing below {values.lowest:g} HU, as if cut off by a display window; give the CT as the scanner made it.")
    return warnings
