"""What speaks for a window of pictures whose window is unknown: how bright muscle is in them. Arrays are y, x."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from Training.resemblance.tumor_slices import REAL_PIXEL_MM, Picture, gray_of

BRIGHTEST_GRAY = 250.0
# Muscle is looked for beside and behind the vertebra, where it is even over EVEN_MM.
ASIDE_MM, BEFORE_MM, BEHIND_MM, EVEN_MM = (20.0, 100.0), 15.0, 70.0, 10.0
MUSCLE_GRAYS, STEEPEST_PER_MM = (15.0, 120.0), 1.5
FEWEST_PIXELS = 200


def muscle_gray(picture: Picture, pixel_mm: float) -> float | None:
    """The commonest gray of even tissue beside and behind the largest bone, which is the vertebra; None where there is hardly any."""
    bones, count = ndimage.label(ndimage.binary_opening(picture >= BRIGHTEST_GRAY, iterations=2))
    if not count:
        return None
    vertebra = bones == 1 + int(np.argmax(np.bincount(bones.ravel())[1:]))
    y, x = (axis * pixel_mm for axis in np.indices(picture.shape))
    center_y, center_x = (float(value) * pixel_mm for value in ndimage.center_of_mass(vertebra))
    aside, behind = np.abs(x - center_x), y - center_y
    mean = ndimage.uniform_filter(picture, round(EVEN_MM / pixel_mm))
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(picture, EVEN_MM / 3.0 / pixel_mm))) / pixel_mm
    place = (aside > ASIDE_MM[0]) & (aside < ASIDE_MM[1]) & (behind > -BEFORE_MM) & (behind < BEHIND_MM) & (slope < STEEPEST_PER_MM)
    grays = mean[place & (mean > MUSCLE_GRAYS[0]) & (mean < MUSCLE_GRAYS[1])]
    return commonest(grays) if grays.size >= FEWEST_PIXELS else None


def commonest(grays: NDArray[np.float32]) -> float:
    """The mode, of a histogram smoothed by two grays."""
    counts = np.histogram(grays, np.arange(0.0, 257.0))[0].astype(np.float64)
    return float(np.argmax(ndimage.gaussian_filter1d(counts, 2.0))) + 0.5


def muscle_grays(folder: Path) -> dict[str, float]:
    """Median, 10th and 90th percentile over the patients of a folder of slices."""
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*_ct.png")):
        gray = muscle_gray(gray_of(path), REAL_PIXEL_MM)
        found.setdefault(re.split("_", path.name)[0], []).extend([] if gray is None else [gray])
    return summary(found)


def summary(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Percentiles of the patients' medians."""
    medians = [float(np.median(values)) for values in found.values() if values]
    return {name: float(np.percentile(medians, share)) for name, share in (("p10", 10), ("median", 50), ("p90", 90))} if medians else {}
