"""The scans that are measured on: one phantom patient, whole and cut, written once into the folder of a benchmark."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from KidneyTumorCascadeLib.geometry import Geometry, Slices
from KidneyTumorCascadeLib.phantom import Phantom, PhantomSettings, make_phantom
from KidneyTumorCascadeLib.volume import Volume, write_volume

# 400 x 400 x 450 mm.
LARGE_SIZE, LARGE_SPACING = (512, 512, 300), (0.78125, 0.78125, 1.5)
# Small enough for eight patches of nnU-Net, and with most of both kidneys in it: 250 x 100 x 150 mm.
SMALL_SIZE = (320, 128, 100)


@lru_cache(maxsize=1)
def large_scan() -> tuple[Volume, Volume]:
    """512 x 512 x 300 voxels and their true labels: a phantom on pixels twice as large, each repeated, which is quick and costs networks the same."""
    made = phantom_of(LARGE_SIZE[2])
    geometry = Geometry(LARGE_SIZE, LARGE_SPACING)
    scan, labels = (volume.voxels.repeat(2, axis=1).repeat(2, axis=2) for volume in (made.volume, made.labels))
    return Volume(scan, geometry), Volume(labels, geometry)


@cache
def phantom_of(slices: int) -> Phantom:
    """The patient, seen in so many slices; the kidneys are in the middle of a trunk that goes on above and below."""
    return make_phantom(PhantomSettings(seed=6, tumors=2, spacing=(1.5625, 1.5625, 1.5), size_mm=(400, 400, 1.5 * slices)))


def around_kidneys(size: tuple[int, int, int]) -> Volume:
    """That many voxels (x, y, z) of the large scan, with the kidneys in the middle as far as the scan reaches."""
    scan, labels = large_scan()
    ranges = []
    for axis, (length, wanted) in enumerate(zip(scan.voxels.shape, reversed(size), strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(labels.voxels.any(axis=others))
        start = int(np.clip((where[0] + where[-1] + 1 - wanted) // 2, 0, length - wanted))
        ranges.append(slice(start, start + wanted))
    slices: Slices = (ranges[0], ranges[1], ranges[2])
    return Volume(np.ascontiguousarray(scan.voxels[slices]), scan.geometry.cropped(slices))


def with_slices(count: int) -> Volume:
    """The patient with that many slices: the large scan cut around the kidneys, or the same trunk seen further up and down."""
    if count <= LARGE_SIZE[2]:
        return around_kidneys((LARGE_SIZE[0], LARGE_SIZE[1], count))
    voxels = phantom_of(count).volume.voxels.repeat(2, axis=1).repeat(2, axis=2)
    return Volume(voxels, Geometry((LARGE_SIZE[0], LARGE_SIZE[1], count), LARGE_SPACING))


def written(folder: Path, name: str, scan: Volume) -> Path:
    """The scan as an uncompressed file, so that nobody's time is spent on unpacking."""
    path = folder / f"{name}.nii"
    write_volume(scan, path)
    return path


def large_file(folder: Path) -> Path:
    """The large scan on disk; a file that is there already is taken."""
    path = folder / "large.nii"
    return path if path.exists() else written(folder, "large", large_scan()[0])


def small_file(folder: Path) -> Path:
    """The small scan on disk; a file that is there already is taken."""
    path = folder / "small.nii"
    return path if path.exists() else written(folder, "small", around_kidneys(SMALL_SIZE))
