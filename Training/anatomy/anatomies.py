"""Label maps that whole anatomies are built from: organs of an abdomen, and the kidneys of a patient with a kidney tumor. Arrays are z, y, x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry
from KidneyTumorCascadeLib.volume import read_label_map
from Training.anatomy.anatomy_labels import Tissue
from Training.cases import around, fraction

LabelArray = NDArray[np.uint8]
ORGAN_SPACING_MM = 1.5
# What borders lose to smoothing they keep against background by this threshold.
BORDER = 0.45
MARGIN_MM = 12.0
KIDNEY, TUMOR, CYST = 1, 2, 3

SCHEMES: dict[str, dict[str, tuple[int, ...]]] = {
    "word": {
        "liver": (1,),
        "spleen": (2,),
        "kidney": (3, 4),
        "stomach": (5,),
        "gallbladder": (6,),
        "esophagus": (7,),
        "pancreas": (8,),
        "duodenum": (9,),
        "colon": (10,),
        "small_bowel": (11,),
        "adrenal": (12,),
        "rectum": (13,),
        "bladder": (14,),
        "femur": (15, 16),
    },
    "spl": {
        "liver": (3,),
        "spleen": (4,),
        "kidney": (51, 52),
        "stomach": (13,),
        "gallbladder": (10,),
        "pancreas": (6,),
        "colon": (9,),
        "adrenal": (111, 112),
    },
    "kits": {"kidney": (1,), "tumor": (2,), "cyst": (3,)},
}
# The atlas is a body of 188 mm width by its own header.
SCALES = {"spl": 1.55}


@dataclass(frozen=True)
class OrganMap:
    """The organs of one abdomen.

    Attributes:
        name: where it is from.
        tissues: uint8 (z, y, x), numbers of `Tissue`; 0 is whatever is no labelled organ.
        spacing_mm: edge of a voxel.
    """

    name: str
    tissues: LabelArray
    spacing_mm: float


@dataclass(frozen=True)
class KidneyMap:
    """The kidneys of one patient: uint8 (z, y, x), 0 background, 1 kidney, 2 tumor, 3 cyst, on cubic voxels."""

    name: str
    labels: LabelArray
    spacing_mm: float


def organ_numbers(organs: str | Mapping[str, Sequence[int]], kind: str) -> dict[str, tuple[int, ...]]:
    """The label values of each organ of a named scheme or of a table. Raises ValueError for an unknown scheme or organ, and without kidney."""
    if isinstance(organs, str):
        if organs not in SCHEMES:
            raise ValueError(f"organs is one of {', '.join(SCHEMES)} or a table of organs, not {organs!r}")
        organs = SCHEMES[organs]
    known = {"kidney", "tumor", "cyst"} if kind == "kidneys" else {tissue.name.lower() for tissue in Tissue} - {"tumor", "cyst"}
    unknown = sorted(set(organs) - known)
    if unknown:
        raise ValueError(f"the organ {unknown[0]!r} is not known; known are {', '.join(sorted(known))}")
    if "kidney" not in organs:
        raise ValueError("organs must say which labels are kidney")
    return {name: tuple(int(value) for value in values) for name, values in organs.items()}


@lru_cache(maxsize=40)
def read_organs(path: Path, numbers: tuple[tuple[str, tuple[int, ...]], ...], scale: float = 1.0) -> OrganMap:
    """The organs of a label map on cubic voxels, their borders smoothed between slices. Raises InputError when it cannot be read or is empty."""
    volume = read_label_map(path).in_lps_order()
    inside = np.isin(volume.voxels, [value for _, values in numbers for value in values])
    voxels, geometry = cropped(volume.voxels, inside, volume.geometry, path)
    geometry = Geometry(geometry.size, tuple(scale * length for length in geometry.spacing))  # type: ignore[arg-type]
    grid = geometry.resampled((ORGAN_SPACING_MM,) * 3)
    tissues = np.zeros(grid.shape_zyx, dtype=np.uint8)
    best = np.full(grid.shape_zyx, BORDER, dtype=np.float32)
    for name, values in numbers:
        share = fraction(np.isin(voxels, values), geometry, grid)
        won = share > best
        best[won] = share[won]
        tissues[won] = Tissue[name.upper()]
    return OrganMap(path.name.split(".")[0], tissues, ORGAN_SPACING_MM)


def read_kidneys(path: Path, numbers: Mapping[str, Sequence[int]]) -> KidneyMap:
    """A patient's kidneys, tumors and cysts on cubic voxels. Raises InputError when it cannot be read or shows none."""
    volume = read_label_map(path).in_lps_order()
    labels = np.zeros(volume.voxels.shape, dtype=np.uint8)
    for name, value in (("kidney", KIDNEY), ("tumor", TUMOR), ("cyst", CYST)):
        labels[np.isin(volume.voxels, numbers.get(name, ()))] = value
    labels, geometry = cropped(labels, labels > 0, volume.geometry, path)
    if not np.allclose(geometry.spacing, geometry.spacing[0], rtol=0.02):
        labels, geometry = on_cubic_voxels(labels, geometry)
    return KidneyMap(path.name.split(".")[0], np.ascontiguousarray(labels), float(geometry.spacing[0]))


def cropped(voxels: LabelArray, inside: NDArray[np.bool_], geometry: Geometry, path: Path) -> tuple[LabelArray, Geometry]:
    """The part around a mask, its origin at 0."""
    if not inside.any():
        raise InputError(f"{path} shows none of the organs that it is listed for; correct its entry.")
    where = around(inside, round(MARGIN_MM / min(geometry.spacing)))
    part = geometry.cropped(where)
    return voxels[where], Geometry(part.size, part.spacing)


def on_cubic_voxels(labels: LabelArray, geometry: Geometry) -> tuple[LabelArray, Geometry]:
    """Each label's border resampled as a fraction, the largest winning."""
    grid = geometry.resampled((1.0, 1.0, 1.0))
    result = np.zeros(grid.shape_zyx, dtype=np.uint8)
    best = np.full(grid.shape_zyx, BORDER, dtype=np.float32)
    for value in (KIDNEY, TUMOR, CYST):
        share = fraction(labels == value, geometry, grid)
        result[share > best] = value
        best = np.maximum(best, share)
    return result, grid
