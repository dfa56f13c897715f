"""Labelled scans on a regular grid, ready to be cropped, deformed and changed: what all training data passes through.

A case is a scan along its own axes in LPS order, resampled to cubic voxels. Arrays are z, y, x.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.errors import InputError
from KidneyTumorCascadeLib.geometry import Geometry, Slices
from KidneyTumorCascadeLib.report import write_bytes_atomically
from KidneyTumorCascadeLib.resampling import resample
from KidneyTumorCascadeLib.volume import Volume, read_label_map, read_volume

KIDNEY, TUMOR = 1, 2
AIR_HU, DENSEST_HU = -1024, 3071
# A header's rounding moves voxels by less than a tenth of their size; a label map of another grid, by more.
GRID_TOLERANCE = 0.1


@dataclass(frozen=True)
class Case:
    """One labelled scan.

    Attributes:
        name: unique.
        hu: int16 (z, y, x).
        labels: uint8 (z, y, x), 0 background, 1 kidney, 2 tumor.
        spacing_mm: edge of a voxel.
    """

    name: str
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: float

    def __post_init__(self) -> None:
        if self.hu.shape != self.labels.shape:
            raise ValueError(f"{self.name}: labels of shape {self.labels.shape} do not fit a scan of shape {self.hu.shape}")

    @property
    def geometry(self) -> Geometry:
        """Its grid, with the first voxel at the origin."""
        z, y, x = self.hu.shape
        return Geometry((x, y, z), (self.spacing_mm,) * 3)

    def cropped(self, slices: Slices) -> Case:
        """The part in the slices (z, y, x)."""
        return replace(self, hu=np.ascontiguousarray(self.hu[slices]), labels=np.ascontiguousarray(self.labels[slices]))

    def save(self, folder: Path) -> None:
        """Write folder/name.npz, whole or not at all. Raises InputError or SetupError when it cannot be written."""
        content = io.BytesIO()
        np.savez(content, hu=self.hu, labels=self.labels, spacing_mm=self.spacing_mm)
        write_bytes_atomically(folder / f"{self.name}.npz", content.getvalue())


def load_case(path: Path) -> Case:
    """Read what `Case.save` wrote; nothing is unpickled. Raises InputError for any other file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Case(path.stem, arrays["hu"], arrays["labels"], float(arrays["spacing_mm"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a training case ({error}); write the pool again.") from error


def load_cases(folder: Path) -> list[Case]:
    """All cases of a folder, by name. Raises InputError when there are none."""
    cases = [load_case(path) for path in sorted(folder.glob("*.npz"))]
    if not cases:
        raise InputError(f"There are no cases (*.npz) in {folder}; write a pool with Training/synthesis.py first.")
    return cases


def read_labels(path: Path, kidney_labels: Sequence[int] = ()) -> Volume:
    """A label map: 0 background, 2 tumor, anything else kidney. `kidney_labels`, if there are any, become label 1 and all others 0.

    They are for label maps that number the right and the left kidney, or other organs too.
    """
    labels = read_label_map(path)
    return replace(labels, voxels=np.isin(labels.voxels, kidney_labels).astype(np.uint8)) if kidney_labels else labels


def read_case(name: str, ct: Path, label_path: Path | None, spacing_mm: float, kidney_labels: Sequence[int] = ()) -> Case:
    """The case of a CT and its label map (None: nothing to find). Raises InputError when one cannot be read or they do not fit together."""
    scan = read_volume(ct)
    if label_path is None:
        return cubic_case(name, scan, None, spacing_mm)
    labels = read_labels(label_path, kidney_labels)
    if not labels.in_lps_order().geometry.matches(scan.in_lps_order().geometry, GRID_TOLERANCE * min(scan.geometry.spacing)):
        raise InputError(f"{label_path} does not lie on the grid of {ct}; give the label map that was drawn on this scan.")
    return cubic_case(name, scan, labels, spacing_mm)


def cubic_case(name: str, scan: Volume, labels: Volume | None, spacing_mm: float) -> Case:
    """A scan and its label map (None: nothing to find) as a case. Any label but 2 counts as kidney; 2 counts as tumor.

    Label borders are resampled as fractions and cut at one half, so that they move by less than half a voxel. The grid has a whole number of
    voxels over the scan's extent, so that its spacing is off from `spacing_mm` by at most half a voxel in all.
    """
    scan = scan.in_lps_order()
    grid = scan.geometry.resampled((spacing_mm,) * 3)
    hu = resample(scan.voxels, scan.geometry, grid).round().clamp(AIR_HU, DENSEST_HU).numpy().astype(np.int16)
    result = np.zeros(grid.shape_zyx, dtype=np.uint8)
    if labels is not None:
        reference = labels.in_lps_order()
        result[fraction(reference.voxels > 0, reference.geometry, grid) > 0.5] = KIDNEY
        result[fraction(reference.voxels == TUMOR, reference.geometry, grid) > 0.5] = TUMOR
    return Case(name, hu, result, spacing_mm)


def fraction(mask: NDArray[np.bool_], source: Geometry, target: Geometry) -> NDArray[np.float32]:
    """How much of each voxel of the target grid lies in the mask of the source grid."""
    return np.asarray(resample(mask.astype(np.uint8), source, target).numpy())


def around(mask: NDArray[np.bool_], margin_voxels: int) -> Slices:
    """The bounding box (z, y, x) of a mask, widened and clipped to the array. Raises ValueError for an empty mask."""
    z, y, x = (extent_along(axis, mask, margin_voxels) for axis in range(3))
    return z, y, x


def extent_along(axis: int, mask: NDArray[np.bool_], margin_voxels: int) -> slice:
    """The indices along one axis that a mask uses, widened and clipped to the array."""
    used = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
    if not used.size:
        raise ValueError("an empty mask has no bounding box")
    return slice(max(0, int(used[0]) - margin_voxels), min(mask.shape[axis], int(used[-1]) + 1 + margin_voxels))


def coarser(case: Case, spacing_mm: float) -> Case:
    """The same case on larger voxels."""
    return cubic_case(case.name, Volume(case.hu, case.geometry), Volume(case.labels, case.geometry), spacing_mm)


def as_hu(values: NDArray[Any]) -> NDArray[np.int16]:
    """Rounded and clipped to what a CT stores."""
    return np.asarray(np.clip(np.rint(values), AIR_HU, DENSEST_HU), dtype=np.int16)
