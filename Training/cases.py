"""Labelled scans on a regular grid, ready to be cropped, deformed and changed: what all training data passes through.

A case is a scan along its own axes in LPS order, resampled to cubic voxels. Arrays are z, y, x.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KidneyTumorCascadeLib.geometry import Geometry, Slices
from KidneyTumorCascadeLib.resampling import resample
from KidneyTumorCascadeLib.volume import Volume, read_volume

AIR_HU = -1024


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

    def cropped(self, slices: Slices) -> Case:
        """The part in the slices (z, y, x)."""
        return replace(self, hu=np.ascontiguousarray(self.hu[slices]), labels=np.ascontiguousarray(self.labels[slices]))

    def save(self, folder: Path) -> None:
        """Write folder/name.npz."""
        np.savez(folder / f"{self.name}.npz", hu=self.hu, labels=self.labels, spacing_mm=self.spacing_mm)


def load_case(path: Path) -> Case:
    """Read what `Case.save` wrote; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        return Case(path.stem, arrays["hu"], arrays["labels"], float(arrays["spacing_mm"]))


def load_cases(folder: Path) -> list[Case]:
    """All cases of a folder, by name."""
    return [load_case(path) for path in sorted(folder.glob("*.npz"))]


def cubic_case(name: str, scan: Volume, labels: Volume | None, spacing_mm: float) -> Case:
    """A scan and its label map (None: nothing to find) as a case. Any label but 2 counts as kidney; 2 counts as tumor.

    Label borders are resampled as fractions and cut at one half, so that they move by less than half a voxel.
    """
    scan = scan.in_lps_order()
    grid = scan.geometry.resampled((spacing_mm,) * 3)
    hu = resample(scan.voxels, scan.geometry, grid).round().clamp(-1024, 3071).numpy().astype(np.int16)
    result = np.zeros(grid.shape_zyx, dtype=np.uint8)
    if labels is not None:
        reference = labels.in_lps_order()
        result[fraction(reference.voxels > 0, reference.geometry, grid) > 0.5] = 1
        result[fraction(reference.voxels == 2, reference.geometry, grid) > 0.5] = 2
    return Case(name, hu, result, spacing_mm)


def fraction(mask: NDArray[np.bool_], source: Geometry, target: Geometry) -> NDArray[np.float32]:
    """How much of each voxel of the target grid lies in the mask of the source grid."""
    return np.asarray(resample(mask.astype(np.uint8), source, target).numpy())


def around(mask: NDArray[np.bool_], margin_voxels: int) -> Slices:
    """The bounding box (z, y, x) of a mask, widened and clipped to the array. Raises ValueError for an empty mask."""
    result = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not used.size:
            raise ValueError("an empty mask has no bounding box")
        result.append(slice(max(0, int(used[0]) - margin_voxels), min(mask.shape[axis], int(used[-1]) + 1 + margin_voxels)))
    return result[0], result[1], result[2]


def coarser(case: Case, spacing_mm: float) -> Case:
    """The same case on larger voxels."""
    x, y, z = reversed(case.hu.shape)
    geometry = Geometry((x, y, z), (case.spacing_mm,) * 3)
    volume, labels = Volume(case.hu, geometry), Volume(case.labels, geometry)
    return cubic_case(case.name, volume, labels, spacing_mm)


def read_pairs(pairs: Iterable[tuple[str, Path, Path | None]], spacing_mm: float, kidney_labels: Sequence[int] = ()) -> Iterator[Case]:
    """Cases of (name, CT, label map or None). `kidney_labels` are all turned into label 1, for label maps that number left and right."""
    for name, ct, label_path in pairs:
        labels = None
        if label_path is not None:
            labels = read_volume(label_path)
            if kidney_labels:
                labels = replace(labels, voxels=np.isin(labels.voxels, kidney_labels).astype(np.uint8))
        yield cubic_case(name, read_volume(ct), labels, spacing_mm)
