"""Lesion by lesion: which tumors of the reference were found, which were missed, and which found ones are not there.

A lesion is a connected part of the tumor label (26 neighbours). It counts as found when its intersection over union with the predicted tumors
that touch it is at least 0.1: the lenient overlap that is usual for detection in 3-D medical images, where a small localized hit is already
useful (Jaeger et al. 2020, Retina U-Net, arXiv:1811.08661; Baumgartner et al. 2021, nnDetection, arXiv:2106.00817). Neither KiTS19 nor KiTS23
scores single lesions. A predicted tumor that touches no found lesion is a false one, also when it only grazes a missed one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEAST_IOU = 0.1
# A speck of a label map, 4 mm across, is no lesion: neither can it be missed, nor is a finding on it a false one.
SPECK_ML = 0.033
LARGE_MM = 20.0
# A tumor this much (HU) darker or brighter than its kidney can be seen; others only by their form.
SEEN_HU = 20.0
SIZE_CLASSES = (("under 2 cm", 0.0, 20.0), ("2 to 4 cm", 20.0, 40.0), ("4 cm and more", 40.0, float("inf")))
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Lesion:
    """One tumor of the reference.

    Attributes:
        ml: its volume.
        diameter_mm: of the sphere of that volume.
        dice: with the predicted tumors that touch it.
        found: whether these overlap it enough.
        contrast_hu: its median less that of the scan's kidneys without tumor; None where there is no kidney beside tumors.
    """

    ml: float
    diameter_mm: float
    dice: float
    found: bool
    contrast_hu: float | None


@dataclass(frozen=True)
class Detection:
    """The lesions of one scan, and how many predicted tumors are none."""

    lesions: list[Lesion]
    false_tumors: int


@dataclass(frozen=True)
class Share:
    """How many of the lesions of a size were found."""

    found: int
    lesions: int


def detect(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], voxel_ml: float, hu: NDArray[Any] | None = None, kidney_hu: float | None = None
) -> Detection:
    """Compare two tumor masks (z, y, x) of the same grid lesion by lesion.

    Args:
        prediction: what is called tumor.
        reference: what is tumor.
        voxel_ml: the volume of a voxel.
        hu: the scan (z, y, x), for the lesions' contrast; it is not told without.
        kidney_hu: the median of the reference's kidney, likewise.
    """
    if not (prediction | reference).any():
        return Detection([], 0)
    part = ndimage.find_objects((prediction | reference).astype(np.uint8))[0]
    overlap = overlap_table(reference[part], prediction[part])
    contrasts = [None] * (len(overlap) - 1) if hu is None or kidney_hu is None else contrasts_hu(hu[part], reference[part], kidney_hu)
    lesions, touched = [], np.zeros(overlap.shape[1] - 1, dtype=bool)
    for row, contrast in zip(overlap[1:], contrasts, strict=True):
        touching = row[1:] > 0
        lesion = lesion_of(int(row.sum()), int(row[1:].sum()), int(overlap[:, 1:].sum(axis=0)[touching].sum()), voxel_ml, contrast)
        speck = lesion.ml < SPECK_ML
        if not speck:
            lesions.append(lesion)
        if speck or lesion.found:
            touched |= touching
    return Detection(lesions, int((~touched).sum()))


def overlap_table(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Voxels that a part of the reference (row) and a part of the prediction (column) share; row and column 0 are what is outside all parts."""
    expected, lesions = ndimage.label(reference, NEIGHBOURS)
    predicted, findings = ndimage.label(prediction, NEIGHBOURS)
    somewhere = reference | prediction
    pairs = expected[somewhere].astype(np.int64) * (findings + 1) + predicted[somewhere]
    return np.bincount(pairs, minlength=(lesions + 1) * (findings + 1)).reshape(lesions + 1, findings + 1)


def contrasts_hu(hu: NDArray[Any], reference: NDArray[np.bool_], kidney_hu: float) -> list[float]:
    """How much brighter the median of each part of the reference is than the kidney, in the order of `overlap_table`'s rows."""
    numbered, lesions = ndimage.label(reference, NEIGHBOURS)
    return [float(median) - kidney_hu for median in ndimage.median(hu, numbered, range(1, lesions + 1))] if lesions else []


def lesion_of(voxels: int, shared: int, predicted: int, voxel_ml: float, contrast_hu: float | None = None) -> Lesion:
    """A lesion of that many voxels, `shared` of them with predicted tumors of `predicted` voxels that touch it."""
    union = voxels + predicted - shared
    ml = voxels * voxel_ml
    return Lesion(ml, sphere_diameter_mm(ml), 2.0 * shared / (voxels + predicted), shared / union >= LEAST_IOU, contrast_hu)


def sphere_diameter_mm(ml: float) -> float:
    """The diameter of the sphere of a volume."""
    return float(np.cbrt(6.0 * 1000.0 * ml / np.pi))


def found_by_size(lesions: Sequence[Mapping[str, Any]]) -> dict[str, Share]:
    """How many were found in each size class. `lesions` are `Lesion`s as they stand in an evaluation's file."""
    return {name: share_of(lesion for lesion in lesions if low <= lesion["diameter_mm"] < high) for name, low, high in SIZE_CLASSES}


def found_by_contrast(lesions: Sequence[Mapping[str, Any]]) -> dict[str, Share]:
    """How many of the large ones were found among those that can be told from their kidney by brightness, and among the others.

    `lesions` as above; those of which the contrast is not known are in neither.
    """
    large = [lesion for lesion in lesions if lesion["diameter_mm"] >= LARGE_MM and lesion["contrast_hu"] is not None]
    seen = f"{SEEN_HU:.0f} HU and more"
    return {
        seen: share_of(lesion for lesion in large if abs(lesion["contrast_hu"]) >= SEEN_HU),
        f"under {SEEN_HU:.0f} HU": share_of(lesion for lesion in large if abs(lesion["contrast_hu"]) < SEEN_HU),
    }


def share_of(lesions: Iterable[Mapping[str, Any]]) -> Share:
    """How many of these were found."""
    found = [bool(lesion["found"]) for lesion in lesions]
    return Share(sum(found), len(found))
